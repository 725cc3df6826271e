"""Verbs that help to choose: lr."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comp import console
from comp.cli.options import AsJson, DataDir, FoldsOption, RecipeFile, SetOption, Slug, WorkspaceDir


def lr(
    slug: Slug,
    low: Annotated[float, typer.Option("--from", metavar="LR", help="The first rate.")] = 1e-6,
    high: Annotated[float, typer.Option("--to", metavar="LR", help="The last rate.")] = 1.0,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Steps of the recipe's batch.")] = 100,
    folds: FoldsOption = "5",
    data: DataDir = None,
    recipe: RecipeFile = None,
    set_: SetOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="PNG", help="Where the plot goes. Default: SLUG-lr.png in the workspace."
        ),
    ] = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Look for a learning rate: train some steps with a growing one, plot the loss and suggest."""
    from comp.lr import lr as find

    found = find(
        slug,
        folds,
        low=low,
        high=high,
        steps=steps,
        workspace=workspace,
        data=data,
        recipe=recipe,
        overrides=set_ or [],
        out=out,
    )
    console.answer(
        f"steepest fall at {found.steepest:.1e}, a tenth of the lowest {found.lowest_over_ten:.1e}"
    )
    console.answer(f"try --set optimizer.lr={found.suggestion:.1e}")
    console.answer(f"plot {found.plot}")
    if json:
        console.document(found.as_json())
