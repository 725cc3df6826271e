"""`comp runs`: the runs that there are, with their scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from comp import console
from comp.cli.options import AsJson, WorkspaceDir, Yes, argument, option
from comp.data.competitions.competition import find_competition
from comp.errors import InputError
from comp.workspace import Workspace

YES = "yes"


DELETE, DIFF = "delete", "diff"


def runs(
    words: Annotated[
        list[str] | None,
        argument("SLUG|diff RUN RUN|delete RUN…", "Of one competition only; or what to do with runs."),
    ] = None,
    where: Annotated[
        list[str] | None,
        option(
            "--where CONDITION", 'Only runs of which it holds: "oof>0.9", "optimizer.lr=1e-3" (repeatable).'
        ),
    ] = None,
    sort: Annotated[
        str | None,
        option("--sort KEY", "By a key, smallest first; -KEY is largest first. Default: newest first."),
    ] = None,
    export: Annotated[
        Path | None, option("--export FILE", "Write them, with their recipes, to a .csv or .parquet file.")
    ] = None,
    restore: Annotated[bool, option("--restore", "Bring back the RUNs that were deleted.")] = False,
    force: Annotated[
        bool, option("--force", "With delete: runs too that others need, or that were submitted.")
    ] = False,
    yes: Yes = False,
    final: Annotated[
        bool, typer.Option("--final", help="Of one competition: the two submissions to select.")
    ] = False,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """List, filter, compare and delete runs.

    The newest comes first; those of one competition stand beside the leaderboard as well. A run that is not done says where it is, or where it was stopped: its fold, counted from 1, and its epoch. Deleted runs lie in bin/ of the workspace until `comp clean`.
    """
    verb, names = _verb(words or [], restore)
    if verb:
        if where or sort is not None or export is not None or final:
            raise InputError(
                "--where, --sort, --export and --final are of a list", f"comp runs {verb}", "drop them"
            )
        document = _act(verb, names, workspace, yes, force)
    else:
        if yes or force:
            raise InputError("--yes and --force are of delete", "comp runs", "comp runs delete RUN --force")
        document = _list(names[0] if names else None, where or [], sort, export, final, workspace)
    if json:
        console.print_json(document)


def _verb(words: list[str], restore: bool) -> tuple[str, list[str]]:
    """What is to be done with which runs: "diff", "delete" or "restore"; nothing for a list, of a slug or of all."""
    first, rest = (words[0], words[1:]) if words else ("", [])
    if restore:
        return "restore", rest if first == DELETE else words
    if first == DIFF:
        if len(rest) != 2:
            raise InputError("two runs are compared", f"{len(rest)} are named", "comp runs diff RUN RUN")
        return first, rest
    if first == DELETE:
        return first, rest
    if rest:
        raise InputError("runs are of one competition, or of all", " ".join(words), "comp runs SLUG")
    return "", words


def _act(verb: str, names: list[str], workspace: Path | None, yes: bool, force: bool) -> Any:
    """Compares, deletes or restores runs; what --json says of it."""
    if verb == DIFF:
        from comp.pipelines.run_diff import diff_runs

        found = diff_runs(names[0], names[1], workspace)
        rows = [
            (key, *("–" if one is None else str(one) for one in pair)) for key, pair in found.changed.items()
        ]
        scores = tuple("–" if one is None else f"{one:.4f}" for one in found.oof)
        console.table("", ("", *found.runs), [*rows, ("OOF", *scores)])
        if not rows:
            console.print_result("the two have the same recipe, rows and folds")
        return found.as_json()
    from comp.pipelines.run_bin import delete_runs, restore_runs

    if verb == DELETE:
        done = delete_runs(*names, workspace=workspace, yes=yes, force=force)
        ids = " ".join(done)
        console.print_result(f"deleted: {ids}; comp runs --restore {ids} brings back")
        return {"deleted": done}
    done = restore_runs(*names, workspace=workspace)
    console.print_result(f"restored: {' '.join(done)}")
    return {"restored": done}


def _list(
    slug: str | None,
    where: list[str],
    sort: str | None,
    export: Path | None,
    final: bool,
    workspace: Path | None,
) -> Any:
    """Shows the runs; what --json says of them."""
    from comp.pipelines.listing import list_runs

    ws = Workspace.find(workspace)
    if slug is None and final:
        slug = _only_one(sorted({run.slug for run in list_runs(None, ws.root)} - {""}))
    rows = list_runs(slug, ws.root, where=where, sort=sort, export=export)
    found = [one.as_json() for one in rows]
    _show(ws, found, slug, bool(where))
    if export is not None:
        console.print_result(f"{len(found)} runs written to {ws.shown(export)}")
    if slug is None:
        return found
    from comp.cli.show_submissions import show as show_standing

    board = show_standing(ws, find_competition(slug, ws), final)
    for row in found:
        row["submissions"] = [one for one in board["submissions"] if one["run"] == row["run"]]
    return {"slug": slug, "runs": found, **board} if final else found


def _show(ws: Workspace, found: list[dict[str, Any]], slug: str | None, is_filtered: bool) -> None:
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
        if is_filtered:
            console.print_result(f"no runs{known} of which this holds")
            return
        console.print_result(f"no runs{known} yet: comp run {slug or 'digits'}")
    else:
        console.table("", header, rows, drop=("CSV", "metric", "folds", "model", "competition", "state"))
    for row in found:
        if row["progress"]:
            console.print_result(f"{row['run']}: {row['progress']['text']}")
    if any(row[-1] == YES for row in rows):
        console.print_result(f"CSV: {ws.shown(ws.submissions('COMPETITION'))}/RUN.csv")


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
    refit = [f"of {row['refit']}"] if row["refit"] else []  # its mark says that it is a refit
    return refit + merged + ([f"child of {row['parent']}"] if row["parent"] else []) + pseudo
