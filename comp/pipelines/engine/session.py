"""The candidates of a preset one after the other, each a run of its own, and what each one decided."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from comp import events
from comp.errors import CompError, Stopped
from comp.pipelines import training_plans
from comp.pipelines.engine import candidates as made
from comp.pipelines.engine.best_blend import best_blend_of, why_dropped
from comp.pipelines.engine.candidates import Candidate
from comp.pipelines.engine.costs import work_of
from comp.pipelines.engine.penalty import best_penalty
from comp.pipelines.engine.rungs import Rungs
from comp.pipelines.engine.state import Row, State
from comp.pipelines.record import StepTimer
from comp.pipelines.resume import resumed_request
from comp.pipelines.run import train_and_predict
from comp.recipe import ProbeConfig
from comp.runs import run as runs

if TYPE_CHECKING:
    from comp.pipelines.run_result import RunResult


class Session(State):
    """A preset at work: tries one candidate after the other."""

    def run(self) -> None:
        """Tries what there is to try, until nothing is left, the limit is near, or Ctrl-C."""
        try:
            for candidate in Rungs(self).candidates():
                self._try(candidate)
        except (Stopped, KeyboardInterrupt):
            self.stopped = True
            self.journal.write("stopped")

    def _try(self, candidate: Candidate) -> None:
        """A candidate from its decision to its place in the blend; an error costs it alone."""
        if any(row.name == candidate.name for row in self.rows):
            return
        known = self.journal.last("skipped", candidate=candidate.name)
        if known is not None:
            late = bool(known.get("again"))
            self.rows.append(
                Row(candidate.name, None, None, known.get("estimated"), None, str(known["why"]), late)
            )
            return
        started = time.monotonic()
        try:
            begun = self.journal.last("begun", candidate=candidate.name)
            estimated = begun["estimated"] if begun else self._decided(candidate)
            if begun is None and self.journal.last("skipped", candidate=candidate.name):
                return
            self._trained(candidate, estimated, started)
        except Stopped:
            raise
        except CompError as problem:
            self.failures.append(problem)
            self._skip(candidate, f"{problem.rule}: {problem.value}", None, again=True)

    def _decided(self, candidate: Candidate) -> float | None:
        """Whether a candidate is tried: its estimate, and a line in the journal either way."""
        if candidate.name in self.behind:
            self._skip(candidate, self.behind[candidate.name], None)
            return None
        plan = self.plan_of(candidate)
        work = work_of(plan)
        estimated = self.estimate(plan, candidate.with_tta) if self.budget.seconds is not None else None
        why = self.budget.why_not(estimated, work)
        # with a limit nothing begins that would break it, but for what takes seconds; without one there is a first in any case
        forced = candidate.backbone == made.PIXELS or (self.budget.seconds is None and not self.members)
        if why is not None and not forced:
            self._skip(candidate, f"does not fit: {why}", estimated, again=True)
            return estimated
        left = self.budget.left
        facts: dict[str, Any] = {"backbone": candidate.backbone, "epochs": self._epochs(candidate)}
        facts["seed"] = candidate.recipe.seed
        facts |= {"estimated": estimated and round(estimated, 2), "work": round(work, 3)}
        if left is not None:
            facts["left"] = round(left, 2)
        self.journal.write("begun", candidate=candidate.name, **facts)
        return estimated

    @staticmethod
    def _epochs(candidate: Candidate) -> int:
        """The epochs of a candidate; a probe has none."""
        return 0 if candidate.recipe.mode == "probe" else candidate.recipe.epochs

    def _skip(self, candidate: Candidate, why: str, estimated: float | None, again: bool = False) -> None:
        events.log(f"  {candidate.name}: {why}")
        facts = {"why": why, "estimated": estimated and round(estimated, 2), "again": again}
        self.journal.write("skipped", candidate=candidate.name, **facts)
        self.rows.append(Row(candidate.name, None, None, estimated, None, why, again))

    def _trained(self, candidate: Candidate, estimated: float | None, started: float) -> None:
        left = self.budget.left
        told = [] if estimated is None else [f"about {estimated * self.budget.ratio:,.0f} s"]
        told += [] if left is None else [f"{left:,.0f} s left"]
        events.log(f"{candidate.name}" + (f" ({', '.join(told)})" if told else ""))
        candidate = self._with_penalty(candidate)
        judged_first = self.has_trained() and candidate.recipe.mode != "probe"
        if judged_first and not self._passes_first_fold(candidate, estimated):
            return
        result = self._result(candidate, None)
        took = time.monotonic() - started
        if "partial" in result.marks:
            self.partial = result
            self._skip(candidate, "the limit came first", estimated, again=True)
            return
        self._joins(candidate, result, estimated, took)

    def _with_penalty(self, candidate: Candidate) -> Candidate:
        """A probe with the best penalty of its path, or with that of the same features without TTA; others as they are."""
        if candidate.recipe.mode != "probe" or any(o.startswith("probe") for o in self.source.overrides):
            return candidate
        for other in self.members.values():
            if other.recipe.mode == "probe" and other.recipe.model == candidate.recipe.model:
                recipe = candidate.recipe.model_copy(update={"probe": other.recipe.probe})
                return replace(candidate, recipe=recipe)
        known = self.journal.last("penalty", candidate=candidate.name)
        if known is None:
            found = best_penalty(self.plan_of(candidate))
            if found is None:
                return candidate
            facts = {"l2": found.l2, "score": found.score, "chosen_within": found.chosen_within}
            self.journal.write("penalty", candidate=candidate.name, **facts)
            known = facts
        recipe = candidate.recipe.model_copy(update={"probe": ProbeConfig(l2=float(known["l2"]))})
        return replace(candidate, recipe=recipe)

    def _passes_first_fold(self, candidate: Candidate, estimated: float | None) -> bool:
        """Whether a candidate is worth its other folds, by the first."""
        judged = self.journal.last("first fold", candidate=candidate.name)
        if judged is None:
            result = self._result(candidate, [0])
            if 0 not in result.folds:
                self._skip(candidate, "the limit came first", estimated, again=True)
                return False
            why = why_dropped(self.request.workspace, list(self.members), result.run, 0)
            self.journal.write("first fold", candidate=candidate.name, why=why)
            judged = {"why": why}
        if judged["why"] is not None:
            self._skip(candidate, str(judged["why"]), estimated)
            return False
        return True

    def _result(self, candidate: Candidate, only: Sequence[int] | None) -> RunResult:
        """The run of a candidate, new or gone on with; of a finished one what it came to."""
        noted = self.journal.last("run", candidate=candidate.name)
        request, ws = self.request, self.request.workspace
        competition = request.competition
        with ExitStack() as held:
            if noted is not None and (ws.runs / noted["run"]).is_dir():
                this_run = runs.find_run(ws, noted["run"])
                if this_run.record:
                    return result_of_run(this_run, ws)
                held.enter_context(runs.at_work(this_run))
                this_run = runs.find_run(ws, this_run.id)
                own = resumed_request(this_run, ws, competition, self.order.given["data"], [], True)
                request = replace(own, look=self.request.look, engine=request.engine)
            else:
                origin = {"preset": self.order.id}
                request = replace(request, recipe=candidate.recipe, origin=origin, pseudo=candidate.pseudo)
            request = replace(request, only=only, seconds=self.budget.left, report=False)
            starts = training_plans.find_starts(competition, request.recipe, ws)
            noting = _Noting(lambda run: self.journal.write("run", candidate=candidate.name, run=run))
            with events.listening(noting):
                return train_and_predict(request, self.checks, StepTimer(), held, starts)

    def _joins(self, candidate: Candidate, result: RunResult, estimated: float | None, took: float) -> None:
        """A finished run takes its place; what stands by now is said."""
        first_time = self.journal.last("done", candidate=candidate.name) is None
        if first_time:
            self.budget.took(estimated, took)
        self.members[result.run], self.scores[result.run] = candidate, result.score
        self.blend = best_blend_of(self.request.workspace, list(self.members))
        known = self.journal.last("begun", candidate=candidate.name) or {}
        self.budget.spent += float(known.get("work", 0.0))
        verdict = "taken" if result.run in self.blend.names else "not taken"
        self.rows.append(Row(candidate.name, result.run, result.score, estimated, took, verdict))
        if first_time:
            facts = {"run": result.run, "score": result.score, "seconds": round(took, 2)}
            blend = {"taken": self.blend.names, "nested": self.blend.nested}
            self.journal.write("done", candidate=candidate.name, **facts, **blend)
        runs_told = "1 run" if len(self.blend.names) == 1 else f"the mean of {len(self.blend.names)} runs"
        events.log(
            f"  {candidate.name}: OOF {result.metric} {result.score:.4f}, {verdict}; "
            f"best so far: {runs_told}, nested {self.blend.nested:.4f}"
        )


def result_of_run(run: runs.Run, workspace: Any) -> RunResult:
    """A finished run's result, as far as its record has it."""
    from pathlib import Path

    from comp.pipelines.run_result import RunResult

    record = run.record
    return RunResult(
        run=run.id,
        slug=run.slug,
        metric=str(record["metric"]),
        direction=str(record["direction"]),
        score=float(record["oof"]["score"]),
        beside={},
        per_fold=list(record["oof"]["per_fold"]),
        submission=Path(workspace.submissions(run.slug) / f"{run.id}.csv"),
        findings=dict(record.get("findings") or {}),
        seconds=dict(record.get("seconds") or {}),
        folder=run.folder,
        marks=run.marks,
    )


class _Noting(events.RunListener):
    """Writes down which run began."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note

    def on_run_start(self, event: events.RunStarted) -> None:
        self._note(event.run)
