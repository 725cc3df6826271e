"""What a preset would try, with the time of each by measured steps: nothing is trained."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from comp.errors import CompError
from comp.pipelines.engine import candidates as made
from comp.pipelines.engine.costs import work_of
from comp.pipelines.engine.halving import halve
from comp.pipelines.engine.rungs import GROWN, LARGER, Rungs

if TYPE_CHECKING:
    from comp.pipelines.engine.candidates import Candidate
    from comp.pipelines.engine.state import State

END = 6.0  # seconds of the blend and its page
TRIED, SAMPLED = "tried", "on a sample of the rows, and on all if it is among the best there"
MAYBE = "only if the blend has a classifier of frozen features"  # beside what is trained: not counted
HALF = "only if the blend has this classifier: counted by half"


@dataclass(frozen=True)
class PlannedRow:
    """A candidate: seconds and 10^9 multiply-adds, and what would become of it: tried, tried on a sample first, or why
    it would not be."""

    name: str
    seconds: float | None
    work: float | None
    verdict: str


@dataclass(frozen=True)
class PlannedPreset:
    """What a preset would try. ``seconds`` are those of the whole command: the ``checked`` ones that it began with (imports and checks,
    as just now), what fits, and the end.
    """

    slug: str
    preset: str
    time_limit: float | None
    rows: list[PlannedRow]
    seconds: float
    checked: float

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp run --preset --dry-run --json``."""
        return {**vars(self), "rows": [vars(row) for row in self.rows]}


def planned(state: State) -> PlannedPreset:
    """The candidates of a preset in the order in which they would be tried; which backbone is trained first is known only once
    all are probed.
    """
    budget, ws, rungs = state.budget, state.request.workspace, Rungs(state)
    checked = time.monotonic() - budget.began
    candidates = rungs.first_rung()
    if state.order.preset != "fast":
        tuned = [made.finetune(state.source, one, ws) for one in state.backbones]
        own = [made.own(state.source)] if state.source.own else []
        candidates += [*own, *tuned] if state.order.preset == "good" else [*tuned, *own]
    larger = rungs.probes(state.backbones[:LARGER], GROWN)
    if state.order.preset == "fast":  # of those that the blend will have; here of the first two
        larger += rungs.probes(state.backbones[:LARGER], with_tta=True)
    trains = any(one.recipe.mode != "probe" for one in candidates)
    maybe = {one.name for one in larger} if trains else set()
    candidates += larger
    shares = _shares(rungs, [one.name for one in rungs.first_rung()[1:] if one.backbone])
    shares |= {one.name: 0.5 for one in larger if one.with_tta}  # of two the blend has one or both
    rows: list[PlannedRow] = []
    total, spent = checked + END, 0.0
    for candidate in candidates:
        asked = time.monotonic()
        row = _row(state, candidate, total, spent, first=not rows)
        if budget.seconds is not None:  # the preset will measure too
            total += time.monotonic() - asked
        if row.verdict == TRIED and row.name in maybe:
            row = replace(row, verdict=MAYBE)
        if row.verdict == TRIED:
            share = shares.get(candidate.name, 1.0)
            row = replace(row, seconds=round((row.seconds or 0.0) * share, 2), work=(row.work or 0.0) * share)
            row = row if share == 1.0 else replace(row, verdict=HALF if candidate.with_tta else SAMPLED)
            total, spent = total + (row.seconds or 0.0), spent + (row.work or 0.0)
        rows.append(row)
    rounded = round(checked, 2)
    return PlannedPreset(state.order.slug, state.order.preset, budget.seconds, rows, round(total, 2), rounded)


def _shares(rungs: Rungs, names: Sequence[str]) -> dict[str, float]:
    """The share of the rows that each probe of many sees at least, where the dearest are the best: those that stay see all."""
    sizes, rows = rungs.sizes(len(names)), len(rungs.state.checks.dataset.manifest.train)
    seen = dict.fromkeys(names, 0.0)

    def loss(name: str, size: int) -> float:
        seen[name] += size / rows
        return -float(names.index(name))

    return {name: seen[name] for name in halve(names, sizes, loss)}


def _row(state: State, candidate: Candidate, total: float, spent: float, first: bool) -> PlannedRow:
    try:
        plan = state.plan_of(candidate)
        work, seconds = work_of(plan), state.estimate(plan, candidate.with_tta)
    except CompError as problem:
        return PlannedRow(candidate.name, None, None, f"{problem.rule}: {problem.value}")
    budget = state.budget
    if budget.seconds is None:
        fits = spent + work <= budget.work
        why = f"more work than {state.order.preset} is for"
    else:
        fits = total + seconds <= budget.seconds - budget.reserve
        why = "does not fit the time"
    return PlannedRow(candidate.name, round(seconds, 2), round(work, 3), TRIED if fits or first else why)
