"""The names of views and of sets of them; inference/tta.py computes what they name."""

from __future__ import annotations

_PLACES = ("turn90", "turn180", "turn270", "zoom-in", "zoom-out")
_SHIFTS = ("shift-up", "shift-down", "shift-left", "shift-right")
_CROPS = ("crop-top-left", "crop-top-right", "crop-bottom-left", "crop-bottom-right", "crop-centre")
LARGE = {
    "large": 9 / 8,
    "larger": 5 / 4,
}  # views for which the network reads a larger picture, times its size
_PLAIN = (*_PLACES, *_SHIFTS, *_CROPS, *LARGE)

VIEWS = ("identity", "hflip", *_PLAIN, *(f"{name}-hflip" for name in _PLAIN))
ALIASES = {"vflip": "turn180-hflip"}  # the same picture under its usual name
AUTO = "auto"
PLAIN = "none"  # the set of the identity view alone


def _both(*names: str) -> list[str]:
    return [view for name in names for view in (name, "hflip" if name == "identity" else f"{name}-hflip")]


VIEW_SETS = {
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
    "scales": _both("identity", *LARGE),
}


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


def scale_of(view: str) -> float:
    """How many times its own size a network reads under this view."""
    return LARGE.get(view.removesuffix("-hflip"), 1.0)
