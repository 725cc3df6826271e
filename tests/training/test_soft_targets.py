"""Packed targets: the losses of rows with probabilities, weights and teachers, also where images are mixed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from comp.data.augment.batch_ops import mix
from comp.data.labels import LabelMap
from comp.data.task import Task
from comp.recipe import DistillConfig, Recipe, RegularizeConfig
from comp.recipe_tables import LossConfig
from comp.training.linear_probe import solved_loss
from comp.training.losses import learned, loss_of, losses_of_rows, solved_for, wanted
from comp.training.plan import FoldRows
from comp.training.soft_targets import divergence, packed, solved_packed_loss, unpacked

ONE, SEVERAL = LabelMap(("a", "b", "c")), LabelMap(("a", "b", "c"), Task("multi-label"))
NUMBER = LabelMap(("a", "b", "c"), Task("ordinal"))
ROWS = np.arange(6)
HARD = {"single-label": np.array([0, 1, 2, 0, 1, 2]), "multi-label": np.eye(3)[[0, 1, 2, 0, 1, 2]]}
GENERATOR = np.random.default_rng(0)
SOFT = GENERATOR.dirichlet([1, 1, 1], 6).astype(np.float32)
TEACHER = GENERATOR.dirichlet([1, 1, 1], 6).astype(np.float32)
WEIGHT = np.array([1, 2, 0.5, 1, 3, 0.25], np.float32)
LOGITS = torch.tensor(GENERATOR.normal(size=(6, 3)), dtype=torch.float32)


def rows(labels: LabelMap = ONE, **soft: object) -> FoldRows:
    part = FoldRows(pd.DataFrame({"id": list("uvwxyz")}), HARD[labels.task.name], ROWS, ROWS[:0])
    return replace(part, **soft)  # type: ignore[arg-type]


def recipe(name: str = "cross_entropy", smoothing: float = 0.1, **distill: float) -> Recipe:
    taught = DistillConfig(run="r", **distill) if distill else None
    smoothed = RegularizeConfig(label_smoothing=smoothing)
    return Recipe(loss=LossConfig(name=name), regularize=smoothed, distill=taught)


def test_plain_rows_are_not_packed() -> None:
    assert torch.equal(learned(ONE, rows(), ROWS), wanted(ONE, HARD["single-label"]))
    assert solved_for(ONE, rows(), ROWS) is None
    assert solved_for(ONE, rows(teacher=TEACHER), ROWS) is None, "a teacher has no part in the solution"


@pytest.mark.parametrize("labels", [ONE, SEVERAL])
def test_unpacking_gives_back_what_was_packed(labels: LabelMap) -> None:
    part = rows(labels, shares=SOFT, weight=WEIGHT, teacher=TEACHER)
    own, answers, weights = unpacked(learned(labels, part, ROWS[::-1]), 3)
    assert torch.allclose(own, torch.from_numpy(SOFT[::-1].copy()))
    assert answers is not None
    assert torch.allclose(answers, torch.from_numpy(TEACHER[::-1].copy()))
    assert torch.equal(weights, torch.from_numpy(WEIGHT[::-1].copy()))
    assert unpacked(packed(labels, part, ROWS, wanted(labels, part.targets), teacher=False), 3)[1] is None


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_labels_with_weight_one_lose_what_they_lose_unpacked(name: str) -> None:
    part = rows(weight=np.ones(6, np.float32))
    found = loss_of(LOGITS, learned(ONE, part, ROWS), recipe(name))
    assert torch.allclose(found, loss_of(LOGITS, wanted(ONE, HARD["single-label"]), recipe(name)), atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "name"),
    [(ONE, "cross_entropy"), (ONE, "focal"), (SEVERAL, "binary_cross_entropy"), (SEVERAL, "asymmetric")],
)
def test_a_weight_multiplies_the_loss_of_its_row(labels: LabelMap, name: str) -> None:
    target = torch.from_numpy(SOFT)
    each = losses_of_rows(LOGITS, target, recipe(name))
    found = loss_of(LOGITS, learned(labels, rows(labels, shares=SOFT, weight=WEIGHT), ROWS), recipe(name))
    assert torch.allclose(found, (each * torch.from_numpy(WEIGHT)).mean(), atol=1e-6)


def test_weights_of_numbers() -> None:
    part = rows(weight=WEIGHT)
    asked = recipe("mse", smoothing=0.0)
    each = (torch.sigmoid(LOGITS[:, :1]) - wanted(NUMBER, part.targets)).square().mean(1)
    found = loss_of(LOGITS[:, :1], learned(NUMBER, part, ROWS), asked)
    assert torch.allclose(found, (each * torch.from_numpy(WEIGHT)).mean(), atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distillation_is_the_formula_and_smooths_its_own_part_alone(temperature: float) -> None:
    """Hinton et al. 2015, section 2."""
    found = loss_of(
        LOGITS, learned(ONE, rows(teacher=TEACHER), ROWS), recipe(weight=0.3, temperature=temperature)
    )
    own = torch.nn.functional.cross_entropy(
        LOGITS, torch.from_numpy(HARD["single-label"]), label_smoothing=0.1
    )
    student = torch.log_softmax(LOGITS / temperature, 1)
    apart = torch.nn.functional.kl_div(student, torch.from_numpy(TEACHER), reduction="batchmean")
    assert torch.allclose(found, 0.7 * own + 0.3 * temperature**2 * apart, atol=1e-6)


def test_who_answers_as_the_teacher_does_is_not_apart_from_it() -> None:
    assert torch.allclose(
        divergence(torch.from_numpy(TEACHER).log(), torch.from_numpy(TEACHER), True),
        torch.zeros(6),
        atol=1e-6,
    )
    odds = torch.logit(torch.from_numpy(TEACHER))
    assert torch.allclose(divergence(odds, torch.from_numpy(TEACHER), False), torch.zeros(6), atol=1e-6)
    certain = torch.eye(3)
    assert torch.isfinite(divergence(torch.full((3, 3), 50.0) * certain, certain, True)).all()
    assert (divergence(LOGITS, torch.from_numpy(TEACHER), True) > 0).all()


@given(st.integers(0, 1000), st.sampled_from(["mixup", "cutmix"]))
def test_mixed_packed_rows_lose_the_weighted_mean_of_both_losses(seed: int, kind: str) -> None:
    part = rows(shares=SOFT, weight=WEIGHT, teacher=TEACHER)
    asked = recipe(weight=0.4, temperature=2.0)
    y = learned(ONE, part, ROWS)
    how = RegularizeConfig(**{kind: 1.0})
    x, mixed = mix(torch.rand(6, 3, 8, 8), y, 3, how, np.random.default_rng(seed))
    hot, _ = mix(torch.rand(6, 3, 8, 8), y, 3, how, np.random.default_rng(seed))
    assert x.shape == hot.shape
    _, share = mix(
        torch.rand(6, 3, 8, 8), torch.eye(6), 6, how, np.random.default_rng(seed)
    )  # (B, B): who is in whom
    own = losses_of_rows(
        LOGITS[:, None].expand(6, 6, 3).reshape(36, 3), torch.from_numpy(SOFT).repeat(6, 1), asked
    )
    expected = (share * own.reshape(6, 6) * torch.from_numpy(WEIGHT)).sum(1).mean() * 0.6
    taught = recipe(weight=0.4, temperature=2.0).model_copy(update={"distill": None})
    alone = loss_of(LOGITS, torch.cat([mixed[:, :3], mixed[:, -1:]], 1), taught) * 0.6
    assert torch.allclose(alone, expected, atol=1e-5)
    _, answers, weights = unpacked(mixed, 3)
    assert answers is not None
    assert torch.allclose(answers.sum(1), torch.ones(6), atol=1e-5), "still shares of classes"
    assert torch.allclose(weights, share @ torch.from_numpy(WEIGHT), atol=1e-5)


@pytest.mark.parametrize("labels", [ONE, SEVERAL])
@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 0.5])])
def test_a_classifier_is_solved_for_the_same_loss(labels: LabelMap, weights: torch.Tensor | None) -> None:
    """Of labels, as unpacked; a row of weight 2 counts as two rows."""
    single = labels.task.is_single_label
    plain = solved_loss(LOGITS, wanted(labels, HARD[labels.task.name]), 0.1 * (weights is None), weights)
    ones = solved_for(labels, rows(labels, weight=np.ones(6, np.float32)), ROWS)
    assert ones is not None
    found = solved_packed_loss(LOGITS, ones, 0.1 * (weights is None), weights, single)
    assert torch.allclose(found, plain, atol=1e-6)
    double = solved_for(labels, rows(labels, weight=np.full(6, 2, np.float32)), ROWS)
    assert double is not None
    assert torch.allclose(
        solved_packed_loss(LOGITS, double, 0.0, weights, single),
        2 * solved_packed_loss(LOGITS, ones, 0.0, weights, single),
        atol=1e-6,
    )
