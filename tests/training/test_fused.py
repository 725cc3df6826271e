"""One kernel for a step of the optimizer on CUDA, and states that go on with another form of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from comp.models.net import build
from comp.recipe import OptimizerConfig, Recipe
from comp.training.optim import fused_form, make_optimizer
from comp.training.state import load_optimizer
from gpu_doubles import fake_gpu, moved


@pytest.mark.parametrize(
    ("name", "kwargs", "device", "fused"),
    [
        ("sgd", {}, "cuda", True),
        ("adam", {}, "cuda", True),
        ("adamw", {"amsgrad": True}, "cuda", True),
        ("nadam", {}, "cuda", False),  # torch has none
        ("lion", {}, "cuda", False),
        ("adamw", {"foreach": True}, "cuda", False),  # both at once are an error of torch
        ("adamw", {"fused": False}, "cuda", False),
        ("adamw", {}, "cpu", False),
    ],
)
def test_an_optimizer_is_fused_where_all_is_on_a_gpu(
    name: str, kwargs: dict[str, Any], device: str, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = OptimizerConfig(name=name, kwargs=kwargs)
    recipe = Recipe.model_validate({"mode": "scratch", "model": {"name": "test_resnet", "size": 32}})
    recipe = recipe.model_copy(update={"optimizer": part})
    net: Any = build(recipe.model, 3)
    with fake_gpu(monkeypatch) as gpu:
        net = moved(net, gpu) if device == "cuda" else net
        groups = make_optimizer(net, recipe).param_groups
    assert [bool(group.get("fused")) for group in groups] == [fused] * len(groups)


def test_parameters_on_two_devices_are_not_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_gpu(monkeypatch) as gpu:
        pair = [torch.empty(2, device=gpu), torch.empty(2)]
        assert fused_form(OptimizerConfig(), pair) == {}
        assert fused_form(OptimizerConfig(), pair[:1]) == {"fused": True}
        assert fused_form(OptimizerConfig(), []) == {}


def stepped(kind: Any, form: dict[str, Any], steps: int = 3) -> tuple[nn.Parameter, Any]:
    parameter = nn.Parameter(torch.ones(4))
    optimizer = kind([parameter], lr=0.1, **form)
    go_on(parameter, optimizer, steps)
    return parameter, optimizer


def go_on(parameter: nn.Parameter, optimizer: Any, steps: int) -> None:
    for n in range(steps):
        parameter.grad = torch.arange(4.0) + n
        optimizer.step()


FORMS = [({"fused": True}, {}), ({}, {"fused": True}), ({"foreach": True}, {"fused": True})]


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD])
@pytest.mark.parametrize(("before", "after"), FORMS)
def test_a_state_goes_on_with_the_form_of_its_new_device(
    kind: Any, before: dict[str, Any], after: dict[str, Any], tmp_path: Path
) -> None:
    """The CPU has both forms, as a GPU and a CPU between which a run goes on."""
    own = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    parameter, began = stepped(kind, {**before, **own})
    torch.save(began.state_dict(), tmp_path / "s.pt")
    whole, _ = stepped(kind, {**after, **own}, 6)
    again = nn.Parameter(parameter.detach().clone())
    resumed = kind([again], lr=0.1, **after, **own)
    load_optimizer(resumed, torch.load(tmp_path / "s.pt", weights_only=True), [])
    assert resumed.param_groups[0]["fused"] == after.get("fused")
    assert resumed.param_groups[0]["foreach"] is None
    for n in range(3):
        again.grad = torch.arange(4.0) + n
        resumed.step()
    go_on(parameter, began, 3)
    assert torch.allclose(again, parameter, atol=1e-6)
    assert not torch.allclose(again, whole, atol=1e-3), "it goes on with other gradients"
    if kind is not torch.optim.SGD:
        assert float(resumed.state[again]["step"]) == 6


@pytest.mark.parametrize(
    ("form", "on_cpu", "where"),
    [
        ({"fused": True}, [], "meta"),  # from a CPU, or a fused state of a GPU
        ({"fused": True}, ["step"], "meta"),  # from a state of a GPU before steps were fused
        ({}, ["step"], "cpu"),
    ],
)
def test_the_count_of_steps_lies_where_the_form_reads_it(
    form: dict[str, Any], on_cpu: list[str], where: str
) -> None:
    """``meta`` stands for a GPU."""
    _, began = stepped(torch.optim.AdamW, {})
    there = nn.Parameter(torch.empty(4, device="meta"))
    resumed = torch.optim.AdamW([there], lr=0.1, **form)
    load_optimizer(resumed, began.state_dict(), on_cpu)
    assert resumed.state[there]["step"].device.type == where
    assert resumed.state[there]["exp_avg"].device.type == "meta"


def test_a_state_of_other_groups_is_refused() -> None:
    _, began = stepped(torch.optim.AdamW, {})
    one = nn.Parameter(torch.ones(4))
    other = torch.optim.AdamW([{"params": [one]}, {"params": [nn.Parameter(torch.ones(1))]}])
    with pytest.raises(ValueError, match="argument"):
        load_optimizer(other, began.state_dict(), [])
