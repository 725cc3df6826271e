"""Views for test-time augmentation, computed on the device from one decoded batch (see ``comp.views``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from comp.data.images.preprocess import Preprocess
from comp.errors import WeightsError
from comp.models.net import Net, require_forward
from comp.recipe_schema import ModelConfig
from comp.views import OWN, VIEWS, WIDE, ZOOM, scale_of, sets_among, square_of

if TYPE_CHECKING:
    from torch import Tensor


def squares_of(views: Sequence[str], preprocess: Preprocess) -> dict[str, Preprocess]:
    """The squares that some views need, each as the preprocessing that fits an image to it."""
    names = dict.fromkeys(square_of(view) for view in views)
    scales = {square_of(view): scale_of(view) for view in views}
    return {name: _fitted(name, preprocess, scales[name]) for name in names}


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
    return VIEWS[name](square, size)


def _fitted(square: str, preprocess: Preprocess, scale: float) -> Preprocess:
    if square == WIDE:
        return replace(preprocess, size=round(preprocess.size * ZOOM), crop_pct=1.0)
    return replace(preprocess, size=large_size(preprocess.size, scale if square != OWN else 1.0))


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
