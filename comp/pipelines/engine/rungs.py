"""The rungs of a preset: what it tries, and in which order; what comes later depends on what came before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from comp import events
from comp.errors import CompError, Stopped
from comp.pipelines.engine import candidates as made
from comp.pipelines.engine.candidates import Candidate
from comp.pipelines.engine.costs import work_of
from comp.pipelines.engine.halving import halve, loss_on_sample, sample_sizes
from comp.pipelines.engine.state import State
from comp.pipelines.pseudo_label import pseudo

if TYPE_CHECKING:
    from comp.models.ladder import Backbone

IN_VAIN = 2  # candidates in a row that bring nothing, after which no further seed is tried
SEEDS = 3  # further ones of the best run
SURE = 0.95  # probability that a pseudo-label's class has at least
PSEUDO_SHARE = 0.1  # of the number of training rows: fewer pseudo-labels are not worth a training
FIRST_SHARE = 0.6  # of the time left that the first fine-tuned network may take, where there are others
LEAST_EPOCHS = 4
SPARE = 0.88  # of the room that is planned for: two looks at the same steps differ by a twentieth
GROWN = 1.286  # times the side of a probe's images when it sees whole ones
LARGER = 2  # backbones whose probes are tried again


@dataclass(frozen=True)
class Rungs:
    """The candidates of a preset as it stands."""

    state: State

    def candidates(self) -> Iterator[Candidate]:
        """The candidates in their order; what comes later depends on what came before."""
        first = self.first_rung()
        yield from first[:1]  # there is a submission before anything is compared
        self._compare(first[1:])
        yield from first[1:]
        if not self.state.members:  # nothing fitted: seconds are always there for this one
            yield from self._narrowed([lambda: made.pixels(self.state.source)])
        if self.state.order.preset != "fast":  # what is trained gains more than larger probes
            yield from self._second_rung()
        if self.state.order.preset == "best":
            yield from self._third_rung()
        if self._probes_matter():
            yield from self._larger()
            yield from self._with_tta()

    def _probes_matter(self) -> bool:
        """Whether better probes may better the blend: it has one, or nothing else is there."""
        taken = [self.state.members[run] for run in self._taken()]
        return not self.state.has_trained() or any(one.recipe.mode == "probe" for one in taken)

    def first_rung(self) -> list[Candidate]:
        """Classifiers of frozen features, the cheapest first; where there are none, of the pixels; and where it is cheap, the
        competition's own recipe.
        """
        found = self.probes(self.state.backbones) or self._narrowed([lambda: made.pixels(self.state.source)])
        if (
            self.state.order.preset == "fast"
            and self.state.source.own
            and self.state.source.table.get("mode") != "finetune"
        ):
            found += self._narrowed([lambda: made.own(self.state.source)])
        return found

    def sizes(self, count: int) -> list[int]:
        """The samples of rows that so many backbones are compared on."""
        rows = self.state.checks.dataset.manifest.train
        classes = (
            len(self.state.checks.dataset.labels)
            if self.state.checks.dataset.labels.task.one_class_a_row
            else 1
        )
        return sample_sizes(len(rows), classes, count)

    def _compare(self, candidates: Sequence[Candidate]) -> None:
        """Leaves out the probes of many that fall behind on samples of the rows."""
        probes = {one.name: one for one in candidates if one.backbone}
        sizes = self.sizes(len(probes))
        if sizes:
            events.log(f"{len(probes)} backbones on samples of {', '.join(f'{n:,}' for n in sizes)} rows")
        self.state.behind = halve(list(probes), sizes, lambda name, size: self._sampled(probes[name], size))

    def _sampled(self, candidate: Candidate, size: int) -> float | None:
        """The loss of a probe on a sample; None where it has none, or would not fit on all rows."""
        known = self.state.journal.last("sampled", candidate=candidate.name, rows=size)
        if known is None:
            try:
                plan = self.state.plan_of(candidate)
                seconds = self.state.estimate(plan) if self.state.budget.seconds is not None else None
                if self.state.budget.why_not(seconds, work_of(plan)) is not None:
                    return None
                loss = loss_on_sample(plan, size)
            except Stopped:
                raise
            except CompError:  # told when all rows are asked for
                return None
            work = work_of(plan) * size / len(self.state.checks.dataset.manifest.train)
            known = {"loss": loss, "work": round(work, 3)}
            self.state.journal.write("sampled", candidate=candidate.name, rows=size, **known)
        self.state.budget.spent += float(known["work"])
        loss_there = known["loss"]
        return None if loss_there is None or not math.isfinite(loss_there) else float(loss_there)

    def _larger(self) -> Iterator[Candidate]:
        """The best probes once more, on whole images and larger ones: other features of the same networks."""
        for one in sorted(self._ranked()[:LARGER], key=lambda one: one.gmacs):
            yield from self.probes([one], GROWN)

    def _with_tta(self) -> Iterator[Candidate]:
        """The probes that the blend has once more, solved and predicted under the recipe's views: whether a backbone is worth
        the double work is known by then.
        """
        taken = [self.state.members[run] for run in self._taken()]
        known = {one.name: one for one in self.state.backbones}
        for was in [one for one in taken if one.recipe.mode == "probe" and one.backbone in known][:LARGER]:
            yield from self.probes([known[was.backbone]], was.grow, with_tta=True)

    def probes(
        self, backbones: Sequence[Backbone], grow: float = 1.0, with_tta: bool = False
    ) -> list[Candidate]:
        """Classifiers of the frozen features of some backbones; with TTA none where that is the same."""
        ws = self.state.request.workspace
        found = self._narrowed(
            [partial(made.probe, self.state.source, one, ws, grow, with_tta) for one in backbones]
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
                if not self.state.source.overrides:
                    raise
                events.log(f"  left out by `overrides`: {problem.value}")
        return found

    def _second_rung(self) -> Iterator[Candidate]:
        """Trained networks: the competition's own recipe, and the backbones in the order of their probes."""
        if self.state.source.own and self.state.order.preset == "good":
            yield from self._narrowed([lambda: made.own(self.state.source)])
            if any(one.backbone == "" for one in self.state.members.values()):
                return
        ranked = self._ranked()
        if self.state.order.preset == "good":
            ranked = ranked[:1]
        for n, one in enumerate(ranked):
            alone = n == len(ranked) - 1
            yield from self._narrowed([partial(self._fitting, one, alone)])
        if self.state.source.own and self.state.order.preset == "best":
            yield from self._narrowed([lambda: made.own(self.state.source)])

    def _ranked(self) -> list[Backbone]:
        """The backbones by the score of their probe, the best first; those without one are not trained."""
        metric = self.state.checks.dataset.competition.metric
        sign = -1.0 if metric.direction == "max" else 1.0
        best: dict[str, float] = {}
        for run, one in self.state.members.items():
            if one.recipe.mode == "probe" and one.backbone:
                best[one.backbone] = min(best.get(one.backbone, float("inf")), sign * self.state.scores[run])
        known = [one for one in self.state.backbones if one.name in best]
        return sorted(known, key=lambda one: best[one.name])

    def _fitting(self, one: Backbone, alone: bool, seed: int | None = None) -> Candidate:
        """A fine-tuned backbone with so many epochs as the time is likely to hold; without a limit all of them. With a ``seed`` it is
        a further run of one that is there.
        """
        state, begun = self.state, self.state.journal.entries

        def course(epochs: int | None) -> Candidate:
            found = made.finetune(state.source, one, state.request.workspace, epochs)
            return found if seed is None else made.reseeded(found, seed)

        whole = course(None)
        same = {"what": "begun", "backbone": one.name, "seed": whole.recipe.seed}
        if epochs := next((e["epochs"] for e in begun if same.items() <= e.items() and e["epochs"]), 0):
            return course(int(epochs))
        if state.budget.left is None:
            return whole
        room = state.budget.left * (1.0 if alone or state.has_trained() else FIRST_SHARE)
        epochs = self._epochs_for(course, whole, SPARE * room / state.budget.ratio)
        return course(epochs) if LEAST_EPOCHS <= epochs < whole.recipe.epochs else whole

    def _epochs_for(self, course: Callable[[int | None], Candidate], whole: Candidate, room: float) -> int:
        """How many epochs are likely to fit in so many seconds: what does not shrink with them, the last ones at the judged size
        and the predictions, is known by a second estimate.
        """
        least, most = LEAST_EPOCHS, whole.recipe.epochs
        seconds = self.state.estimate(self.state.plan_of(whole))
        if seconds <= room or most <= least:
            return most
        fewest = self.state.estimate(self.state.plan_of(course(least)))
        return math.floor(least + (most - least) * (room - fewest) / max(seconds - fewest, 1e-9))

    def _third_rung(self) -> Iterator[Candidate]:
        """Further seeds of the best trained run, where the blend has it and while they bring something; and then the same with the
        test rows that it is sure of.
        """
        trained = {run: one for run, one in self.state.members.items() if one.recipe.mode != "probe"}
        if not trained:
            return
        metric = self.state.checks.dataset.competition.metric
        best = next(iter(trained))
        for run in trained:
            if metric.better(self.state.scores[run], self.state.scores[best]):
                best = run
        if best not in self._taken():
            return  # the blend does without it, and would without its like
        vain = 0
        for n in range(1, SEEDS + 1):
            before = self._taken()
            yield self._seeded(trained[best], trained[best].recipe.seed + n)
            vain = vain + 1 if self._taken() == before else 0
            if vain >= IN_VAIN:
                break
        yield from self._with_pseudo_labels(best, trained[best])

    def _seeded(self, candidate: Candidate, seed: int) -> Candidate:
        """The same with another seed; of a backbone with so many epochs as fit."""
        one = next((one for one in self.state.backbones if one.name == candidate.backbone), None)
        return made.reseeded(candidate, seed) if one is None else self._fitting(one, True, seed)

    def _taken(self) -> list[str]:
        """The runs that the blend has."""
        return self.state.blend.names if self.state.blend else []

    def _with_pseudo_labels(self, run: str, candidate: Candidate) -> Iterator[Candidate]:
        """A run's recipe once more on the test rows too that each fold's own model is sure of, where those are many."""
        dataset = self.state.checks.dataset
        if dataset.labels.task.name != "single-label" or candidate.pseudo:
            return
        try:
            found = pseudo(run, SURE, workspace=self.state.request.workspace.root)
        except CompError as problem:
            events.log(f"  no pseudo-labels of {run}: {problem.value}")
            return
        rows = len(found.pseudo.table) / found.pseudo.k
        if rows >= PSEUDO_SHARE * len(dataset.manifest.train):
            yield made.with_pseudo_labels(candidate, found.path)
