"""Folds that are dealt to the GPUs of this machine: one at a time on each, in a process of its own that sees no other."""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

import torch

from comp import events
from comp.data.device_memory import free_memory
from comp.errors import TrainingFailed
from comp.training.fresh_process import Fresh
from comp.training.gpu_process import SEES, GpuFailed, OnGpu
from comp.training.time_limit import OutOfTime
from comp.training.train_fold import Ended, FoldJob


@dataclass(frozen=True)
class Gpu:
    """A device as CUDA_VISIBLE_DEVICES names it, by number or UUID, and what it is."""

    visible: str
    model: str = ""

    def __str__(self) -> str:
        return f"GPU {self.visible}" + (f" ({self.model})" if self.model else "")


def visible_gpus() -> list[Gpu]:
    """The CUDA devices that this process sees."""
    given = os.environ.get(SEES, "").split(",")
    count = torch.cuda.device_count()
    names = [name.strip() for name in given] if len(given) >= count and given[0] else map(str, range(count))
    models = map(torch.cuda.get_device_name, range(count))
    return [Gpu(name, model) for name, model in zip(names, models, strict=False)]


class AGpuEach:
    """An executor: each of ``gpus`` has one fold at a time, and the next one as soon as it is free.

    Where one fails, or its process dies, it gets no further fold, and its fold goes on at another from what was saved last.
    """

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        self._gpus = list(gpus)

    def run(self, job: Callable[[int], FoldJob], todo: Sequence[int]) -> Generator[Ended]:
        """The folds as they end; see ``Executor``."""
        waiting, idle = deque(todo), deque(self._gpus)
        running: dict[Connection, _Fold] = {}
        free_memory()  # of this process, which has the first of them too
        with ExitStack() as shared:
            try:
                while waiting or running:
                    while waiting and idle:
                        begun = _Fold(waiting.popleft(), idle.popleft(), job, shared)
                        running[begun.child.pipe] = begun
                    for pipe in wait(list(running)):
                        one = running[pipe]  # type: ignore[index]
                        if one.child.hear():
                            continue
                        del running[one.child.pipe]
                        failure = one.end()
                        if not isinstance(failure, GpuFailed):
                            idle.append(one.gpu)
                        elif idle or running:  # it is left out from now on
                            events.log(f"  {failure.value}: it goes on at another")
                            waiting.appendleft(one.number)
                            continue
                        if isinstance(failure, OutOfTime):
                            waiting.clear()
                        yield Ended(one.number, failure)
                        if isinstance(failure, GpuFailed):  # the last one: nothing is left to train on
                            yield from (Ended(number, failure) for number in waiting)
                            waiting.clear()
            finally:
                for one in running.values():
                    one.child.kill()
                for one in running.values():
                    one.child.end()


class _Fold:
    """A fold that trains on a GPU."""

    def __init__(self, number: int, gpu: Gpu, job: Callable[[int], FoldJob], shared: ExitStack) -> None:
        self.number, self.gpu = number, gpu
        made = job(number)
        self.name, deadline = made.plan.name(made.k), made.plan.deadline
        if deadline is not None and not deadline.is_shared:
            shared.enter_context(deadline.shared())
        work = pickle.dumps(OnGpu(made, str(gpu), self.name))
        try:
            self.child = Fresh(work, number, {SEES: gpu.visible})
        except OSError as error:
            value = f"{self.name} on {gpu}: {error}"
            raise TrainingFailed(
                "a fold needs a process", value, "end what else runs, and `resume`"
            ) from error
        events.log(f"  {self.name} on {gpu}, process {self.child.pid}")

    def end(self) -> Exception | None:
        """What it raised; GpuFailed also where its process did not live to say anything."""
        failure = self.child.end()
        if self.child.is_cut_off and isinstance(failure, TrainingFailed):
            return GpuFailed(failure.rule, f"{self.name} on {self.gpu}: {failure.value}", failure.remedy)
        return failure
