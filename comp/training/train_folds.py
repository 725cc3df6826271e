"""Trains the folds of a plan by an executor: one after the other, or some at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Protocol

from comp import events
from comp.data.device_memory import free_memory, only_new_is_searched
from comp.errors import CompError, TrainingFailed
from comp.models.checkpoint import load_checkpoint
from comp.recipe import Recipe
from comp.training.compiled import forget_compiled
from comp.training.linear_probe import frozen_features
from comp.training.plan import FoldResult, TrainPlan, needs_features
from comp.training.time_limit import OutOfTime
from comp.training.train_fold import Ended, FoldEvents, FoldJob, is_finished, read_fold


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


def train_folds(
    plan: TrainPlan, only: Sequence[int] | None = None, executor: Executor | None = None
) -> tuple[list[FoldResult], list[Exception]]:
    """The folds of a plan, or some of them, finished ones read back; and what went wrong in the others.

    A fold whose training fails does not stop the others; the time limit ends with those that are finished. Without an
    ``executor`` it is the one of the recipe's ``jobs``.
    """
    finished = {k for k in plan.numbers if is_finished(plan.fold_folder(k))}
    todo = [k for k in (plan.numbers if only is None else only) if k not in finished]
    results = {k: read_fold(plan.fold_folder(k), k, plan.refit) for k in sorted(finished)}
    failures: list[Exception] = []
    for one in results.values():
        if todo:  # its checkpoint is needed after the others have trained: better missed now
            load_checkpoint(plan.fold_folder(one.fold))
        FoldEvents(plan, one.fold).ended(one, finished_before=True)
    executor = executor or _executor(plan, len(todo))
    shared = needs_features(plan) and plan.warm is None
    features = frozen_features(plan) if shared and todo else None

    def job(k: int) -> FoldJob:
        return FoldJob(_as_fits(plan, results), k, features)

    with events.task("folds", len(plan.numbers)) as bar:
        bar.advance(len(results))
        with closing(executor.run(job, todo)) as ended:
            for k, failure, result in ended:
                if failure is not None:
                    if not isinstance(failure, OutOfTime | TrainingFailed):
                        raise failure
                    FoldEvents(plan, k).failed(failure)
                    failures.append(failure)
                    continue
                results[k] = result or read_fold(plan.fold_folder(k), k, plan.refit)
                if plan.deadline is not None:
                    plan.deadline.fold_finished()
                bar.advance()
                FoldEvents(plan, k).ended(results[k])
    return [results[k] for k in sorted(results)], failures


def _executor(plan: TrainPlan, folds: int) -> Executor:
    """The executor of a recipe: so many folds at once as its ``jobs`` say, where this machine can do so."""
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
    one = (recipe.jobs or 1) > 1 and recipe.device == "cpu"
    return recipe.model_copy(update={"threads": 1, "compile": False}) if one else recipe
