"""Folds that are trained at once, each in a process of its own on one thread of a CPU."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from multiprocessing.connection import Connection, wait

import torch

from comp.errors import TrainingFailed
from comp.training.child_process import SMALLER, Child, tell, watch_parent
from comp.training.time_limit import OutOfTime
from comp.training.train_fold import Ended, FoldJob


def why_not_parallel(device: str) -> str | None:
    """Why folds cannot train at once here, if so: processes are forked, which neither CUDA nor macOS' libraries outlive."""
    if device != "cpu" or torch.cuda.is_available():
        return "at once is for a machine without a GPU"
    return None if sys.platform == "linux" else "at once is for Linux"


class SideBySide:
    """An executor: ``at_once`` folds at a time, each in a process of its own that is forked from this one."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once

    def run(self, job: Callable[[int], FoldJob], todo: Sequence[int]) -> Generator[Ended]:
        with closing(side_by_side(lambda k: job(k)(), todo, self.at_once)) as ended:
            for k, failure in ended:
                yield Ended(k, failure)


def side_by_side(
    work: Callable[[int], object], todo: Sequence[int], jobs: int
) -> Generator[tuple[int, Exception | None]]:
    """Calls ``work`` for each fold in a process of its own, and yields folds as they end, each with what it raised.

    Once the time limit was reached in one no further one begins. However it ends, no process is left behind.

    Parameters
    ----------
    work : callable
        Fold number to anything; what is to be kept of it, it writes into files. Torch has one thread.
    todo : sequence of int
    jobs : int
        How many at once.
    """
    waiting, running = deque(todo), dict[Connection, Child]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                try:
                    child: Child = _Forked(work, waiting[0])
                except OSError as error:  # no room for another process
                    if not running:
                        raise TrainingFailed("a fold needs a process", str(error), SMALLER) from error
                    jobs = len(running)
                    break
                running[child.pipe] = child
                waiting.popleft()
            for pipe in wait(list(running)):
                child = running[pipe]  # type: ignore[index]
                if child.hear():
                    continue
                del running[child.pipe]
                failure = child.end()
                if isinstance(failure, OutOfTime):
                    waiting.clear()
                yield child.k, failure
    finally:
        for child in running.values():
            child.kill()
        for child in running.values():
            child.end()


class _Forked(Child):
    """A process that is forked from this one."""

    def __init__(self, work: Callable[[int], object], k: int) -> None:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        super().__init__(k, ours)
        sys.stdout.flush()
        sys.stderr.flush()
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_work, args=(work, k, theirs, os.getpid()), daemon=True)
        try:
            self._process.start()
        except OSError:
            self.pipe.close()
            raise
        finally:
            theirs.close()

    def kill(self) -> None:
        self._process.kill()

    def _ended_with(self, seconds: float) -> int:
        self._process.join(seconds)
        self._process.kill()  # threads of the competition's own may keep it
        self._process.join()
        return self._process.exitcode or 0


def _work(work: Callable[[int], object], k: int, pipe: Connection, parent: int) -> None:
    """In the new process: the work, and the news of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this one
    watch_parent(parent)
    # threads of OpenMP do not outlive a fork: a second one would be waited for without end
    torch.set_num_threads(1)

    def fold() -> None:
        work(k)

    tell(pipe, lambda: fold)
