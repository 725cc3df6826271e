"""``--set key=value``: single values laid over a table read from TOML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from comp.documents import DEEPEST, TooMuch, Unreadable, parse_toml
from comp.errors import InputError
from comp.numerals import whole_number


def lay(table: dict[str, Any], override: str, named: Sequence[str] = ()) -> None:
    """Sets one value of a table in place; a bare word for a table of ``named`` replaces its name only.

    Raises
    ------
    InputError
        If it is no ``key=value``, names an entry of a list that is not there, or goes too deep.
    """
    key, sign, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not sign or not all(parts):
        raise InputError("--set takes key=value", repr(override), "for example --set optimizer.lr=3e-4")
    if len(parts) > DEEPEST:
        raise InputError(
            "--set names a value of the recipe", f"{override!r} goes {len(parts)} deep", "shorten it"
        )
    here: Any = table
    for part in parts[:-1]:
        here = _step_down(here, part, override)
    try:
        value, last = _toml_value(text.strip()), parts[-1]
    except TooMuch as error:
        raise InputError("--set takes a TOML value", f"{key.strip()}: {error}", "correct it") from error
    if isinstance(here, list):
        here[_place(here, last, override)] = value
        return
    known = here.get(last)
    if last in named and isinstance(value, str) and isinstance(known, dict):
        value = {**known, "name": value}  # another optimizer keeps its rate; another model keeps nothing
    here[last] = value


def _step_down(here: Any, part: str, override: str) -> Any:
    """The table or list under a key, made where there is none; a copy, so that no file's table changes."""
    if isinstance(here, list):
        place = _place(here, part, override)
        here[place] = dict(here[place]) if isinstance(here[place], dict) else {}
        return here[place]
    below = here.get(part)
    if isinstance(below, str):  # the shorthand model = "name"
        below = {"name": below}
    here[part] = list(below) if isinstance(below, list) else dict(below) if isinstance(below, dict) else {}
    return here[part]


def _place(entries: list[Any], part: str, override: str) -> int:
    place = whole_number(part)
    if place is None or not 0 <= place < len(entries):
        value = f"{override!r}: there are {len(entries)}"
        raise InputError(
            "--set names one of several by its number", value, "for example --set model.0.size=160"
        )
    return place


def _toml_value(text: str) -> Any:
    try:
        value = parse_toml(f"value = {text}")["value"]
    except TooMuch:
        raise
    except (Unreadable, KeyError):
        return text
    return value if isinstance(value, (bool, int, float, str, list, dict)) else text


def not_finite(value: Any, path: str = "") -> list[str]:
    """The mistakes of numbers in a table that are none: a bare ``nan`` is TOML's, also where a text was meant."""
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{path}: must be a number, not {value}; a text has quotes"]
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [told for key, one in entries for told in not_finite(one, f"{path}.{key}".lstrip("."))]
