"""`comp runs`: the runs that there are, with their scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from comp import console
from comp.cli.options import AsJson, WorkspaceDir, argument
from comp.data.competitions.competition import find_competition
from comp.errors import InputError
from comp.workspace import Workspace

YES = "yes"


def runs(
    slug: Annotated[str | None, argument("SLUG", "Of one competition only.")] = None,
    final: Annotated[
        bool, typer.Option("--final", help="Of one competition: the two submissions to select.")
    ] = False,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """List runs with their scores and submissions.

    The newest comes first; those of one competition stand beside the leaderboard as well. A run that is not done says where it is, or where it was stopped: its fold, counted from 1, and its epoch.
    """
    from comp.pipelines.listing import list_runs

    ws = Workspace.find(workspace)
    if slug is None and final:
        slug = _only_one(sorted({run.slug for run in list_runs(None, ws.root)} - {""}))
    found = [one.as_json() for one in list_runs(slug, ws.root)]
    header = ("run", "competition", "state", "model", "folds", "metric", "OOF", "CSV")
    rows = [
        (
            r["run"],
            r["slug"],
            " ".join([r["state"], *r["marks"], *_origin(r)]),
            f"{r['mode'] or '–'} {r['model'] or ''}".rstrip(),
            "–" if r["folds"] is None else r["folds"],
            r["metric"] or "–",
            "–" if r["oof"] is None else r["oof"],
            _csv(ws, r),
        )
        for r in found
    ]
    if not rows:
        known = " of " + slug if slug else ""
        console.print_result(f"no runs{known} yet: comp run {slug or 'digits'}")
    else:
        console.table("", header, rows, drop=("CSV", "metric", "folds", "model", "competition", "state"))
    for row in found:
        if row["progress"]:
            console.print_result(f"{row['run']}: {row['progress']['text']}")
    if any(row[-1] == YES for row in rows):
        console.print_result(f"CSV: {ws.shown(ws.submissions('COMPETITION'))}/RUN.csv")
    board: dict[str, Any] = {}
    if slug is not None:
        from comp.cli.show_submissions import show as show_standing

        board = show_standing(ws, find_competition(slug, ws), final)
        for row in found:
            row["submissions"] = [one for one in board["submissions"] if one["run"] == row["run"]]
    if json:
        console.print_json({"slug": slug, "runs": found, **board} if final else found)


def _csv(workspace: Workspace, run: dict[str, Any]) -> str:
    """Whether a run has a submission; where, if not in its place: a path as long as most would fold the whole table."""
    if not run["submission"]:
        return ""
    path = Path(run["submission"])
    usual = workspace.submissions(run["slug"]) / f"{run['run']}.csv"
    return YES if usual.is_file() else workspace.shown(path)


def _only_one(slugs: list[str]) -> str:
    """The competition that is meant where only one has runs."""
    if len(slugs) != 1:
        value = f"there are runs of {', '.join(slugs)}" if slugs else "there are no runs"
        raise InputError("--final is of one competition", value, "comp runs SLUG --final")
    return slugs[0]


def _origin(row: dict[str, Any]) -> list[str]:
    """Where a run comes from, in words."""
    merged = [f"merged of {len(row['merged'])}"] if row["merged"] else []
    pseudo = [f"pseudo-labels of {row['pseudo']}"] if row["pseudo"] else []
    return merged + ([f"child of {row['parent']}"] if row["parent"] else []) + pseudo
