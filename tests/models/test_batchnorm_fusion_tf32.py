"""Norms are folded into convolutions on the CPU, before the network goes to a GPU, and TF32 hides none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import comp
from comp.models.batchnorm_fusion import fuse_frozen_batchnorm
from comp.models.net import build
from comp.recipe import ModelConfig
from gpu_doubles import Tf32, to_tf32
from made import TINY_RECIPE, probe


def unlike_fresh(net: nn.Module) -> nn.Module:
    """Norms with statistics and parameters as pretrained networks have them."""
    torch.manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return net


def test_the_double_rounds_as_tf32_does() -> None:
    x = torch.tensor([1.0, 1 + 2**-10, 1 + 2**-12, 1 + 3 * 2**-12, -3.14159265])
    expected = [1.0, 1 + 2**-10, 1.0, 1 + 2**-10, -3.140625]
    assert to_tf32(x).tolist() == pytest.approx(expected, abs=0)
    assert to_tf32(x.bfloat16()) is not None


@pytest.mark.parametrize(("name", "pairs"), [("mobilenetv2_100", 52), ("test_resnet", 7)])
def test_as_many_norms_are_folded_where_convolutions_round_to_tf32(name: str, pairs: int) -> None:
    net = unlike_fresh(build(ModelConfig(name=name), 3)).eval()
    with Tf32() as device:
        folded = fuse_frozen_batchnorm(net, 64)
    assert folded >= pairs
    assert device.rounded == 0
    with torch.inference_mode(), Tf32() as device:
        net(torch.zeros(1, 3, 64, 64))
    assert device.rounded > 0, "only while pairs are judged"


@pytest.mark.parametrize("mode", ["finetune", "probe"])
def test_norms_are_folded_before_a_network_goes_anywhere(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training, judging and predicting: what pairs a device would see must not matter."""
    to, moves = nn.Module.to, list[bool]()

    def moved(self: nn.Module, *arguments: Any, **named: Any) -> nn.Module:
        norms = [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        if norms and "memory_format" not in named:
            moves.append("forward" in norms[0].__dict__)
        return to(self, *arguments, **named)

    monkeypatch.setattr(nn.Module, "to", moved)
    recipe = tmp_path / "r.toml"
    recipe.write_text(TINY_RECIPE.replace('"scratch"', '"finetune"'))
    laid = [*probe(tmp_path), f"mode={mode}"][1:]
    comp.run("digits", 2, workspace=tmp_path, recipe=recipe, quick=True, overrides=laid)
    assert len(moves) >= 4
    assert all(moves)
