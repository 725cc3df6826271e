"""Scores: standard errors that are about right, paired gains, blends of two, slices that add up."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from comp.metrics import metric_by_name
from comp.report.run_report.scores import Judge, headline, in_words, likeness, runs_beside, slices
from comp.uncertainty import Gain
from made_report import made_data, made_rows, other_run


def test_the_standard_error_of_accuracy_is_that_of_a_share() -> None:
    data = made_data(made_rows(3, 900))
    head = headline(data, Judge(data))
    right = 1 - data.oof.is_wrong.mean()
    assert head.score == pytest.approx(right)
    assert head.error == pytest.approx(math.sqrt(right * (1 - right) / 900), rel=0.25)
    assert [(k, rows) for k, _, rows in head.per_fold] == [(0, 300), (1, 300), (2, 300)]


def test_the_best_earlier_full_run_is_the_one_to_beat() -> None:
    data = made_data(made_rows(3, 200))
    worse, best = other_run(data.oof, 2.0, id="w", score=0.5), other_run(data.oof, id="b", score=0.9)
    later, smoke = (
        other_run(data.oof, id="l", score=1.0, earlier=False),
        other_run(data.oof, id="q", score=1.0, marks=("quick",)),
    )
    data = replace(data, others=[worse, best, later, smoke])
    (line,) = [what for what, _ in headline(data, Judge(data)).lines if what.startswith("against")]
    assert line.endswith(" b")


def test_of_an_error_the_smallest_earlier_score_is_best() -> None:
    data = replace(made_data(made_rows(3, 200)), metric=metric_by_name("log_loss"))
    data = replace(
        data, others=[other_run(data.oof, id="high", score=2.0), other_run(data.oof, id="low", score=0.4)]
    )
    assert any(what.endswith(" low") for what, _ in headline(data, Judge(data)).lines)
    assert [one.run.id for one in runs_beside(data, Judge(data))] == ["low", "high"]


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (Gain(0.01, 0.002), "+0.0100 ± 0.0020: better"),
        (Gain(-0.01, 0.002), "-0.0100 ± 0.0020: worse"),
        (Gain(0.001, 0.002), "+0.0010 ± 0.0020: no difference that these rows can show"),
        (Gain(0.5, math.inf), "+0.5000"),
    ],
)
def test_gains_in_words(gain: Gain, words: str) -> None:
    assert in_words(gain) == words


def test_two_runs_are_blended_and_their_errors_compared() -> None:
    data = made_data(made_rows(3, 300))
    twin = other_run(data.oof, 0.0, id="twin", score=0.1)
    strange = other_run(data.oof, id="strange", score=0.9, probs=None)
    beside = runs_beside(replace(data, others=[twin, strange]), Judge(data))
    assert [one.run.id for one in beside] == ["strange", "twin"]
    assert beside[0].gain == ""
    assert math.isnan(beside[0].blended)
    assert beside[1].likeness == pytest.approx(1.0)
    assert beside[1].blended == pytest.approx(Judge(data).own.score)
    rng = np.random.default_rng(0)
    noise = rng.dirichlet(np.ones(3), 300)
    assert abs(likeness(data.oof.truth, data.oof.probs, noise, data.labels)) < 0.2


def test_slices_hold_every_row_and_their_scores_make_the_whole() -> None:
    data = made_data(made_rows(3, 240))
    found = dict(slices(data))
    assert set(found) >= {"brightness, 0 to 255", "width over height"}
    for parts in found.values():
        assert sum(one.rows for one in parts) == 240
        whole = sum(one.rows * one.score for one in parts) / 240
        assert whole == pytest.approx(1 - data.oof.is_wrong.mean())


def test_what_all_images_share_is_no_slice() -> None:
    data = made_data(made_rows(3, 60))
    same = np.tile([32.0, 32.0, 100.0], (len(data.oof), 1))
    assert slices(replace(data, looks=same)) == []
    assert slices(replace(data, looks=None)) == [], "nor is what is not known"


def test_rows_of_a_group_are_a_slice_of_their_own() -> None:
    data = made_data(made_rows(3, 60))
    group = tuple(f"g{n // 2}" if n < 20 else f"s{n}" for n in range(60))
    found = dict(slices(replace(data, oof=replace(data.oof, group=group), looks=None)))
    assert {one.name: one.rows for one in found["group"]} == {
        "alone": 40,
        "has near-duplicates or others of its group": 20,
    }


@pytest.mark.parametrize("name", ["² scans", "٣ scans", "1.5 scans", "½"])
def test_folders_may_have_names_that_are_nearly_numbers(name: str) -> None:
    oof = made_rows(3, 60)
    paths = tuple(f"{name if n % 2 else 'plain'}/{n}.png" for n in range(60))
    parts = dict(slices(made_data(replace(oof, paths=paths), looks=None)))
    assert {one.name for one in parts["folder"]} == {name, "plain"}
