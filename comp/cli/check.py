"""`comp check`: the checks alone, before anything is trained."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comp import console
from comp.cli.options import (
    Allow,
    AsJson,
    DataDir,
    ExtraFile,
    GroupScenes,
    ManifestFile,
    MetricOfFolder,
    PositiveOfFolder,
    Rare,
    SaveAs,
    TaskOfFolder,
    WorkspaceDir,
    argument,
    option,
    parse_allow,
    slug_or_folder,
)
from comp.errors import InputError
from comp.files import require_output

_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")  # of Markdown

if TYPE_CHECKING:
    from comp.checks.context import Finding
    from comp.checks.runner import CheckResult


def check(
    slug: Annotated[str | None, argument("SLUG", "A competition of `comp list`, unless --images.")] = None,
    folds: Annotated[str | None, option("--folds K|FILE", "How many folds (5), or a CSV of id,fold.")] = None,
    data: DataDir = None,
    manifest: ManifestFile = None,
    extra: ExtraFile = None,
    rare: Rare = None,
    allow: Allow = None,
    thorough: Annotated[
        bool, option("--thorough", "Look closely at every image, for strongly changed copies and scenes.")
    ] = False,
    group_scenes: GroupScenes = False,
    metric: MetricOfFolder = None,
    task: TaskOfFolder = None,
    positive: PositiveOfFolder = None,
    save: SaveAs = None,
    images: Annotated[
        Path | None, option("--images DIR", "A folder of images of your own, with --csv.")
    ] = None,
    csv: Annotated[Path | None, option("--csv FILE", "Its table.")] = None,
    id_column: Annotated[str, option("--id COL", "The column that names the image.")] = "id",
    label_column: Annotated[str, option("--label COL", "The column with its class.")] = "label",
    fold_column: Annotated[
        str | None, option("--fold COL", "The column with your own split, to be judged.")
    ] = None,
    html: Annotated[Path | None, option("--html FILE", "A page with the duplicates side by side.")] = None,
    fix: Annotated[
        Path | None, option("--fix FILE", "Write a proposed manifest: what to drop, group, look at.")
    ] = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Check data for leaks and faults; trains nothing.

    It takes a competition, or your own images and table. The exit code is 1 if an error is found.
    """
    from comp.checks.runner import show_counts
    from comp.cli.next_steps import after_check
    from comp.report import findings_text

    allowed, asked = parse_allow(allow), slug
    html, fix = require_output(html), require_output(fix)
    if html is not None and html == fix:
        raise InputError("--html and --fix are two files", str(html), "name another for one of them")
    if images is not None or csv is not None:
        columns = (id_column, label_column, fold_column)
        closely = (thorough or None, group_scenes)
        checked = _own(slug, folds, images, csv, columns, workspace, allowed, closely)
    elif slug is None:
        raise InputError(
            "check takes a competition, or --images and --csv",
            "neither was named",
            "comp check SLUG; `comp list`",
        )
    else:
        from comp.pipelines.check import check as check_competition

        slug, data = slug_or_folder(slug, data, metric, task, save, workspace, False, positive)
        checked = check_competition(
            slug,
            folds,
            workspace=workspace,
            data=data,
            manifest=manifest,
            extra=extra,
            rare=rare,
            allow=allowed,
            thorough=thorough or None,
            group_scenes=group_scenes,
        )
    checked = replace(checked, findings=[_reworded(f) for f in checked.findings])
    findings_text.table(checked.findings)
    show_counts(checked)
    findings_text.write_pages(checked, html, fix)
    console.print_result(f"{checked.dataset.competition.slug}: {checked.status}")
    after_check(asked, checked.status == "pass")
    if json:
        console.print_json(checked.as_json())
    if checked.status == "fail":
        raise typer.Exit(1)


def _reworded(finding: Finding) -> Finding:
    """A finding whose texts speak of options."""
    wording = console.settings.wording
    return replace(finding, message=wording(finding.message), remedy=wording(finding.remedy))


def _own(
    slug: str | None,
    folds: str | None,
    images: Path | None,
    csv: Path | None,
    columns: tuple[str, str, str | None],
    workspace: Path | None,
    allowed: dict[str, str],
    closely: tuple[bool | None, bool],
) -> CheckResult:
    """The check of people's own images and table."""
    from comp.pipelines.check import parse_folds
    from comp.pipelines.check_table import check_table

    if slug is not None or images is None or csv is None:
        raise InputError(
            "your own images take --images DIR and --csv FILE, without a SLUG",
            "one of them is missing or too many",
            "comp check --help",
        )
    k = None if folds is None else parse_folds(folds)
    if isinstance(k, Path):
        raise InputError(
            "with --images, --folds takes a number", str(k), "your own split goes in with --fold COL"
        )
    return check_table(
        images,
        csv,
        *columns,
        folds=k,
        workspace=workspace,
        allow=allowed,
        thorough=closely[0],
        group_scenes=closely[1],
    )


def checks(json: AsJson = False) -> None:
    """List every check and what it catches.

    Each with its stage (when it runs) and its severity (how grave its findings are).
    """
    import comp.checks.runner  # noqa: F401, it loads them
    from comp.checks.context import in_order

    every = in_order()
    rows = [(one.name, one.stage, one.severity, _LINK.sub(r"\1", one.catches)) for one in every]
    console.table("", ("check", "stage", "severity", "catches"), rows, drop=("stage", "severity"))
    if json:
        console.print_json([one.as_json() for one in every])
