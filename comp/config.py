"""Configuration: numbers as people write them, tables laid over one another, and what is read into typed shapes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from comp.errors import InputError, RecipeError, shortened
from comp.files import DEEPEST, TooMuch, Unreadable, parse_toml, read_json


def as_overrides(values: Sequence[str] | Mapping[str, object]) -> list[str]:
    """Overrides as ``key=value`` texts: a sequence as it is, a mapping entry by entry, tables within it by dotted keys.

    Raises
    ------
    InputError
        For a value that TOML has no form for, such as None.
    """
    if not isinstance(values, Mapping):
        return [values] if isinstance(values, str) else list(values)
    texts = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            texts += [f"{key}.{text}" for text in as_overrides(value)]
        else:
            texts.append(f"{key}={_as_toml(key, value)}")
    return texts


def _as_toml(key: str, value: object) -> str:
    """A value as TOML writes it."""
    plain = value.item() if hasattr(value, "item") else value  # numpy's numbers
    if isinstance(plain, bool):
        return str(plain).lower()
    if isinstance(plain, int | float):
        return repr(plain)
    if isinstance(plain, str | Path):
        return json.dumps(str(plain), ensure_ascii=False)
    if isinstance(plain, list | tuple):
        return f"[{', '.join(_as_toml(key, one) for one in plain)}]"
    said = f"{key}: {type(value).__name__} {shortened(repr(value))}"
    raise InputError(
        "an override is a number, a text, true or false, or a list of them", said, "leave it out"
    )


def apply_override(table: dict[str, Any], override: str, named: Sequence[str] = ()) -> None:
    """Sets one value of a table in place; a bare word for a table of ``named`` replaces its name only.

    Raises
    ------
    InputError
        If it is no ``key=value``, names an entry of a list that is not there, or goes too deep.
    """
    key, sign, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not sign or not all(parts):
        raise InputError(
            "`overrides` takes key=value", repr(override), 'for example `overrides=["optimizer.lr=3e-4"]`'
        )
    if len(parts) > DEEPEST:
        raise InputError(
            "`overrides` names a value of the recipe", f"{override!r} goes {len(parts)} deep", "shorten it"
        )
    here: Any = table
    for part in parts[:-1]:
        here = _step_down(here, part, override)
    try:
        value, last = _toml_value(text.strip()), parts[-1]
    except TooMuch as error:
        raise InputError("`overrides` takes a TOML value", f"{key.strip()}: {error}", "correct it") from error
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
            "`overrides` names one of several by its number",
            value,
            'for example `overrides=["model.0.size=160"]`',
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


DIGITS = 18  # of a whole number: what int64 holds whatever they are
_WHOLE = re.compile(r"(-?)0*([0-9]+)")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
LONGEST = 400  # letters of a number; a float64 written out in full has fewer


def whole_number(text: str) -> int | None:
    """The whole number that a text is: ASCII digits, perhaps after a minus, with spaces around; else None.

    Python's own ``int`` takes ``1_0``, ``+1`` and digits of other scripts, and raises on 5,000 digits; here these are
    no numbers, and neither is anything of more than 18 digits.
    """
    found = _WHOLE.fullmatch(text.strip(" \t"))
    if found is None or len(found[2]) > DIGITS:
        return None
    return int(found[1] + found[2])


def finite_number(text: str) -> float | None:
    """The finite number that a text is, in ASCII digits with a point and an exponent perhaps, and spaces around; else None."""
    text = text.strip(" \t")
    if len(text) > LONGEST or not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


class Shape(BaseModel):
    """A JSON table: its named keys are of their kinds, numbers are finite, other keys are left as they are."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


_SAID = {
    "missing": "is missing",
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "list_type": "must be a list",
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
}


def require_shape(kind: Any, value: Any, name: str, remedy: str) -> Any:
    """A value that was read, as ``kind``; InputError with the first thing that is not so, under the file's ``name``."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        told = f"{name}: {where + ' ' if where else ''}{_SAID.get(first['type'], first['msg'])}"
        raise InputError("a file of comp must have its shape", told, remedy) from error
    except (RecursionError, OverflowError) as error:
        told = f"{name}: {type(error).__name__}"
        raise InputError("a file of comp must have its shape", told, remedy) from error


def read_shaped(path: Path, kind: Any, remedy: str) -> Any:
    """Reads a JSON document as ``kind``.

    Raises
    ------
    InputError
        If it is missing, no JSON, or of another shape.
    """
    return require_shape(kind, read_json(path), str(path), remedy)


Model = TypeVar("Model", bound=BaseModel)
MOST_SHOWN = 200  # letters of a value in a mistake's line


class ConfigTable(BaseModel):
    """Frozen, strict, without unknown keys, and with numbers that are numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def deep_merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """A table with another laid over it; tables within tables are laid over one another likewise."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = (
            deep_merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
        )
    return result


def validate(model: type[Model], table: dict[str, Any], name: str) -> Model:
    """A pydantic model from a TOML table; raises RecipeError with one line for each mistake."""
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise RecipeError(
            f"{name} has {error.error_count()} mistake(s)",
            "\n".join(_told(e) for e in error.errors()),
            "correct them",
        ) from None


def _told(error: Any) -> str:
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{path}: no such key"
    text = str(error["msg"]).removeprefix("Value error, ")
    text = text[:1].lower() + text[1:]
    if not path:  # keys that do not fit together: the input is the whole table
        return text
    return f"{path}: {text}, found {shortened(repr(error['input']), MOST_SHOWN)}"
