"""Conditions on runs (``oof>0.9``, ``optimizer.lr<=1e-3``) and their order, by what stands in their rows and recipes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from comp.config import finite_number
from comp.errors import CompError, InputError, UnknownName
from comp.recipe import Recipe
from comp.runs.contents import recipe_of
from comp.runs.run import Run, read_run

_CONDITION = re.compile(r"\s*([\w.-]+)\s*(<=|>=|!=|==|=|<|>|~)(.*)", re.DOTALL)
_NUMBERS = ("oof", "folds", "seconds")
_TEXTS = ("run", "slug", "state", "mode", "model", "parent", "refit", "pseudo", "metric", "date")
_LISTS = ("marks", "merged")
COLUMNS = (*_TEXTS, *_NUMBERS, *_LISTS)
NONE = "none"  # stands for a value that a run does not have
_EXAMPLE = 'for example "oof>0.9", "mode=probe", "optimizer.lr<=1e-3" or "model~resnet"'


@dataclass(frozen=True)
class Condition:
    """``key operator value``; of a recipe of several models one that fulfils it is enough."""

    key: str
    operator: str
    value: str

    def holds(self, values: Sequence[Any]) -> bool:
        """Whether it holds of a run whose key has these values; without any only ``!=`` does, and ``=none``."""
        known = [value for value in values if value is not None]
        if self.value == NONE and self.operator in ("=", "!="):
            return (not known) is (self.operator == "=")
        if self.operator == "!=":
            return not any(_same(value, self.value) for value in known)
        return any(self._holds_of(value) for value in known)

    def _holds_of(self, value: Any) -> bool:
        if self.operator == "=":
            return _same(value, self.value)
        if self.operator == "~":
            return self.value.casefold() in _word(value).casefold()
        if isinstance(value, str):
            return _ordered(self.operator, value, self.value)
        number = finite_number(self.value)
        if number is None or isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return not math.isnan(value) and _ordered(self.operator, value, number)


def _ordered(operator: str, one: Any, other: Any) -> bool:
    outcomes = {"<": one < other, ">": one > other, "<=": one <= other, ">=": one >= other}
    return bool(outcomes[operator])


def _same(value: Any, text: str) -> bool:
    if isinstance(value, list) and text in map(_word, value):
        return True
    if isinstance(value, int | float) and not isinstance(value, bool):
        return finite_number(text) == value
    return _word(value) == text


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_where(texts: Sequence[str]) -> list[Condition]:
    """The conditions that texts say.

    Raises
    ------
    InputError
        For a text that is none, a key that no run has, a number that is none, and an order of what has none.
    """
    return [_parsed(text) for text in ([texts] if isinstance(texts, str) else texts)]


def _parsed(text: str) -> Condition:
    found = _CONDITION.fullmatch(text)
    if found is None or not found[3].strip():
        raise InputError(
            "a condition is KEY, an operator of = != < > <= >= ~, and a value", repr(text), _EXAMPLE
        )
    key, operator, value = found[1], "=" if found[2] == "==" else found[2], found[3].strip().strip("\"'")
    kind = _kind_of(key)
    is_number = finite_number(value) is not None
    if (
        operator not in ("!=", "~")
        and not is_number
        and kind == "number"
        and not (value == NONE and operator == "=")
    ):
        raise InputError(f"{key} is a number", repr(text), f'for example "{key}{operator}0.9"')
    if operator in ("<", ">", "<=", ">=") and kind not in ("number", "text"):
        raise InputError(f"{key} has no order", repr(text), f'"{key}={value}" or "{key}~{value}"')
    return Condition(key, operator, value)


def _kind_of(key: str) -> str:
    """What a key's values are: "number", "text" or "other"; UnknownName for one that no run has."""
    if key in _NUMBERS:
        return "number"
    if key in _TEXTS:
        return "text"
    if key in _LISTS:
        return "other"
    kinds = dict(recipe_keys())
    if key in kinds:
        return kinds[key]
    if any(key.startswith(f"{table}.") for table, kind in kinds.items() if kind == "table"):
        return "text"  # what a table of free keys holds is known by the run alone: any value may be asked for
    raise UnknownName("key of a run", key, [*COLUMNS, *kinds], _EXAMPLE)


def recipe_keys(model: type[BaseModel] = Recipe, before: str = "") -> Iterator[tuple[str, str]]:
    """The dotted keys of a recipe, each with what its values are: "number", "text", "table" of free keys, or "other"."""
    for name, field in model.model_fields.items():
        if name == "members":
            continue
        kinds = [field.annotation, *get_args(field.annotation)]
        table = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        if table is not None:
            yield from recipe_keys(table, f"{before}{name}.")
        elif any(str(kind).startswith("dict") for kind in kinds[:1]):
            yield f"{before}{name}", "table"
        elif int in kinds or float in kinds:
            yield f"{before}{name}", "number"
        else:
            yield f"{before}{name}", "other" if bool in kinds else "text"


def flat(table: dict[str, Any], before: str = "") -> dict[str, Any]:
    """A table's values by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{before}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found


def recipes_of(run: Run) -> list[dict[str, Any]]:
    """The resolved recipe of each model of a run, by dotted keys; none where it has none that can be read."""
    try:
        return [flat(one.as_table()) for one in recipe_of(run).each]
    except CompError:
        return []


class RunValues:
    """What conditions and orders ask of a run: its ``RunRow``, when it began, how long it took, its recipe when it is asked for."""

    def __init__(self, row: Any, folder: Path) -> None:
        run, self.run_row = read_run(folder), row
        done = run.record or run.partial
        seconds = [s for s in (done.get("seconds") or {}).values() if isinstance(s, int | float)]
        self.row: dict[str, Any] = {
            **row.as_json(),
            "date": run.started.get("started"),
            "seconds": float(sum(seconds)) if done else None,
        }
        self._run = run
        self._recipes: list[dict[str, Any]] | None = None

    def recipes(self) -> list[dict[str, Any]]:
        """The recipe of each model."""
        if self._recipes is None:
            self._recipes = recipes_of(self._run)
        return self._recipes

    def of(self, key: str) -> list[Any]:
        """The values of a key: one, or of a recipe's key one of each model."""
        return [self.row[key]] if key in COLUMNS else [one.get(key) for one in self.recipes()]


def chosen(every: Sequence[RunValues], where: Sequence[str] = (), sort: str | None = None) -> list[RunValues]:
    """The runs of which all conditions hold, in the order asked for: by a key, smallest first, or with a minus before it
    largest first; those without a value come last, and the order given decides between equals.

    Raises
    ------
    InputError
        As ``parse_where``; for a key that no run has.
    """
    conditions = parse_where(where)
    found = [one for one in every if all(c.holds(one.of(c.key)) for c in conditions)]
    if sort is None:
        return found
    key = sort.removeprefix("-")
    _kind_of(key)
    place: Callable[[RunValues], Any] = lambda one: _place(one.of(key))  # noqa: E731
    known = [one for one in found if place(one) is not None]
    missing = [one for one in found if place(one) is None]
    return [*sorted(known, key=place, reverse=sort.startswith("-")), *missing]


def _place(values: Sequence[Any]) -> tuple[int, float, str] | None:
    """Where a value stands among others: numbers before texts; None for none."""
    value = next((one for one in values if one is not None), None)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, int | float):
        return (0, float(value), "")
    return (1, 0.0, " ".join(map(str, value)) if isinstance(value, list) else str(value))
