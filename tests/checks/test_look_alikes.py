"""Rows that look alike: planted pairs are named and nothing else, whatever the order of rows and however many there are."""

from __future__ import annotations

import numpy as np
import pytest

from comp.checks import look_alikes as module
from comp.checks.look_alikes import ALIKE, STANDS_OUT, TEST, look_alikes, whitened

CLASSES, WIDE = 4, 96


def made(rows: int = 320, tests: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of four classes, and the parts of their rows: five folds, then test rows."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(CLASSES, WIDE))
    features = centres[rng.integers(0, CLASSES, rows + tests)] + rng.normal(size=(rows + tests, WIDE))
    part = np.concatenate([np.arange(rows) % 5, np.full(tests, TEST)])
    return features.astype(np.float32), part


def planted(features: np.ndarray, one: int, other: int, noise: float = 0.2) -> None:
    """Makes a row another photo of what a row shows."""
    rng = np.random.default_rng(one)
    features[other] = features[one] + noise * rng.normal(size=WIDE)


def apart(features: np.ndarray) -> np.ndarray:
    return np.arange(len(features))


def pairs(found: tuple) -> list[tuple[int, int]]:  # type: ignore[type-arg]
    return [(one.first, one.second) for one in found]


def test_a_pair_across_folds_and_one_with_a_test_row_are_named_apart() -> None:
    features, part = made()
    planted(features, 10, 21)
    planted(features, 33, 350)
    found = look_alikes(features, part, apart(features))
    assert pairs(found.folds) == [(10, 21)]
    assert pairs(found.train_test) == [(33, 350)]
    assert (found.rows, found.compared) == (400, 400)
    one = found.folds[0]
    assert one.similarity > 0.8
    assert one.similarity - one.usual > 0.4


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_are_no_nearer_than_others_are_not_named(seed: int) -> None:
    features, part = made(seed=seed)
    found = look_alikes(features, part, apart(features))
    assert (found.folds, found.train_test) == ((), ())


def test_rows_of_one_fold_of_one_family_and_two_test_rows_are_no_pairs() -> None:
    features, part = made()
    planted(features, 10, 15)  # both of fold 0
    planted(features, 21, 32)  # known already
    planted(features, 33, 350)  # known already
    planted(features, 330, 340)  # both test rows
    family = apart(features)
    family[32], family[350] = family[21], family[33]
    found = look_alikes(features, part, family)
    assert (found.folds, found.train_test) == ((), ())


def test_rows_that_only_train_are_paired_with_those_of_a_fold_but_not_with_each_other() -> None:
    features, part = made()
    part[[10, 15]] = -1
    planted(features, 10, 15)
    planted(features, 20, 31)
    part[20] = -1
    assert pairs(look_alikes(features, part, apart(features)).folds) == [(20, 31)]


def test_the_order_of_rows_changes_no_pair() -> None:
    features, part = made()
    planted(features, 10, 21)
    planted(features, 33, 350)
    order = np.random.default_rng(3).permutation(len(features))
    place = np.argsort(order)
    found = look_alikes(features[order], part[order], apart(features))
    assert {frozenset(pair) for pair in pairs(found.folds)} == {frozenset((place[10], place[21]))}
    assert pairs(found.train_test) == [(place[33], place[350])]  # the training row first


def test_the_pairs_are_those_of_all_products_at_once() -> None:
    features, part = made(rows=900, tests=300)
    for n in range(0, 60, 3):
        planted(features, n, n + 301, noise=0.5)
        planted(features, n + 100, 900 + n, noise=0.5)
    found = look_alikes(features, part, apart(features))
    order = np.argsort(-part, kind="stable")
    rng = np.random.default_rng(0)
    rng.permutation(len(features))  # as many draws as before the directions
    z = np.empty((len(features), WIDE), np.float32)
    z[order], chance = whitened(features, order, rng)
    near = z @ z.T
    np.fill_diagonal(near, -1)
    usual = np.sort(near, axis=1)[:, -10:-2].mean(axis=1)
    usual = np.maximum(usual[:, None], usual[None])
    stands = (near >= np.minimum(usual + STANDS_OUT * chance, ALIKE)) & (part[:, None] != part[None])
    for kind, listed in enumerate((found.folds, found.train_test)):
        of_test = (part[:, None] == TEST) | (part[None] == TEST)
        gap = np.where(stands & (of_test == bool(kind)), near - usual, -np.inf)
        best = {frozenset((n, int(gap[n].argmax()))) for n in range(len(gap)) if np.isfinite(gap[n].max())}
        assert len(best) >= 18
        assert {frozenset(pair) for pair in pairs(listed)} == best
        gaps = [one.similarity - one.usual for one in listed]
        assert gaps == sorted(gaps, reverse=True)


def test_many_frames_of_one_scene_are_named_though_none_stands_out_among_them() -> None:
    features, part = made()
    for n in range(1, 40):
        planted(features, 0, n, noise=0.02)
    found = look_alikes(features, part, apart(features))
    assert {n for pair in pairs(found.folds) for n in pair} == set(range(40))
    assert min(one.similarity for one in found.folds) > ALIKE


def test_where_all_rows_are_alike_each_has_its_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    features, part = made()
    for n in range(1, 200):
        planted(features, 0, n, noise=0.02)
    monkeypatch.setattr(module, "CROWD", 1)
    found = look_alikes(features, part, apart(features))
    assert {n for pair in pairs(found.folds) for n in pair} >= set(range(200))
    assert len(found.folds) <= 320


def test_few_rows_and_features_that_are_no_numbers_say_nothing() -> None:
    features, part = made(rows=70, tests=20)
    planted(features, 10, 21)
    assert look_alikes(features, part, apart(features)).compared == 0
    features, part = made()
    features[3, 4] = np.nan
    assert look_alikes(features, part, apart(features)) == module.LookAlikes((), (), 400, 0)


def test_of_very_many_rows_some_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 150)
    features, part = made()
    found = look_alikes(features, part, apart(features))
    assert (found.rows, found.compared) == (400, 150)


def test_columns_that_never_differ_and_rows_without_test_rows_are_fine() -> None:
    features, part = made(tests=0)
    planted(features, 10, 21)
    wider = np.concatenate([features, np.full((len(features), 30), 7, np.float32)], axis=1)
    found = look_alikes(wider, part, apart(wider))
    assert (pairs(found.folds), found.train_test) == ([(10, 21)], ())
    nothing = look_alikes(np.ones((200, 8), np.float32), part[:200], np.arange(200))
    assert (nothing.folds, nothing.train_test) == ((), ())
