"""Grad-CAM: it shows the part of an image that speaks for a class, and nothing of networks without feature maps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from comp.data.images.preprocess import Preprocess
from comp.inference.grad_cam import grad_cam
from comp.models.net import Net
from comp.recipe import HeadConfig

SIDE = 32
PREPROCESS = Preprocess(SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear", "squash", 1.0)


class Colours(nn.Module):
    """Feature maps that are the image's own colours, and their means."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, 4, 1, bias=False)
        with torch.no_grad():
            self.maps.weight.copy_(torch.eye(4)[:, :3].reshape(4, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.maps(x).mean(dim=(2, 3)))


class Flat(nn.Module):
    """A backbone that never has places."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :4]


def net_of(backbone: nn.Module) -> Net:
    net = Net(backbone, 4, 3, HeadConfig())
    with torch.no_grad():
        net.head.weight.copy_(torch.eye(4)[:3])  # type: ignore[union-attr, operator]
        net.head.bias.zero_()  # type: ignore[union-attr, operator]
    return net.eval()


def test_the_part_that_has_the_colour_of_a_class_speaks_for_it() -> None:
    pixels = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    pixels[:, :, :16, 0] = 255  # red on the left speaks for class 0
    pixels[:, :, 16:, 1] = 255  # green on the right for class 1
    heat = grad_cam(net_of(Colours()), PREPROCESS, pixels, np.array([0, 1]))
    assert heat is not None
    assert heat.shape == (2, SIDE, SIDE)
    assert heat.max() == 1.0
    assert heat.min() >= 0.0
    assert heat[0, :, :16].min() > 0.9 > 0.1 > heat[0, :, 16:].max()
    assert heat[1, :, 16:].min() > 0.9 > 0.1 > heat[1, :, :16].max()


def test_a_network_without_feature_maps_has_none_to_show() -> None:
    assert grad_cam(net_of(Flat()), PREPROCESS, np.zeros((1, SIDE, SIDE, 3), np.uint8), np.array([0])) is None


def test_the_network_stays_as_it_was() -> None:
    net = net_of(Colours())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    grad_cam(net, PREPROCESS, np.full((1, SIDE, SIDE, 3), 9, np.uint8), np.array([2]))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())
