"""A classifier by angles, and generalised means."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from comp.errors import RecipeError
from comp.models.load_weights import load_into
from comp.models.metric_layers import CosineHead, GeM
from comp.models.net import build, init_head
from comp.recipe import HeadConfig, ModelConfig, Recipe
from comp.training.optim import make_optimizer


def test_logits_are_cosines_with_the_nearest_centre_of_a_class() -> None:
    head = CosineHead(2, 2, scale=10.0, centres=2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 5.0], [-1.0, 0.0], [-1.0, -1.0]]))
    found = head(torch.tensor([[3.0, 4.0], [0.0, -2.0]]))
    # cosines with (1, 0) and (0, 1), and with (-1, 0) and (-1, -1) / sqrt 2
    assert torch.allclose(found, torch.tensor([[8.0, -6.0], [0.0, 10 / 2**0.5]]), atol=1e-5)


def test_centres_begin_the_same_for_the_same_seed() -> None:
    part = ModelConfig(name="test_resnet", head=HeadConfig(scale=30.0, centres=3, hidden=7))
    one, two = build(part, 4), build(part, 4)
    init_head(one, 5)
    init_head(two, 5)
    assert all(torch.equal(a, b) for a, b in zip(one.head.parameters(), two.head.parameters(), strict=True))
    assert one.head(torch.rand(2, 96)).shape == (2, 4)


def test_gem_is_the_mean_of_powers() -> None:
    maps = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2)
    pool = GeM()
    assert float(pool(maps).detach()) == pytest.approx(((1 + 8 + 27 + 64) / 4) ** (1 / 3))
    with torch.no_grad():
        pool.p.fill_(1.0)
    assert float(pool(maps).detach()) == pytest.approx(2.5)
    assert GeM(axes=(1, 2), flat=True)(maps.permute(0, 2, 3, 1)).shape == (1, 1)
    assert GeM(flat=False)(maps).shape == (1, 1, 1, 1)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "mobilenetv3_small_050", "resnet9"])
def test_networks_with_maps_pool_them_by_gem(name: str) -> None:
    torch.manual_seed(0)
    plain, gem = build(ModelConfig(name=name), 3).eval(), build(ModelConfig(name=name, pool="gem"), 3).eval()
    assert gem.new_pool is not None
    x = torch.rand(2, 3, 64, 64)
    assert gem(x).shape == (2, 3)
    own = dict(gem.named_parameters())[f"backbone.{gem.new_pool}"]
    with torch.no_grad():
        own.fill_(1.0)  # the mean, where maps are not negative
    gem.load_state_dict({**plain.state_dict(), f"backbone.{gem.new_pool}": own})
    if name == "test_resnet":
        assert torch.allclose(gem(x), plain(x), atol=1e-4)
    gem(x).sum().backward()
    assert own.grad is not None
    make_optimizer(gem, Recipe.model_validate({"optimizer": {"layer_decay": 0.8}}))


@pytest.mark.parametrize("name", ["test_vit", "pixels"])
def test_networks_without_maps_are_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="pools maps of places"):
        build(ModelConfig(name=name, pool="gem"), 3)


def test_weights_of_another_pooling_are_loaded_and_kept_ones_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    part = ModelConfig(name="test_resnet", pool="gem")
    weights = timm.create_model("test_resnet").state_dict()
    net = build(part, 3)
    load_into(net, weights, part)
    assert torch.equal(net.backbone.state_dict()["conv1.0.weight"], weights["conv1.0.weight"])
    with torch.no_grad():
        dict(net.backbone.named_parameters())["global_pool.pool.p"].fill_(4.5)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    again = build(part, 3)
    load_into(again, net.state_dict(), part)
    assert float(again.backbone.state_dict()["global_pool.pool.p"]) == 4.5
