"""Verbs that help to choose: lr, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from comp import console
from comp.cli.options import (
    AsJson,
    DataDir,
    FoldsOption,
    RecipeFile,
    SetOption,
    Slug,
    WorkspaceDir,
    argument,
    option,
)
from comp.workspace import shown


def lr(
    slug: Slug,
    low: Annotated[float, option("--from LR", "The first rate.")] = 1e-6,
    high: Annotated[float, option("--to LR", "The last rate.")] = 1.0,
    steps: Annotated[int, option("--steps N", "Steps of the recipe's batch.")] = 100,
    folds: FoldsOption = "5",
    data: DataDir = None,
    recipe: RecipeFile = None,
    overrides: SetOption = None,
    out: Annotated[
        Path | None, option("--out PNG", "Where the plot goes. Default: SLUG-lr.png in the workspace.")
    ] = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Look for a good learning rate.

    It trains some steps with a growing rate, plots the loss and suggests one.
    """
    from comp.pipelines.find_lr import lr as find

    found = find(
        slug,
        folds,
        low=low,
        high=high,
        steps=steps,
        workspace=workspace,
        data=data,
        recipe=recipe,
        overrides=overrides or [],
        out=out,
    )
    console.print_result(
        f"steepest fall at {found.steepest:.1e}, a tenth of the lowest {found.lowest_over_ten:.1e}"
    )
    if found.edge == "lowest":
        console.print_result(
            "the loss was lowest within the first steps: try other rates (--from, --to) or more --steps"
        )
    elif found.edge == "highest":
        console.print_result(
            f"the loss still fell at the highest rate: look further with --to {high * 10:.0e}"
        )
    console.print_result(f"try --set optimizer.lr={found.suggestion:.1e}")
    console.print_result(f"plot {shown(found.plot)}")
    if json:
        console.print_json(found.as_json())


def bench(
    slug: Annotated[str, argument("SLUG", "A competition whose images are used.")] = "digits",
    seconds: Annotated[float, option("--seconds S", "For each part.")] = 5.0,
    data: DataDir = None,
    recipe: RecipeFile = None,
    overrides: SetOption = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Measure this machine, and say what limits it.

    Decoding, transforms, feeding and steps are measured alone and together.
    """
    from comp.pipelines.benchmark import bench as measure

    found = measure(
        slug, seconds=seconds, workspace=workspace, data=data, recipe=recipe, overrides=overrides or []
    )
    layout = ", channels last" if found.channels_last else ""
    threads = "1 thread" if found.threads == 1 else f"{found.threads} threads"
    title = f"{found.model} at {found.size} pixels, batch {found.batch}, {found.device} in {found.precision}{layout}, {threads}"
    rows = [
        ("decode", found.decode, "files to pixels"),
        ("first pass", found.first_pass, "files to varied batches"),
        ("feed", found.feed, "decoded images to varied batches"),
        ("step", found.step, "one batch trained on again and again"),
        ("fed step", found.fed_step, f"{found.fed_step / found.step:.0%} of the step alone"),
    ]
    console.table(
        title,
        ["part", "images/s", ""],
        [(name, round(rate) if rate >= 10 else rate, told) for name, rate, told in rows],
    )
    console.print_result(f"the limit is the {found.limit}: {_advice(found.limit)}")
    if json:
        console.print_json(found.as_json())


def _advice(limit: str) -> str:
    if limit == "step":
        return (
            "a smaller model.size, or stages that train fewer blocks, makes epochs shorter; loading does not"
        )
    return "a cheaper transform or more cores make epochs shorter; the network waits for its images"
