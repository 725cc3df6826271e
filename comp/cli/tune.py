"""Verbs that help to choose: lr, bench, tune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from comp import console
from comp.cli.options import (
    Address,
    Allow,
    AsJson,
    CpusPerFold,
    DataDir,
    Engine,
    ExtraFile,
    FoldsOption,
    GpusPerFold,
    GroupScenes,
    ManifestFile,
    Rare,
    RecipeFile,
    SetOption,
    Slug,
    Thorough,
    WorkspaceDir,
    argument,
    option,
    parse_allow,
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


def tune(
    slug: Slug,
    trials: Annotated[
        int,
        option("--trials N", "Of the study in all, those of earlier commands and other processes included."),
    ] = 50,
    folds: FoldsOption = "5",
    time_limit: Annotated[
        str | None, option("--time-limit 2h", "Stop in time; the same command goes on.")
    ] = None,
    study: Annotated[str, option("--study NAME", "Which study: it goes on, or is joined.")] = "default",
    storage: Annotated[
        str | None,
        option("--storage URL", "A database for several machines. Default: an SQLite file of the study."),
    ] = None,
    data: DataDir = None,
    recipe: RecipeFile = None,
    search: Annotated[
        Path | None,
        option(
            "--search FILE", "A file with [search]. Default: the recipe's, the competition's, or the mode's."
        ),
    ] = None,
    overrides: SetOption = None,
    seed: Annotated[int | None, option("--seed N", "Of training and of what is tried.")] = None,
    manifest: ManifestFile = None,
    extra: ExtraFile = None,
    rare: Rare = None,
    allow: Allow = None,
    thorough: Thorough = None,
    group_scenes: GroupScenes = False,
    engine: Engine = None,
    address: Address = None,
    cpus_per_fold: CpusPerFold = None,
    gpus_per_fold: GpusPerFold = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Search for better hyper-parameters.

    Each trial trains all folds, or is given up on the way; the best recipe is written for `comp run`.
    """
    from comp.cli.next_steps import after_tune
    from comp.pipelines.tune import tune as search_for

    found = search_for(
        slug,
        trials,
        folds,
        time_limit=time_limit,
        study=study,
        storage=storage,
        workspace=workspace,
        data=data,
        recipe=recipe,
        search=search,
        overrides=overrides or [],
        seed=seed,
        manifest=manifest,
        extra=extra,
        rare=rare,
        allow=parse_allow(allow),
        thorough=thorough,
        group_scenes=group_scenes,
        engine=engine,
        address=address,
        cpus_per_fold=cpus_per_fold,
        gpus_per_fold=gpus_per_fold,
    )
    states = ", ".join(f"{count} {state}" for state, count in found.counts.items())
    console.print_result(f"{found.trials} trials ({states})")
    console.print_result(f"best: trial {found.trial}, OOF {found.metric} {found.score:.4f}")
    if found.nested is not None:
        console.print_result(f"nested {found.nested.score:.4f}, baseline {found.baseline:.4f}")
    console.print_result(f"the search {found.verdict}")
    console.print_result(f"recipe {shown(found.recipe)}")
    console.print_result(f"page {shown(found.report)}")
    after_tune(found.command)
    if json:
        console.print_json(found.as_json())
