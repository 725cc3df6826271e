"""Affine maps drawn for whole batches as albumentations draws them, and carried out by OpenCV or in one ``grid_sample``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comp.data.device_memory import upload
from comp.data.seeding import Draws

Pixels = NDArray[np.uint8]
COUNT, WIDTH = 8, 6  # numbers that a map is drawn from, and that it is
_BORDERS = {
    cv2.BORDER_CONSTANT: "zeros",
    cv2.BORDER_REPLICATE: "border",
    cv2.BORDER_REFLECT_101: "reflection",
}


def is_plain(transform: Any) -> bool:
    """Whether an albumentations' Affine is one that both ways here can do."""
    border = _BORDERS.get(transform.border_mode)
    black = border != "zeros" or np.all(np.asarray(transform.fill) == 0)
    linear = transform.interpolation == cv2.INTER_LINEAR
    return bool(border and black and linear and not transform.fit_output and not transform.balanced_scale)


def places(transform: Any, size: int, u: Draws) -> NDArray[np.float64]:
    """Of draws (R, 8) the six numbers (R, 6) a b c d right down by which a pixel at (x, y) from the middle shows what is at
    (a x + b y + right, c x + d y + down) from it.
    """
    wide = between(transform.scale["x"], u[:, 1])
    high = wide if transform.keep_ratio else between(transform.scale["y"], u[:, 2])
    if transform.translate_px is not None:
        least, most = (np.array([int(transform.translate_px[k][n]) for k in "xy"]) for n in (0, 1))
        shift = least + (u[:, 3:5] * (most - least + 1)).astype(np.int64)
    else:
        share = [between(transform.translate_percent[k], u[:, 3 + n]) for n, k in enumerate("xy")]
        shift = np.trunc(np.stack(share, 1) * size)
    angle = np.deg2rad(between(transform.rotate, u[:, 5]))
    lean_x, lean_y = (
        np.tan(np.deg2rad(-between(transform.shear[k], u[:, 6 + n]))) for n, k in enumerate("xy")
    )
    a, b, c, d = np.cos(angle) * wide, np.sin(angle) * high, -np.sin(angle) * wide, np.cos(angle) * high
    m = np.stack([a + lean_x * c, b + lean_x * d, lean_y * a + c, lean_y * b + d], 1)
    off = u[:, 0] >= float(transform.p)
    m[off], shift[off] = (1, 0, 0, 1), 0
    return inverted(m, shift)


def inverted(m: NDArray[np.float64], shift: NDArray[Any]) -> NDArray[np.float64]:
    """Where pixels come from (R, 6), for maps (R, 4) and shifts (R, 2) that say where they go; a map onto a point or a
    line, which has no way back, shows the middle.
    """
    a, b, c, d = m.T
    area = a * d - b * c
    scale = np.divide(1.0, area, out=np.zeros_like(area), where=area != 0)
    a, b, c, d = d * scale, -b * scale, -c * scale, a * scale
    right, down = (-(p * shift[:, 0] + q * shift[:, 1]) for p, q in ((a, b), (c, d)))
    return np.stack([a, b, c, d, right, down], 1)


def between(bounds: Any, u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draws of 0 … 1 as draws between two bounds."""
    low, high = (float(v) for v in bounds)
    return low + (high - low) * u


def of_one(transform: Any, size: int) -> Callable[[Pixels, list[float]], Pixels]:
    """A picture (S, S, 3) of its six numbers."""
    flags, border, middle = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, transform.border_mode, (size - 1) / 2

    def shown(picture: Pixels, given: list[float]) -> Pixels:
        a, b, c, d, right, down = given
        if (a, b, c, d, right, down) == (1, 0, 0, 1, 0, 0):
            return picture
        m = np.array(
            [[a, b, right + middle * (1 - a - b)], [c, d, down + middle * (1 - c - d)]], dtype=np.float64
        )
        made = cv2.warpAffine(picture, m, (size, size), flags=flags, borderMode=border)
        return np.asarray(made, dtype=np.uint8)

    return shown


def of_batch(transform: Any, size: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Pictures (B, 3, S, S) of their six numbers each (B, 6)."""
    border = _BORDERS[transform.border_mode]

    def shown(x: Tensor, given: Tensor) -> Tensor:
        a, b, c, d, right, down = upload(given, x.device).reshape(-1, 6, 1, 1).unbind(1)
        lines = torch.arange(size, dtype=torch.float32, device=x.device) - (size - 1) / 2
        across, along = lines[None, None, :], lines[None, :, None]
        # by hand: a matrix product would lose places to TF32 on a GPU
        grid = torch.stack([a * across + b * along + right, c * across + d * along + down], -1)
        grid *= 2 / (size - 1)
        made = torch.nn.functional.grid_sample(x, grid, "bilinear", border, align_corners=True)
        return (made + 0.5).clamp_(0, 255).floor_()

    return shown
