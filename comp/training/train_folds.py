"""Trains the folds of a plan, one after the other or some at once."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from comp import events
from comp.data.device_memory import free_memory, only_new_is_searched
from comp.errors import CompError, TrainingFailed
from comp.models.checkpoint import load_checkpoint
from comp.recipe import Recipe
from comp.training.compiled import forget_compiled
from comp.training.fold_events import FoldEvents
from comp.training.linear_probe import frozen_features
from comp.training.parallel_folds import side_by_side, why_not_parallel
from comp.training.plan import FoldResult, TrainPlan, needs_features
from comp.training.time_limit import OutOfTime
from comp.training.train_fold import is_finished, read_fold, run_fold

Ended = tuple[int, Exception | None]  # a fold, and what was raised in it


def train_folds(
    plan: TrainPlan, only: Sequence[int] | None = None
) -> tuple[list[FoldResult], list[Exception]]:
    """The folds of a plan, or some of them, finished ones read back; and what went wrong in the others.

    A fold whose training fails does not stop the others; the time limit ends with those that are finished.
    """
    finished = {k for k in range(plan.folds.k) if is_finished(plan.fold_folder(k))}
    todo = [k for k in (range(plan.folds.k) if only is None else only) if k not in finished]
    results = {k: read_fold(plan.fold_folder(k), k) for k in sorted(finished)}
    failures: list[Exception] = []
    for one in results.values():
        if todo:  # its checkpoint is needed after the others have trained: better missed now
            load_checkpoint(plan.fold_folder(one.fold))
        FoldEvents(plan, one.fold).ended(one, finished_before=True)
    at_once = min(plan.recipe.jobs or 1, len(todo))
    if at_once > 1 and (reason := why_not_parallel(plan.recipe.device)):
        events.log(f"  folds train one after the other: {reason}")
        at_once = 1
    shared = needs_features(plan) and plan.warm is None
    features = frozen_features(plan) if shared and todo else None
    with events.task("folds", plan.folds.k) as bar:
        bar.advance(len(results))
        ended = (
            _side_by_side(plan, todo, at_once, results, features)
            if at_once > 1
            else _one_by_one(plan, todo, results, features)
        )
        with closing(ended):
            for k, failure in ended:
                if failure is not None:
                    FoldEvents(plan, k).failed(failure)
                    failures.append(failure)
                    continue
                if plan.deadline is not None:
                    plan.deadline.fold_finished()
                bar.advance()
                FoldEvents(plan, k).ended(results[k])
    return [results[k] for k in sorted(results)], failures


def _one_by_one(
    plan: TrainPlan, todo: Sequence[int], results: dict[int, FoldResult], features: Any
) -> Generator[Ended]:
    with only_new_is_searched():
        for k in todo:
            alone, failure = _as_fits(plan, results), None
            try:
                results[k] = run_fold(alone, k, _features(alone, k, features))
            except (OutOfTime, TrainingFailed) as raised:
                failure = _without_frames(raised)
            if plan.recipe.compile:
                forget_compiled()
            free_memory()  # of this fold's network and optimizer, before the next ones are made
            yield k, failure
            if isinstance(failure, OutOfTime):
                return


def _without_frames(failure: CompError) -> CompError:
    """The error without the frames it came through, which would keep the fold's network and optimizer."""
    below: BaseException | None = failure
    while below is not None:
        one, below = below, below.__cause__ or below.__context__
        one.__traceback__ = one.__cause__ = one.__context__ = None
    return failure


def _side_by_side(
    plan: TrainPlan, todo: Sequence[int], at_once: int, results: dict[int, FoldResult], features: Any
) -> Generator[Ended]:
    def work(k: int) -> None:
        alone = _as_fits(plan, results)
        run_fold(alone, k, _features(alone, k, features))

    with closing(side_by_side(work, todo, at_once)) as ended:
        for k, failure in ended:
            if failure is None:
                results[k] = read_fold(plan.fold_folder(k), k)
            elif not isinstance(failure, OutOfTime | TrainingFailed):
                raise failure
            yield k, failure


def _features(plan: TrainPlan, k: int, shared: Any) -> Any:
    """The frozen features of all folds, or where each has a backbone of its own those of fold k."""
    return frozen_features(plan, k) if shared is None and needs_features(plan) else shared


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
