"""The probe's classifier is the optimum of its convex problem."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from comp.data.folds import Folds
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest, Sample
from comp.data.task import Task
from comp.errors import TrainingFailed
from comp.inference.forward import activated
from comp.models.net import Net, build
from comp.recipe import ModelConfig
from comp.training.linear_probe import solve_head, solved_loss
from comp.training.loop import answer_the_mean
from made import planned


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
    solve_head(net, features, torch.from_numpy(targets), l2, smoothing)
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
    solve_head(net, features, torch.from_numpy(targets), 0.1, 0.0, torch.tensor(weights))
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


def several(n: int = 240, dimensions: int = 12, labels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Features of very different scales, and labels float32 (N, C) of 0 and 1, one of them rare."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(n, dimensions))
    shift = np.array([0.0, -1.0, -3.0])[:labels]
    truth = features @ rng.normal(size=(dimensions, labels)) + shift + rng.normal(size=(n, labels)) > 0
    return (features * 10.0 ** rng.uniform(-2, 2, dimensions) + 3).astype(np.float32), truth.astype(
        np.float32
    )


@pytest.mark.parametrize("l2", [1e-3, 0.1])
def test_each_column_of_several_labels_is_scikit_learns_logistic_regression(l2: float) -> None:
    features, targets = several()
    standard = (features - features.mean(0)) / features.std(0, ddof=1)
    net = build(ModelConfig(name="test_resnet"), 3)
    net.head = torch.nn.Linear(features.shape[1], 3)
    solve_head(net, features, torch.from_numpy(targets), l2, 0.0)
    with torch.inference_mode():
        ours = net.head(torch.from_numpy(features)).sigmoid().numpy()
    for c in range(3):
        theirs = LogisticRegression(C=1 / (l2 * len(targets)), tol=1e-8, max_iter=2000)
        theirs.fit(standard, targets[:, c])
        assert np.abs(ours[:, c] - theirs.predict_proba(standard)[:, 1]).max() < 5e-3


def test_a_column_does_not_depend_on_its_neighbours() -> None:
    features, targets = several()
    x = torch.from_numpy(features)
    answers = []
    for columns in ([0, 1, 2], [2, 0, 1]):
        net = build(ModelConfig(name="test_resnet"), 3)
        net.head = torch.nn.Linear(features.shape[1], 3)
        solve_head(net, features, torch.from_numpy(targets[:, columns]), 0.1, 0.0)
        with torch.inference_mode():
            answers.append(net.head(x).sigmoid()[:, np.argsort(columns)])
    assert torch.allclose(answers[0], answers[1], atol=2e-3)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_that_is_solved_is_summed_over_columns(smoothing: float) -> None:
    torch.manual_seed(0)
    logits, y = torch.randn(6, 3), (torch.rand(6, 3) < 0.5).float()
    weights = torch.tensor([2.0, 0.5, 1.0])
    each = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, y * (1 - smoothing) + smoothing / 2, reduction="none"
    )
    assert torch.allclose(solved_loss(logits, y, smoothing, None), each.sum(1).mean())
    assert torch.allclose(solved_loss(logits, y, smoothing, weights), (each * weights).sum(1).mean())


@pytest.mark.parametrize("task", ["multi-label", "ordinal", "regression"])
def test_a_classifier_begins_at_the_mean_of_the_rows_that_its_fold_fits(task: str) -> None:
    cells = {
        "multi-label": ["a|b", "a", "a", "", "b|c", "c"],
        "ordinal": ["a", "a", "b", "b", "c", "c"],
        "regression": ["1", "2", "3", "4", "10", "0"],
    }[task]
    labels = {
        "multi-label": LabelMap(("a", "b", "c"), Task("multi-label")),
        "ordinal": LabelMap(("a", "b", "c"), Task("ordinal")),
        "regression": LabelMap(("y",), Task("regression", (0.0,), (10.0,))),
    }[task]
    manifest = Manifest.from_samples(Sample(f"s{n}", f"all#{n}", "train", c) for n, c in enumerate(cells))
    folds = Folds(tuple(manifest.train["id"]), np.array([0, 0, 0, 0, 1, 1]), 2, 0, "")
    plan = replace(planned(manifest, folds), labels=labels)
    net = build(ModelConfig(name="test_resnet"), labels.width)
    answer_the_mean(net, plan, 1)  # fold 1 fits the first four rows
    with torch.no_grad():
        for layer in net.head.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.weight.zero_()
        logits = net.head(torch.zeros(1, net.head.in_features)).numpy()
    expected = {"multi-label": [[0.75, 0.25, 0.001]], "ordinal": [[0.5]], "regression": [[2.5]]}[task]
    assert np.allclose(activated(logits, labels), expected, atol=1e-5)
