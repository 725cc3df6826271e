"""What the shell completes: competitions, runs and keys of the recipe. Nothing heavy is imported, and nothing is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import typer

from comp.errors import CompError
from comp.workspace import Workspace

MOST_RUNS = 50  # the newest; a longer list helps nobody


def completion_of(metavar: str) -> Callable[..., list[str]] | None:
    """The function that completes what stands in the help as ``metavar``; None where the shell's own files will do."""
    words = {word.strip("…") for part in metavar.split() for word in part.split("|")}
    sources = [
        source for word, source in (("SLUG", _slugs), ("RUN", _runs), ("KEY=VALUE", _keys)) if word in words
    ]
    if not sources:
        return None

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        named = ctx.params.get("workspace")
        try:
            workspace = Workspace.find(named if isinstance(named, str | Path) else None)
            names = [name for source in sources for name in source(workspace)]
        except (CompError, OSError):
            return []
        return [name for name in names if name.startswith(incomplete)]

    return complete


def _slugs(workspace: Workspace) -> Iterator[str]:
    from comp.data.competitions.competition import find_competitions

    yield from find_competitions(workspace).competitions


def _runs(workspace: Workspace) -> Iterator[str]:
    folders = workspace.runs.iterdir() if workspace.runs.is_dir() else iter(())
    names = sorted((path.name for path in folders if (path / "started.json").is_file()), reverse=True)
    if names:
        yield "latest"
    yield from names[:MOST_RUNS]


def _keys(_: Workspace) -> Iterator[str]:
    """The dotted keys of a recipe, each with its equals sign."""
    from comp.recipe import Recipe

    yield from _of_model(Recipe, "")


def _of_model(model: Any, before: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if name == "members":
            continue
        below = _tables(field.annotation)
        for table in below:
            yield from _of_model(table, f"{before}{name}.")
        yield f"{before}{name}="


def _tables(annotation: Any) -> list[Any]:
    """The tables that a field's type has, itself or within a union."""
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (list, tuple, dict):
        return []
    return [table for part in get_args(annotation) for table in _tables(part)]
