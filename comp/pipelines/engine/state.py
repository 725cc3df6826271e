"""Where a preset stands: what it was asked for, what it has finished, and what that came to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from comp.checks.runner import CheckResult
from comp.errors import CompError
from comp.pipelines import training_plans
from comp.pipelines.engine.best_blend import BestBlend
from comp.pipelines.engine.budget import Budget
from comp.pipelines.engine.candidates import Candidate, Source
from comp.pipelines.engine.costs import seconds_of
from comp.pipelines.engine.journal import Journal
from comp.pipelines.engine.order import PresetOrder
from comp.pipelines.request import RunRequest

if TYPE_CHECKING:
    from comp.models.ladder import Backbone
    from comp.pipelines.run_result import RunResult
    from comp.recipe import Recipe
    from comp.training.plan import TrainPlan


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
class State:
    """A preset at work, as far as it is."""

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
    behind: dict[str, str] = field(default_factory=dict)  # why a probe is left out, by its name

    def table(self) -> list[Row]:
        """Every candidate, with what became of it in the end."""
        taken = self.blend.names if self.blend else []
        found = []
        for row in self.rows:
            if row.run is not None:
                row = replace(row, verdict="taken" if row.run in taken else "not taken")
            found.append(row)
        return found

    def plan_of(self, candidate: Candidate) -> TrainPlan:
        """A candidate's plan on the rows of the preset; it is asked for several times."""
        if self._plan is None or self._plan[0] != candidate.recipe:
            competition, ws = self.request.competition, self.request.workspace
            (plan,) = training_plans.make_plans(competition, self.checks, candidate.recipe, ws, None)
            self._plan = candidate.recipe, plan
        return self._plan[1]

    def estimate(self, plan: TrainPlan, with_tta: bool = False) -> float:
        """Seconds of a plan on this machine; ``with_tta`` one whose features are at hand without."""
        engine, recipe = self.request.engine, plan.recipe
        at_once = engine.at_once(plan) if recipe.mode != "probe" else 1
        if engine.name == "local" and recipe.device == "cpu":
            at_once = min(at_once, recipe.threads or 1)
        return seconds_of(plan, int(with_tta), at_once)

    def has_trained(self) -> bool:
        """Whether a network has been trained on, beside classifiers of frozen features."""
        return any(one.recipe.mode != "probe" for one in self.members.values())
