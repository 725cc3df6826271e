"""Adversarial validation on features: chance is chance, another distribution is seen, and its rows are the test-like ones."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from comp.checks import feature_drift as module
from comp.checks.feature_drift import FeatureDrift, feature_drift

WIDE = 80


def names(count: int) -> list[str]:
    return [f"r{n}" for n in range(count)]


def drift_of(train: np.ndarray, test: np.ndarray) -> FeatureDrift:
    found = feature_drift(
        train.astype(np.float32), test.astype(np.float32), names(len(train)), names(len(test))
    )
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_one_distribution_are_not_told_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = drift_of(rng.normal(size=(600, WIDE)), rng.normal(size=(200, WIDE)))
    assert not found.is_certain
    assert found.auc == pytest.approx(0.5, abs=0.1)
    assert found.error == pytest.approx(np.sqrt(801 / (12 * 600 * 200)))


def test_the_training_rows_drawn_as_the_test_rows_are_the_test_like_ones() -> None:
    rng = np.random.default_rng(0)
    shift = np.zeros(WIDE)
    shift[3] = 4.0
    drawn = np.arange(500) < 100
    train = rng.normal(size=(500, WIDE)) + np.where(drawn[:, None], shift, 0)
    found = drift_of(train, rng.normal(size=(300, WIDE)) + shift)
    assert found.is_certain
    assert found.auc == pytest.approx(0.9, abs=0.03)  # 0.5 on a fifth of the training rows, 1 on the others
    assert np.mean(drawn[np.argsort(-found.likeness)[:100]]) > 0.85
    assert found.likeness[drawn].mean() - found.likeness[~drawn].mean() > 0.5


def test_a_group_is_judged_by_other_groups_alone() -> None:
    """Each group has features of its own, which say train or test to whoever saw a row of it."""
    rng = np.random.default_rng(1)
    train, test = (np.repeat(rng.normal(size=(30, 200)), 10, axis=0).astype(np.float32) for _ in range(2))
    groups = [f"g{n // 10}" for n in range(300)]
    whole = feature_drift(train, test, groups, groups)
    assert whole is not None
    assert not whole.is_certain
    assert whole.error == pytest.approx(np.sqrt(61 / (12 * 30 * 30)))
    assert drift_of(train, test).auc > 0.95  # that is what leaking groups would give


def test_few_groups_and_features_that_are_no_numbers_say_nothing() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(2, 60, 5)).astype(np.float32)
    assert feature_drift(train, test[:19], names(60), names(19)) is None
    assert feature_drift(train, test, ["one"] * 60, names(60)) is None
    test[0, 0] = np.inf
    assert feature_drift(train, test, names(60), names(60)) is None


def test_every_row_is_judged_where_some_are_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 150)
    rng = np.random.default_rng(2)
    train, test = rng.normal(size=(900, 12)), rng.normal(size=(400, 12)) + 1.0
    found = drift_of(train, test)
    assert len(found.likeness) == 900
    assert found.is_certain
    assert found.auc > 0.95


def test_wide_features_are_projected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_COLUMNS", 40)
    rng = np.random.default_rng(3)
    found = drift_of(rng.normal(size=(400, 90)), rng.normal(size=(200, 90)) + 0.8)
    assert found.auc > 0.9


def test_columns_that_never_differ_say_nothing() -> None:
    found = drift_of(np.ones((60, 3)), np.ones((40, 3)))
    assert found.auc == 0.5
    assert not found.is_certain


def test_the_area_counts_ties_as_half() -> None:
    rng = np.random.default_rng(4)
    train, test = rng.integers(0, 6, 50).astype(float), rng.integers(1, 8, 30).astype(float)
    truth = np.repeat([0, 1], [50, 30])
    assert module._auc(train, test) == pytest.approx(roc_auc_score(truth, np.concatenate([train, test])))
