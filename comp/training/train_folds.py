"""Trains the folds of a plan by an executor: one after the other, or some at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Protocol

import torch

from comp import events
from comp.data.device_memory import free_memory, only_new_is_searched
from comp.errors import CompError, TrainingFailed
from comp.models.checkpoint import load_checkpoint
from comp.recipe import Recipe
from comp.training.compiled import forget_compiled
from comp.training.linear_probe import FrozenFeatures, frozen_features
from comp.training.plan import FoldResult, TrainPlan, needs_features
from comp.training.time_limit import OutOfTime
from comp.training.train_fold import Ended, FoldEvents, FoldJob, is_finished, read_fold


class Executor(Protocol):
    """Trains folds: what ``train_folds`` takes. A new one is a class with this method.

    ``todo`` are numbers of jobs: those of the folds where one plan is trained. ``job(number)`` makes a job; it is called when that fold begins,
    since it holds what earlier folds have shown (in how many parts memory takes a batch). Folds come back in any order, each once when it is over; after one that
    ended by ``OutOfTime`` no further one begins. Where the generator is closed, nothing of it is left running.
    """

    def run(self, job: Callable[[int], FoldJob], todo: Sequence[int]) -> Generator[Ended]: ...


class OneByOne:
    """Folds one after the other in this process."""

    def run(self, job: Callable[[int], FoldJob], todo: Sequence[int]) -> Generator[Ended]:
        with only_new_is_searched():
            for k in todo:
                fold = job(k)
                ended = _attempt(fold, k)
                if fold.plan.recipe.compile:
                    forget_compiled()
                free_memory()  # of this fold's network and optimizer, before the next ones are made
                yield ended
                if isinstance(ended.failure, OutOfTime):
                    return


def _attempt(job: FoldJob, number: int) -> Ended:
    try:
        return Ended(number, result=job())
    except (OutOfTime, TrainingFailed) as raised:
        return Ended(number, _without_frames(raised))


def _without_frames(failure: CompError) -> CompError:
    """The error without the frames it came through, which would keep the fold's network and optimizer."""
    below: BaseException | None = failure
    while below is not None:
        one, below = below, below.__cause__ or below.__context__
        one.__traceback__ = one.__cause__ = one.__context__ = None
    return failure


def train_folds(
    plan: TrainPlan, only: Sequence[int] | None = None, executor: Executor | None = None
) -> tuple[list[FoldResult], list[Exception]]:
    """The folds of a plan, or some of them, finished ones read back; and what went wrong in the others.

    A fold whose training fails does not stop the others; the time limit ends with those that are finished. Without an
    ``executor`` it is the one of the recipe's ``jobs``.
    """
    (found,) = train_plans([plan], only, executor)
    return found


def train_plans(
    plans: Sequence[TrainPlan], only: Sequence[int] | None = None, executor: Executor | None = None
) -> list[tuple[list[FoldResult], list[Exception]]]:
    """The folds of several plans, dealt as one lot: for each what ``train_folds`` gives."""
    each = [_Folds(plan, only) for plan in plans]
    stride = 1 + max(
        max(plan.numbers) for plan in plans
    )  # so that the numbers of a single plan are its folds'
    lot = {n * stride + k: (folds, k) for n, folds in enumerate(each) for k in folds.todo}
    executor = executor or _executor(plans[0], len(lot))
    for folds in each:
        folds.prepare()

    def job(number: int) -> FoldJob:
        folds, k = lot[number]
        return folds.job(k)

    with events.task("folds", sum(len(plan.numbers) for plan in plans)) as bar:
        bar.advance(sum(len(folds.results) for folds in each))
        with closing(executor.run(job, list(lot))) as ended:
            for number, failure, result in ended:
                folds, k = lot[number]
                if folds.ended(k, failure, result):
                    bar.advance()
    return [([folds.results[k] for k in sorted(folds.results)], folds.failures) for folds in each]


class _Folds:
    """The folds of a plan: those that are finished, those ``todo``, and what went wrong."""

    def __init__(self, plan: TrainPlan, only: Sequence[int] | None) -> None:
        self.plan = plan
        self._features: FrozenFeatures | None = None
        finished = {k for k in plan.numbers if is_finished(plan.fold_folder(k))}
        self.todo = [k for k in (plan.numbers if only is None else only) if k not in finished]
        self.results = {k: read_fold(plan.fold_folder(k), k, plan.refit) for k in sorted(finished)}
        self.failures: list[Exception] = []
        for one in self.results.values():
            if self.todo:  # its checkpoint is needed after the others have trained: better missed now
                load_checkpoint(plan.fold_folder(one.fold))
            FoldEvents(plan, one.fold).ended(one, finished_before=True)

    def prepare(self) -> None:
        """Works out what all folds share."""
        if self.todo and needs_features(self.plan) and self.plan.warm is None:
            self._features = frozen_features(self.plan)

    def job(self, k: int) -> FoldJob:
        return FoldJob(_as_fits(self.plan, self.results), k, self._features)

    def ended(self, k: int, failure: Exception | None, result: FoldResult | None) -> bool:
        """Takes in what a fold came to; whether it is finished."""
        if failure is not None:
            if not isinstance(failure, OutOfTime | TrainingFailed):
                raise failure
            FoldEvents(self.plan, k).failed(failure)
            self.failures.append(failure)
            return False
        self.results[k] = result or read_fold(self.plan.fold_folder(k), k, self.plan.refit)
        if self.plan.deadline is not None:
            self.plan.deadline.fold_finished()
        FoldEvents(self.plan, k).ended(self.results[k])
        return True


def folds_at_once(recipe: Recipe, folds: int) -> int:
    """How many of so many folds train at once on this machine: as ``jobs`` says, and on CUDA one a GPU unless it says less.

    A probe's folds are solved one after the other, and a fold that several processes train together has all GPUs.
    """
    if recipe.device != "cuda":
        return max(1, min(recipe.jobs or 1, folds))
    if recipe.mode == "probe" or (recipe.processes or 1) > 1 or sys.platform != "linux":
        return 1
    gpus = torch.cuda.device_count()
    return max(1, min(recipe.jobs or gpus, gpus, folds))


def are_dealt_to_gpus(plans: Sequence[TrainPlan]) -> bool:
    """Whether all folds of several plans are dealt to the GPUs of this machine as one lot."""
    lot = sum(len(plan.numbers) for plan in plans)
    return all(plan.recipe.device == "cuda" and folds_at_once(plan.recipe, lot) > 1 for plan in plans)


def _executor(plan: TrainPlan, folds: int) -> Executor:
    """The executor of a recipe: so many folds at once as its ``jobs`` or the GPUs say, where this machine can do so."""
    if plan.recipe.device == "cuda" and (at_once := folds_at_once(plan.recipe, folds)) > 1:
        from comp.training.gpu_folds import AGpuEach, visible_gpus

        return AGpuEach(visible_gpus()[:at_once])
    at_once = min(plan.recipe.jobs or 1, folds)
    if at_once <= 1:
        return OneByOne()
    from comp.training.parallel_folds import SideBySide, why_not_parallel

    if reason := why_not_parallel(plan.recipe.device):
        events.log(f"  folds train one after the other: {reason}")
        return OneByOne()
    return SideBySide(at_once)


def _as_fits(plan: TrainPlan, results: dict[int, FoldResult]) -> TrainPlan:
    """The plan of a fold: with batches in as many parts as memory left an earlier one."""
    parts = max([plan.recipe.accumulate, *(one.accumulate for one in results.values())])
    return replace(plan, recipe=per_job_recipe(plan.recipe).model_copy(update={"accumulate": parts}))


def per_job_recipe(recipe: Recipe) -> Recipe:
    """The recipe of a fold where several train at once: on one thread, also where it is alone in the end, so that it comes
    to the same, and not compiled: the compiler's threads do not outlive a fork. All else runs on as many as there are.
    """
    if (together := recipe.processes or 1) > 1:  # on a CPU they share its threads
        own = max(1, (recipe.threads or 1) // together) if recipe.device == "cpu" else recipe.threads
        return recipe.model_copy(update={"threads": own, "compile": False})
    one = (recipe.jobs or 1) > 1 and recipe.device == "cpu"
    return recipe.model_copy(update={"threads": 1, "compile": False}) if one else recipe
