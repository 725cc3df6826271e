"""Small convolutional networks for small images, as backbones: (B, 3, H, W), or ``in_chans`` channels, to (B, num_features)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class SmallNet(nn.Module):
    """Layers one after the other, then the mean over places, the ``largest`` of them, or what ``pool`` makes of them.

    ``group_matcher`` tells the layers' order, as timm's models do, for layer decay and stages by depth.
    """

    def __init__(self, layers: list[nn.Module], num_features: int, largest: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.num_features = num_features
        self.largest = largest
        self.pool: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x)  # (B, D, h, w)
        if self.pool is not None:
            chosen: Tensor = self.pool(x)
            return chosen
        pooled: Tensor = x.amax((2, 3)) if self.largest else x.mean((2, 3))
        return pooled

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:  # noqa: ARG002 - as timm asks it
        """Parameters by layer: a pattern whose group is the layer's number."""
        return {"stem": r"^layers\.0\.", "blocks": r"^layers\.(\d+)\."}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(inner, outer, stride), nn.ReLU(inplace=True), _conv(outer, outer, 1))
        plain = inner == outer and stride == 1
        self.shortcut = nn.Identity() if plain else _conv(inner, outer, stride, side=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class PreActivation(nn.Module):
    """The block of wide residual networks: norm and ReLU before each convolution (Zagoruyko & Komodakis 2016)."""

    def __init__(self, inner: int, outer: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(inner), nn.ReLU(inplace=True))
        self.body = nn.Sequential(
            nn.Conv2d(inner, outer, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outer),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(outer, outer, 3, 1, 1, bias=False),
        )
        plain = inner == outer and stride == 1
        self.shortcut = None if plain else nn.Conv2d(inner, outer, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = self.first(x)
        beside = x if self.shortcut is None else self.shortcut(active)
        out: Tensor = self.body(active) + beside
        return out


class Residual(nn.Module):
    """Two convolutions that are added to their input (the residual block of ResNet-9)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_active(channels, channels), _active(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class Pixels(nn.Module):
    """The image itself on a coarse grid, (B, N, side, side) as a row of numbers: colour and layout, and nothing learned."""

    def __init__(self, side: int = 16, channels: int = 3) -> None:
        super().__init__()
        self.side = side
        self.num_features = channels * side * side

    def forward(self, x: Tensor) -> Tensor:
        coarse: Tensor = nn.functional.adaptive_avg_pool2d(x, self.side).flatten(1)
        return coarse


def pixels(side: int = 16, in_chans: int = 3) -> Pixels:
    """What a linear classifier of raw pixels looks at, for a probe that takes seconds; nothing in it trains."""
    return Pixels(side, in_chans)


def cifar_resnet18(width: int = 64, in_chans: int = 3) -> SmallNet:
    """ResNet-18 with a 3x3 stem and no pooling at the front (He et al. 2016, as weiaicunzai's pytorch-cifar100 has it)."""
    layers: list[nn.Module] = [nn.Sequential(_conv(in_chans, width, 1), nn.ReLU(inplace=True))]
    inner = width
    for n in range(4):
        outer = width * 2**n
        layers += [BasicBlock(inner, outer, 1 if n == 0 else 2), BasicBlock(outer, outer, 1)]
        inner = outer
    return SmallNet(layers, inner)


def resnet9(width: int = 64, in_chans: int = 3) -> SmallNet:
    """ResNet-9 of David Page's DAWNBench entry (2018): two residual blocks, max pooling, much for its time."""
    layers = [
        _active(in_chans, width),
        nn.Sequential(_active(width, 2 * width), nn.MaxPool2d(2, ceil_mode=True)),
        Residual(2 * width),
        nn.Sequential(_active(2 * width, 4 * width), nn.MaxPool2d(2, ceil_mode=True)),
        nn.Sequential(_active(4 * width, 8 * width), nn.MaxPool2d(2, ceil_mode=True)),
        Residual(8 * width),
    ]
    return SmallNet(layers, 8 * width, largest=True)


def wide_resnet(depth: int = 16, width: int = 4, dropout: float = 0.0, in_chans: int = 3) -> SmallNet:
    """WRN-depth-width (Zagoruyko & Komodakis 2016); ValueError unless depth is 6 n + 4."""
    blocks, rest = divmod(depth - 4, 6)
    if rest or blocks < 1:
        raise ValueError(f"depth is 6 n + 4 (10, 16, 22, 28 …), found {depth}")
    layers: list[nn.Module] = [nn.Conv2d(in_chans, 16, 3, 1, 1, bias=False)]
    inner = 16
    for n in range(3):
        for block in range(blocks):
            outer = 16 * width * 2**n
            layers.append(PreActivation(inner, outer, 2 if n and not block else 1, dropout))
            inner = outer
    layers.append(nn.Sequential(nn.BatchNorm2d(inner), nn.ReLU(inplace=True)))
    return SmallNet(layers, inner)


SMALL_NETS = {
    "cifar_resnet18": cifar_resnet18,
    "resnet9": resnet9,
    "wide_resnet": wide_resnet,
    "pixels": pixels,
}


def _conv(inner: int, outer: int, stride: int, side: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inner, outer, side, stride, side // 2, bias=False), nn.BatchNorm2d(outer))


def _active(inner: int, outer: int) -> nn.Sequential:
    return nn.Sequential(*_conv(inner, outer, 1), nn.ReLU(inplace=True))
