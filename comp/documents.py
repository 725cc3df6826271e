"""JSON and TOML documents: written so that every reader takes them, and read so that no content stops the reader."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comp.errors import InputError, RecipeError

DEEPEST = 64  # tables and lists within one another; readers and validators walk them by recursion
LARGEST_TOML = 16 << 20  # bytes; a hundred thousand class names are two million
_INT64 = 2**63


class Unreadable(ValueError):
    """A text that is no document of its format; says why in one line."""


class TooMuch(Unreadable):
    """A document that is one, but nested too deep, or with a whole number too long."""


def json_text(value: Any) -> str:
    """An indented JSON document; what is no number (a score that is undefined) is null, as strict readers want it."""
    return json.dumps(_finite(value), indent=1, ensure_ascii=False, default=str, allow_nan=False)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON document.

    Raises
    ------
    Unreadable
        If it is no JSON or not UTF-8; TooMuch if it is nested more than 64 deep, or has a whole number of thousands of
        digits.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise TooMuch(f"nested more than {DEEPEST} deep") from None
    except ValueError as error:
        raise _unreadable(error) from error
    _require_shallow(value)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """The table of a TOML document.

    Raises
    ------
    Unreadable
        If it is no TOML; TooMuch if it is nested more than 64 deep (dotted keys count), or has a whole number beyond
        64 bits.
    """
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise TooMuch(f"nested more than {DEEPEST} deep") from None
    except ValueError as error:  # a number of 5,000 digits is one that is no TOMLDecodeError
        raise _unreadable(error) from error
    _require_shallow(table)
    for path, value in _leaves(table):
        if type(value) is int and not -_INT64 <= value < _INT64:
            raise TooMuch(f"{path}: a whole number has at most 64 bits, this one has {value.bit_length()}")
    return table


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The table of a TOML file; ``what`` names the kind of file in errors, "a recipe".

    Raises
    ------
    InputError
        If it is not there, or no file.
    RecipeError
        If it is not UTF-8, over 16 MiB, or ``parse_toml`` cannot read it.
    """
    try:
        with path.open("rb") as file:  # no stat: `--recipe <(…)` is a pipe
            content = file.read(LARGEST_TOML + 1)
    except FileNotFoundError as error:
        raise InputError(f"{what} must exist", f"{path} is not there", "check the path") from error
    except IsADirectoryError as error:
        raise InputError(f"{what} is a TOML file", f"{path} is a folder", "check the path") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RecipeError(f"{what} must be readable TOML", f"{path}: {reason}", "check the path") from error
    rule, remedy = f"{what} must be readable TOML", "correct the file"
    if len(content) > LARGEST_TOML:
        raise RecipeError(rule, f"{path} has more than {LARGEST_TOML >> 20} MiB", remedy)
    try:
        return parse_toml(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        value = f"{path}: byte {error.start} ({content[error.start]:#04x}) is not UTF-8"
        raise RecipeError(rule, value, "save it as UTF-8") from error
    except Unreadable as error:
        raise RecipeError(rule, f"{path}: {error}", remedy) from error


def _unreadable(error: ValueError) -> Unreadable:
    if "integer string conversion" in str(error):  # Python's own limit on what `int` reads
        return TooMuch("a whole number of thousands of digits")
    return Unreadable(str(error))


def _require_shallow(value: Any) -> None:
    """Unreadable for a value nested too deep; level by level, so that the depth is no matter here."""
    level, depth = [value], 0
    while level := [one for held in level for one in _held(held) if isinstance(one, dict | list)]:
        depth += 1
        if depth >= DEEPEST:
            raise TooMuch(f"nested more than {DEEPEST} deep")


def _held(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """What stands in the tables and lists of a document, with dotted paths."""
    if not isinstance(value, dict | list):
        yield path, value
        return
    for key, one in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(one, f"{path}.{key}".lstrip("."))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value
