"""Losses agree with torch's where torch has them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from comp.recipe import LossConfig, Recipe, RegularizeConfig
from comp.training.losses import class_weights, loss_of

torch.manual_seed(0)
LOGITS = torch.randn(8, 5)
Y = torch.tensor([0, 1, 2, 3, 4, 0, 0, 1])


def recipe(smoothing: float, **loss: object) -> Recipe:
    return Recipe(loss=LossConfig(**loss), regularize=RegularizeConfig(label_smoothing=smoothing))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_unit_weights_and_gamma_zero_are_cross_entropy(smoothing: float) -> None:
    expected = torch.nn.functional.cross_entropy(LOGITS, Y, label_smoothing=smoothing)
    hot = torch.nn.functional.one_hot(Y, 5).float()
    for found in (
        loss_of(LOGITS, Y, recipe(smoothing)),
        loss_of(LOGITS, hot, recipe(smoothing)),
        loss_of(LOGITS, Y, recipe(smoothing), torch.ones(5)),
        loss_of(LOGITS, Y, recipe(smoothing, name="focal", gamma=0.0)),
    ):
        assert torch.allclose(found, expected, atol=1e-6)


def test_focal_loss_is_the_formula() -> None:
    p = LOGITS.softmax(1)[torch.arange(8), Y]
    expected = (-((1 - p) ** 2) * p.log()).mean()
    assert torch.allclose(loss_of(LOGITS, Y, recipe(0.0, name="focal")), expected, atol=1e-6)


def test_weights_multiply_the_rows_of_their_class() -> None:
    weights = torch.tensor([2.0, 1.0, 0.5, 0.0, 1.0])
    each = torch.nn.functional.cross_entropy(LOGITS, Y, reduction="none")
    assert torch.allclose(loss_of(LOGITS, Y, recipe(0.0), weights), (each * weights[Y]).mean(), atol=1e-6)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=50))
def test_class_weights_even_out_the_classes(targets: list[int]) -> None:
    y = np.array(targets)
    weights = class_weights(y, 7)
    assert weights[y].mean() == pytest.approx(1.0, rel=1e-5)
    totals = [weights[c] * (y == c).sum() for c in np.unique(y)]
    assert np.allclose(totals, totals[0], rtol=1e-5)
    assert weights[6] == 0
