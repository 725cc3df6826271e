"""`comp kernel`: an offline notebook for a competition that is submitted by one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comp import console
from comp.cli.options import Allow, AsJson, Slug, WorkspaceDir, parse_allow


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
    from comp.cli.show_kernel import show_kernel
    from comp.kaggle.kernel.build import kernel as write_kernel

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
        console.print_json(found.as_json())
