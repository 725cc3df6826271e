"""The probe's classifier is the optimum of its convex problem."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from comp.errors import TrainingFailed
from comp.models.net import Net, build
from comp.recipe import ModelConfig
from comp.training.linear_probe import solve_head


def problem(n: int = 240, dimensions: int = 12, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clouds, one a class, with features of very different scales."""
    rng = np.random.default_rng(0)
    targets = np.arange(n) % classes
    centres = rng.normal(size=(classes, dimensions))
    features = centres[targets] + rng.normal(size=(n, dimensions)) * 1.5
    return (features * 10.0 ** rng.uniform(-2, 2, dimensions) + 3).astype(np.float32), targets.astype(
        np.int64
    )


def solved(features: np.ndarray, targets: np.ndarray, l2: float, smoothing: float = 0.0) -> Net:
    net = build(ModelConfig(name="test_resnet"), 4)
    net.head = torch.nn.Linear(features.shape[1], 4)
    solve_head(net, features, targets, l2, smoothing)
    return net


@pytest.mark.parametrize("l2", [1e-3, 0.1])
def test_it_is_scikit_learns_logistic_regression(l2: float) -> None:
    features, targets = problem()
    standard = (features - features.mean(0)) / features.std(0, ddof=1)
    theirs = LogisticRegression(C=1 / (l2 * len(targets)), tol=1e-8, max_iter=2000).fit(standard, targets)
    net = solved(features, targets, l2)
    with torch.inference_mode():
        ours = net.head(torch.from_numpy(features)).softmax(1).numpy()
    assert np.abs(ours - theirs.predict_proba(standard)).max() < 5e-3


def test_class_weights_are_scikit_learns() -> None:
    features, targets = problem()
    standard = (features - features.mean(0)) / features.std(0, ddof=1)
    weights = [3.0, 0.5, 1.0, 0.25]
    theirs = LogisticRegression(
        C=1 / (0.1 * len(targets)), tol=1e-8, max_iter=2000, class_weight=dict(enumerate(weights))
    ).fit(standard, targets)
    net = build(ModelConfig(name="test_resnet"), 4)
    net.head = torch.nn.Linear(features.shape[1], 4)
    solve_head(net, features, targets, 0.1, 0.0, torch.tensor(weights))
    with torch.inference_mode():
        ours = net.head(torch.from_numpy(features)).softmax(1).numpy()
    assert np.abs(ours - theirs.predict_proba(standard)).max() < 5e-3


def test_row_order_and_constant_features_do_not_matter() -> None:
    features, targets = problem()
    features[:, 3] = 7.0
    order = np.random.default_rng(1).permutation(len(targets))
    one, other = solved(features, targets, 0.1), solved(features[order], targets[order], 0.1)
    x = torch.from_numpy(features)
    with torch.inference_mode():
        assert torch.allclose(one.head(x).softmax(1), other.head(x).softmax(1), atol=2e-3)
        assert torch.isfinite(one.head(x)).all()


def test_more_smoothing_makes_it_less_sure() -> None:
    features, targets = problem()
    x = torch.from_numpy(features)
    sure, unsure = (
        solved(features, targets, 1e-3, s).head(x).softmax(1).max(1).values.mean().item() for s in (0.0, 0.3)
    )
    assert unsure < sure


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_features_without_a_solution(value: float) -> None:
    features, targets = problem()
    features[::2, 5] = value
    with pytest.raises(TrainingFailed, match="must have a solution"):
        solved(features, targets, 0.1)
