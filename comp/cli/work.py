"""Verbs that work: check, run, predict, validate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comp import console
from comp.cli.options import (
    Allow,
    AsJson,
    DataDir,
    ExtraFile,
    FoldsOption,
    ManifestFile,
    PseudoFile,
    Rare,
    RecipeFile,
    SetOption,
    Slug,
    TemplateFile,
    WorkspaceDir,
    parse_allow,
    parse_only,
)
from comp.errors import InputError, shortened
from comp.files import require_output

if TYPE_CHECKING:
    from comp.runs.result import RunResult
    from comp.survey import Survey


def check(
    slug: Annotated[
        str | None, typer.Argument(metavar="[SLUG]", help="A competition of `comp list`, unless --images.")
    ] = None,
    folds: Annotated[
        str | None, typer.Option("--folds", metavar="K|FILE", help="How many folds (5), or a CSV of id,fold.")
    ] = None,
    data: DataDir = None,
    manifest: ManifestFile = None,
    extra: ExtraFile = None,
    rare: Rare = "error",
    allow: Allow = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="A folder of images of your own, with --csv."),
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Its table.")] = None,
    id_: Annotated[str, typer.Option("--id", metavar="COL", help="The column that names the image.")] = "id",
    label: Annotated[
        str, typer.Option("--label", metavar="COL", help="The column with its class.")
    ] = "label",
    fold: Annotated[
        str | None,
        typer.Option("--fold", metavar="COL", help="The column with your own split, to be judged."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="A page with the duplicates side by side.")
    ] = None,
    fix: Annotated[
        Path | None,
        typer.Option(
            "--fix", metavar="FILE", help="Write a proposed manifest: what to drop, group, look at."
        ),
    ] = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Check raw data for leaks and faults, or your own images and table; exit code 1 if an error is found."""
    from comp import findings_view

    allowed = parse_allow(allow)
    html, fix = require_output(html), require_output(fix)
    if html is not None and html == fix:
        raise InputError("--html and --fix are two files", str(html), "name another for one of them")
    if images is not None or csv is not None:
        found = _own(slug, folds, images, csv, id_, label, fold, workspace, allowed)
    elif slug is None:
        raise InputError(
            "check takes a competition, or --images and --csv",
            "neither was named",
            "comp check SLUG; `comp list`",
        )
    else:
        from comp.survey import check as check_competition

        found = check_competition(
            slug,
            folds,
            workspace=workspace,
            data=data,
            manifest=manifest,
            extra=extra,
            rare=rare,
            allow=allowed,
        )
    findings_view.table(found.findings)
    findings_view.show_counts(found)
    findings_view.write_pages(found, html, fix)
    console.answer(f"{found.evidence.competition.slug}: {found.status}")
    if json:
        console.document(found.as_json())
    if found.status == "fail":
        raise typer.Exit(1)


def _own(
    slug: str | None,
    folds: str | None,
    images: Path | None,
    csv: Path | None,
    id_: str,
    label: str,
    fold: str | None,
    workspace: Path | None,
    allowed: dict[str, str],
) -> Survey:
    """The check of people's own images and table."""
    from comp.own_table import check_table
    from comp.survey import fold_count

    if slug is not None or images is None or csv is None:
        raise InputError(
            "your own images take --images DIR and --csv FILE, without a SLUG",
            "one of them is missing or too many",
            "comp check --help",
        )
    k = None if folds is None else fold_count(folds)
    if isinstance(k, Path):
        raise InputError(
            "with --images, --folds takes a number", str(k), "your own split goes in with --fold COL"
        )
    return check_table(images, csv, id_, label, fold, folds=k, workspace=workspace, allow=allowed)


def run(
    slug: Slug,
    folds: FoldsOption = "5",
    data: DataDir = None,
    recipe: RecipeFile = None,
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
            "--resume",
            metavar="RUN",
            help="Go on with an unfinished run; finished folds are kept. With --set: a child of a finished run.",
        ),
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
            help="Stop in time, with everything saved and a CSV of the finished folds.",
        ),
    ] = None,
    ensemble: Annotated[
        str | None,
        typer.Option(
            "--ensemble",
            metavar="METHOD",
            help="Blend the recipe's models, or the seeds of --set seed=0,1,2, by a method of `comp ensemble`.",
        ),
    ] = None,
    manifest: ManifestFile = None,
    extra: ExtraFile = None,
    pseudo: PseudoFile = None,
    rare: Rare = "error",
    allow: Allow = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Check, make folds, train, predict and write the submission: the whole chain."""
    from comp.blend_view import show
    from comp.pipeline import run as run_pipeline
    from comp.several import require_whole, run_each

    overrides = set_ or []
    require_whole(overrides, ensemble, only, time_limit, resume)

    def go(overrides: Sequence[str], resume: str | None) -> RunResult:
        return run_pipeline(
            slug,
            folds,
            workspace=workspace,
            data=data,
            recipe=recipe,
            overrides=overrides,
            seed=seed,
            quick=quick,
            resume=resume,
            manifest=manifest,
            extra=extra,
            pseudo=pseudo,
            rare=rare,
            only=parse_only(only),
            time_limit=time_limit,
            allow=parse_allow(allow),
        )

    result = run_each(go, overrides, ensemble, seed, workspace, data, resume)
    show(result)
    if json:
        console.document(result.as_json())


def predict(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run id, a prefix of one, or latest.")],
    data: DataDir = None,
    template: TemplateFile = None,
    partial: Annotated[bool, typer.Option("--partial", help="Predict with the folds there are.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="CSV", help="Where to write. Default: the run's submission."),
    ] = None,
    allow: Allow = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Predict the test rows again with a run's checkpoints, or other rows with --data."""
    from comp import repeat
    from comp.runs.result import say_unread

    found = repeat.predict_again(
        run,
        workspace=workspace,
        data=data,
        template=template,
        partial=partial,
        out=out,
        allow=parse_allow(allow),
    )
    say_unread(found.unread)
    console.answer(f"{found.rows} rows -> {found.path}")
    if json:
        document = {"submission": str(found.path), "rows": found.rows, "unread": found.unread}
        console.document({"run": run, **document})


def validate(
    slug: Slug,
    csv: Annotated[Path, typer.Argument(metavar="CSV", help="The submission to look at.")],
    data: DataDir = None,
    template: TemplateFile = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Compare a submission with its template; exit code 1 if it does not answer it."""
    from comp import repeat

    problems, rows = repeat.validate(slug, csv, workspace=workspace, data=data, template=template)
    for problem in problems:
        console.answer(shortened(f"{problem.rule}: {problem.message}"))
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
