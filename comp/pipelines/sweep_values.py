"""Which overrides name several values to sweep over, and which one value that holds a comma."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from comp.config import as_overrides
from comp.errors import InputError
from comp.files import Unreadable, parse_toml

PREFIX = "sweep-"  # of the id of a sweep
_OPEN, _CLOSE = "[{(", "]})"
_SEED = "seed"  # several seeds are blended by a run


def values_of(text: str) -> list[str]:
    """The values that a text names: parted by commas outside quotes and brackets; one that is TOML as a whole is one.

    ``1e-3,3e-3`` are two, ``[0.5,0.5,0.5]`` and ``"a,b"`` are one, ``["identity"],["hflip"]`` are two.
    """
    text = text.strip()
    if "," not in text or _is_toml(text):
        return [text]
    parts, depth, quote, start = [], 0, "", 0
    for n, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote and text[n - 1] != "\\" else quote
        elif letter in "\"'":
            quote = letter
        elif letter in _OPEN or letter in _CLOSE:
            depth += 1 if letter in _OPEN else -1
        elif letter == "," and depth == 0:
            parts.append(text[start:n].strip())
            start = n + 1
    return [*parts, text[start:].strip()]


def _is_toml(text: str) -> bool:
    try:
        return "value" in parse_toml(f"value = {text}")
    except Unreadable:
        return False


def is_sweep(name: str | None) -> bool:
    """Whether a name is that of a sweep, or the beginning of one."""
    return name is not None and name.startswith(PREFIX)


def has_sweep(overrides: Sequence[str]) -> bool:
    """Whether an override beside the seed names several values."""
    return any(
        key.strip() != _SEED and len(values_of(text)) > 1
        for key, sign, text in (override.partition("=") for override in overrides)
        if sign
    )


def grid_of(
    overrides: Sequence[str], values: Mapping[str, Sequence[object]] | None = None
) -> tuple[dict[str, list[str]], list[str]]:
    """The values of each key that has several, as TOML, and the overrides that name one.

    Raises
    ------
    InputError
        For several seeds, a value that is empty or comes twice, a key that is named twice, and no key at all.
    """
    grid: dict[str, list[str]] = {}
    others: list[str] = []
    for override in overrides:
        key, sign, text = override.partition("=")
        texts = values_of(text) if sign else [text]
        if len(texts) < 2:
            others.append(override)
        else:
            _add(grid, key.strip(), texts)
    for key, each in (values or {}).items():
        laid = [as_overrides({key: one})[0].partition("=")[2] for one in each]
        _add(grid, key, laid)
    twice = sorted(grid.keys() & {one.partition("=")[0].strip() for one in others})
    if twice:
        raise InputError("a key is named once", f"{twice[0]} has several values and one", "drop one of them")
    if not grid:
        raise InputError(
            "a sweep is over several values",
            "none is named",
            'for example `overrides=["optimizer.lr=1e-3,3e-3"]`',
        )
    return grid, others


def _add(grid: dict[str, list[str]], key: str, texts: list[str]) -> None:
    shown = f"{key}={','.join(texts)}"
    if key == _SEED:
        remedy = (
            "several seeds are one run that blends them: leave out the other values, or give each a command"
        )
        raise InputError("a sweep keeps its seed", shown, remedy)
    if key in grid:
        raise InputError("a key is named once", f"{key} has values twice", "name them in one list")
    if not all(texts):
        raise InputError("every value of a sweep is there", f"{shown}: one is empty", "drop the comma")
    if len(set(texts)) < len(texts):
        raise InputError("values of a sweep differ", f"{shown}: one comes twice", "name each once")
    grid[key] = texts
