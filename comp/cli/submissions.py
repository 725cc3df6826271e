"""Commands on submission CSVs: validate, compare, score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comp import console
from comp.cli.options import AsJson, DataDir, Slug, TemplateFile, WorkspaceDir, argument, option
from comp.errors import shortened

SHOWN = 10


def compare(
    one: Annotated[
        str, argument("CSV|RUN", "A submission, or the run that wrote it (id, prefix or latest).")
    ],
    other: Annotated[str, argument("CSV|RUN", "Another of the same rows.")],
    slug: Annotated[
        str | None, option("--slug SLUG", "Their competition. Default: that of the run that wrote one.")
    ] = None,
    html: Annotated[
        Path | None, option("--html FILE", "A page with the images of the rows that differ.")
    ] = None,
    data: DataDir = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Compare two submissions by id.

    It says how far they agree, and which rows differ.
    """
    from comp.pipelines.compare import compare as compare_files

    found = compare_files(one, other, slug=slug, workspace=workspace, data=data, html=html)
    called = found.called
    rows = [(row.id, row.row, called(row.one), called(row.other)) for row in found.differing[:SHOWN]]
    if rows:
        console.table("", ("id", "row", "first file", "second file"), rows)
        pairs = sorted(((n, a, b) for (a, b), n in found.table.items() if a != b), reverse=True)[:SHOWN]
        console.table(
            "", ("first file", "second file", "rows"), [(called(a), called(b), n) for n, a, b in pairs]
        )
    if found.mean_difference is not None:
        correlation = "–" if found.correlation is None else f"{found.correlation:.4f}"
        console.print_result(f"mean |Δp| {found.mean_difference:.6f}, correlation {correlation}")
    console.print_result(f"{found.agreement:.2%} of {found.rows} rows agree, {len(found.differing)} differ")
    if html is not None:
        console.print_result(f"page {html}")
    if json:
        console.print_json(found.as_json())


def score(
    slug: Slug,
    csv: Annotated[Path, argument("CSV", "The submission to judge.")],
    data: DataDir = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Judge a submission by published labels.

    The labels are those that the competition publishes or held out; every look is counted.
    """
    from comp.pipelines.score import score as score_file

    found = score_file(slug, csv, workspace=workspace, data=data)
    rows = [(one.name, one.rows, one.recall, one.precision, one.f1) for one in found.classes]
    console.table(
        "", ("class", "rows", "recall", "precision", "F1"), rows, drop=("rows", "precision", "recall")
    )
    console.print_result(f"{found.metric} {found.score * found.scale:.4f} on {found.rows} rows")
    times = "the first look" if found.looks == 1 else f"look {found.looks}"
    console.print_result(f"{times} at the labels of {slug}: choose by OOF scores, these are for the end")
    if json:
        console.print_json(found.as_json())


def validate(
    slug: Slug,
    csv: Annotated[Path, argument("CSV", "The submission to look at.")],
    data: DataDir = None,
    template: TemplateFile = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Judge a submission against its template.

    The exit code is 1 if it does not answer it.
    """
    from comp.pipelines.validate import validate as validate_file

    problems, rows = validate_file(slug, csv, workspace=workspace, data=data, template=template)
    for problem in problems:
        console.print_result(shortened(f"{problem.rule}: {problem.message}"))
    if not problems:
        console.print_result(f"{csv}: valid, {rows} rows")
    if json:
        status = "fail" if problems else "pass"
        listed = [
            {"rule": p.rule, "message": p.message, "count": p.count, "rows": list(p.rows)} for p in problems
        ]
        console.print_json(
            {"slug": slug, "file": str(csv), "status": status, "rows": rows, "problems": listed}
        )
    if problems:
        raise typer.Exit(1)
