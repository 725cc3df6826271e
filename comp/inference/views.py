"""Views for test-time augmentation, computed on the device from one decoded batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ZOOM = 8 / 7  # a centre crop of 7/8 of each side, as models with crop_pct 0.875 know pictures
SHIFT = 1 / 16  # of the side


def _zoom_in(x: Tensor) -> Tensor:
    from torch.nn.functional import interpolate

    height, width = x.shape[2:]
    h, w = max(1, round(height / ZOOM)), max(1, round(width / ZOOM))
    top, left = (height - h) // 2, (width - w) // 2
    part = x[:, :, top : top + h, left : left + w]
    return interpolate(part, size=(height, width), mode="bilinear", align_corners=False)


def _zoom_out(x: Tensor) -> Tensor:
    """The whole picture smaller, with what lies beyond its edges mirrored."""
    from torch.nn.functional import interpolate, pad

    height, width = x.shape[2:]
    down, across = round(height * (ZOOM - 1) / 2), round(width * (ZOOM - 1) / 2)
    wide = pad(x, (across, across, down, down), mode="reflect")
    return interpolate(wide, size=(height, width), mode="bilinear", align_corners=False, antialias=True)


def _shift(down: int, across: int) -> Callable[[Tensor], Tensor]:
    """The picture moved by a sixteenth of its side, with what lies beyond its edges mirrored."""

    def shifted(x: Tensor) -> Tensor:
        from torch.nn.functional import pad

        height, width = x.shape[2:]
        h, w = max(1, round(height * SHIFT)), max(1, round(width * SHIFT))
        top, left = h - down * h, w - across * w
        return pad(x, (w, w, h, h), mode="reflect")[:, :, top : top + height, left : left + width]

    return shifted


_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "turn90": lambda x: x.rot90(1, (2, 3)),
    "turn180": lambda x: x.rot90(2, (2, 3)),
    "turn270": lambda x: x.rot90(3, (2, 3)),
    "zoom-in": _zoom_in,
    "zoom-out": _zoom_out,
    "shift-up": _shift(-1, 0),
    "shift-down": _shift(1, 0),
    "shift-left": _shift(0, -1),
    "shift-right": _shift(0, 1),
}
_MIRRORED: dict[str, Callable[[Tensor], Tensor]] = {
    "hflip" if name == "identity" else f"{name}-hflip": (lambda x, plain=plain: plain(x.flip(-1)))  # type: ignore[misc]
    for name, plain in _PLAIN.items()
}
VIEW_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {**_PLAIN, **_MIRRORED}


def view(name: str, images: Tensor) -> Tensor:
    """One view of a batch: (B, 3, H, W) to (B, 3, H, W)."""
    return VIEW_FUNCTIONS[name](images)
