"""Losses agree with torch's where torch has them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from comp.data.labels import LabelMap
from comp.data.task import Task
from comp.errors import RecipeError
from comp.recipe import BalanceConfig, Recipe, RegularizeConfig
from comp.recipe_tables import LossConfig
from comp.training.losses import class_weights, for_task, loss_of, loss_weights, wanted

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


SEVERAL = LabelMap(("a", "b", "c", "d", "e"), Task("multi-label"))
SCALE = LabelMap(("0", "1", "2", "3"), Task("ordinal"))
NUMBERS = LabelMap(("x", "y"), Task("regression", (0.0, -5.0), (10.0, 5.0)))
HOT = (torch.rand(8, 5) < 0.4).float()


def formula(name: str, probs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Each cell's loss as the papers write it, with the recipe's defaults."""
    if name == "asymmetric":  # Ridnik et al. 2021, equations 2 to 7: gamma+ = 1, gamma- = 4, m = 0.05
        shifted = torch.clamp(probs - 0.05, min=0)
        positive = (1 - probs) ** 1 * torch.log(probs)
        negative = shifted**4 * torch.log(1 - shifted)
        return -(y * positive + (1 - y) * negative)
    if name == "binary_focal":  # Lin et al. 2017, equation 4: gamma = 2
        right = torch.where(y == 1, probs, 1 - probs)
        return -((1 - right) ** 2) * torch.log(right)
    if name == "mse":
        return (probs - y) ** 2
    if name == "l1":
        return (probs - y).abs()
    return -(y * torch.log(probs) + (1 - y) * torch.log(1 - probs))


@pytest.mark.parametrize("name", ["binary_cross_entropy", "binary_focal", "asymmetric", "mse", "l1"])
def test_losses_of_columns_are_their_formulas(name: str) -> None:
    each = formula(name, torch.sigmoid(LOGITS), HOT)
    found = loss_of(LOGITS, HOT, recipe(0.0, name=name))
    assert torch.allclose(found, each.mean(), atol=1e-6)
    weights = torch.tensor([2.0, 1.0, 0.5, 0.0, 1.0])
    weighted = loss_of(LOGITS, HOT, recipe(0.0, name=name), weights)
    assert torch.allclose(weighted, (each * weights).mean(), atol=1e-6)


@pytest.mark.parametrize("name", ["binary_cross_entropy", "binary_focal", "asymmetric", "mse", "l1"])
def test_losses_of_columns_have_gradients_where_answers_are_certain(name: str) -> None:
    logits = torch.tensor([[60.0, -60.0], [-60.0, 60.0]], requires_grad=True)
    loss = loss_of(logits, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), recipe(0.0, name=name))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_smoothing_of_columns_draws_both_answers_to_the_middle() -> None:
    expected = torch.nn.functional.binary_cross_entropy_with_logits(LOGITS, HOT * 0.9 + 0.05)
    assert torch.allclose(loss_of(LOGITS, HOT, recipe(0.1, name="binary_cross_entropy")), expected, atol=1e-6)


def test_the_truth_is_wanted_as_the_task_has_it() -> None:
    single = wanted(LabelMap(("a", "b")), np.array([1, 0]))
    assert (single.dtype, single.tolist()) == (torch.int64, [1, 0])
    several = wanted(SEVERAL, SEVERAL.encode(["a|c", ""]))
    assert (several.dtype, several.tolist()) == (torch.float32, [[1, 0, 1, 0, 0], [0] * 5])
    assert wanted(SCALE, SCALE.encode(["3", "0"])).tolist() == [[1.0], [0.0]]
    assert wanted(NUMBERS, np.array([[5.0, 5.0], [2.5, -5.0]])).tolist() == [[0.5, 1.0], [0.25, 0.0]]


@pytest.mark.parametrize(
    ("loss", "task", "used"),
    [
        ("cross_entropy", "single-label", "cross_entropy"),
        ("cross_entropy", "multi-label", "binary_cross_entropy"),
        ("focal", "multi-label", "binary_focal"),
        ("asymmetric", "multi-label", "asymmetric"),
        ("cross_entropy", "ordinal", "binary_cross_entropy"),
        ("mse", "ordinal", "mse"),
        ("cross_entropy", "regression", "binary_cross_entropy"),
        ("l1", "regression", "l1"),
    ],
)
def test_a_recipes_loss_becomes_the_tasks(loss: str, task: str, used: str) -> None:
    found = for_task(recipe(0.1, name=loss), Task(task))
    assert found.loss.name == used
    assert found.regularize.label_smoothing == (0.0 if task in ("ordinal", "regression") else 0.1)


@pytest.mark.parametrize(
    ("loss", "task", "fitting"),
    [
        ("focal", "regression", "binary_cross_entropy, mse, l1"),
        ("mse", "multi-label", "binary_cross_entropy, binary_focal, asymmetric"),
        ("asymmetric", "single-label", "cross_entropy, focal"),
        ("asymmetric", "ordinal", "binary_cross_entropy, mse, l1"),
        ("l1", "single-label", "cross_entropy, focal"),
    ],
)
def test_a_loss_of_another_task_is_refused_with_those_that_fit(loss: str, task: str, fitting: str) -> None:
    with pytest.raises(RecipeError) as error:
        for_task(recipe(0.0, name=loss), Task(task))
    assert repr(task) in error.value.rule
    assert fitting in error.value.remedy


def test_a_probe_solves_the_usual_loss_alone() -> None:
    probing = recipe(0.0, name="mse").model_copy(update={"mode": "probe"})
    with pytest.raises(RecipeError, match="solves binary_cross_entropy"):
        for_task(probing, Task("regression"))
    plain = recipe(0.0).model_copy(update={"mode": "probe"})
    assert for_task(plain, Task("regression")).loss.name == "binary_cross_entropy"


@pytest.mark.parametrize(
    ("balance", "task"),
    [
        ("sampler", "multi-label"),
        ("copies", "multi-label"),
        ("weights", "ordinal"),
        ("sampler", "regression"),
    ],
)
def test_a_balance_that_a_task_does_not_have_is_refused(balance: str, task: str) -> None:
    balanced = Recipe(balance=BalanceConfig(name=balance))
    with pytest.raises(RecipeError, match="balance is one of task"):
        for_task(balanced, Task(task))
    assert for_task(balanced, Task("single-label")).balance.name == balance


def test_weights_of_several_labels_count_each_label_of_a_row() -> None:
    truth = SEVERAL.encode(["a|b", "a", "a|c", ""])
    balanced = Recipe(balance=BalanceConfig(name="weights"))
    found = loss_weights(balanced, truth, SEVERAL, "cpu")
    assert found is not None
    assert torch.allclose(found, torch.from_numpy(class_weights(np.array([0, 1, 0, 0, 2]), 5)))
    assert loss_weights(Recipe(), truth, SEVERAL, "cpu") is None
