"""Schedules stay between nothing and the full rate; optimizers treat each kind of weight as told."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from comp.errors import RecipeError, UnknownName
from comp.models.net import build
from comp.recipe import ModelConfig, ScheduleConfig, load
from comp.training.optim import (
    lr_factor,
    make_optimizer,
    make_schedule,
    open_layers,
    plateau_factor,
    stage_at,
    stages_of,
)

OPTIMIZERS = ("adamw", "adam", "nadam", "sgd")
SCHEDULES = ("onecycle", "cosine", "constant")
NAMES = st.sampled_from(SCHEDULES)


@given(NAMES, st.floats(0, 0.99), st.integers(1, 500), st.data())
def test_the_rate_is_between_zero_and_one(name: str, warmup: float, steps: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, steps + 1))
    assert 0 <= lr_factor(ScheduleConfig(name=name, warmup=warmup), step, steps) <= 1


@given(NAMES, st.floats(0, 0.99), st.integers(2, 200))
def test_the_rate_rises_to_its_peak_and_falls_from_there(name: str, warmup: float, steps: int) -> None:
    part = ScheduleConfig(name=name, warmup=warmup)
    rates = [lr_factor(part, step, steps) for step in range(steps)]
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert peak <= warmup * steps + 1


def test_endpoints() -> None:
    one = ScheduleConfig(name="onecycle", warmup=0.25)
    assert lr_factor(one, 0, 1000) == pytest.approx(1 / 25, abs=1e-3)
    assert lr_factor(one, 250, 1000) == 1.0
    assert lr_factor(one, 1000, 1000) == pytest.approx(1e-5)
    assert lr_factor(ScheduleConfig(name="cosine", warmup=0.0), 0, 10) == 1.0
    assert lr_factor(ScheduleConfig(name="cosine", warmup=0.1), 1000, 1000) == pytest.approx(0.0)
    assert lr_factor(ScheduleConfig(name="constant", warmup=0.0), 999, 1000) == 1.0


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
    net = build(ModelConfig(name="test_resnet"), 3)
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
    net = build(ModelConfig(name="test_resnet"), 3)
    recipe = load(None, ["optimizer.lr=1e-3", "optimizer.weight_decay=0.1", more])
    groups = make_optimizer(net, recipe).param_groups
    of_head = {id(p) for p in net.head.parameters()}
    for group in groups:
        assert group["lr"] == pytest.approx(head_lr if id(group["params"][0]) in of_head else 1e-3)
        assert len({id(p) in of_head for p in group["params"]}) == 1
        assert group["weight_decay"] == (0.1 if group["params"][0].ndim > 1 else 0.0)
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))


@given(st.lists(st.floats(0.01, 10), max_size=30), st.integers(0, 4))
def test_plateaus_are_torchs(losses: list[float], patience: int) -> None:
    part = ScheduleConfig(name="plateau", factor=0.5, patience=patience)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience)
    for loss in losses:
        theirs.step(loss)
    assert plateau_factor(part, losses) == pytest.approx(max(optimizer.param_groups[0]["lr"], 0.0))
    assert plateau_factor(ScheduleConfig(name="cosine"), losses) == 1.0


@pytest.mark.parametrize("name", ["lion", "muon", "radam", "lamb", "nesterov"])
def test_timms_optimizers_move_weights(name: str) -> None:
    net = build(ModelConfig(name="test_resnet", size=32), 2)
    optimizer = make_optimizer(net, load(None, [f"optimizer={name}", "optimizer.lr=0.01", "mode=scratch"]))
    before = net.head.weight.clone()
    net(torch.randn(4, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(before, net.head.weight)


def test_unknown_optimizers_and_arguments_are_told() -> None:
    net = build(ModelConfig(name="test_resnet", size=32), 2)
    with pytest.raises(UnknownName, match="optimizer"):
        make_optimizer(net, load(None, ["optimizer=adamm"]))
    with pytest.raises(RecipeError, match="must take its arguments"):
        make_optimizer(net, load(None, ["optimizer.kwargs.speed=3"]))


def test_layer_decay_slows_the_layers_by_depth() -> None:
    net = build(ModelConfig(name="resnet18"), 2)
    recipe = load(None, ["optimizer.layer_decay=0.5", "optimizer.lr=1.0", "optimizer.head_lr=3.0"])
    rate_of = {
        id(p): group["lr"] for group in make_optimizer(net, recipe).param_groups for p in group["params"]
    }
    assert rate_of[id(net.head.weight)] == 3.0
    last, first = net.backbone.layer4[1].conv2.weight, net.backbone.conv1.weight
    assert rate_of[id(last)] == 0.5
    assert rate_of[id(first)] < 0.01
    assert len(rate_of) == len(list(net.parameters()))


def test_stages_train_what_they_say_at_their_own_rates() -> None:
    table = "stages=[{epochs=2,train='head',head_lr=0.1},{epochs=3,train=1,lr=0.01},{epochs=1}]"
    recipe = load(None, [table, "optimizer.lr=0.5"])
    assert recipe.epochs == 6
    stages = stages_of(recipe)
    assert [(s.first, s.epochs, s.train, s.lr) for s in stages] == [
        (0, 2, "head", 0.5),
        (2, 3, 1, 0.01),
        (5, 1, "all", 0.5),
    ]
    assert [stages.index(stage_at(stages, epoch)) for epoch in range(7)] == [0, 0, 1, 1, 1, 2, 2]
    net = build(ModelConfig(name="resnet18"), 2)
    open_layers(net, "head")
    (groups,) = [make_optimizer(net, recipe, stages[0]).param_groups]
    assert {group["lr"] for group in groups} == {0.1}
    with pytest.raises(RecipeError, match="mistake"):
        load(None, [table, "epochs=5"])
