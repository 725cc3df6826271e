"""What still fits: by seconds where there is a limit, by work where there is none."""

from __future__ import annotations

import time

import pytest

from comp.pipelines.engine.budget import RESERVE, SHARE, WORK, Budget


def test_with_a_limit_seconds_decide_and_the_end_is_kept_free() -> None:
    budget = Budget("fast", 100.0, "cpu", time.monotonic() - 40)
    assert budget.left == pytest.approx(60 - RESERVE - 100 * SHARE, abs=1)
    assert budget.why_not(50.0, 1e99) is None
    assert "60 s" in str(budget.why_not(60.0, 0.0))
    budget.took(1.0, 5.0)
    assert budget.ratio == 1.0, "a second that became five says nothing"
    budget.took(100.0, 250.0)
    assert 1.5 < budget.ratio < 2.5
    assert budget.why_not(40.0, 0.0) is not None, "estimates that were too low are mistrusted"
    budget.took(1000.0, 100.0)
    assert budget.ratio == 1.0, "never below what is measured"


def test_without_a_limit_only_work_counts_and_no_clock() -> None:
    budget = Budget("fast", None, "cpu", time.monotonic() - 1e6)
    assert budget.left is None
    assert budget.why_not(None, WORK["fast"]) is None
    budget.spent = WORK["fast"] - 1
    assert budget.why_not(None, 0.5) is None
    assert "GMAC" in str(budget.why_not(None, 2.0))
    assert Budget("fast", None, "cuda").work > budget.work
    assert WORK["fast"] < WORK["good"] < WORK["best"]
