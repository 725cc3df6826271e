"""OOF beside the leaderboard as tables and lines."""

from __future__ import annotations

import shlex
from typing import Any

from comp import console
from comp.data.competitions.competition import Competition
from comp.kaggle.oof_vs_leaderboard import (
    PUBLIC_SHARE,
    Final,
    SubmissionSummary,
    final_two,
    standing,
    sync_with_kaggle,
)
from comp.kaggle.submitted import Submitted
from comp.workspace import Workspace


def show(workspace: Workspace, competition: Competition, final: bool) -> dict[str, Any]:
    """Submissions with OOF and leaderboard scores, what they tell, and the two to select if asked; all as a document."""
    left, why = sync_with_kaggle(workspace, competition)
    found = standing(workspace, competition)
    if found.judged:
        _table(found)
        _lines(found, competition)
    if left is not None:
        console.print_result(f"submissions left today: {left}")
    elif why:
        console.log(f"Kaggle could not be asked: {why}")
    chosen = final_two(workspace, competition) if final else []
    if final:
        _final(chosen)
    return {
        "submissions": [one.as_json() for one in found.judged],
        "correlation": {"public": found.public, "private": found.private},
        "left_today": left,
        **({"final": [vars(one) for one in chosen]} if final else {}),
    }


def _table(found: SubmissionSummary) -> None:
    rows = []
    for j in found.judged:
        e = j.entry
        numbers = (j.oof, e.public, j.difference, j.standard_error, e.private)
        state = e.status or e.state
        shown = ["–" if value is None else f"{value:.4f}" for value in numbers]
        rows.append((e.run or e.file, e.at[:16], e.ref or "–", state, *shown))
    header = ("submission", "at", "number", "state", "OOF", "public", "public − OOF", "± 1 se", "private")
    drop = ("at", "number", "± 1 se", "private", "state", "public − OOF", "OOF")
    console.table("", header, rows, drop=drop)


def _lines(found: SubmissionSummary, competition: Competition) -> None:
    for name, value in (("public", found.public), ("private", found.private)):
        if value is not None:
            console.print_result(f"correlation of OOF and {name} scores: {value:.3f}")
    far = [j for j in found.judged if j.beyond]
    share = competition.facts.public_share
    for j in far:
        part = f"{share:.0%} of the rows" if share else f"{PUBLIC_SHARE:.0%} of the rows, by guess"
        difference, error = j.difference or 0.0, j.standard_error or 1.0
        console.print_result(
            f"warning: {j.entry.run}: public is {difference:+.4f} from OOF, "
            f"{abs(difference) / error:.1f} standard errors of the public part ({part}): "
            "look for leaks between folds, test rows in another order, or a shift of the data"
        )


def _final(chosen: list[Final]) -> None:
    if not chosen:
        console.print_result("no full run to select")
    for one in chosen:
        alike = "" if one.correlation is None else f", errors correlate {one.correlation:.3f}"
        sent = "" if one.submitted else "; not submitted yet"
        console.print_result(f"select {one.run}: OOF {one.score:.4f}, {one.why}{alike}{sent}")
        if one.same:
            console.print_result(f"  the same answers: {', '.join(one.same)}")
    if len(chosen) == 1:
        console.print_result("no second to select: no other full run gives other answers")


def show_submitted(found: Submitted) -> None:
    """The score, the OOF score on the same scale, the rank, and what is left today; or where to upload by hand."""
    entry = found.entry
    if found.dry_run:
        console.print_result(f"dry run: {_shown(found)}, {entry.rows} rows, is ready; nothing was uploaded")
        _left(found)
        return
    if not entry.kaggle and entry.public is None and entry.private is None:
        console.print_result(f"upload by hand: {_shown(found)}")
        console.print_result(
            f"at: {found.page or 'the page of the competition (competition.toml has no url)'}"
        )
        console.print_result(f"then enter what it says: comp submit {found.slug}{_named(found)} --scored X")
        return
    if entry.ref:
        console.print_result(f"submission {entry.ref}: {entry.status}")
    for name, score in (("public", entry.public), ("private", entry.private)):
        if score is not None:
            console.print_result(f"{name} score {score:g}")
    if entry.oof is not None:
        console.print_result(f"OOF {entry.metric} {entry.oof * found.scale:.6g} on the same scale")
    if entry.rank:
        console.print_result(f"rank {entry.rank} on the public leaderboard")
    if entry.pending:
        console.print_result(f"no score yet: `comp runs {found.slug}` asks again")
    _left(found)


def _left(found: Submitted) -> None:
    if found.left is not None:
        console.print_result(f"submissions left today: {found.left}")


def _named(found: Submitted) -> str:
    return f" --run {found.entry.run}" if found.entry.run else f" --file {shlex.quote(_shown(found))}"


def _shown(found: Submitted) -> str:
    return Workspace(found.root).shown(found.file)
