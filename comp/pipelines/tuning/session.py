"""One process at work on a study: trials one after the other, then what the study comes to."""

from __future__ import annotations

import math
import os
import shutil
import socket
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comp import events
from comp.checks.runner import CheckResult, raise_on_errors
from comp.config import whole_number
from comp.errors import InputError, TrainingFailed, counted
from comp.files import lives
from comp.metrics import Metric
from comp.pipelines import training_plans
from comp.pipelines.request import RunRequest
from comp.pipelines.tuning.judging import Pruned
from comp.pipelines.tuning.learner import Bench, Outcome, TrainedFolds, is_shown
from comp.pipelines.tuning.recipe_keys import value_of, with_values
from comp.pipelines.tuning.sampling import SlotSampler
from comp.pipelines.tuning.search_space import SearchSpace, shown
from comp.pipelines.tuning.selection import TrialRows, rows_of
from comp.pipelines.tuning.storage import open_study, usual_url
from comp.pipelines.tuning.study import Asked, PutBack, StudyStore, TrialRow, choice_labels
from comp.recipe import from_table
from comp.training.time_limit import OutOfTime

if TYPE_CHECKING:
    from comp.pipelines.training_plans import Start
    from comp.pipelines.tuning.order import SearchOrder

LOOKS_EVERY = 2.0  # seconds between looks at the trials of other processes
KEPT = ("scores", "curves", "recipe", "per_fold")  # of a trial with the same values
MARGIN = 15.0  # seconds before a time limit that are for the end


@dataclass
class Session:
    """The trials that this process runs for a study, and what the whole study comes to."""

    order: SearchOrder
    request: RunRequest
    checks: CheckResult
    folder: Path
    study: str
    starts: list[Start]
    seconds: float | None
    began: float = field(default_factory=time.monotonic)
    took: list[float] = field(default_factory=list)  # seconds of the trials here
    trials: list[TrialRow] = field(default_factory=list)
    url: str = ""

    @property
    def space(self) -> SearchSpace:
        """What is searched."""
        assert self.order.space is not None
        return self.order.space

    @property
    def summary(self) -> str:
        """What will be searched, in a line."""
        return (
            f"study {self.study}: {', '.join(one.key for one in self.space.parameters)} ({self.space.origin})"
        )

    @property
    def metric(self) -> Metric:
        """What trials are judged by."""
        return self.checks.dataset.competition.metric

    @cached_property
    def baseline(self) -> dict[str, Any]:
        """The recipe's own values, of the keys where they lie within the space."""
        own = {one.key: (one, value_of(self.order.table, one.key)) for one in self.space.parameters}
        return {key: value for key, (one, value) in own.items() if one.holds(value)}

    @cached_property
    def bench(self) -> Bench:
        """What the trials share."""
        recipe = self.order.recipe
        own = self.folder / f"{_work()}-{os.getpid()}"
        return Bench(self.request, self.checks, own, {repr((recipe.mode, recipe.model)): self.starts})

    @cached_property
    def rows(self) -> TrialRows:
        """Where the OOF rows of trials lie."""
        return rows_of(self.checks, self.folder)

    def run(self, wanted: int, storage: str | None, facts: dict[str, Any]) -> None:
        """Runs trials until the study has all that are wanted, or the time is over."""
        self._judge()
        self.url = storage or usual_url(self.folder)
        name = self.study if storage is None else f"{self.request.competition.slug}/{self.study}"
        seed = self.order.recipe.seed
        sampler = SlotSampler(seed, self._as_labels())
        direction = self.metric.direction
        with open_study(self.url, name, facts, self.space, wanted, direction, sampler) as store:
            try:
                self._run_all(store, wanted)
            finally:
                self.trials = store.rows()
                _remove_work(self.folder)

    def _as_labels(self) -> dict[str, Any]:
        """The baseline as optuna takes it."""
        by_key = {one.key: one for one in self.space.parameters}
        labels = dict(self.baseline)
        for key, value in self.baseline.items():
            one = by_key[key]
            if one.kind == "choice":
                labels[key] = next(
                    label for label, own in zip(choice_labels(one), one.choices, strict=True) if own == value
                )
        return labels

    def _judge(self) -> None:
        """Refuses what a run of the recipe would be refused for, before any trial."""
        recipe = self.order.recipe
        plan = self.bench.plan(recipe)
        raise_on_errors(training_plans.judge_recipe([plan], recipe), self.request.competition.slug)

    def _run_all(self, store: StudyStore, wanted: int) -> None:
        done = sum(one.is_over for one in store.rows())
        if done:
            events.log(f"  goes on after {counted(done, 'trial')}")
        with events.task("trials", wanted) as bar:
            bar.advance(min(done, wanted))
            while not self._is_late():
                try:
                    if not store.run_one(self._trial):
                        if not self._waited(store):
                            return
                        continue
                except PutBack as stopped:
                    events.log(f"  {stopped}: the trial waits for the next command")
                    return
                over = min(sum(one.is_over for one in store.rows()), wanted)
                bar.advance(over - bar.done)
        events.log("  the time limit: no further trial begins")

    def _is_late(self) -> bool:
        """Whether no further trial would end in time."""
        left = self._seconds_left()
        usual = sorted(self.took)[len(self.took) // 2] if self.took else 0.0
        return left is not None and left < usual

    def _seconds_left(self) -> float | None:
        return None if self.seconds is None else self.seconds - MARGIN - (time.monotonic() - self.began)

    def _waited(self, store: StudyStore) -> bool:
        """Waits while other processes are at trials; False when nothing is left, True when there may be one to run."""
        said = False
        while running := store.running():
            if not said:
                events.log(
                    f"  waiting for {counted(running, 'trial')} of other processes (Ctrl-C: without them)"
                )
                said = True
            if self._is_late() or store.has_more():
                return not self._is_late()
            time.sleep(LOOKS_EVERY)
        return store.has_more()

    def _trial(self, asked: Asked) -> float:
        """One trial, from its values to its score."""
        from optuna import TrialPruned

        started = time.monotonic()
        values = asked.values(self.order.table, self.baseline)
        asked.tell(values=values)
        try:
            score = self._as_before(asked, values)
            if score is None:
                score = self._judged(asked, values).score
        except Pruned as pruned:
            self._ended(asked, started, None, str(pruned))
            raise TrialPruned(str(pruned)) from None
        self._ended(asked, started, score, "")
        return score

    def _judged(self, asked: Asked, values: dict[str, Any]) -> Outcome:
        """What a trial comes to; Pruned where it is given up, or cannot be trained."""
        left = self._seconds_left()
        try:
            recipe = from_table(with_values(self.order.table, values), self.order.name, lambda _: [])
            with (
                events.screened(is_shown),
                self.bench.learner(recipe, asked.slot, left) as learner,
            ):

                def told(done: Any) -> None:
                    curves = (
                        {str(k): c for k, c in learner.curves.items()}
                        if isinstance(learner, TrainedFolds)
                        else {}
                    )
                    asked.tell(scores={str(k): _number(one) for k, one in done.items()}, curves=curves)
                    asked.report(done)

                learner.judge(asked.store.history(), told)
                outcome = learner.outcome()
        except OutOfTime as late:
            raise PutBack("the time limit") from late
        except (TrainingFailed, InputError) as failed:
            if asked.slot == 0:
                raise
            raise Pruned(f"{failed.rule}: {failed.value}") from failed
        if not math.isfinite(outcome.score):
            raise Pruned("its score is no number")
        self.rows.keep(asked.slot, outcome.oof)
        asked.tell(recipe=outcome.recipe.as_table(), per_fold=[_number(one) for one in outcome.per_fold])
        return outcome

    def _as_before(self, asked: Asked, values: dict[str, Any]) -> float | None:
        """What an earlier trial with the very values came to: it need not be trained twice. None where there is none."""
        for one in asked.store.rows():
            if one.slot < asked.slot and one.state in ("complete", "pruned") and dict(one.values) == values:
                scores = {
                    int(k): score for k, score in one.facts.get("scores", {}).items() if score is not None
                }
                asked.tell(**{key: one.facts[key] for key in KEPT if key in one.facts}, same_as=one.slot)
                asked.report(scores)
                if one.score is None:
                    raise Pruned(f"as trial {one.slot} with the same values")
                return one.score
        return None

    def _ended(self, asked: Asked, started: float, score: float | None, why: str) -> None:
        seconds = time.monotonic() - started
        self.took.append(seconds)
        asked.tell(why=why, seconds=seconds)
        values = (
            ", ".join(f"{key} {shown(value)}" for key, value in asked.trial.params.items())
            or "the recipe as it stands"
        )
        if asked.slot == 0:
            values = f"the recipe as it stands ({values})" if asked.trial.params else values
        told = f"{score:.4f}" if score is not None else f"given up ({why})"
        best = asked.store.history().best
        is_best = score is not None and (best is None or self.metric.better(score, best.score))
        beside = "" if best is None else f"  best {best.score:.4f} (trial {best.number})"
        beside = "  best so far" if is_best else beside
        events.log(f"  trial {asked.slot}: {told}  {values}  {seconds:.1f} s{beside}")


def _work() -> str:
    """What the folders are called in which processes of this machine train."""
    return f"work-{socket.gethostname()}"


def _remove_work(folder: Path) -> None:
    """Removes this process's folder, and those of processes of this machine that were killed."""
    for place in folder.glob(f"{_work()}-*"):
        pid = whole_number(place.name.rpartition("-")[2])
        if pid is not None and not lives(pid):
            shutil.rmtree(place, ignore_errors=True)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
