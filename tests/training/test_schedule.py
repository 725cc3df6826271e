"""Schedules stay between nothing and the full rate; optimizers treat each kind of weight as told."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from comp.recipe import load
from comp.recipe_parts import ModelPart, SchedulePart
from comp.training.model import build
from comp.training.schedule import make_optimizer, make_schedule, rate

OPTIMIZERS = ("adamw", "adam", "nadam", "sgd")
SCHEDULES = ("onecycle", "cosine", "constant")
NAMES = st.sampled_from(SCHEDULES)


@given(NAMES, st.floats(0, 0.99), st.integers(1, 500), st.data())
def test_the_rate_is_between_zero_and_one(name: str, warmup: float, steps: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, steps + 1))
    assert 0 <= rate(SchedulePart(name=name, warmup=warmup), step, steps) <= 1


@given(NAMES, st.floats(0, 0.99), st.integers(2, 200))
def test_the_rate_rises_to_its_peak_and_falls_from_there(name: str, warmup: float, steps: int) -> None:
    part = SchedulePart(name=name, warmup=warmup)
    rates = [rate(part, step, steps) for step in range(steps)]
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert peak <= warmup * steps + 1


def test_endpoints() -> None:
    one = SchedulePart(name="onecycle", warmup=0.25)
    assert rate(one, 0, 1000) == pytest.approx(1 / 25, abs=1e-3)
    assert rate(one, 250, 1000) == 1.0
    assert rate(one, 1000, 1000) == pytest.approx(1e-5)
    assert rate(SchedulePart(name="cosine", warmup=0.0), 0, 10) == 1.0
    assert rate(SchedulePart(name="cosine", warmup=0.1), 1000, 1000) == pytest.approx(0.0)
    assert rate(SchedulePart(name="constant", warmup=0.0), 999, 1000) == 1.0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_a_step_downhill(name: str) -> None:
    torch.manual_seed(0)
    recipe = load(
        None,
        [
            f"optimizer={name}",
            "optimizer.lr=1e-3",
            "mode=scratch",
            "schedule=constant",
            "schedule.warmup=0.0",
        ],
    )
    net = build(ModelPart(name="test_resnet"), 3)
    optimizer = make_optimizer(net, recipe)
    schedule = make_schedule(optimizer, recipe.schedule, 8)
    x, y = torch.randn(8, 3, 32, 32), torch.arange(8) % 3
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(net(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("more", "head_lr"),
    [("head_start=false", 1e-2), ("head_start=true", 1e-3), ("optimizer.head_lr=2e-2", 2e-2)],
)
def test_finetune_gives_the_classifier_its_own_rate_and_biases_no_decay(more: str, head_lr: float) -> None:
    """A classifier that begins from nothing learns ten times as fast; one that was solved keeps step."""
    net = build(ModelPart(name="test_resnet"), 3)
    recipe = load(None, ["optimizer.lr=1e-3", "optimizer.weight_decay=0.1", more])
    groups = make_optimizer(net, recipe).param_groups
    of_head = {id(p) for p in net.head.parameters()}
    for group in groups:
        assert group["lr"] == pytest.approx(head_lr if id(group["params"][0]) in of_head else 1e-3)
        assert len({id(p) in of_head for p in group["params"]}) == 1
        assert group["weight_decay"] == (0.1 if group["params"][0].ndim > 1 else 0.0)
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))
