"""Folds that are trained at once, each in a process of its own on one thread of a CPU."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from threading import Lock
from typing import Any

import torch

from comp import events
from comp.errors import CompError, TrainingFailed
from comp.training.peers import watch_parent
from comp.training.time_limit import OutOfTime
from comp.training.train_fold import Ended, FoldJob

GRACE_SECONDS = 10.0  # for a process to end after its work
_SMALLER = "if memory did not suffice for several folds at once: a smaller jobs"


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
    waiting, running = deque(todo), dict[Connection, _Child]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                try:
                    child = _Child(work, waiting[0])
                except OSError as error:  # no room for another process
                    if not running:
                        raise TrainingFailed("a fold needs a process", str(error), _SMALLER) from error
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


class _Child:
    """A process that works on fold k, whose events are heard here."""

    def __init__(self, work: Callable[[int], object], k: int) -> None:
        self.k = k
        self.pipe, theirs = multiprocessing.Pipe(duplex=False)
        self._tasks: dict[str, events.TaskEnded] = {}  # those that it has begun, each with its end
        self._failure: Exception | None = None
        self._ended = False
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

    def hear(self) -> bool:
        """Takes one message in; False when there will be no more."""
        try:
            news = self.pipe.recv()
        except (EOFError, OSError):
            return False
        if isinstance(news, _LastNews):
            self._ended, self._failure = True, news.failure
            return False
        if isinstance(news, events.TaskStarted):
            self._tasks[news.task] = events.TaskEnded(news.task, news.title)
        elif isinstance(news, events.TaskEnded):
            self._tasks.pop(news.task, None)
        events.emit(news)
        return True

    def end(self) -> Exception | None:
        """What the process raised; TrainingFailed where it did not live to say it."""
        self._process.join(GRACE_SECONDS)
        self._process.kill()  # threads of the competition's own may keep it
        self._process.join()
        self.pipe.close()
        for ended in self._tasks.values():
            events.emit(ended)
        if self._ended:
            return self._failure
        code = self._process.exitcode or 0
        value = f"its process ended with {signal.Signals(-code).name if code < 0 else code}"
        return TrainingFailed("a fold's process has to live to its end", value, _SMALLER)

    def kill(self) -> None:
        self._process.kill()


def _work(work: Callable[[int], object], k: int, pipe: Connection, parent: int) -> None:
    """In the new process: the work, and the news of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this one
    watch_parent(parent)
    # threads of OpenMP do not outlive a fork: a second one would be waited for without end
    torch.set_num_threads(1)
    one_at_a_time = Lock()

    def send(news: events.Event | _LastNews) -> None:
        with one_at_a_time:
            pipe.send(news)

    events.relay_to(send)
    # the parent's may be rich's, whose locks another thread may have held when this process was forked
    sys.stdout = sys.stderr = EventLines()
    failure: Exception | None = None
    try:
        work(k)
    except CompError as error:
        failure = error
    except Exception as error:
        error.add_note(traceback.format_exc())
        failure = error
    send(_LastNews(sendable(failure)))


@dataclass(frozen=True)
class _LastNews:
    """The last that a process says: what its work raised."""

    failure: Exception | None


class EventLines(io.TextIOBase):
    """What warnings and the competition's own code print, sent line by line."""

    def __init__(self) -> None:
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            events.log(line)
        return len(text)


def sendable(failure: Exception | None) -> Any:
    """The error itself, or where it cannot be sent one with its traceback."""
    try:
        pickle.loads(pickle.dumps(failure))
        return failure
    except Exception:
        lines = traceback.format_exception(failure) if failure else []
        return RuntimeError("".join(lines))
