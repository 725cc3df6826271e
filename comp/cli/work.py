"""Verbs that work: check, run, predict, validate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comp import console
from comp.cli.options import (
    Allow,
    AsJson,
    DataDir,
    FoldsOption,
    ManifestFile,
    SetOption,
    Slug,
    WorkspaceDir,
    parse_allow,
)


def check(
    slug: Slug,
    folds: FoldsOption = "5",
    data: DataDir = None,
    manifest: ManifestFile = None,
    allow: Allow = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Check the raw data for leaks and faults; exit code 1 if an error is found."""
    from comp import survey

    found = survey.check(
        slug, folds, workspace=workspace, data=data, manifest=manifest, allow=parse_allow(allow)
    )
    rows = [
        (f.severity, f.check, f.count, f.message, ", ".join(f.examples[:3]), f.remedy) for f in found.findings
    ]
    if rows:
        colours = {"error": "red", "warning": "yellow", "info": "dim"}
        header = ("severity", "check", "rows", "what was found", "examples", "remedy")
        console.table("", header, rows, [colours[f.severity] for f in found.findings])
    survey.show_counts(found)
    console.answer(f"{slug}: {found.status}")
    if json:
        console.document(found.as_json())
    if found.status == "fail":
        raise typer.Exit(1)


def run(
    slug: Slug,
    folds: FoldsOption = "5",
    data: DataDir = None,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", metavar="FILE", help="A recipe. Default: the competition's baseline.toml."),
    ] = None,
    set_: SetOption = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="Of everything random but the folds.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A smoke run: one epoch, a few rows of each class.")
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", metavar="RUN", help="Go on with an unfinished run; finished folds are kept."
        ),
    ] = None,
    manifest: ManifestFile = None,
    allow: Allow = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Check, make folds, train, predict and write the submission: the whole chain."""
    from comp.pipeline import run as run_pipeline
    from comp.result import show_result

    result = run_pipeline(
        slug,
        folds,
        workspace=workspace,
        data=data,
        recipe=recipe,
        overrides=set_ or [],
        seed=seed,
        quick=quick,
        resume=resume,
        manifest=manifest,
        allow=parse_allow(allow),
    )
    show_result(result)
    if json:
        console.document(result.as_json())


def predict(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run id, a prefix of one, or latest.")],
    data: DataDir = None,
    template: Annotated[
        Path | None,
        typer.Option("--template", metavar="FILE", help="Another template than the raw folder's."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="CSV", help="Where to write. Default: the run's submission."),
    ] = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Predict the test rows again with a run's checkpoints, or other rows with --data."""
    from comp import repeat

    path, rows = repeat.predict(run, workspace=workspace, data=data, template=template, out=out)
    console.answer(f"{rows} rows -> {path}")
    if json:
        console.document({"run": run, "submission": str(path), "rows": rows})


def validate(
    slug: Slug,
    csv: Annotated[Path, typer.Argument(metavar="CSV", help="The submission to look at.")],
    data: DataDir = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Compare a submission with its template; exit code 1 if it does not answer it."""
    from comp import repeat

    problems, rows = repeat.validate(slug, csv, workspace=workspace, data=data)
    for problem in problems:
        console.answer(f"{problem.rule}: {problem.message}")
    if not problems:
        console.answer(f"{csv}: valid, {rows} rows")
    if json:
        status = "fail" if problems else "pass"
        listed = [
            {"rule": p.rule, "message": p.message, "count": p.count, "rows": list(p.rows)} for p in problems
        ]
        console.document({"slug": slug, "file": str(csv), "status": status, "rows": rows, "problems": listed})
    if problems:
        raise typer.Exit(1)
