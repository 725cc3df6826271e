"""Colours changed as albumentations' ColorJitter and ToGray change them: an image by OpenCV, a batch where the network is."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comp.data.augment.geometry import Draws, between
from comp.data.device_memory import upload

Pixels = NDArray[np.uint8]
COUNT, WIDTH = (
    6,
    8,
)  # numbers that a jitter is drawn from, and that it is: four factors, then the four steps in order
_ORDERS = np.array(list(permutations(range(4))))
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _NOTHING = range(5)
_STILL = 1000.0  # no step of hue
_TURNS = np.repeat(np.arange(256, dtype=np.uint8)[None, None, :, None], 180, 0).repeat(
    3, 3
)  # (180, 1, 256, 3)
_TURNS[:, 0, :, 0] = (
    np.arange(256)[None, :] + np.arange(180)[:, None]
) % 180  # hue lies in 0 … 179, two degrees each


def jitters(transform: Any, u: Draws) -> NDArray[np.float64]:
    """Of draws (R, 6) the factors of brightness, contrast, saturation and hue, and the order of the four (R, 8)."""
    ranges = (transform.brightness, transform.contrast, transform.saturation, transform.hue)
    factors = np.stack([between(r, u[:, n]) for n, r in enumerate(ranges, 1)], 1)
    factors[:, _HUE] = hue_steps(factors[:, _HUE])
    orders = np.where(
        u[:, :1] < float(transform.p), _ORDERS[(u[:, 5] * len(_ORDERS)).astype(np.int64)], _NOTHING
    )
    return np.concatenate([factors, orders], 1)


def hue_steps(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares of the circle of hues as the whole steps of two degrees that OpenCV's 8 bits have; ``_STILL`` for exactly 0,
    which leaves pixels alone.
    """
    return np.where(shares == 0, _STILL, np.floor(180 * shares))


def jittered(image: Pixels, given: list[float]) -> Pixels:
    """An image (H, W, 3) after the four steps of its parameters (8)."""
    made = image
    for step in given[4:]:
        if step == _NOTHING:
            return image
        factor = given[int(step)]
        if step == _BRIGHTNESS and factor != 1:
            made = _scaled(made, factor, 0)
        elif step == _CONTRAST and factor != 1:
            mean = cv2.mean(cv2.cvtColor(made, cv2.COLOR_RGB2GRAY))[0]
            made = _scaled(made, factor, mean * (1 - factor))
        elif step == _SATURATION and factor != 1:
            made = np.asarray(cv2.addWeighted(made, factor, grey_of_one(made), 1 - factor, 0), dtype=np.uint8)
        elif step == _HUE and factor != _STILL:
            made = _turned(made, factor)
    return made


def grey_of_one(image: Pixels) -> Pixels:
    """An image (H, W, 3) without its colours."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def _scaled(image: Pixels, factor: float, plus: float) -> Pixels:
    """Levels times ``factor``, ``plus`` a constant, rounded down as albumentations' tables do: OpenCV rounds to the nearest
    of what is nearly half a level less.
    """
    return np.asarray(cv2.addWeighted(image, factor, image, 0, plus - 0.499), dtype=np.uint8)


def _turned(image: Pixels, steps: float) -> Pixels:
    """An image with its hue turned by steps of two degrees."""
    wheel = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    made = cv2.LUT(wheel, _TURNS[int(steps) % 180])
    return np.asarray(cv2.cvtColor(made, cv2.COLOR_HSV2RGB), dtype=np.uint8)


def each(parameter: Tensor, x: Tensor) -> Tensor:
    """A number a row (B,) or (B, 1), on the device of ``x``, as (B, 1, 1, 1)."""
    return upload(parameter.reshape(-1, 1, 1, 1), x.device)


def grey(x: Tensor) -> Tensor:
    """Brightness (B, 1, H, W) as OpenCV rounds it."""
    red, green, blue = (x[:, n : n + 1] for n in range(3))
    return torch.floor((9798 * red + 19235 * green + 3735 * blue + 16384) / 32768)


def batch_jittered(x: Tensor, given: Tensor) -> Tensor:
    """Images (B, 3, H, W) after the four steps of their parameters (B, 8), rounded after each as albumentations does."""
    for n in range(4):
        step = given[:, 4 + n]
        x = _coloured(x, given[:, :4], step)
        hued = ((step == _HUE) & (given[:, _HUE] != _STILL)).nonzero()[:, 0]
        if len(hued):
            rows = upload(hued, x.device)
            x[rows] = _hued(x[rows], each(given[hued, _HUE], x))
    return x


def _coloured(x: Tensor, factors: Tensor, step: Tensor) -> Tensor:
    """Each image after its ``step`` (B,), other than hue: what it keeps of itself, what it gets of its own grey (B, 1,
    H, W), and a constant.
    """
    bright, contrast, saturated = (step == n for n in (_BRIGHTNESS, _CONTRAST, _SATURATION))
    keeps = torch.ones_like(step)
    for n, on in enumerate((bright, contrast, saturated)):
        keeps = torch.where(on, factors[:, n], keeps)
    own = grey(x)
    made = x * each(keeps, x) + own * each(saturated * (1 - factors[:, _SATURATION]), x)
    made += own.mean((1, 2, 3), keepdim=True) * each(contrast * (1 - factors[:, _CONTRAST]), x)
    made += each(saturated * 0.5, x)  # blending rounds, the tables of the other two cut off
    return made.clamp_(0, 255).floor_()


def _hued(x: Tensor, steps: Tensor) -> Tensor:
    """Images (B, 3, H, W) with their hue turned by steps (B, 1, 1, 1) of two degrees, in OpenCV's HSV of 8 bits."""
    red, green, blue = (x[:, n : n + 1] for n in range(3))
    value, least = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    spread = value - least
    place = torch.where(
        value == red,
        green - blue,
        torch.where(value == green, blue - red + 2 * spread, red - green + 4 * spread),
    )
    # by way of rounded quotients, as OpenCV's tables have them: float holds these numbers without loss
    hue = ((place * (122880 / spread.clamp(min=1)).round_() + 2048) / 4096).floor_()
    hue = (hue + 180 + steps).remainder_(180) / 30  # 0 … 6
    saturation = ((spread * (1044480 / value.clamp(min=1)).round_() + 2048) / 4096).floor_() / 255
    # the sectors are numbers, not a tensor, which would have to be copied to a GPU
    part = torch.cat([sector + hue for sector in (5, 3, 1)], 1).remainder_(6)
    part = torch.minimum(part, 4 - part).clamp_(0, 1)
    return (value * (1 - saturation * part)).floor_()
