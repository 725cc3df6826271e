"""OOF beside the leaderboard as tables and lines."""

from __future__ import annotations

from typing import Any

from comp import console
from comp.competition import Competition
from comp.standing import PUBLIC_SHARE, Final, Standing, final_two, standing, with_news
from comp.workspace import Workspace


def show(place: Workspace, competition: Competition, final: bool) -> dict[str, Any]:
    """Submissions with OOF and leaderboard scores, what they tell, and the two to select if asked; all as a document."""
    left, why = with_news(place, competition)
    found = standing(place, competition)
    if found.judged:
        _table(found)
        _lines(found, competition)
    if left is not None:
        console.answer(f"submissions left today: {left}")
    elif why:
        console.say(f"Kaggle could not be asked: {why}")
    chosen = final_two(place, competition) if final else []
    if final:
        _final(chosen)
    return {
        "submissions": [one.as_json() for one in found.judged],
        "correlation": {"public": found.public, "private": found.private},
        "left_today": left,
        **({"final": [vars(one) for one in chosen]} if final else {}),
    }


def _table(found: Standing) -> None:
    rows = []
    for j in found.judged:
        e = j.entry
        numbers = (j.oof, e.public, j.difference, j.standard_error, e.private)
        state = e.status or e.state
        shown = ["–" if value is None else f"{value:.4f}" for value in numbers]
        rows.append((e.run or e.file, e.at[:16], e.ref or "–", state, *shown))
    header = ("submission", "at", "number", "state", "OOF", "public", "public − OOF", "± 1 se", "private")
    console.table("", header, rows)


def _lines(found: Standing, competition: Competition) -> None:
    for name, value in (("public", found.public), ("private", found.private)):
        if value is not None:
            console.answer(f"correlation of OOF and {name} scores: {value:.3f}")
    far = [j for j in found.judged if j.beyond]
    share = competition.facts.public_share
    for j in far:
        part = f"{share:.0%} of the rows" if share else f"{PUBLIC_SHARE:.0%} of the rows, by guess"
        difference, error = j.difference or 0.0, j.standard_error or 1.0
        console.answer(
            f"warning: {j.entry.run}: public is {difference:+.4f} from OOF, "
            f"{abs(difference) / error:.1f} standard errors of the public part ({part}): "
            "look for leaks between folds, test rows in another order, or a shift of the data"
        )


def _final(chosen: list[Final]) -> None:
    if not chosen:
        console.answer("no full run to select")
    for one in chosen:
        alike = "" if one.correlation is None else f", errors correlate {one.correlation:.3f}"
        sent = "" if one.submitted else "; not submitted yet"
        console.answer(f"select {one.run}: OOF {one.score:.4f}, {one.why}{alike}{sent}")
        if one.same:
            console.answer(f"  the same answers: {', '.join(one.same)}")
    if len(chosen) == 1:
        console.answer("no second to select: no other full run gives other answers")
