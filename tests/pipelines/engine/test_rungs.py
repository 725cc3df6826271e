"""As many epochs as fit: those at the judged size and the predictions do not shrink with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from comp.pipelines.engine.candidates import Candidate
from comp.pipelines.engine.rungs import LEAST_EPOCHS, Rungs
from comp.recipe import Recipe


@dataclass
class Costs:
    """A preset whose candidates take so many seconds, whatever they are, and so many more for each epoch."""

    fixed: float
    epoch: float

    def plan_of(self, candidate: Candidate) -> int:
        return candidate.recipe.epochs

    def estimate(self, epochs: int) -> float:
        return self.fixed + self.epoch * epochs


def course(epochs: int | None) -> Candidate:
    return Candidate("a", Recipe(epochs=epochs or 10), "a")


@given(st.floats(0, 1000), st.floats(0.1, 300), st.floats(1, 5000))
def test_the_most_epochs_that_fit_are_taken(fixed: float, epoch: float, room: float) -> None:
    costs = Costs(fixed, epoch)
    found = Rungs(cast("Any", costs))._epochs_for(course, course(None), room)
    assert found <= 10
    if found == 10:
        assert costs.estimate(10) <= room * (1 + 1e-9)
    elif found >= LEAST_EPOCHS:
        assert costs.estimate(found) <= room * (1 + 1e-6)
        assert costs.estimate(found + 1) >= room * (1 - 1e-6)
    else:
        assert costs.estimate(LEAST_EPOCHS) >= room * (1 - 1e-6)
