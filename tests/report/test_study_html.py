"""The page of a study: whole by itself, with its trials, plots and words escaped."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from comp.report.study_html import StudyPage, StudyTrial, render

DONE = [
    StudyTrial(
        n, "complete", 0.8 + n / 100, 0.8, {"lr": 10.0**-n, "name": "ab"[n % 2]}, {0: 0.8, 1: 0.81}, 1.5
    )
    for n in range(10)
]
LEFT = StudyTrial(
    10, "given up", math.nan, 0.3, {"lr": 0.1, "name": "<b>"}, {0: 0.3}, 0.5, "0.5 behind <trial 9>"
)
PAGE = StudyPage(
    study="made",
    slug="digits",
    metric="accuracy",
    direction="max",
    best=9,
    folds=2,
    trials=[*DONE, LEFT],
    importances={"lr": 0.75, "name": 0.25},
    log=["lr"],
    facts=[("Best", "trial 9 & more")],
    command="comp run digits",
    keys=["lr", "name", "unused"],
)


def test_it_shows_every_trial_and_plot_and_escapes_what_it_shows() -> None:
    page = render(PAGE)
    assert page.count("<tr><td>") == 11
    assert page.count("<figure>") == 4, "history, importances, two keys"
    assert "9 (best)" in page
    assert "log10 lr" in page
    assert "0.5 behind &lt;trial 9&gt;" in page
    assert "trial 9 &amp; more" in page
    assert "https:" not in page


@pytest.mark.parametrize("direction", ["max", "min"])
@pytest.mark.parametrize("count", [0, 1, 2, 8])
def test_few_trials_have_a_page_too(count: int, direction: str) -> None:
    page = render(replace(PAGE, trials=DONE[:count], importances={}, direction=direction))
    assert page.count("<tr><td>") == count


def test_a_very_bad_trial_does_not_flatten_the_plot() -> None:
    bad = replace(DONE[0], slot=11, score=-1e6)
    assert "1e+06" not in render(replace(PAGE, trials=[*DONE, bad])).partition("<h2>Trials")[0]
