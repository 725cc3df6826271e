"""What a submission came to, and what is asked and looked at around one, of a file or of a notebook."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comp import events
from comp.errors import CompError, KaggleRefusal
from comp.kaggle import prepare
from comp.kaggle.client import SITE, Kaggle
from comp.runs import ledger
from comp.runs.ledger import SubmissionEntry
from comp.workspace import Workspace


@dataclass(frozen=True, repr=False)
class Submitted:
    """What a submission came to; ``left`` is how many Kaggle still allows today, None where it does not say.

    ``root`` is the workspace, from which the entry's file is named.
    """

    slug: str
    entry: SubmissionEntry
    root: Path
    ledger: Path | None
    scale: float
    left: int | None = None
    dry_run: bool = False
    page: str = ""

    def __repr__(self) -> str:
        scores = (
            f", {kind} {score}"
            for kind in ("public", "private")
            if (score := getattr(self.entry, kind)) is not None
        )
        dry = ", a dry run: nothing was sent" if self.dry_run else f", {self.entry.state}"
        return f"Submitted({self.slug!r}, {self.entry.file!r}{''.join(scores)}{dry})"

    @property
    def file(self) -> Path:
        """The submission, whatever the current folder."""
        return Path(os.path.normpath(self.root / self.entry.file))

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp submit --json``."""
        e = self.entry
        return {
            "slug": self.slug,
            "kaggle": e.kaggle or None,
            "run": e.run or None,
            "file": str(self.file),
            "sha256": e.sha256,
            "rows": e.rows,
            "message": e.message,
            "state": "dry-run" if self.dry_run else e.state,
            "ref": e.ref or None,
            "status": e.status or None,
            "public": e.public,
            "private": e.private,
            "rank": e.rank or None,
            "oof": e.oof,
            "score_scale": self.scale,
            "left_today": self.left,
            "page": self.page or None,
            "ledger": str(self.ledger) if self.ledger else None,
        }


def require_again(entry: SubmissionEntry, dry_run: bool) -> None:
    """A file that the site has already goes there a second time only if somebody says so."""
    score = "" if entry.public is None else f", scored {entry.public:g}"
    if entry.status == "ERROR":
        score = f", which Kaggle could not score ({entry.error or 'it gives no reason'})"
    question = f"this very file was submitted at {entry.at} as {entry.ref}{score}: submit it again?"
    if dry_run:
        events.log(question)
        return
    prepare.require_yes(
        question, False, "`again=True` submits it once more; `comp runs` shows what it scored"
    )


def with_rank(api: Kaggle, workspace: Workspace, slug: str, entry: SubmissionEntry) -> SubmissionEntry:
    """The rank of the team, where the leaderboard or the competition shows it; nothing is said where not."""
    if entry.status != "COMPLETE" or entry.public is None:
        return entry
    rank = 0
    try:
        rows = api.leaderboard(entry.kaggle, 200, patient=False)
        rank = next((row.rank for row in rows if entry.team and row.team == entry.team), 0)
        rank = rank or api.competition(entry.kaggle).rank
    except CompError:
        return entry
    return ledger.update(workspace, slug, entry, rank=rank) if rank else entry


def require_scored(entry: SubmissionEntry) -> None:
    """Refuses with Kaggle's own words where it could not score a submission."""
    if entry.status == "ERROR":
        value = f"submission {entry.ref}: {entry.error or 'it gives no reason'}"
        remedy = (
            f"compare with the sample submission at {SITE}/{entry.kaggle}/data; then submit a corrected file"
        )
        raise KaggleRefusal("Kaggle must be able to score a submission", value, remedy)
