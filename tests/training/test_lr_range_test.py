"""What a range test makes of a curve of losses."""

from __future__ import annotations

import numpy as np
import pytest

from comp.training.lr_range_test import RangeTest

RATES = np.logspace(-6, 0, 121)
LOG = np.log10(RATES)


def of(losses: np.ndarray) -> RangeTest:
    return RangeTest(RATES, losses, losses)


def test_the_steepest_fall_and_a_tenth_of_the_lowest_are_found() -> None:
    falls = 1 / (1 + np.exp(4 * (LOG + 3)))  # steepest at 1e-3
    rises = np.exp(6 * (LOG + 1))  # and runs away past 1e-2 or so
    test = of(falls + rises)
    lowest = RATES[(falls + rises).argmin()]
    assert test.steepest == pytest.approx(1e-3, rel=0.2)
    assert test.safe == pytest.approx(lowest / 10)
    assert test.suggestion == min(test.steepest, test.safe)
    assert test.edge is None


@pytest.mark.parametrize(("place", "edge"), [(4, "lowest"), (20, None), (120, "highest")])
def test_the_place_of_the_lowest_loss_says_the_edge(place: int, edge: str | None) -> None:
    losses = np.full(121, 5.0)
    losses[place] = 4.4
    assert of(losses).edge == edge


@pytest.mark.parametrize(("slope", "edge"), [(1.0, "lowest"), (-1.0, "highest")])
def test_a_lowest_loss_at_an_end_is_told(slope: float, edge: str) -> None:
    assert of(5 + slope * (LOG + 3)).edge == edge
