"""What a run writes down: how long each step took, its inputs, its submission, and the record that ends it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from comp import events
from comp.checks.context import Finding, counts
from comp.checks.runner import CheckResult
from comp.data.competitions.competition import find_competition
from comp.data.dataset import Template
from comp.data.folds import Folds
from comp.data.manifest import Manifest
from comp.data.predictions import Predictions
from comp.data.several_images import by_image
from comp.files import make_folder, write_bytes, write_json, write_text
from comp.metrics import Metric
from comp.pipelines.report import report_of
from comp.pipelines.run_result import RunResult
from comp.recipe import Recipe
from comp.runs import ledger
from comp.runs import run as runs
from comp.runs.result import confusion_csv
from comp.workspace import Workspace

Result = TypeVar("Result", bound=RunResult)


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
            before = self.seconds.get(name, 0.0)  # a step may have several parts
            self.seconds[name] = round(before + time.perf_counter() - started, 3)


def record(run: runs.Run, result: RunResult, findings: list[Finding]) -> None:
    """Writes what the run came to; the record last, and only for a run with all its folds."""
    write_json(run.folder / "findings.json", [f.as_json() for f in findings])
    ledger.keep_entries(result.submission.with_suffix(".json"), result.as_json())
    if "partial" in result.marks:
        runs.finish_partly(run, result.as_json())
        events.log(f"  some folds are left: `comp run {result.slug} --resume {run.id}` trains them")
    else:
        runs.finish(run, result.as_json())


def write_inputs(folder: Path, checked: CheckResult, recipe: Recipe, refit: str = "") -> None:
    """What the run was given: the manifest, the folds, the findings, the resolved recipe; ``refit`` is the run that it is one of."""
    assert checked.folds is not None, "the checks let no run pass without folds"
    _write_rows(folder, checked.dataset.manifest, checked.folds)
    write_json(folder / "findings.json", [f.as_json() for f in checked.findings])
    slug, k = checked.dataset.competition.slug, checked.context.k
    again = f"--refit {refit}" if refit else f"--folds {k} --recipe runs/{folder.name}/recipe.toml"
    header = f"the resolved recipe of run {folder.name}\ncomp run {slug} {again}"
    write_text(folder / "recipe.toml", recipe.to_toml(header))


def write_submission(workspace: Workspace, checked: CheckResult, run: runs.Run, test: Predictions) -> Path:
    """The CSV, validated, under submissions/ and in the run folder, and rows.csv for people to look at."""
    return _write_csv(workspace, checked.dataset.template, checked.dataset.manifest, run, test)


@dataclass(frozen=True, eq=False)
class UntrainedRun:
    """A run whose predictions were made already: a blend or an import. ``truth`` (N,), ``fold`` (N,) and ``probs``
    (N, C) are its OOF rows in the order in which they are scored, ``oof`` those rows in the manifest's.
    """

    manifest: Manifest
    folds: Folds
    template: Template
    metric: Metric
    oof: Predictions
    test: Predictions
    truth: NDArray[Any]
    fold: NDArray[np.int64]
    probs: NDArray[np.float64]


def write_untrained(
    workspace: Workspace,
    started: dict[str, Any],
    new: UntrainedRun,
    findings: list[Finding],
    result_type: Callable[..., Result],
    report: bool = True,
) -> Result:
    """Writes the whole folder of such a run, its CSV and its record; where that fails or is stopped, nothing of it stays.

    ``started`` is what ``started.json`` says; ``result_type`` makes the result of the fields of a RunResult; ``report``
    asks for its page.
    """
    csvs = make_folder(workspace.submissions(started["slug"]))
    run = runs.new_run(workspace, started)
    try:
        return _written(workspace, run, new, findings, result_type, report)
    except BaseException:  # Ctrl-C too: it is quick, and half of one is of no use
        shutil.rmtree(run.folder, ignore_errors=True)
        for suffix in (".csv", ".json"):
            (csvs / f"{run.id}{suffix}").unlink(missing_ok=True)
        raise


def _written(
    workspace: Workspace,
    run: runs.Run,
    new: UntrainedRun,
    findings: list[Finding],
    result_type: Callable[..., Result],
    report: bool,
) -> Result:
    _write_rows(run.folder, new.manifest, new.folds)
    new.oof.save(run.folder / "oof.npz")
    new.test.save(run.folder / "test.npz")
    table = confusion_csv(new.oof.labels, new.truth, new.probs)
    write_text(run.folder / "confusion.csv", table)
    by_fold = (new.fold == k for k in np.unique(new.fold))
    result = result_type(
        run=run.id,
        slug=run.slug,
        metric=new.metric.name,
        direction=new.metric.direction,
        score=new.metric(new.truth, new.probs),
        beside={},
        per_fold=[new.metric(new.truth[here], new.probs[here]) for here in by_fold],
        submission=_write_csv(workspace, new.template, new.manifest, run, new.test),
        findings=counts(findings),
        seconds={},
        folder=run.folder,
        marks=run.marks,
    )
    record(run, result, findings)
    competition = find_competition(run.slug, workspace)
    raw = runs.raw_folder(run, workspace)
    return replace(result, report=report_of(run.id, 0.0, workspace, competition, raw, report))


def _write_rows(folder: Path, manifest: Manifest, folds: Folds) -> None:
    write_text(folder / "manifest.csv", by_image(manifest).to_csv())
    folds.save(folder / "folds.csv")


def _write_csv(
    workspace: Workspace, template: Template, manifest: Manifest, run: runs.Run, test: Predictions
) -> Path:
    from comp.submission import write

    path = workspace.submissions(run.slug) / f"{run.id}.csv"
    write.write(test, template, path)
    write_bytes(run.folder / "submission.csv", path.read_bytes())
    write_text(run.folder / "rows.csv", write.row_table(test, manifest))
    return path
