"""Trains the trials of a study as `comp run` trains its folds, with everything shared that does not change."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from comp import events
from comp.checks.runner import CheckResult
from comp.data.predictions import Predictions
from comp.files import make_folder
from comp.pipelines import training_plans, view_choice
from comp.pipelines.decide import decide
from comp.pipelines.request import RunRequest
from comp.pipelines.tuning.judging import JudgeAtOnce, Told, Watch, judge_folds
from comp.pipelines.tuning.pruning import TrialHistory
from comp.recipe import BalanceConfig, ProbeConfig, Recipe, RegularizeConfig
from comp.training.head_trial import solved_fold
from comp.training.linear_probe import FrozenFeatures, frozen_features
from comp.training.losses import for_task
from comp.training.plan import FoldResult, FoldRows, TrainedModels, TrainPlan, rows_of_fold
from comp.training.time_limit import Deadline
from comp.training.train_folds import Executor, folds_at_once, train_folds

if TYPE_CHECKING:
    from comp.pipelines.training_plans import Start

CHOSEN = (
    "device",
    "precision",
    "channels_last",
    "threads",
    "compile",
    "fold_norms",
)  # by measuring, where left open
SHOWN_TASKS = ("features", "decoding once")  # and those of folds: the bars of a trial


@dataclass(frozen=True)
class Outcome:
    """What a trial with all its folds came to: the score that a run of ``recipe`` reports, that of each fold, and the OOF rows
    that are scored. ``recipe`` has what the machine chose, so that a run repeats it.
    """

    score: float
    per_fold: tuple[float, ...]
    oof: Predictions
    recipe: Recipe


@dataclass
class Bench:
    """What the trials of a study share on this machine: the checked rows, plans and features that were made before.

    Trials that train write into folders of ``folder``, which are removed when they end.
    """

    request: RunRequest
    checks: CheckResult
    folder: Path
    starts: dict[str, list[Start]] = field(default_factory=dict)
    rows: dict[int, FoldRows] = field(default_factory=dict)
    _frozen: tuple[Recipe, TrainPlan, FrozenFeatures] | None = None

    @contextmanager
    def learner(
        self, recipe: Recipe, number: int, seconds: float | None
    ) -> Iterator[ProbeFolds | TrainedFolds]:
        """What trains the folds of a recipe, as trial ``number``, within ``seconds`` if there is a limit."""
        if recipe.mode == "probe":
            plan, features = self._probe(recipe)
            yield ProbeFolds(self, plan, recipe, features)
            return
        plan = self.plan(recipe)
        if seconds is not None:
            plan = replace(plan, deadline=Deadline(seconds, 0, 0))
        folder = self.folder / f"trial-{number}"
        try:
            yield TrainedFolds(self, plan.in_folder(make_folder(folder)), recipe)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @cached_property
    def executor(self) -> Executor | None:
        """What deals the folds of trials that train; None for this machine."""
        return self.request.engine.executor(self.checks)

    def plan(self, recipe: Recipe) -> TrainPlan:
        """The plan of a recipe on the rows and folds of the study."""
        key = repr((recipe.mode, recipe.model))
        competition, workspace = self.request.competition, self.request.workspace
        if key not in self.starts:
            self.starts = {key: training_plans.find_starts(competition, recipe, workspace)}
        starts = self.starts[key]
        (plan,) = training_plans.make_plans(competition, self.checks, recipe, workspace, None, starts=starts)
        return plan

    def _probe(self, recipe: Recipe) -> tuple[TrainPlan, FrozenFeatures]:
        """The plan of a probe and its features: those of the trial before, where it had the same network and views."""
        shared = _without_head(recipe)
        if self._frozen is None or self._frozen[0] != shared:
            plan = self.plan(recipe)
            self._frozen = (shared, plan, frozen_features(plan))
        _, plan, features = self._frozen
        own = for_task(recipe, plan.labels.task)
        changes = {"probe": own.probe, "regularize": own.regularize, "balance": own.balance}
        return replace(plan, recipe=plan.recipe.model_copy(update=changes)), features

    def outcome(self, recipe: Recipe, plan: TrainPlan, results: Sequence[FoldResult]) -> Outcome:
        """What the folds of a plan come to, as a run has it."""
        trained = TrainedModels(plan.folder, [plan], [sorted(results, key=lambda one: one.fold)])
        trained, _ = view_choice.with_best_views(trained)
        oof, metric, competition = trained.oof, plan.metric, self.request.competition
        if metric.wants_decision or metric.proper or competition.facts.post.is_asked:
            oof = decide(trained, competition).oof
        chosen = {key: getattr(plan.recipe, key) for key in CHOSEN}
        parts = max([recipe.accumulate, *(one.accumulate for one in results)])
        told = recipe.model_copy(update={**chosen, "accumulate": parts})
        return Outcome(trained.score(oof), tuple(trained.per_fold(oof)), oof, told)


def _without_head(recipe: Recipe) -> Recipe:
    """The recipe without what only the classifier of a probe is solved by."""
    return recipe.model_copy(
        update={"probe": ProbeConfig(), "regularize": RegularizeConfig(), "balance": BalanceConfig()}
    )


@dataclass
class ProbeFolds:
    """The folds of a probe, each at the cost of its solve."""

    bench: Bench
    plan: TrainPlan
    recipe: Recipe
    features: FrozenFeatures
    results: dict[int, FoldResult] = field(default_factory=dict)

    @property
    def folds(self) -> Sequence[int]:
        return range(self.plan.folds.k)

    def judge(self, history: TrialHistory, told: Told) -> None:
        """Solves the folds; Pruned where the trial is given up."""
        judge_folds(self, history, told)

    def fold(self, k: int, watch: Watch | None) -> float:  # noqa: ARG002, a solve has no epochs
        if k not in self.bench.rows:
            self.bench.rows[k] = rows_of_fold(self.plan, k)
        self.results[k] = solved_fold(self.plan, k, self.bench.rows[k], self.features)
        return self.results[k].score

    def outcome(self) -> Outcome:
        """What all folds come to."""
        return self.bench.outcome(self.recipe, self.plan, list(self.results.values()))


@dataclass
class TrainedFolds:
    """The folds of a network that trains, one after the other, or all at once; what they come to is the same."""

    bench: Bench
    plan: TrainPlan
    recipe: Recipe
    results: dict[int, FoldResult] = field(default_factory=dict)
    curves: dict[int, list[float]] = field(default_factory=dict)

    @property
    def folds(self) -> Sequence[int]:
        return range(self.plan.folds.k)

    def judge(self, history: TrialHistory, told: Told) -> None:
        """Trains the folds; Pruned where the trial is given up, and the folds under way end."""
        if self.bench.executor is None and folds_at_once(self.plan.recipe, self.plan.folds.k) == 1:
            judge_folds(self, history, told)
            return

        def as_it_counts(done: Mapping[int, float]) -> None:
            self.curves = judge.curves
            told(done)

        def heard(event: events.Event) -> bool:
            if isinstance(event, events.EpochEnded):
                judge.epoch(event.fold, event.epoch, event.epochs, event.score)
            elif isinstance(event, events.FoldEnded) and event.score is not None:
                judge.fold(event.fold, event.score)
            return is_shown(event)

        judge = JudgeAtOnce(self.folds, history, as_it_counts)
        self._train(None, heard)

    def fold(self, k: int, watch: Watch | None) -> float:
        def heard(event: events.Event) -> bool:
            if isinstance(event, events.EpochEnded):
                self.curves.setdefault(event.fold, [])[event.epoch - 1 :] = [event.score]
                if watch is not None:
                    watch(event.epoch, event.epochs, event.score)
            return is_shown(event)

        self._train([k], heard)
        return self.results[k].score

    def _train(self, only: Sequence[int] | None, heard: Callable[[events.Event], bool]) -> None:
        with events.screened(heard):
            results, failures = train_folds(self.plan, only, self.bench.executor)
        if failures:
            raise failures[0]
        self.results |= {one.fold: one for one in results}

    def outcome(self) -> Outcome:
        """What all folds come to."""
        return self.bench.outcome(self.recipe, self.plan, list(self.results.values()))


def is_shown(event: events.Event) -> bool:
    """Whether people see an event of a trial: its bars and warnings, not the lines of a run."""
    if isinstance(event, events.Message):
        return event.text.lstrip().startswith("warning")
    if isinstance(event, events.TaskStarted | events.TaskAdvanced | events.TaskEnded):
        return event.title in SHOWN_TASKS or event.title.startswith("fold ")
    return False
