"""What is different in the recipes of two runs, and in what they were made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comp.pipelines.run_filter import flat
from comp.runs import run as runs
from comp.runs.contents import recipe_of
from comp.workspace import Workspace

_FACTS = ("slug", "mode", "model", "folds", "metric", "parent", "refit", "marks")
_PRINTS = {"train_sha256": "train rows", "test_sha256": "test rows", "folds_sha256": "division into folds"}


@dataclass(frozen=True)
class RunDifference:
    """Two runs, their OOF scores, and the values that differ by key: of the first and of the second, None where unset."""

    runs: tuple[str, str]
    oof: tuple[float | None, float | None]
    changed: dict[str, tuple[Any, Any]]

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp runs diff --json``."""
        return {
            "runs": list(self.runs),
            "oof": list(self.oof),
            "changed": {key: list(pair) for key, pair in self.changed.items()},
        }


def diff_runs(one: str, other: str, workspace: str | Path | None = None) -> RunDifference:
    """What two runs differ in: their resolved recipes by dotted keys, competition, folds, rows and marks.

    Raises
    ------
    InputError
        For a run that there is not, or whose recipe cannot be read.
    """
    ws = Workspace.find(workspace)
    a, b = runs.find_run(ws, one), runs.find_run(ws, other)
    tables = [_facts(run) for run in (a, b)]
    keys = list(dict.fromkeys([*tables[0], *tables[1]]))
    changed = {
        key: (tables[0].get(key), tables[1].get(key))
        for key in keys
        if tables[0].get(key) != tables[1].get(key)
    }
    for key, what in _PRINTS.items():
        if a.started.get(key) != b.started.get(key):
            changed[what] = tuple(str(run.started.get(key) or "unknown")[:8] for run in (a, b))  # type: ignore[assignment]
    scores = tuple(run.record.get("oof", {}).get("score") for run in (a, b))
    return RunDifference((a.id, b.id), (scores[0], scores[1]), changed)


def _facts(run: runs.Run) -> dict[str, Any]:
    """What a run was made from, by key; the recipe's keys as overrides name them."""
    known = {key: run.summary()[key] for key in _FACTS}
    parts = run.started.get("parts")
    if parts or not (run.has(runs.RECIPE) or (run.folder / runs.RECIPE).is_file()):
        return {**known, **({"parts": parts} if parts else {})}
    table = recipe_of(run).as_table()
    models = table["model"]
    if isinstance(models, list):  # each by its number, as overrides name them
        table = {**table, "model": {str(n): one for n, one in enumerate(models)}}
    return {**known, **flat(table)}
