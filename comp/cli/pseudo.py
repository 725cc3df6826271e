"""The verb pseudo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comp import console
from comp.cli.options import AsJson, WorkspaceDir


def pseudo(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A finished run: an id, a prefix, or latest.")],
    threshold: Annotated[
        float, typer.Option("--threshold", metavar="P", help="How sure a fold's model must be, above 0 to 1.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="CSV", help="Where they go. Default: pseudo-P.csv in the run's folder."
        ),
    ] = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Label test rows for training, each fold by its own model; comp run --pseudo CSV trains with them."""
    from comp.pseudo_labels import pseudo as make
    from comp.pseudo_labels import show_pseudo

    result = make(run, threshold, workspace=workspace, out=out)
    show_pseudo(result)
    if json:
        console.document(result.as_json())
