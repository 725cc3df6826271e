"""What was asked of a search: the recipe, the space, and the options that say which rows there are."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comp.errors import InputError, shortened
from comp.pipelines.tuning.search_space import SearchSpace
from comp.recipe import Recipe

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


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


def require_optuna() -> None:
    """InputError where the extra is not installed."""
    try:
        import optuna
    except ImportError as error:
        remedy = 'pip install "imgcomp[tune]"'
        raise InputError("a search needs optuna", str(error), remedy) from error
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # what it would say is said here


def require_name(study: str) -> str:
    """InputError for a name of a study that is none of a folder."""
    if not _NAME.fullmatch(study) or study.endswith("."):
        value = repr(shortened(study, 80))
        raise InputError("`study` is a name of letters, digits, . _ and -", value, "for example `study=lr`")
    return study
