"""What a study searches: the [search] table of a recipe, read strictly, or the ranges that suit the recipe's mode."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from comp.errors import RecipeError, counted, near_names
from comp.files import read_toml
from comp.pipelines.tuning.recipe_keys import (
    NOT_SEARCHED,
    UNSET,
    does_nothing,
    known_keys,
    number_kind,
    value_of,
    whole_key,
    with_values,
)
from comp.recipe import SEARCH, Recipe, from_table

ENTRY = ("low", "high", "log", "step", "choices", "when")
_REMEDY = "correct them"


@dataclass(frozen=True)
class Parameter:
    """A recipe key that is searched: a range of numbers (``low`` to ``high``, both included; ``step`` of whole numbers and of others
    where it is set) or ``choices``.

    ``when`` has the values of other keys under which it is searched at all; elsewhere the recipe's own value holds.
    """

    key: str
    kind: Literal["float", "int", "choice"]
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def holds(self, value: Any) -> bool:
        """Whether a value is one that the search could come to."""
        if self.kind == "choice":
            return any(same(value, one) for one in self.choices)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not self.low <= value <= self.high
        ):
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return math.isclose(steps, round(steps), abs_tol=1e-9)

    def extremes(self) -> list[Any]:
        """The values that must be allowed for all to be: both ends of a range, every choice."""
        if self.kind == "choice":
            return list(self.choices)
        return [int(self.low), int(self.high)] if self.kind == "int" else [float(self.low), float(self.high)]

    def as_json(self) -> dict[str, Any]:
        """What is searched, as the study keeps it."""
        when = {key: list(values) for key, values in self.when.items()}
        if self.kind == "choice":
            told: dict[str, Any] = {"choices": list(self.choices)}
        else:
            told = {"low": self.low, "high": self.high, "log": self.log, "step": self.step}
        return {"kind": self.kind, **told, **({"when": when} if when else {})}


@dataclass(frozen=True)
class SearchSpace:
    """The parameters of a study, those that others depend on before these; ``origin`` says where they come from."""

    parameters: tuple[Parameter, ...]
    origin: str

    def is_searched(self, parameter: Parameter, values: Mapping[str, Any], recipe: Mapping[str, Any]) -> bool:
        """Whether a parameter counts beside ``values`` of those before it, over the recipe's table."""
        return all(
            any(same(values.get(key, value_of(recipe, key)), one) for one in allowed)
            for key, allowed in parameter.when.items()
        )

    def as_json(self) -> dict[str, Any]:
        """The whole space by key."""
        return {one.key: one.as_json() for one in self.parameters}

    def corners(self, recipe: Mapping[str, Any]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
        """Every extreme value of each parameter, with the recipe's table that has it and what it depends on."""
        by_key = {one.key: one for one in self.parameters}

        def context(parameter: Parameter) -> dict[str, Any]:
            values: dict[str, Any] = {}
            for key, allowed in parameter.when.items():
                if key in by_key:
                    values |= {**context(by_key[key]), key: allowed[0]}
            return values

        for one in self.parameters:
            for value in one.extremes():
                yield one.key, value, with_values(recipe, {**context(one), one.key: value})


def same(one: Any, other: Any) -> bool:
    """Whether two values of a recipe are the same; true is not 1, a whole number is the same as itself with a point."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def read_search_file(path: Path) -> Any:
    """The [search] of a file that holds nothing else.

    Raises
    ------
    RecipeError, InputError
        Where the file cannot be read, or has another table.
    """
    table = read_toml(path, "a search space")
    wrong = [
        f"{key}: only [{SEARCH}] stands in a search file; a recipe is `recipe`"
        for key in table
        if key != SEARCH
    ]
    if wrong or SEARCH not in table:
        raise RecipeError(
            f"{path} holds [{SEARCH}] alone", "\n".join(wrong) or f"there is no [{SEARCH}]", _REMEDY
        )
    return table[SEARCH]


def read_space(
    search: Any,
    recipe: dict[str, Any],
    mode: str,
    name: str,
    also: Callable[[dict[str, Any]], list[str]] = lambda table: [],
) -> SearchSpace:
    """The space that a [search] table says, over the recipe of a ``recipe`` table that is right by itself.

    Parameters
    ----------
    search : dict
        By dotted key, or tables in tables: ``{low, high, log, step, when}``, ``{choices, when}``, or a list of choices.
    recipe : dict
        The recipe's table, with overrides.
    mode : "probe", "scratch" or "finetune"
    name : str
        The file, for errors.
    also : callable
        Further mistakes of a recipe's table, as ``comp.recipe.load`` takes it.

    Raises
    ------
    RecipeError
        With one line for every mistake: keys that no recipe has or that do nothing in the mode, values out of the recipe's
        bounds, conditions that cannot hold.
    """
    mistakes: list[str] = []
    if not isinstance(search, dict) or not search:
        raise _told(
            name,
            [
                f'{SEARCH}: must be a table of keys, such as "optimizer.lr" = {{ low = 1e-5, high = 1e-3, log = true }}'
            ],
        )
    found: dict[str, Parameter] = {}
    for key, entry in _flat(search):
        key = whole_key(key)
        wrong = _key_mistakes(key, mode, recipe)
        if key in found:
            wrong.append("is searched twice")
        parameter = None if wrong else _parameter(key, entry, wrong)
        mistakes += [f"{SEARCH}.{key}: {one}" for one in wrong]
        if parameter is not None:
            found[key] = parameter
    mistakes += _when_mistakes(found, recipe, partial=bool(mistakes))
    ordered = _ordered(found, mistakes)
    space = SearchSpace(tuple(ordered), name)
    if not mistakes:
        mistakes += _corner_mistakes(space, recipe, also)
    if mistakes:
        raise _told(name, mistakes)
    return space


def require_allowed(space: SearchSpace, recipe: dict[str, Any], judge: Callable[[Recipe], object]) -> None:
    """RecipeError where ``judge`` raises one for a recipe at an extreme of the space: a loss that the task does not have."""
    mistakes = []
    for key, value, table in space.corners(recipe):
        try:
            judge(from_table(table, space.origin, lambda _: []))
        except RecipeError as error:
            mistakes.append(f"{SEARCH}.{key}: {shown(value)}: {error.rule}")
    if mistakes:
        raise _told(space.origin, list(dict.fromkeys(mistakes)))


def shown(value: Any) -> str:
    """A value as a recipe writes it, numbers in at most four digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _told(name: str, mistakes: Sequence[str]) -> RecipeError:
    return RecipeError(
        f"[{SEARCH}] of {name} has {counted(len(mistakes), 'mistake')}", "\n".join(mistakes), _REMEDY
    )


def _flat(search: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Entries by dotted key: ``optimizer.lr = {…}`` without quotes is a table in a table."""
    for key, entry in search.items():
        if isinstance(entry, dict) and entry and not set(entry) & set(ENTRY):
            yield from _flat(entry, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", entry


def _key_mistakes(key: str, mode: str, recipe: Mapping[str, Any]) -> list[str]:
    if key in NOT_SEARCHED:
        return [f"is not searched: {NOT_SEARCHED[key]}"]
    known = known_keys(recipe)
    if key not in known and not any(key.startswith(f"{free}.") for free in known if known[free] is dict):
        near = near_names(key, known) or near_names(key.rpartition(".")[2], known)
        near = near or [one for one in known if one.rpartition(".")[2] == key.rpartition(".")[2]][:3]
        return ["no recipe has such a key" + (f"; did you mean {' or '.join(near)}?" if near else "")]
    if does_nothing(key, mode, recipe):
        return [f'does nothing in mode = "{mode}"']
    return []


def _parameter(key: str, entry: Any, wrong: list[str]) -> Parameter | None:
    """The parameter of an entry; None where there is something ``wrong``, which is added to."""
    if isinstance(entry, list):
        entry = {"choices": entry}
    if not isinstance(entry, dict):
        wrong.append(f"must be {{ low, high }} or {{ choices }}, found {shown(entry)}")
        return None
    for name in entry:
        if name not in ENTRY:
            near = near_names(str(name), ENTRY)
            wrong.append(f"{name}: no such key" + (f"; did you mean {near[0]}?" if near else ""))
    when = _when(entry.get("when", {}), wrong)
    if "choices" in entry:
        if extra := sorted({"low", "high", "log", "step"} & set(entry)):
            wrong.append(f"choices has no {', '.join(extra)}")
        choices = entry["choices"]
        if not isinstance(choices, list) or not choices:
            wrong.append("choices: must be a list of values")
        elif any(same(a, b) for n, a in enumerate(choices) for b in choices[:n]):
            wrong.append("choices: a value comes twice")
        return None if wrong else Parameter(key, "choice", choices=tuple(choices), when=when)
    return _range(key, entry, when, wrong)


def _range(
    key: str, entry: dict[str, Any], when: Mapping[str, tuple[Any, ...]], wrong: list[str]
) -> Parameter | None:
    kind, log = number_kind(key), entry.get("log", False)
    step: Any = entry.get("step")
    ends: list[Any] = [entry.get("low"), entry.get("high")]
    for name, value in zip(("low", "high"), ends, strict=True):
        if value is None:
            wrong.append(f"{name}: is missing")
        elif not _is_number(value):
            wrong.append(f"{name}: must be a number, found {shown(value)}")
    if not isinstance(log, bool):
        wrong.append(f"log: must be true or false, found {shown(log)}")
    if step is not None and (not _is_number(step) or step <= 0):
        wrong.append(f"step: must be a number above zero, found {shown(step)}")
    if kind is None:
        wrong.append("takes no numbers: give choices")
    if wrong:
        return None
    low, high = ends
    if kind == "any":
        kind = "int" if all(isinstance(one, int) for one in (low, high, step or 1)) else "float"
    if kind == "int" and not all(isinstance(one, int) for one in (low, high, step or 1)):
        wrong.append("low, high and step: must be whole numbers")
    if not low < high:
        wrong.append(f"low must be below high, found {shown(low)} and {shown(high)}")
    if log and low <= 0:
        wrong.append(f"log: low must be above zero, found {shown(low)}")
    if log and step is not None:
        wrong.append("a range has log or step, not both")
    if step is not None and not wrong and (high - low) / step < 1:
        wrong.append(f"step: {shown(step)} is larger than the range")
    if wrong:
        return None
    if step is not None:  # the last value that steps come to
        high = low + math.floor((high - low) / step + 1e-9) * step
    as_kind = int if kind == "int" else float
    return Parameter(key, kind, as_kind(low), as_kind(high), step, log, when=when)  # type: ignore[arg-type]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _when(table: Any, wrong: list[str]) -> dict[str, tuple[Any, ...]]:
    """The conditions of an entry: values by dotted key, one or a list of them."""
    if not isinstance(table, dict):
        wrong.append(f'when: must be a table such as {{ "optimizer.name" = "sgd" }}, found {shown(table)}')
        return {}
    found = {}
    for key, values in _leaves(table):
        allowed = values if isinstance(values, list) else [values]
        if not allowed:
            wrong.append(f"when.{key}: names no value")
        found[whole_key(key)] = tuple(allowed)
    return found


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _when_mistakes(found: Mapping[str, Parameter], recipe: Mapping[str, Any], partial: bool) -> list[str]:
    """Conditions on keys that there are not, and those that can never hold."""
    mistakes, known = [], known_keys(recipe)
    for one in found.values():
        for key, allowed in one.when.items():
            place = f"{SEARCH}.{one.key}: when.{key}"
            if key in found:
                missing = [value for value in allowed if not found[key].holds(value)]
                if missing:
                    mistakes.append(f"{place}: {', '.join(map(shown, missing))} is not searched there")
            elif key not in known:
                near = near_names(key, known)
                mistakes.append(
                    f"{place}: no recipe has such a key" + (f"; did you mean {near[0]}?" if near else "")
                )
            elif not partial and not any(same(value_of(recipe, key), value) for value in allowed):
                own = shown(value_of(recipe, key))
                mistakes.append(f"{place}: never holds, it is {own} and not searched")
    return mistakes


def _ordered(found: Mapping[str, Parameter], mistakes: list[str]) -> list[Parameter]:
    """The parameters with those first that others depend on; a circle is a mistake."""
    ordered: list[Parameter] = []
    left = dict(found)
    while left:
        ready = [one for one in left.values() if not set(one.when) & set(left)]
        if not ready:
            mistakes.append(f"{SEARCH}: conditions go in a circle: {', '.join(left)}")
            return ordered
        ordered += ready
        for one in ready:
            del left[one.key]
    return ordered


def _corner_mistakes(
    space: SearchSpace, recipe: Mapping[str, Any], also: Callable[[dict[str, Any]], list[str]]
) -> list[str]:
    """What a recipe would say of the values at the ends of each range, and of each choice."""
    mistakes = []
    for key, value, table in space.corners(recipe):
        try:
            from_table(table, "", also)
        except RecipeError as error:
            said = shown(UNSET) if value == UNSET else shown(value)
            mistakes += [f"{SEARCH}.{key}: {said}: {line}" for line in error.value.splitlines()]
    return list(dict.fromkeys(mistakes))
