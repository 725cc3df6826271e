"""`comp run`: from a raw folder to a submission."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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
    MetricOfFolder,
    PositiveOfFolder,
    PseudoFile,
    Rare,
    RecipeFile,
    SaveAs,
    SetOption,
    TaskOfFolder,
    Thorough,
    Track,
    WithReport,
    WorkspaceDir,
    argument,
    option,
    parse_allow,
    parse_only,
    slug_of_parts,
    slug_or_folder,
)


def run(
    slug: Annotated[
        str | None, argument("SLUG|DIR", "A competition of `comp list`, or a raw folder.")
    ] = None,
    folds: FoldsOption = "5",
    data: DataDir = None,
    recipe: RecipeFile = None,
    overrides: SetOption = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="Of everything random but the folds.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A smoke run: one epoch, a few rows of each class.")
    ] = False,
    resume: Annotated[
        str | None,
        option(
            "--resume RUN",
            "Go on with an unfinished run; finished folds are kept. With --set: a child of a finished run.",
        ),
    ] = None,
    refit: Annotated[
        str | None,
        option("--refit RUN", "Train the models of a finished run once more, on all labelled rows."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="0,2", help="Train these folds only; --resume trains the rest."),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(
            "--time-limit",
            metavar="11h",
            help="Stop in time, with everything saved and a CSV of the finished folds; with --preset of the whole.",
        ),
    ] = None,
    engine: Engine = None,
    address: Address = None,
    cpus_per_fold: CpusPerFold = None,
    gpus_per_fold: GpusPerFold = None,
    ensemble: Annotated[
        str | None,
        typer.Option(
            "--ensemble",
            metavar="METHOD",
            help="Blend the recipe's models, or the seeds of --set seed=0,1,2, by a method of `comp ensemble`.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="fast|good|best",
            help="Try several backbones and blend what gains, in --time-limit.",
        ),
    ] = None,
    backbones: Annotated[
        str | None,
        typer.Option("--backbones", metavar="A,B", help="With --preset: those to try, by timm's names."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", metavar="any", help="With --preset: as `comp models` takes it.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="With --preset: what would be tried, and the time of each."),
    ] = False,
    manifest: ManifestFile = None,
    extra: ExtraFile = None,
    pseudo: PseudoFile = None,
    rare: Rare = None,
    allow: Allow = None,
    thorough: Thorough = None,
    group_scenes: GroupScenes = False,
    metric: MetricOfFolder = None,
    task: TaskOfFolder = None,
    positive: PositiveOfFolder = None,
    save: SaveAs = None,
    images: Annotated[
        Path | None,
        option("--images DIR", "Without a SLUG: labelled images, with --test, --csv, --template."),
    ] = None,
    test: Annotated[Path | None, option("--test DIR", "With --images: the images to predict.")] = None,
    csv: Annotated[
        Path | None, option("--csv FILE", "With --images: the table of labels; none for class folders.")
    ] = None,
    template: Annotated[
        Path | None, option("--template FILE", "With --images: the sample submission.")
    ] = None,
    track: Track = None,
    report: WithReport = True,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Check, train, predict and write the submission.

    This is the whole chain, folds included. Several values for one key, --set optimizer.lr=1e-3,3e-3, are a sweep: a run for each combination; --resume SWEEP goes on with it. --preset best --time-limit 2h tries backbones and spends the time for the highest honest score; --resume PRESET goes on.
    """
    from comp.cli.next_steps import after_run
    from comp.cli.show_ensemble import show
    from comp.cli.show_preset import Asked, run_with_preset
    from comp.pipelines.run import run as run_pipeline
    from comp.pipelines.sweep_values import has_sweep, is_sweep

    name = slug_of_parts(slug, images, (test, csv, template), save, workspace)
    slug, data = slug_or_folder(name, data, metric, task, save, workspace, positive=positive)
    given: dict[str, Any] = {
        "workspace": workspace,
        "data": data,
        "recipe": recipe,
        "overrides": overrides or [],
        "seed": seed,
        "quick": quick,
        "resume": resume,
        "refit": refit,
        "manifest": manifest,
        "extra": extra,
        "pseudo": pseudo,
        "rare": rare,
        "only": parse_only(only),
        "time_limit": time_limit,
        "engine": engine,
        "address": address,
        "cpus_per_fold": cpus_per_fold,
        "gpus_per_fold": gpus_per_fold,
        "allow": parse_allow(allow),
        "thorough": thorough,
        "group_scenes": group_scenes,
        "ensemble": ensemble,
        "report": report,
        "track": track or (),
    }
    asked = Asked(preset, backbones, licence, dry_run)
    if asked.is_for(resume, slug, workspace):
        document = run_with_preset(slug, folds, given, asked)
    elif has_sweep(given["overrides"]) or is_sweep(resume):
        from comp.cli.show_sweep import run_sweep

        document = run_sweep(slug, folds, given)
    else:
        result = run_pipeline(slug, folds, **given)
        show(result)
        after_run(result, workspace)
        document = result.as_json()
    if json:
        console.print_json(document)
