"""The standard error of a gain is that of the difference on the same rows, and groups are not independent rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.predictions import best_of_rows
from comp.metrics import log_loss, metric_by_name
from comp.uncertainty import BLOCKS, Gain, PairedJackknife, apply_temperature, fit_temperature

ACCURACY = metric_by_name("accuracy")


def answers(right: np.ndarray) -> np.ndarray:
    """Probabilities (N, 2) that are right where ``right`` says so; the truth is class 0."""
    return np.where(right[:, None], [[1.0, 0.0]], [[0.0, 1.0]])


def test_it_is_that_of_the_mean_difference() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random(5000) < 0.8, rng.random(5000) < 0.75
    judge = PairedJackknife(ACCURACY, np.zeros(5000, dtype=np.int64), [str(n) for n in range(5000)])
    gain = judge.gain(judge.score(answers(one)), judge.score(answers(other)))
    apart = one.astype(float) - other
    assert gain.value == pytest.approx(apart.mean())
    assert gain.error == pytest.approx(apart.std() / np.sqrt(5000), rel=0.2)


def test_copies_of_a_row_are_one_row() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.random(60) < 0.9, rng.random(60) < 0.6
    names = [str(n) for n in range(60)]
    truth = np.zeros(60, dtype=np.int64)
    alone = PairedJackknife(ACCURACY, truth, names)
    copied = PairedJackknife(ACCURACY, np.tile(truth, 5), names * 5)
    a = alone.gain(alone.score(answers(one)), alone.score(answers(other)))
    b = copied.gain(copied.score(answers(np.tile(one, 5))), copied.score(answers(np.tile(other, 5))))
    assert (a.value, a.error) == (pytest.approx(b.value), pytest.approx(b.error))


@given(st.permutations(range(30)), st.integers(0, 99))
def test_row_order_changes_nothing(order: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = answers(rng.random(30) < 0.7), answers(rng.random(30) < 0.6)
    names = [f"g{n // 2}" for n in range(30)]
    truth = np.zeros(30, dtype=np.int64)
    straight = PairedJackknife(ACCURACY, truth, names)
    mixed = PairedJackknife(ACCURACY, truth, [names[n] for n in order])
    a = straight.gain(straight.score(one), straight.score(other))
    b = mixed.gain(mixed.score(one[order]), mixed.score(other[order]))
    assert (a.value, a.error) == (pytest.approx(b.value), pytest.approx(b.error))


def test_the_direction_of_the_metric_counts() -> None:
    loss = metric_by_name("log_loss")
    judge = PairedJackknife(loss, np.zeros(20, dtype=np.int64), [str(n) for n in range(20)])
    good, poor = np.tile([[0.9, 0.1]], (20, 1)), np.tile([[0.6, 0.4]], (20, 1))
    gain = judge.gain(judge.score(good), judge.score(poor))
    assert gain.value > 0
    assert gain.is_beyond


def test_nothing_is_beyond_its_error_without_evidence() -> None:
    assert not Gain(0.0, 0.0).is_beyond
    assert not Gain(float("nan"), 0.1).is_beyond
    assert not Gain(0.1, float("nan")).is_beyond
    one = PairedJackknife(ACCURACY, np.zeros(4, dtype=np.int64), ["same"] * 4)
    found = one.gain(one.score(answers(np.ones(4, bool))), one.score(answers(np.zeros(4, bool))))
    assert found.error == float("inf")
    assert not found.is_beyond


def blocks_of(groups: list[str]) -> np.ndarray:
    return PairedJackknife(ACCURACY, np.zeros(len(groups), np.int64), groups).blocks


@given(st.lists(st.text(max_size=3), min_size=1, max_size=80), st.randoms(use_true_random=False))
def test_blocks_hold_groups_whole_whatever_the_order(groups: list[str], random: object) -> None:
    found = dict(zip(groups, blocks_of(groups).tolist(), strict=True))
    assert [found[g] for g in groups] == blocks_of(groups).tolist()
    mixed = groups.copy()
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert dict(zip(mixed, blocks_of(mixed).tolist(), strict=True)) == found
    sizes = np.bincount(list(found.values()))
    assert len(sizes) == min(BLOCKS, len(found))
    assert sizes.max() - sizes.min() <= 1


def test_a_temperature_of_many_classes_by_the_values_that_rows_have() -> None:
    """The same as by all classes, bisected anew here."""
    rng = np.random.default_rng(0)
    probs = best_of_rows(rng.dirichlet(np.full(1500, 0.02), 60))
    truth = np.where(rng.random(60) < 0.6, probs.argmax(axis=1), rng.integers(0, 1500, 60))
    grid = np.exp(np.linspace(np.log(0.5), np.log(20), 400))
    losses = [log_loss(truth, apply_temperature(probs, t)) for t in grid]
    assert 0 < np.argmin(losses) < 399
    assert fit_temperature(probs, truth) == pytest.approx(grid[np.argmin(losses)], rel=0.01)
