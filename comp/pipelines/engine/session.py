"""The candidates of a preset one after the other, each a run of its own, and what each one decided."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from comp import events
from comp.checks.runner import CheckResult
from comp.errors import CompError, Stopped
from comp.pipelines import training_plans
from comp.pipelines.engine import candidates as made
from comp.pipelines.engine.best_blend import BestBlend, best_blend_of, why_dropped
from comp.pipelines.engine.budget import Budget
from comp.pipelines.engine.candidates import Candidate, Source
from comp.pipelines.engine.costs import seconds_of, work_of
from comp.pipelines.engine.halving import halve, loss_on_sample, sample_sizes
from comp.pipelines.engine.journal import Journal
from comp.pipelines.engine.order import PresetOrder
from comp.pipelines.engine.penalty import best_penalty
from comp.pipelines.record import StepTimer
from comp.pipelines.request import RunRequest
from comp.pipelines.resume import resumed_request
from comp.pipelines.run import train_and_predict
from comp.recipe import ProbeConfig
from comp.runs import run as runs

if TYPE_CHECKING:
    from comp.models.ladder import Backbone
    from comp.pipelines.run_result import RunResult
    from comp.recipe import Recipe
    from comp.training.plan import TrainPlan

IN_VAIN = 2  # candidates in a row that bring nothing, after which no further seed is tried
SEEDS = 3  # further ones of the best run
FIRST_SHARE = 0.6  # of the time left that the first fine-tuned network may take, where there are others
LEAST_EPOCHS = 4
GROWN, LARGER = (
    1.286,
    2,
)  # times the side of a probe's images when it sees whole ones; so many probes are tried again


@dataclass(frozen=True)
class Row:
    """A candidate in the table of a preset. ``verdict`` says what became of it: "taken", "not taken" or why it has no score; one that may be tried ``again`` lacked
    time, or failed.
    """

    name: str
    run: str | None
    score: float | None
    estimated: float | None
    seconds: float | None
    verdict: str
    again: bool = False

    def as_json(self) -> dict[str, Any]:
        """The row of a record."""
        numbers = {"estimated": self.estimated, "seconds": self.seconds}
        told = {name: None if value is None else round(value, 2) for name, value in numbers.items()}
        return {
            "name": self.name,
            "run": self.run,
            "score": self.score,
            **told,
            "verdict": self.verdict,
            "again": self.again,
        }


@dataclass
class Session:
    """A preset at work."""

    order: PresetOrder
    request: RunRequest
    checks: CheckResult
    source: Source
    backbones: list[Backbone]
    budget: Budget
    journal: Journal
    rows: list[Row] = field(default_factory=list)
    members: dict[str, Candidate] = field(default_factory=dict)  # by run
    scores: dict[str, float] = field(default_factory=dict)  # by run
    blend: BestBlend | None = None
    partial: RunResult | None = None
    failures: list[CompError] = field(default_factory=list)
    stopped: bool = False
    _plan: tuple[Recipe, TrainPlan] | None = None
    _behind: dict[str, str] = field(default_factory=dict)  # why a probe is left out, by its name

    def run(self) -> None:
        """Tries what there is to try, until nothing is left, the limit is near, or Ctrl-C."""
        try:
            for candidate in self._to_try():
                self._try(candidate)
        except (Stopped, KeyboardInterrupt):
            self.stopped = True
            self.journal.write("stopped")

    def table(self) -> list[Row]:
        """Every candidate, with what became of it in the end."""
        taken = self.blend.names if self.blend else []
        found = []
        for row in self.rows:
            if row.run is not None:
                row = replace(row, verdict="taken" if row.run in taken else "not taken")
            found.append(row)
        return found

    def _to_try(self) -> Iterator[Candidate]:
        """The candidates in their order; what comes later depends on what came before."""
        first = self.first_rung()
        yield from first[:1]  # there is a submission before anything is compared
        self._compare(first[1:])
        yield from first[1:]
        if not self.members:  # nothing fitted: seconds are always there for this one
            yield from self._narrowed([lambda: made.pixels(self.source)])
        if self.order.preset != "fast":  # what is trained gains more than larger probes
            yield from self._second_rung()
        if self.order.preset == "best":
            yield from self._third_rung()
        yield from self._larger()
        yield from self._with_tta()

    def first_rung(self) -> list[Candidate]:
        """Classifiers of frozen features, the cheapest first; where there are none, of the pixels; and where it is cheap, the
        competition's own recipe.
        """
        found = self.probes(self.backbones) or self._narrowed([lambda: made.pixels(self.source)])
        if self.order.preset == "fast" and self.source.own and self.source.table.get("mode") != "finetune":
            found += self._narrowed([lambda: made.own(self.source)])
        return found

    def sizes(self, count: int) -> list[int]:
        """The samples of rows that so many backbones are compared on."""
        rows = self.checks.dataset.manifest.train
        classes = len(self.checks.dataset.labels) if self.checks.dataset.labels.task.one_class_a_row else 1
        return sample_sizes(len(rows), classes, count)

    def _compare(self, candidates: Sequence[Candidate]) -> None:
        """Leaves out the probes of many that fall behind on samples of the rows."""
        probes = {one.name: one for one in candidates if one.backbone}
        sizes = self.sizes(len(probes))
        if sizes:
            events.log(f"{len(probes)} backbones on samples of {', '.join(f'{n:,}' for n in sizes)} rows")
        self._behind = halve(list(probes), sizes, lambda name, size: self._sampled(probes[name], size))

    def _sampled(self, candidate: Candidate, size: int) -> float | None:
        """The loss of a probe on a sample; None where it has none, or would not fit on all rows."""
        known = self.journal.last("sampled", candidate=candidate.name, rows=size)
        if known is None:
            try:
                plan = self.plan_of(candidate)
                seconds = self.estimate(plan) if self.budget.seconds is not None else None
                if self.budget.why_not(seconds, work_of(plan)) is not None:
                    return None
                loss = loss_on_sample(plan, size)
            except Stopped:
                raise
            except CompError:  # told when all rows are asked for
                return None
            work = work_of(plan) * size / len(self.checks.dataset.manifest.train)
            facts = {"candidate": candidate.name, "rows": size, "loss": loss, "work": round(work, 3)}
            self.journal.write("sampled", **facts)
            known = facts
        self.budget.spent += float(known["work"])
        return None if known["loss"] is None else float(known["loss"])

    def _larger(self) -> Iterator[Candidate]:
        """The best probes once more, on whole images and larger ones: other features of the same networks."""
        for one in sorted(self._ranked()[:LARGER], key=lambda one: one.gmacs):
            yield from self.probes([one], GROWN)

    def _with_tta(self) -> Iterator[Candidate]:
        """The probes that the blend has once more, solved and predicted under the recipe's views: whether a backbone is worth
        the double work is known by then.
        """
        taken = [self.members[run] for run in (self.blend.names if self.blend else [])]
        known = {one.name: one for one in self.backbones}
        for was in [one for one in taken if one.recipe.mode == "probe" and one.backbone in known][:LARGER]:
            yield from self.probes([known[was.backbone]], was.grow, with_tta=True)

    def probes(
        self, backbones: Sequence[Backbone], grow: float = 1.0, with_tta: bool = False
    ) -> list[Candidate]:
        """Classifiers of the frozen features of some backbones; with TTA none where that is the same."""
        ws = self.request.workspace
        found = self._narrowed(
            [partial(made.probe, self.source, one, ws, grow, with_tta) for one in backbones]
        )
        if not with_tta:
            return found
        plain = self.probes(backbones, grow)[:1]
        return [one for one in found if plain and one.recipe.tta != plain[0].recipe.tta]

    def _narrowed(self, makers: Sequence[Callable[[], Candidate]]) -> list[Candidate]:
        """The candidates that ``overrides`` leave as they are meant."""
        found = []
        for make in makers:
            try:
                found.append(make())
            except CompError as problem:
                if not self.source.overrides:
                    raise
                events.log(f"  left out by `overrides`: {problem.value}")
        return found

    def _second_rung(self) -> Iterator[Candidate]:
        """Trained networks: the competition's own recipe, and the backbones in the order of their probes."""
        if self.source.own and self.order.preset == "good":
            yield from self._narrowed([lambda: made.own(self.source)])
            if any(one.backbone == "" for one in self.members.values()):
                return
        ranked = self._whole_courses_first(self._ranked())
        if self.order.preset == "good":
            ranked = ranked[:1]
        for n, one in enumerate(ranked):
            alone = n == len(ranked) - 1
            yield from self._narrowed([partial(self._fitting, one, alone)])
        if self.source.own and self.order.preset == "best":
            yield from self._narrowed([lambda: made.own(self.source)])

    def _ranked(self) -> list[Backbone]:
        """The backbones by the score of their probe, the best first; those without one are not trained."""
        metric = self.checks.dataset.competition.metric
        sign = -1.0 if metric.direction == "max" else 1.0
        best: dict[str, float] = {}
        for run, one in self.members.items():
            if one.recipe.mode == "probe" and one.backbone:
                best[one.backbone] = min(best.get(one.backbone, float("inf")), sign * self.scores[run])
        known = [one for one in self.backbones if one.name in best]
        return sorted(known, key=lambda one: best[one.name])

    def _whole_courses_first(self, ranked: list[Backbone]) -> list[Backbone]:
        """Backbones that have the time for all their epochs before those that would take fewer: a small network that is trained to its end
        beats a larger one that is not (docs/decisions/0023).
        """
        left = self.budget.left
        if left is None or len(ranked) < 2:
            return ranked
        known = self.journal.last("courses")
        if known is None:
            seconds: dict[str, float | None] = {}
            for one in ranked:
                try:
                    whole = made.finetune(self.source, one, self.request.workspace)
                    seconds[one.name] = self.estimate(self.plan_of(whole)) * self.budget.ratio
                except CompError:  # told when it is tried
                    seconds[one.name] = None
            fits = {
                name: value is not None and value <= FIRST_SHARE * left for name, value in seconds.items()
            }
            order = sorted(seconds, key=lambda name: not fits[name])
            self.journal.write("courses", seconds=seconds, order=order)
            known = {"order": order}
        place = {name: n for n, name in enumerate(known["order"])}
        return sorted(ranked, key=lambda one: place.get(one.name, len(place)))

    def _fitting(self, one: Backbone, alone: bool) -> Candidate:
        """A fine-tuned backbone with so many epochs as the time is likely to hold; without a limit all of them."""
        ws = self.request.workspace
        whole = made.finetune(self.source, one, ws)
        begun = [e for e in self.journal.entries if e["what"] == "begun" and e.get("backbone") == one.name]
        if epochs := next((e["epochs"] for e in begun if e["epochs"]), 0):
            return made.finetune(self.source, one, ws, int(epochs))
        if self.budget.left is None:
            return whole
        seconds = self.estimate(self.plan_of(whole)) * self.budget.ratio
        room = self.budget.left * (1.0 if alone or self._has_trained() else FIRST_SHARE)
        epochs = whole.recipe.epochs
        if seconds > room and int(epochs * room / seconds) >= LEAST_EPOCHS:
            return made.finetune(self.source, one, ws, int(epochs * room / seconds))
        return whole

    def _has_trained(self) -> bool:
        return any(one.recipe.mode != "probe" for one in self.members.values())

    def _third_rung(self) -> Iterator[Candidate]:
        """Further seeds of the best trained run, where the blend has it and while they bring something."""
        trained = {run: one for run, one in self.members.items() if one.recipe.mode != "probe"}
        if not trained:
            return
        metric = self.checks.dataset.competition.metric
        best = None
        for run in trained:
            if best is None or metric.better(self.scores[run], self.scores[best]):
                best = run
        assert best is not None, "there is one"
        if self.blend is None or best not in self.blend.names:
            return  # the blend does without it, and would without its like
        vain = 0
        for n in range(1, SEEDS + 1):
            before = self.blend.names if self.blend else []
            yield made.reseeded(trained[best], trained[best].recipe.seed + n)
            after = self.blend.names if self.blend else []
            vain = vain + 1 if after == before else 0
            if vain >= IN_VAIN:
                return

    # one candidate

    def plan_of(self, candidate: Candidate) -> TrainPlan:
        """A candidate's plan on the rows of the preset; it is asked for several times."""
        if self._plan is None or self._plan[0] != candidate.recipe:
            competition, ws = self.request.competition, self.request.workspace
            (plan,) = training_plans.make_plans(competition, self.checks, candidate.recipe, ws, None)
            self._plan = candidate.recipe, plan
        return self._plan[1]

    def estimate(self, plan: TrainPlan, with_tta: bool = False) -> float:
        """Seconds of a plan on this machine; ``with_tta`` one whose features are at hand without."""
        return seconds_of(plan, kept=int(with_tta))

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
        if candidate.name in self._behind:
            self._skip(candidate, self._behind[candidate.name], None)
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
        judged_first = self._has_trained() and candidate.recipe.mode != "probe"
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
                request = replace(own, look=self.request.look)
            else:
                request = replace(request, recipe=candidate.recipe, origin={"preset": self.order.id})
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
