"""The mirror images and turns among what a training transform makes of an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

OFTEN = 0.1  # of the images; a network learns what it sees less often as an exception
_HALF, _QUARTERS = "turn180", ("turn90", "turn180", "turn270")
_ALL = (*_QUARTERS, "hflip", *(f"{turn}-hflip" for turn in _QUARTERS))
_BY_NAME = {
    "HorizontalFlip": ("hflip",),
    "VerticalFlip": ("turn180-hflip",),
    "Transpose": ("turn90-hflip",),
    "RandomRotate90": _QUARTERS,
    "D4": _ALL,
    "SquareSymmetry": _ALL,
}


@dataclass(frozen=True)
class Symmetry:
    """A transform's name, and the views (as in docs/views.md) that it shows beside the image as it is."""

    name: str
    views: tuple[str, ...]


def symmetries(transforms: Sequence[Any]) -> list[Symmetry]:
    """What a list of albumentations mirrors or turns by 45° and more in at least a tenth of the images.

    Parts of OneOf, SomeOf and Sequential are looked into, each with its own chance.
    """
    return list(dict.fromkeys(_among(transforms, 1.0)))


def _among(transforms: Sequence[Any], chance: float) -> Iterator[Symmetry]:
    for one in transforms:
        often = chance * float(one.p)
        parts = [part for part in getattr(one, "transforms", ()) if hasattr(part, "p")]
        if parts:
            yield from _parts(one, parts, often)
        elif often >= OFTEN and (views := _views(one)):
            yield Symmetry(type(one).__name__, views)


def _parts(one: Any, parts: list[Any], chance: float) -> Iterator[Symmetry]:
    """The symmetries of a composition's parts, of which one, ``n``, or all are applied."""
    kind = type(one).__name__
    if kind in ("OneOf", "OneOrOther"):  # the chances of its parts are weights
        chance /= sum(float(part.p) for part in parts) or 1.0
    elif kind in ("SomeOf", "RandomOrder"):
        chance *= min(1.0, float(one.n) / max(1, len(parts)))
    return _among(parts, chance)


def _views(one: Any) -> tuple[str, ...]:
    """The views that one albumentation shows; none where it turns by less than 45°."""
    name = type(one).__name__
    if name in _BY_NAME:
        return _BY_NAME[name]
    limit = getattr(one, "rotate", None) if hasattr(one, "rotate") else getattr(one, "limit", None)
    if "Rotate" not in name and name not in ("Affine", "RandomAffine"):
        return ()
    if not isinstance(limit, tuple | list) or not all(isinstance(v, int | float) for v in limit):
        return ()
    furthest = max(abs(float(v)) for v in limit)
    if furthest < 45:
        return ()
    return _QUARTERS if furthest >= 135 else ("turn90", "turn270")
