"""What a submission came to, in lines."""

from __future__ import annotations

import shlex

from comp import console
from comp.submitting import Submitted
from comp.workspace import Workspace


def show(found: Submitted) -> None:
    """The score, the OOF score on the same scale, the rank, and what is left today; or where to upload by hand."""
    entry = found.entry
    if found.dry_run:
        console.answer(f"dry run: {_shown(found)}, {entry.rows} rows, is ready; nothing was uploaded")
        _left(found)
        return
    if not entry.kaggle and entry.public is None and entry.private is None:
        console.answer(f"upload by hand: {_shown(found)}")
        console.answer(f"at: {found.page or 'the page of the competition (competition.toml has no url)'}")
        console.answer(f"then enter what it says: comp submit {found.slug}{_named(found)} --scored X")
        return
    if entry.ref:
        console.answer(f"submission {entry.ref}: {entry.status}")
    for name, score in (("public", entry.public), ("private", entry.private)):
        if score is not None:
            console.answer(f"{name} score {score:g}")
    if entry.oof is not None:
        console.answer(f"OOF {entry.metric} {entry.oof * found.scale:.6g} on the same scale")
    if entry.rank:
        console.answer(f"rank {entry.rank} on the public leaderboard")
    if entry.pending:
        console.answer(f"no score yet: `comp runs {found.slug}` asks again")
    _left(found)


def _left(found: Submitted) -> None:
    if found.left is not None:
        console.answer(f"submissions left today: {found.left}")


def _named(found: Submitted) -> str:
    return f" --run {found.entry.run}" if found.entry.run else f" --file {shlex.quote(_shown(found))}"


def _shown(found: Submitted) -> str:
    return Workspace(found.root).shown(found.file)
