"""Parts are taken one by one, each only where it brings more than its standard error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.ensembling.forward_selection import (
    FORWARD,
    LEAST,
    MOST,
    _Judge,
    _loss_metric,
    at_temperatures,
    forward_selection,
    temperatures_of,
)
from comp.ensembling.methods import METHODS, learn
from comp.ensembling.nested_cv import BlendSpec, affordable, nested
from comp.metrics import metric_by_name
from comp.uncertainty import PairedJackknife, apply_temperature
from made_blends import guesses, rows_of, shuffled, truth_of

ACCURACY, F1 = metric_by_name("accuracy"), metric_by_name("macro_f1")
TRUTH = truth_of(600)


def test_parts_that_help_are_taken_and_weak_ones_are_not() -> None:
    parts = {name: guesses(TRUTH, 1.5, n) for n, name in enumerate("abc")}
    rows = rows_of({**parts, "weak": guesses(TRUTH, 0.05, 9)}, TRUTH)
    taken = forward_selection(rows, ACCURACY)
    names = [one.part for one in taken]
    assert set(names) == set("abc")
    alone = {name: ACCURACY(rows.truth, rows.aligned.probs[n]) for n, name in enumerate(rows.aligned.names)}
    assert alone[names[0]] == max(alone.values()) == taken[0].score
    assert taken[0].gain is None
    assert taken[-1].score > taken[0].score
    blend = learn(FORWARD, rows, ACCURACY)
    assert blend.by_part() == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3, "weak": 0.0})
    warm = at_temperatures(rows.aligned.probs, temperatures_of(rows), rows.aligned.labels)
    assert blend(rows.aligned) == pytest.approx(warm[:3].mean(axis=0))


@given(st.integers(0, 1000), st.sampled_from([0.4, 0.7, 1.5, 3.0]))
def test_how_sure_a_part_is_neither_chooses_nor_weighs(seed: int, temperature: float) -> None:
    """The same answers at other temperatures give the same blend."""
    truth = truth_of(300, seed)
    parts = {name: guesses(truth, 1.2, seed + n) for n, name in enumerate("abc")}
    unsure = {**parts, "b": replace(parts["b"], probs=apply_temperature(parts["b"].probs, temperature))}
    first, second = rows_of(parts, truth), rows_of(unsure, truth)
    assert [one.part for one in forward_selection(second, ACCURACY)] == [
        one.part for one in forward_selection(first, ACCURACY)
    ]
    answers = [learn(FORWARD, rows, ACCURACY)(rows.aligned) for rows in (first, second)]
    assert answers[0] == pytest.approx(answers[1], abs=1e-6)


def test_a_few_rows_that_are_all_right_make_no_part_sure_of_everything() -> None:
    truth = truth_of(12)
    probs = np.full((12, 3), 0.2)
    probs[np.arange(12), list(truth.values())] = 0.6
    assert temperatures_of(rows_of({"a": replace(guesses(truth, 1.0, 1), probs=probs)}, truth)) == [LEAST]
    assert LEAST < 1 < MOST


def test_a_copy_of_a_part_is_not_taken_and_neither_order_nor_names_decide() -> None:
    best = guesses(TRUTH, 2.0, 1)
    assert [one.part for one in forward_selection(rows_of({"a": best, "b": best}, TRUTH), ACCURACY)] == ["a"]
    parts = {name: guesses(TRUTH, 1.0 + n / 2, n) for n, name in enumerate("abcd")}
    first = forward_selection(rows_of(parts, TRUTH), ACCURACY)
    turned = rows_of({name: shuffled(one, 5) for name, one in reversed(list(parts.items()))}, TRUTH)
    assert [one.part for one in forward_selection(turned, ACCURACY)] == [one.part for one in first]


def test_the_best_of_many_that_know_nothing_scores_as_chance() -> None:
    """The luckiest of forty looks good on its own rows; chosen on other rows it is what it is."""
    truth = truth_of(120)
    noise = rows_of({f"p{n:02}": guesses(truth, 0.0, n) for n in range(40)}, truth)
    lucky = forward_selection(noise, ACCURACY)[-1].score
    honest = ACCURACY(noise.truth, nested(BlendSpec(FORWARD, ACCURACY), noise))
    assert lucky > 0.42
    assert honest < 1 / 3 + 3 * np.sqrt((1 / 3) * (2 / 3) / len(truth))
    assert honest < lucky


@given(st.integers(0, 10_000), st.integers(2, 250))
def test_scores_without_a_block_are_those_of_the_jackknife(seed: int, count: int) -> None:
    """Accuracy and log loss are subtracted rather than counted again."""
    truth = truth_of(count, seed)
    rows = rows_of({"a": guesses(truth, 1.0, seed)}, truth, k=2)
    judge = _Judge(
        rows,
        PairedJackknife(ACCURACY, rows.truth, rows.group),
        PairedJackknife(_loss_metric(rows), rows.truth, rows.group),
    )
    quick = judge(rows.aligned.probs[0])
    for fast, slow in ((quick.by_metric, judge.metric), (quick.by_loss, judge.loss)):
        whole = slow.score(rows.aligned.probs[0])
        assert fast.score == pytest.approx(whole.score)
        assert fast.left == pytest.approx(whole.left)


def test_it_is_there_by_name_and_auto_does_not_try_it() -> None:
    rows = rows_of({name: guesses(TRUTH, 1.5, n) for n, name in enumerate("ab")}, TRUTH)
    assert FORWARD in METHODS
    assert FORWARD not in affordable(rows)
    assert len(forward_selection(rows, F1)) in (1, 2)
