"""Verbs on runs, submissions and what a competition's site says of them: runs, submit, leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from comp import console
from comp.cli.options import Allow, AsJson, DataDir, Slug, WorkspaceDir, parse_allow
from comp.data.competitions import registry
from comp.errors import InputError
from comp.workspace import Workspace

YES = "yes"


def runs(
    slug: Annotated[str | None, typer.Argument(metavar="[SLUG]", help="Of one competition only.")] = None,
    final: Annotated[
        bool, typer.Option("--final", help="Of one competition: the two submissions to select.")
    ] = False,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Runs, newest first, with their OOF scores and submissions; of one competition also beside the leaderboard."""
    from comp.runs import run as records

    place = Workspace.find(workspace)
    if slug is None and final:
        slug = _only_one(sorted({run.slug for run in records.all_runs(place)} - {""}))
    if slug is not None:
        competition = registry.competition(slug, place)
    every = records.all_runs(place, slug)
    if slug is not None:  # a damaged one may not even say whose it is
        every += [run for run in records.all_runs(place, "") if run.damage]
    found = [run.summary() for run in every]
    for run in every:
        if run.damage:
            console.warn_once(f"run {run.id} is damaged and left out: {run.damage}")
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
            _csv(place, r),
        )
        for r in found
    ]
    console.table("", header, rows)
    if any(row[-1] == YES for row in rows):
        console.answer(f"CSV: {place.shown(place.submissions('COMPETITION'))}/RUN.csv")
    board: dict[str, Any] = {}
    if slug is not None:
        from comp.standing_view import show as show_standing

        board = show_standing(place, competition, final)
        for row in found:
            row["submissions"] = [one for one in board["submissions"] if one["run"] == row["run"]]
    if json:
        console.document({"slug": slug, "runs": found, **board} if final else found)


def _csv(place: Workspace, run: dict[str, Any]) -> str:
    """Whether a run has a submission; where, if not in its place: a path as long as most would fold the whole table."""
    if not run["submission"]:
        return ""
    path = Path(run["submission"])
    usual = place.submissions(run["slug"]) / f"{run['run']}.csv"
    return YES if usual.is_file() else place.shown(path)


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


def submit(
    slug: Slug,
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="Default: the newest full run on real data.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="CSV", help="A submission that is no run's.")
    ] = None,
    message: Annotated[
        str, typer.Option("-m", "--message", metavar="TEXT", help="Stands beside it on the site.")
    ] = "",
    kaggle: Annotated[
        str,
        typer.Option("--kaggle", metavar="SLUG", help="The name on Kaggle. Default: competition.toml's."),
    ] = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="For the score.")] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look at everything, upload and write nothing.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Upload a file that was submitted before.")] = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", help="Yes to the questions: this run, also a quick, sample or partial one."),
    ] = False,
    scored: Annotated[
        float | None,
        typer.Option(
            "--scored", metavar="X", help="Enter what the site said, on its scale; uploads nothing."
        ),
    ] = None,
    final: Annotated[
        float | None,
        typer.Option("--final", metavar="Y", help="Enter the score on the private part; uploads nothing."),
    ] = None,
    allow: Allow = None,
    data: DataDir = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Validate a submission, upload it to Kaggle, wait for its score and write the ledger; or enter a score by hand."""
    from comp.standing_view import show_submitted
    from comp.submitting import submit as send

    if scored is not None or final is not None:
        from comp.entering import enter

        if dry_run or again:
            raise InputError(
                "a score is entered, nothing is uploaded",
                f"{'--dry-run' if dry_run else '--again'} beside {'--final' if scored is None else '--scored'}",
                "drop one of them",
            )
        found = enter(slug, scored, final, run=run, file=file, workspace=workspace)
    else:
        found = send(
            slug,
            run=run,
            file=file,
            message=message,
            kaggle=kaggle,
            wait=wait,
            dry_run=dry_run,
            again=again,
            yes=yes,
            allow=parse_allow(allow),
            data=data,
            workspace=workspace,
        )
    show_submitted(found)
    if json:
        console.document(found.as_json())


def leaderboard(
    slug: Slug,
    rows: Annotated[int, typer.Option("--rows", metavar="N", help="How many of the first.")] = 20,
    kaggle: Annotated[
        str,
        typer.Option("--kaggle", metavar="SLUG", help="The name on Kaggle. Default: competition.toml's."),
    ] = "",
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """The first rows of a competition's public leaderboard on Kaggle."""
    from comp.entering import first_rows

    if rows < 1:
        raise InputError("--rows is 1 or more", str(rows), "for example --rows 20")
    found = first_rows(slug, rows, kaggle, workspace)
    console.table(
        "",
        ("rank", "team", "score", "date"),
        [(r.rank, r.team, r.score, str(r.at or "")[:16]) for r in found],
    )
    if json:
        listed = [
            {"rank": r.rank, "team": r.team, "score": r.score, "date": str(r.at) if r.at else None}
            for r in found
        ]
        console.document({"slug": slug, "leaderboard": listed})
