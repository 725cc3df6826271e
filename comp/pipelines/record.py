"""What a run writes down: how long each step took, its inputs, its submission, and the record that ends it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from comp import events
from comp.checks.context import Finding
from comp.checks.runner import CheckResult
from comp.data.predictions import Predictions
from comp.files import write_bytes, write_json, write_text
from comp.recipe import Recipe
from comp.runs import ledger
from comp.runs import run as runs
from comp.runs.result import RunResult
from comp.workspace import Workspace


@dataclass
class StepTimer:
    """Seconds by step."""

    seconds: dict[str, float] = field(default_factory=dict)

    def total(self) -> float:
        return sum(self.seconds.values())

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - started, 3)


def record(one: runs.Run, result: RunResult, findings: list[Finding]) -> None:
    """Writes what the run came to; the record last, and only for a run with all its folds."""
    write_json(one.folder / "findings.json", [f.as_json() for f in findings])
    ledger.keep_entries(result.submission.with_suffix(".json"), result.as_json())
    if "partial" in result.marks:
        runs.finish_partly(one, result.as_json())
        events.log(f"  some folds are left: `comp run {result.slug} --resume {one.id}` trains them")
    else:
        runs.finish(one, result.as_json())


def write_inputs(folder: Path, found: CheckResult, recipe: Recipe) -> None:
    """What the run was given: the manifest, the folds, the findings, the resolved recipe."""
    assert found.folds is not None, "the gate lets no run pass without folds"
    write_text(folder / "manifest.csv", found.evidence.manifest.to_csv())
    found.folds.save(folder / "folds.csv")
    write_json(folder / "findings.json", [f.as_json() for f in found.findings])
    slug, k = found.evidence.competition.slug, found.evidence.k
    header = f"the resolved recipe of run {folder.name}\ncomp run {slug} --folds {k} --recipe runs/{folder.name}/recipe.toml"
    write_text(folder / "recipe.toml", recipe.to_toml(header))


def write_submission(place: Workspace, found: CheckResult, one: runs.Run, test: Predictions) -> Path:
    """The CSV, validated, under submissions/ and in the run folder, and rows.csv for people to look at."""
    from comp.submission import write

    path = place.submissions(one.slug) / f"{one.id}.csv"
    write.write(test, found.evidence.template, path)
    write_bytes(one.folder / "submission.csv", path.read_bytes())
    write_text(one.folder / "rows.csv", write.row_table(test, found.evidence.manifest))
    return path
