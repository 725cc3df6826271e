"""The names in a recipe that nobody knows, before anything is loaded by them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from comp.data.augment.policies import check_transform
from comp.data.competitions.competition import Competition
from comp.errors import InputError
from comp.models.net import load_models, require_model
from comp.recipe import member_tables
from comp.training.optim import require_optimizer


def recipe_mistakes(competition: Competition, table: dict[str, Any]) -> list[str]:
    """Names in a recipe's table that timm, torch or albumentations do not have, told by their dotted paths."""
    load_models(competition.file("models.py"))
    several = isinstance(table.get("model"), list)
    found: list[str] = []
    for path, attempt, n in ((*one, n) for n, m in enumerate(member_tables(table)) for one in _names_in(m)):
        try:
            attempt()
        except InputError as error:
            place = f"model.{n}.{path.removeprefix('model.')}" if several else path
            found.append(f"{place}: {error.rule}, {error.value}")
    return found


def _names_in(table: dict[str, Any]) -> list[tuple[str, Callable[[], object]]]:
    """The names of a model's table, by their dotted paths, each with what raises if nobody knows it."""
    tried: list[tuple[str, Callable[[], object]]] = []
    for key, require in (("model", require_model), ("optimizer", require_optimizer)):
        part = table.get(key, {})
        name = part if isinstance(part, str) else part.get("name") if isinstance(part, dict) else None
        if isinstance(name, str):
            tried.append((f"{key}.name", partial(require, name)))
    balance = table.get("balance")
    copied = balance.get("transform") if isinstance(balance, dict) else None
    for path, transform in (("transform", table.get("transform")), ("balance.transform", copied)):
        if isinstance(transform, str) or (
            isinstance(transform, list) and all(isinstance(t, dict) for t in transform)
        ):
            tried.append((path, partial(check_transform, transform)))
    return tried
