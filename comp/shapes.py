"""JSON documents read as what they are to be: a list for a table, a missing key, a word for a number are one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from comp.errors import InputError
from comp.workspace import read_json


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
