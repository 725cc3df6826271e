"""The keys of a recipe as a search sees them: which there are, which numbers they take, which do nothing in a mode."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from comp.config import whole_number
from comp.recipe import NAMED, Recipe

UNSET = "unset"  # as a choice: the key is left out, so that its default holds

_OF_THE_MACHINE = "it is how a machine computes, not what is learned"
NOT_SEARCHED = {
    "mode": "a study has one; make one for each",
    "seed": "a lucky seed is no better recipe",
    "fold_seed": "the folds of a study are fixed",
    **dict.fromkeys(
        (
            "device",
            "threads",
            "jobs",
            "processes",
            "deterministic",
            "precision",
            "channels_last",
            "compile",
            "fold_norms",
            "accumulate",
            "save_minutes",
        ),
        _OF_THE_MACHINE,
    ),
}
_OF_A_PROBE = {"regularize.label_smoothing", "balance.name", "probe.l2", "tta", "tta_mean"}
_NOT_OF_A_PROBE = ("model.head", "model.freeze_bn")


def whole_key(key: str) -> str:
    """A key with ``.name`` where a table is meant by its name: ``optimizer`` is ``optimizer.name``."""
    return f"{key}.name" if key in NAMED else key


def known_keys(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The type of each key by its dotted path: those of every recipe, and of this one's ``stages`` and ``transform``;
    ``dict`` where anything may stand below a key.
    """
    found = dict(_keys_of(Recipe))
    for n, _ in enumerate(recipe.get("stages") or ()):
        stage = Recipe.model_fields["stages"].annotation
        (model,) = (one for one in _parts(stage) if isinstance(one, type) and issubclass(one, BaseModel))
        found |= {f"stages.{n}.{key}": kind for key, kind in _keys_of(model).items()}
    transform = recipe.get("transform")
    if isinstance(transform, list):
        found |= {f"transform.{n}": dict for n in range(len(transform))}
    found.pop("members", None)
    return found


def _keys_of(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= _keys_of(kind, f"{prefix}{name}.")
        elif get_origin(kind) is dict:
            found[f"{prefix}{name}"] = dict
        else:
            below = [one for one in _parts(kind) if isinstance(one, type) and issubclass(one, BaseModel)]
            found[f"{prefix}{name}"] = kind
            if below and get_origin(kind) in (Union, UnionType) and name != "stages":
                found |= _keys_of(below[0], f"{prefix}{name}.")
    return found


def _parts(kind: Any) -> list[Any]:
    """The types that a type is made of."""
    below = [part for one in get_args(kind) if not isinstance(one, str) for part in _parts(one)]
    return below or [kind]


def number_kind(key: str) -> str | None:
    """ "float", "int", or "any" where both may stand; None for a key that takes no numbers."""
    kind = known_keys({}).get(key)
    if kind is None:
        stage = key.split(".")
        kind = _keys_of_stage().get(stage[2]) if stage[0] == "stages" and len(stage) == 3 else None
        if kind is None:
            return "any"
    own = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return "float" if float in own else "int" if int in own else None


def _keys_of_stage() -> dict[str, Any]:
    return {key.removeprefix("stages.0."): kind for key, kind in known_keys({"stages": [{}]}).items()}


def does_nothing(key: str, mode: str, recipe: Mapping[str, Any]) -> bool:
    """Whether a key changes nothing of a model in a mode."""
    if mode == "probe":
        is_of_model = key.startswith("model.") and not key.startswith(_NOT_OF_A_PROBE)
        return not (is_of_model or key in _OF_A_PROBE)
    if mode == "scratch":
        return key.startswith("probe.") or key in ("head_start", "model.weights")
    return key.startswith("probe.") and recipe.get("head_start") is False


def value_of(recipe: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key in a recipe's table, its default where the table is silent; UNSET where it has neither."""
    here: Any = recipe
    for part in key.split("."):
        if isinstance(here, str) and part == "name":
            return here
        place = whole_number(part) if isinstance(here, list) else None
        if isinstance(here, list) and place is not None and 0 <= place < len(here):
            here = here[place]
        elif isinstance(here, Mapping) and part in here:
            here = here[part]
        else:
            return _default_of(key)
    return here


def _default_of(key: str) -> Any:
    here: Any = Recipe()
    for part in key.split("."):
        here = here.get(part) if isinstance(here, dict) else getattr(here, part, None)
    return UNSET if here is None else here


def with_values(recipe: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a recipe's table with other values by dotted key; UNSET leaves a key out."""
    table = copy.deepcopy(dict(recipe))
    for key, value in values.items():
        *above, last = key.split(".")
        here: Any = table
        for part in above:
            here = _step_down(here, part)
        if isinstance(here, list):
            here[int(last)] = value
        elif value == UNSET and isinstance(value, str):
            here.pop(last, None)
        else:
            here[last] = value
    return table


def _step_down(here: Any, part: str) -> Any:
    if isinstance(here, list):
        return here[int(part)]
    below = here.get(part)
    if isinstance(below, str):  # optimizer = "sgd"
        below = {"name": below}
    here[part] = {} if below is None else below
    return here[part]
