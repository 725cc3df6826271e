"""What a study comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comp.pipelines.tuning.selection import NestedScore


@dataclass(frozen=True)
class TuneResult:
    """The best trial of a study, with what it is worth and where its recipe lies.

    ``score`` is over all OOF rows of the study's folds, the best of many and so too good; ``nested`` (None where it
    cannot be had) is the honest one. ``baseline`` is the score of the recipe as it was. ``counts`` are trials by state.
    ``command`` runs the recipe.
    """

    slug: str
    study: str
    metric: str
    direction: str
    score: float
    trial: int
    values: dict[str, Any]
    baseline: float | None
    nested: NestedScore | None
    counts: dict[str, int]
    recipe: Path
    report: Path
    storage: str
    command: str
    root: Path

    @property
    def trials(self) -> int:
        """How many trials are over, finished or given up."""
        return sum(self.counts.get(state, 0) for state in ("complete", "pruned", "failed"))

    @property
    def verdict(self) -> str:
        """Whether the winner is better than the baseline, in words."""
        if self.nested is None:
            return "how it compares with the baseline on rows that it was not chosen by is not known"
        gain = self.nested.gain
        told = f"{gain.value:+.4f} ± {gain.error:.4f}"
        if gain.is_beyond:
            return f"beats the baseline by {told} (nested)"
        return f"does not beat the baseline: {told} (nested)"

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp tune --json``."""
        nested = self.nested
        gain = None if nested is None else {"value": nested.gain.value, "error": nested.gain.error}
        return {
            "study": self.study,
            "slug": self.slug,
            "metric": self.metric,
            "direction": self.direction,
            "trials": self.trials,
            "states": self.counts,
            "best": {
                "recipe": self._relative(self.recipe),
                "score": self.score,
                "nested": None if nested is None else nested.score,
                "trial": self.trial,
                "values": self.values,
            },
            "baseline": self.baseline,
            "gain": gain,
            "beats_baseline": None if nested is None else nested.gain.is_beyond,
            "report": self._relative(self.report),
            "storage": self.storage,
            "command": self.command,
        }

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def __repr__(self) -> str:
        return f"TuneResult({self.study!r}, {self.metric} {self.score:.4f}, {self.trials} trials, {self.verdict})"


def counted_states(states: Sequence[str]) -> dict[str, int]:
    """How many trials there are of each state, the usual ones first."""
    usual = ("complete", "pruned", "failed", "running", "waiting")
    return {state: states.count(state) for state in usual if state in states or state in usual[:2]}
