"""Views for test-time augmentation: each with its name and what it does to a batch, and the sets that recipes name.

An image is decoded once and fitted to the squares that its views need: "own" is what validation sees, "wide" the
whole image at 8/7 of the side, from which crops are cut, "large" and "larger" what validation sees at 9/8 and 5/4 of
the side (predicting at a larger size than was trained on: FixRes, Touvron et al. 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ZOOM = 8 / 7  # a centre crop of 7/8 of each side, as models with crop_pct 0.875 know images
SHIFT = 1 / 16  # of the side
OWN, WIDE = "own", "wide"
ALIASES = {"vflip": "turn180-hflip"}  # the same image under its usual name
AUTO = "auto"
PLAIN = "none"  # the set of the identity view alone

Change = Callable[["Tensor", int], "Tensor"]


@dataclass(frozen=True)
class View:
    """One way to see an image.

    ``change(x (B, 3, T, T), size)`` gives (B, 3, S, S) with S = ``size``, what the network reads; T is S but for crops,
    which are cut from ``square`` "wide". ``is_mirrored``: x is flipped left to right before. Where the network reads
    ``scale`` times its size, ``square`` is the view's name and ``change`` gives (B, 3, T, T). ``keeps_features``: what a
    backbone gives under it may be kept for later runs, which only a view that never changes allows.
    """

    change: Change
    square: str = OWN
    scale: float = 1.0
    is_mirrored: bool = False
    keeps_features: bool = False

    def __call__(self, x: Tensor, size: int) -> Tensor:
        return self.change(x.flip(-1) if self.is_mirrored else x, size)


VIEWS: dict[str, View] = {}


def register_view(
    name: str, change: Change, square: str = OWN, scale: float = 1.0, *, keeps_features: bool = False
) -> None:
    """Makes a view known to recipes by its name, and its mirrored twin by ``NAME-hflip`` (see ``View``).

    Raises
    ------
    ValueError
        For a name that a view, a set or another name has, or a square that is none.
    """
    twin = f"{name}-hflip" if name != "identity" else "hflip"
    for one in (name, twin):
        if one in VIEWS or one in ALIASES or one in VIEW_SETS or one == AUTO:
            raise ValueError(f"there is a view or a set {one!r} already")
    if square not in ((OWN, WIDE) if scale == 1.0 else (name,)):
        raise ValueError(
            f'{name!r} is seen in the square "own" or "wide"; one with a scale in its own, {name!r}'
        )
    VIEWS[name] = View(change, square, scale, False, keeps_features)
    VIEWS[twin] = View(change, square, scale, True, keeps_features)


def scale_of(view: str) -> float:
    """How many times its own size a network reads under this view."""
    return VIEWS[view].scale if view in VIEWS else 1.0


def square_of(view: str) -> str:
    """The name of the square that a view is computed from."""
    return VIEWS[view].square


def views_named(tta: str) -> list[str]:
    """The views of a set's name, or the one view of that name; "auto" stays, to be chosen on OOF rows."""
    return VIEW_SETS.get(tta, [tta])


def require_views(views: list[str]) -> list[str]:
    """The views of a recipe by their own names, none twice; "auto" stays as it is, with the sets it chooses among.

    Raises
    ------
    ValueError
        For a view that does not exist, none at all, one that comes twice, or "auto" beside what is no set.
    """
    if views[:1] == [AUTO]:
        own, known = views, f"sets: {', '.join(VIEW_SETS)}"
        unknown = [name for name in own[1:] if name not in VIEW_SETS]
    else:
        own = [ALIASES.get(name, name) for name in views]
        unknown = [name for name in own if name not in VIEWS]
        known = f"{', '.join([*VIEWS, *ALIASES])}; sets: {', '.join([*VIEW_SETS, AUTO])}"
    if unknown:
        raise ValueError(f"unknown view {unknown[0]!r}; there is: {known}")
    if not own or len(set(own)) != len(own):
        raise ValueError("name one view or more, each once")
    return own


def sets_among(tta: list[str]) -> dict[str, list[str]]:
    """The sets that "auto" chooses among: those named after it, or all, the identity view alone always."""
    wanted = tta[1:] or VIEW_SETS
    return {name: views for name, views in VIEW_SETS.items() if name in wanted or name == PLAIN}


def _same(x: Tensor, _: int) -> Tensor:
    return x


def _turn(quarters: int) -> Change:
    return lambda x, _: x.rot90(quarters, (2, 3))


def _zoom_in(x: Tensor, _: int) -> Tensor:
    from torch.nn.functional import interpolate

    height, width = x.shape[2:]
    h, w = max(1, round(height / ZOOM)), max(1, round(width / ZOOM))
    top, left = (height - h) // 2, (width - w) // 2
    part = x[:, :, top : top + h, left : left + w]
    return interpolate(part, size=(height, width), mode="bilinear", align_corners=False)


def _zoom_out(x: Tensor, _: int) -> Tensor:
    """The whole image smaller, with what lies beyond its edges mirrored."""
    from torch.nn.functional import interpolate, pad

    height, width = x.shape[2:]
    down, across = round(height * (ZOOM - 1) / 2), round(width * (ZOOM - 1) / 2)
    wide = pad(x, (across, across, down, down), mode="reflect")
    return interpolate(wide, size=(height, width), mode="bilinear", align_corners=False, antialias=True)


def _shift(down: int, across: int) -> Change:
    """The image moved by a sixteenth of its side, with what lies beyond its edges mirrored."""

    def shifted(x: Tensor, _: int) -> Tensor:
        from torch.nn.functional import pad

        height, width = x.shape[2:]
        h, w = max(1, round(height * SHIFT)), max(1, round(width * SHIFT))
        top, left = h - down * h, w - across * w
        return pad(x, (w, w, h, h), mode="reflect")[:, :, top : top + height, left : left + width]

    return shifted


def _crop(down: float, across: float) -> Change:
    """A square of the network's side from the wide one; ``down`` and ``across`` are 0 at the upper left, 1 at the
    lower right.
    """

    def cropped(x: Tensor, size: int) -> Tensor:
        spare = x.shape[2] - size
        top, left = round(spare * down), round(spare * across)
        return x[:, :, top : top + size, left : left + size]

    return cropped


# what recipes and messages list, in this order
_BUILT_IN: dict[str, tuple[Change, str, float]] = {
    "identity": (_same, OWN, 1.0),
    "turn90": (_turn(1), OWN, 1.0),
    "turn180": (_turn(2), OWN, 1.0),
    "turn270": (_turn(3), OWN, 1.0),
    "zoom-in": (_zoom_in, OWN, 1.0),
    "zoom-out": (_zoom_out, OWN, 1.0),
    "shift-up": (_shift(-1, 0), OWN, 1.0),
    "shift-down": (_shift(1, 0), OWN, 1.0),
    "shift-left": (_shift(0, -1), OWN, 1.0),
    "shift-right": (_shift(0, 1), OWN, 1.0),
    "crop-top-left": (_crop(0, 0), WIDE, 1.0),
    "crop-top-right": (_crop(0, 1), WIDE, 1.0),
    "crop-bottom-left": (_crop(1, 0), WIDE, 1.0),
    "crop-bottom-right": (_crop(1, 1), WIDE, 1.0),
    "crop-centre": (_crop(0.5, 0.5), WIDE, 1.0),
    "large": (_same, "large", 9 / 8),
    "larger": (_same, "larger", 5 / 4),
}
VIEW_SETS: dict[str, list[str]] = {}
for _name, (_change, _square, _scale) in _BUILT_IN.items():
    register_view(_name, _change, _square, _scale, keeps_features=True)


def _both(*names: str) -> list[str]:
    return [view for name in names for view in (name, "hflip" if name == "identity" else f"{name}-hflip")]


_CROPS = ("crop-top-left", "crop-top-right", "crop-bottom-left", "crop-bottom-right", "crop-centre")
_SHIFTS = ("shift-up", "shift-down", "shift-left", "shift-right")
VIEW_SETS.update(
    {
        "none": ["identity"],
        "hflip": _both("identity"),
        "flips": _both("identity", "turn180"),
        "turns": ["identity", "turn90", "turn180", "turn270"],
        "d4": _both("identity", "turn90", "turn180", "turn270"),
        "zoom": _both("identity", "zoom-in", "zoom-out"),
        "shift": _both("identity", *_SHIFTS),
        "zoom-shift": _both("identity", "zoom-in", "zoom-out", *_SHIFTS),
        "five-crops": list(_CROPS),
        "ten-crops": _both(*_CROPS),
        "large": _both("large"),
        "larger": _both("larger"),
        "scales": _both("identity", "large", "larger"),
    }
)
