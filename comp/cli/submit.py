"""Commands on the site of a competition: submit, leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from comp import console
from comp.cli.options import Allow, AsJson, DataDir, Slug, WorkspaceDir, option, parse_allow
from comp.errors import InputError


def submit(
    slug: Slug,
    run: Annotated[str | None, option("--run RUN", "Default: the newest full run on real data.")] = None,
    file: Annotated[Path | None, option("--file CSV", "A submission that is no run's.")] = None,
    kernel: Annotated[
        Path | None,
        option("--kernel FOLDER", "A folder of comp kernel: push it, wait for its run, submit that version."),
    ] = None,
    message: Annotated[str, option("-m --message TEXT", "Stands beside it on the site.")] = "",
    kaggle: Annotated[str, option("--kaggle SLUG", "The name on Kaggle. Default: competition.toml's.")] = "",
    wait: Annotated[bool, option("--wait/--no-wait", "For the score.")] = True,
    dry_run: Annotated[bool, option("--dry-run", "Look at everything, upload and write nothing.")] = False,
    again: Annotated[bool, option("--again", "Upload a file that was submitted before.")] = False,
    yes: Annotated[
        bool, option("--yes", "Yes to the questions: this run, also a quick, sample or partial one.")
    ] = False,
    scored: Annotated[
        float | None, option("--scored X", "Enter what the site said, on its scale; uploads nothing.")
    ] = None,
    final: Annotated[
        float | None, option("--final Y", "Enter the score on the private part; uploads nothing.")
    ] = None,
    allow: Allow = None,
    data: DataDir = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Upload a submission to Kaggle; wait for its score.

    It is validated first, and its score goes into the ledger; --scored enters a score by hand.
    """
    from comp.cli.show_submissions import show_submitted
    from comp.kaggle.submit import submit as send

    if scored is not None or final is not None:
        from comp.kaggle.manual_score import enter

        if kernel is not None:
            raise InputError(
                "a score is entered for a run or a file", "--kernel is given", "name its run: --run RUN"
            )
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
            kernel=kernel,
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
        console.print_json(found.as_json())


def leaderboard(
    slug: Slug,
    rows: Annotated[int, option("--rows N", "How many of the first.")] = 20,
    kaggle: Annotated[str, option("--kaggle SLUG", "The name on Kaggle. Default: competition.toml's.")] = "",
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Show the top of the public leaderboard on Kaggle."""
    from comp.kaggle.manual_score import first_rows

    if rows < 1:
        raise InputError("--rows is 1 or more", str(rows), "for example --rows 20")
    found = first_rows(slug, rows, kaggle, workspace)
    console.table(
        "",
        ("rank", "team", "score", "date"),
        [(r.rank, r.team, r.score, str(r.at or "")[:16]) for r in found],
        drop=("date",),
    )
    if json:
        listed = [
            {"rank": r.rank, "team": r.team, "score": r.score, "date": str(r.at) if r.at else None}
            for r in found
        ]
        console.print_json({"slug": slug, "leaderboard": listed})
