"""Where and in what order the folds of a plan train: an executor. Here is the one that trains one after the other."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from comp.data.device_memory import free_memory, only_new_is_searched
from comp.errors import CompError, TrainingFailed
from comp.training.compiled import forget_compiled
from comp.training.linear_probe import FrozenFeatures
from comp.training.plan import FoldResult, TrainPlan
from comp.training.time_limit import OutOfTime
from comp.training.train_fold import run_fold


@dataclass(frozen=True)
class FoldJob:
    """The training of fold ``k``: calling it trains the fold, here or in any process that pickle takes it to.

    What it comes to lies in the fold's folder, ``result.json`` last. ``features`` are those of all folds where they are
    known; where they are needed and absent the job computes them.
    """

    plan: TrainPlan
    k: int
    features: FrozenFeatures | None = None

    def __call__(self) -> FoldResult:
        return run_fold(self.plan, self.k, self.features)


class Ended(NamedTuple):
    """A fold that is over: ``failure`` is what was raised in it, ``result`` what it came to where that is known without
    reading its folder.
    """

    fold: int
    failure: Exception | None = None
    result: FoldResult | None = None


class Executor(Protocol):
    """Trains folds: what ``train_folds`` takes. A new one is a class with this method.

    ``job(k)`` makes the job of fold k; it is called when that fold begins, since it holds what earlier folds have shown
    (in how many parts memory takes a batch). Folds come back in any order, each once when it is over; after one that
    ended by ``OutOfTime`` no further one begins. Where the generator is closed, nothing of it is left running.
    """

    def run(self, job: Callable[[int], FoldJob], todo: Sequence[int]) -> Generator[Ended]: ...


class OneByOne:
    """Folds one after the other in this process."""

    def run(self, job: Callable[[int], FoldJob], todo: Sequence[int]) -> Generator[Ended]:
        with only_new_is_searched():
            for k in todo:
                fold = job(k)
                ended = _attempt(fold)
                if fold.plan.recipe.compile:
                    forget_compiled()
                free_memory()  # of this fold's network and optimizer, before the next ones are made
                yield ended
                if isinstance(ended.failure, OutOfTime):
                    return


def _attempt(job: FoldJob) -> Ended:
    try:
        return Ended(job.k, result=job())
    except (OutOfTime, TrainingFailed) as raised:
        return Ended(job.k, _without_frames(raised))


def _without_frames(failure: CompError) -> CompError:
    """The error without the frames it came through, which would keep the fold's network and optimizer."""
    below: BaseException | None = failure
    while below is not None:
        one, below = below, below.__cause__ or below.__context__
        one.__traceback__ = one.__cause__ = one.__context__ = None
    return failure
