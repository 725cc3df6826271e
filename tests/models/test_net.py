"""The network: many kinds of timm models, normalised pixels, seeded heads, frozen statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from comp.data.images.preprocess import Preprocess
from comp.models.net import build, freeze_batchnorm, init_head, normalise
from comp.recipe import ModelConfig
from made import draw


@pytest.mark.parametrize(
    "name", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_byobnet"]
)
def test_every_kind_of_model_gives_logits_of_its_classes(name: str) -> None:
    net = build(ModelConfig(name=name, size=64), 5).eval()
    with torch.inference_mode():
        assert net(torch.zeros(2, 3, 64, 64)).shape == (2, 5)


def test_normalise_is_the_textbook_formula() -> None:
    pixels = np.stack([draw("circle", n, 16) for n in range(3)])
    preprocess = Preprocess(16, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    expected = (pixels / 255.0 - np.array(preprocess.mean)) / np.array(preprocess.std)
    found = normalise(torch.from_numpy(pixels), preprocess)
    assert found.shape == (3, 3, 16, 16)
    assert np.allclose(found.permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)
    with torch.inference_mode():
        assert torch.equal(normalise(torch.from_numpy(pixels), preprocess), found)
    strided = torch.from_numpy(np.concatenate([pixels, pixels[..., :1]], 3))[..., :3]
    assert torch.equal(normalise(strided, preprocess), found)


def test_what_was_normalised_in_inference_mode_first_can_be_trained_on() -> None:
    preprocess = Preprocess(8, (0.41, 0.5, 0.6), (0.2, 0.3, 0.4))  # of its own: nothing is remembered
    with torch.inference_mode():
        normalise(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), preprocess)
    weight = torch.ones(3, 1, 1, requires_grad=True)
    (normalise(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), preprocess) * weight).sum().backward()
    assert weight.grad is not None


def test_a_head_follows_its_seed_and_nothing_drawn_before() -> None:
    heads = []
    for drawn, seed in ((1, 0), (2, 0), (3, 1)):
        torch.manual_seed(drawn)
        net = build(ModelConfig(name="test_resnet"), 4)
        init_head(net, seed)
        heads.append(net.head.weight.detach())
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_frozen_batchnorm_keeps_its_statistics_while_the_rest_trains() -> None:
    net = build(ModelConfig(name="test_resnet"), 3)
    before = {k: v.clone() for k, v in net.named_buffers()}
    net.train()
    freeze_batchnorm(net)
    net(torch.randn(4, 3, 32, 32)).sum().backward()
    assert all(torch.equal(v, before[k]) for k, v in net.named_buffers())
    assert all(p.grad is not None for p in net.parameters())
