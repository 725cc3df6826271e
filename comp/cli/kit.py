"""Verbs around a competition: new, score, kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comp import console
from comp.cli.options import Allow, AsJson, DataDir, Slug, WorkspaceDir, parse_allow


def new(
    slug: Annotated[str, typer.Argument(metavar="SLUG", help="Lower-case letters, digits and hyphens.")],
    layout: Annotated[
        str, typer.Option("--layout", metavar="folders|csv|array", help="What the raw data looks like.")
    ] = "folders",
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Scaffold a competition folder that works at once on its own made-up sample."""
    from comp.data.competitions.scaffold import scaffold
    from comp.workspace import Workspace

    place = Workspace.find(workspace)
    folder = scaffold(slug, layout, place)
    for name in ("competition.toml", "adapter.py", "baseline.toml", "README.md"):
        console.answer(f"  {place.shown(folder / name)}")
    console.answer(
        f"next: comp data {slug} --sample --data sample/{slug}, then comp check {slug} --data sample/{slug}"
    )
    if json:
        console.document({"slug": slug, "layout": layout, "folder": str(folder)})


def score(
    slug: Slug,
    csv: Annotated[Path, typer.Argument(metavar="CSV", help="The submission to judge.")],
    data: DataDir = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Judge a submission by labels that the competition publishes or held out; every look is counted."""
    from comp import scoring

    found = scoring.score(slug, csv, workspace=workspace, data=data)
    rows = [(one.name, one.rows, one.recall, one.precision, one.f1) for one in found.classes]
    console.table("", ("class", "rows", "recall", "precision", "F1"), rows)
    console.answer(f"{found.metric} {found.score * found.scale:.4f} on {found.rows} rows")
    times = "the first look" if found.looks == 1 else f"look {found.looks}"
    console.answer(f"{times} at the labels of {slug}: choose by OOF scores, these are for the end")
    if json:
        console.document(found.as_json())


def kernel(
    slug: Slug,
    run: Annotated[
        str, typer.Option("--run", metavar="RUN", help="A run id, a prefix of one, or latest.")
    ] = "latest",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FOLDER", help="Where to write. Default: kernels/SLUG/RUN of the workspace."
        ),
    ] = None,
    kaggle: Annotated[
        str | None,
        typer.Option(
            "--kaggle", metavar="SLUG", help="Its name on Kaggle. Default: that of competition.toml."
        ),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="NAME", help="Yours on Kaggle. Default: KAGGLE_USERNAME."),
    ] = None,
    gpu: Annotated[
        bool | None,
        typer.Option("--gpu/--no-gpu", help="Ask for a GPU. Default: if the run was trained on one."),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Predict with the folds there are.")] = False,
    wheels: Annotated[
        list[str] | None,
        typer.Option(
            "--wheels",
            metavar="WHEEL|NAME",
            help="A further wheel that the notebook needs: a file, or a requirement for pip to download.",
        ),
    ] = None,
    allow: Allow = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Write a notebook and its dataset that predict without internet, for a notebooks-only competition of Kaggle."""
    from comp.kernels.folder import kernel as write_kernel
    from comp.kernels.told import show_kernel

    found = write_kernel(
        slug,
        run,
        out=out,
        kaggle=kaggle,
        user=user,
        gpu=gpu,
        partial=partial,
        wheels=wheels or (),
        allow=parse_allow(allow),
        workspace=workspace,
    )
    show_kernel(found)
    if json:
        console.document(found.as_json())
