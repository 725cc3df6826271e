"""Views for test-time augmentation, computed on the device from one decoded batch.

An image is decoded once and fitted to the squares that its views need: "own" is what validation sees, "wide" the
whole image at 8/7 of the side, from which crops are cut, "large" and "larger" what validation sees at 9/8 and 5/4 of
the side (predicting at a larger size than was trained on: FixRes, Touvron et al. 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from comp.data.images.preprocess import Preprocess
from comp.errors import WeightsError
from comp.models.net import Net, require_forward
from comp.recipe_schema import LARGE, VIEWS, ModelConfig, scale_of, sets_among

if TYPE_CHECKING:
    from torch import Tensor

ZOOM = 8 / 7  # a centre crop of 7/8 of each side, as models with crop_pct 0.875 know images
SHIFT = 1 / 16  # of the side
OWN, WIDE = "own", "wide"


def _zoom_in(x: Tensor) -> Tensor:
    from torch.nn.functional import interpolate

    height, width = x.shape[2:]
    h, w = max(1, round(height / ZOOM)), max(1, round(width / ZOOM))
    top, left = (height - h) // 2, (width - w) // 2
    part = x[:, :, top : top + h, left : left + w]
    return interpolate(part, size=(height, width), mode="bilinear", align_corners=False)


def _zoom_out(x: Tensor) -> Tensor:
    """The whole image smaller, with what lies beyond its edges mirrored."""
    from torch.nn.functional import interpolate, pad

    height, width = x.shape[2:]
    down, across = round(height * (ZOOM - 1) / 2), round(width * (ZOOM - 1) / 2)
    wide = pad(x, (across, across, down, down), mode="reflect")
    return interpolate(wide, size=(height, width), mode="bilinear", align_corners=False, antialias=True)


def _shift(down: int, across: int) -> Callable[[Tensor], Tensor]:
    """The image moved by a sixteenth of its side, with what lies beyond its edges mirrored."""

    def shifted(x: Tensor) -> Tensor:
        from torch.nn.functional import pad

        height, width = x.shape[2:]
        h, w = max(1, round(height * SHIFT)), max(1, round(width * SHIFT))
        top, left = h - down * h, w - across * w
        return pad(x, (w, w, h, h), mode="reflect")[:, :, top : top + height, left : left + width]

    return shifted


def _crop(down: float, across: float) -> Callable[[Tensor, int], Tensor]:
    """A square of the network's side from the wide one; ``down`` and ``across`` are 0 at the upper left, 1 at the
    lower right.
    """

    def cropped(x: Tensor, size: int) -> Tensor:
        spare = x.shape[2] - size
        top, left = round(spare * down), round(spare * across)
        return x[:, :, top : top + size, left : left + size]

    return cropped


_CROPS = {
    "crop-top-left": _crop(0, 0),
    "crop-top-right": _crop(0, 1),
    "crop-bottom-left": _crop(1, 0),
    "crop-bottom-right": _crop(1, 1),
    "crop-centre": _crop(0.5, 0.5),
}
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


def square_of(view: str) -> str:
    """The name of the square that a view is computed from."""
    plain = view.removesuffix("-hflip")
    return WIDE if plain in _CROPS else plain if plain in LARGE else OWN


def squares_of(views: Sequence[str], preprocess: Preprocess) -> dict[str, Preprocess]:
    """The squares that some views need, each as the preprocessing that fits an image to it."""
    names = dict.fromkeys(square_of(view) for view in views)
    return {name: _fitted(name, preprocess) for name in names}


def large_size(size: int, scale: float) -> int:
    """The pixels that a network of ``size`` reads at ``scale``: a multiple of 16 from 128 on, of 4 below."""
    step = 16 if size >= 128 else 4
    return int(size * scale / step + 0.5) * step if scale != 1.0 else size


def large_sizes(views: Sequence[str], size: int) -> list[int]:
    """The sizes beside its own that some views make a network of ``size`` read."""
    return sorted({large_size(size, scale_of(view)) for view in views} - {size})


def view(name: str, square: Tensor, size: int) -> Tensor:
    """One view of a batch, from the square that it needs.

    Parameters
    ----------
    name : str
        One of VIEWS.
    square : Tensor (B, 3, T, T)
        What ``square_of(name)`` names; T is ``size`` for most.
    size : int
        S, what the network reads.

    Returns
    -------
    Tensor (B, 3, S, S); (B, 3, T, T) for the larger views
    """
    if name not in VIEWS:
        raise ValueError(f"no view is called {name!r}")
    plain = name.removesuffix("-hflip") if name != "hflip" else "identity"
    x = square if plain == name else square.flip(-1)
    if plain in _CROPS:
        return _CROPS[plain](x, size)
    return x if plain in LARGE else _PLAIN[plain](x)


def _fitted(square: str, preprocess: Preprocess) -> Preprocess:
    if square == WIDE:
        return replace(preprocess, size=round(preprocess.size * ZOOM), crop_pct=1.0)
    return replace(preprocess, size=large_size(preprocess.size, LARGE.get(square, 1.0)))


def require_larger(net: Net, part: ModelConfig, classes: int, views: Sequence[str]) -> None:
    """WeightsError, naming the view, for a network that cannot read the larger images that some views feed it."""
    size = part.size or 224
    reads = {large_size(size, scale_of(view)): view for view in views}
    for larger in large_sizes(views, size):
        try:
            require_forward(net, part, classes, larger)
        except WeightsError as error:
            rule = f"the view {reads[larger]!r} needs a network that reads images of any size"
            raise WeightsError(rule, error.value, "take it out of tta") from error


def sets_to_try(net: Net, part: ModelConfig, classes: int, tta: list[str]) -> dict[str, list[str]]:
    """The sets of views that ``tta`` lets be chosen among, by name, as far as this network can be fed them."""
    found = {}
    for name, views in sets_among(tta).items():
        try:
            require_larger(net, part, classes, views)
        except WeightsError:
            continue
        found[name] = views
    return found
