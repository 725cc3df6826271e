"""What was asked of a search: the recipe, the space, and the options that say which rows there are."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comp.pipelines.tuning.search_space import SearchSpace
from comp.recipe import Recipe


@dataclass(frozen=True)
class RowOptions:
    """Which rows and folds there are, as ``comp.run`` takes it."""

    folds: int | str | Path
    data: str | Path | None
    manifest: str | Path | None
    extra: str | Path | None
    rare: str | None
    allow: dict[str, str] | None
    thorough: bool | None
    group_scenes: bool

    def command(self, slug: str, recipe: str) -> str:
        """The command that runs a recipe on these rows and folds, to be pasted into a shell."""
        words = ["comp", "run", slug, "--folds", str(self.folds)]
        for name in ("data", "manifest", "extra", "rare"):
            value = getattr(self, name)
            words += [f"--{name}", str(value)] if value is not None else []
        for check, reason in (self.allow or {}).items():
            words += ["--allow", f"{check}={reason}"]
        if self.thorough is not None:
            words.append("--thorough" if self.thorough else "--no-thorough")
        words += ["--group-scenes"] if self.group_scenes else []
        return shlex.join([*words, "--recipe", recipe])


@dataclass(frozen=True)
class SearchOrder:
    """The recipe as a table and as it is read, and the space; None of it where what suits the mode is to be searched.

    ``name`` is the recipe's file, for errors.
    """

    table: dict[str, Any]
    recipe: Recipe
    space: SearchSpace | None
    name: str
    rows: RowOptions
