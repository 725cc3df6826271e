"""Likeness to the nearest known image of each class, and the probabilities of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from comp.data.labels import LabelMap
from comp.data.task import Task
from comp.inference.neighbours import NOTHING, answers, best_scale, embedded, likeness
from comp.models.net import build
from comp.recipe import HeadConfig, ModelConfig


def test_likeness_is_the_largest_cosine_with_a_row_of_the_class() -> None:
    rng = np.random.default_rng(0)
    known, rows = rng.normal(size=(40, 5)), rng.normal(size=(7, 5))
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    targets = rng.choice([0, 2, 3], 40)  # class 1 has no row
    found = likeness(rows.astype(np.float32), known.astype(np.float32), targets, 4)
    for q in range(7):
        for c in (0, 2, 3):
            cosines = [float(rows[q] @ known[n]) for n in range(40) if targets[n] == c]
            assert found[q, c] == pytest.approx(max(cosines), abs=1e-5)
    assert (found[:, 1] == NOTHING).all()
    probs = answers(found, 10.0)
    assert np.allclose(probs.sum(axis=1), 1)
    assert probs[0, 0] / probs[0, 2] == pytest.approx(np.exp(10 * (found[0, 0] - found[0, 2])), rel=1e-4)


def test_features_are_unit_vectors_after_an_embedding() -> None:
    features = np.random.default_rng(0).normal(size=(3, 96)).astype(np.float32)
    plain = build(ModelConfig(name="test_resnet"), 4)
    assert np.allclose(embedded(plain.head, features), features / np.linalg.norm(features, axis=1)[:, None])
    head = build(ModelConfig(name="test_resnet", head=HeadConfig(scale=30.0, hidden=6)), 4).head
    found = embedded(head, features)
    with torch.inference_mode():
        inner = head[0](torch.from_numpy(features)).numpy()  # type: ignore[index]
    assert np.allclose(found, inner / np.linalg.norm(inner, axis=1)[:, None], atol=1e-5)


def test_a_scale_is_as_sure_as_the_likeness_is_right() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    alike = rng.uniform(0, 0.5, (300, 3)).astype(np.float32)
    labels = LabelMap(("a", "b", "c"))
    unsure = best_scale(alike, truth, labels)
    alike[np.arange(300), truth] += 0.5
    sure = best_scale(alike, truth, labels)
    assert unsure == 5.0
    assert sure > 20
    opened = LabelMap(("a", "b", "c"), Task(unknown="c"))  # rows of c say nothing there
    two = truth != 2
    assert best_scale(alike, truth, opened) == best_scale(alike[two], truth[two], opened)
