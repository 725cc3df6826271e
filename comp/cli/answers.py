"""Verbs about answers that exist already: import, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comp import console
from comp.cli.options import Allow, AsJson, DataDir, FoldsOption, Slug, WorkspaceDir, parse_allow

SHOWN = 10


def import_(
    slug: Slug,
    oof: Annotated[
        Path,
        typer.Option(
            "--oof", metavar="FILE", help="OOF predictions: a CSV of id and a column a class, or .npz."
        ),
    ],
    test: Annotated[Path, typer.Option("--test", metavar="FILE", help="Test predictions, likewise.")],
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="TEXT", help="What the model is called. Default: the OOF file."),
    ] = None,
    folds: FoldsOption = "5",
    fold_column: Annotated[
        str | None,
        typer.Option("--fold-column", metavar="COL", help="The column of the OOF file with each row's fold."),
    ] = None,
    normalise: Annotated[bool, typer.Option("--normalise", help="Divide each row by its sum.")] = False,
    data: DataDir = None,
    allow: Allow = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Make a run of other people's OOF and test predictions: scored, submitted and blended as any other."""
    from comp.importing import import_ as import_predictions
    from comp.runs.result import show_result

    result = import_predictions(
        slug,
        oof,
        test,
        name=name,
        folds=folds,
        fold_column=fold_column,
        normalise=normalise,
        workspace=workspace,
        data=data,
        allow=parse_allow(allow),
    )
    show_result(result)
    if json:
        console.document(result.as_json())


def compare(
    one: Annotated[Path, typer.Argument(metavar="CSV", help="A submission.")],
    other: Annotated[Path, typer.Argument(metavar="CSV", help="Another of the same rows.")],
    slug: Annotated[
        str | None,
        typer.Option(
            "--slug", metavar="SLUG", help="Their competition. Default: that of the run that wrote one."
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="A page with the pictures of the rows that differ."),
    ] = None,
    data: DataDir = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Compare two submissions by id: how far they agree, and which rows differ."""
    from comp.comparing import compare as compare_files

    found = compare_files(one, other, slug=slug, workspace=workspace, data=data, html=html)
    rows = [(row.id, row.row, row.one, row.other) for row in found.differing[:SHOWN]]
    if rows:
        console.table("", ("id", "row", "first file", "second file"), rows)
        pairs = sorted(((n, a, b) for (a, b), n in found.table.items() if a != b), reverse=True)[:SHOWN]
        console.table("", ("first file", "second file", "rows"), [(a, b, n) for n, a, b in pairs])
    if found.mean_difference is not None:
        correlation = "–" if found.correlation is None else f"{found.correlation:.4f}"
        console.answer(f"mean |Δp| {found.mean_difference:.6f}, correlation {correlation}")
    console.answer(f"{found.agreement:.2%} of {found.rows} rows agree, {len(found.differing)} differ")
    if html is not None:
        console.answer(f"page {html}")
    if json:
        console.document(found.as_json())
