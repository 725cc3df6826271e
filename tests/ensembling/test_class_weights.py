"""Multipliers and priors against what can be worked out."""

from __future__ import annotations

import numpy as np
import pytest

from comp.ensembling.class_weights import fit_class_weights, prior_factors, reweight
from comp.errors import InputError
from comp.metrics import metric_by_name
from made_blends import LABELS, guesses, truth_of


@pytest.mark.parametrize("name", ["macro_f1", "balanced_accuracy", "quadratic_kappa"])
def test_multipliers_never_cost_the_rows_they_are_tuned_on(name: str) -> None:
    truth = truth_of(300, shares=(0.8, 0.15, 0.05))
    probs, labels = guesses(truth, 1.5, 1).probs, np.array(list(truth.values()))
    metric = metric_by_name(name)
    found = fit_class_weights(probs, labels, metric)
    before, after = metric(labels, probs), metric(labels, reweight(probs, found))
    assert after > before if (found != 1).any() else after == before
    assert (found != 1).any() or name == "balanced_accuracy"
    assert np.log(found).sum() == pytest.approx(0.0, abs=1e-9)


def test_where_nothing_is_gained_they_stay_one() -> None:
    truth = np.arange(30) % 3
    assert (fit_class_weights(np.eye(3)[truth], truth, metric_by_name("macro_f1")) == 1).all()


def test_factors_are_wanted_over_own_shares() -> None:
    truth = np.repeat([0, 1, 2], [60, 30, 10])
    assert prior_factors("uniform", truth, LABELS) == pytest.approx([1 / 1.8, 1 / 0.9, 1 / 0.3])
    named = prior_factors({"circle": 0.2, "cross": 0.2, "square": 0.1}, truth, LABELS)  # any unit
    assert named == pytest.approx([0.4 / 0.6, 0.4 / 0.3, 0.2 / 0.1])
    some = prior_factors({"square": 0.5}, truth, LABELS)
    assert some == pytest.approx([0.5 * (60 / 90) / 0.6, 0.5 * (30 / 90) / 0.3, 0.5 / 0.1])
    with pytest.raises(InputError, match="every class"):
        prior_factors("uniform", np.array([0, 1]), LABELS)


def test_re_weighting_is_what_bayes_says() -> None:
    """A classifier trained on one mix answers another: with the factors it is calibrated there."""
    rng = np.random.default_rng(0)
    means = np.array([[0.0], [1.5]])

    def likely(x: np.ndarray, shares: tuple[float, float]) -> np.ndarray:
        odds = np.exp(-((x[:, None, :] - means) ** 2).sum(axis=2) / 2) * np.array(shares)
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    x = rng.normal(size=(50, 1))
    moved = reweight(likely(x, (0.5, 0.5)), np.array([0.9 / 0.5, 0.1 / 0.5]))
    assert np.allclose(moved, likely(x, (0.9, 0.1)))


@pytest.mark.parametrize("every", [False, True])
def test_a_class_without_rows_gets_no_number_of_its_own(every: bool) -> None:
    """A rare class that only trains is answered in vain here; on the test rows it may be right."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200)
    probs = rng.dirichlet([1.0, 1.0, 2.0], 200)
    found = fit_class_weights(probs, truth, metric_by_name("macro_f1", every_class=every))
    own = found / found[2]  # beside the class that has none
    assert found[2] == pytest.approx(np.prod(own) ** (-1 / 3))
    score = metric_by_name("macro_f1", every_class=every)
    assert score(truth, reweight(probs, own)) >= score(truth, probs)
    assert (own[:2] != 1).any()
