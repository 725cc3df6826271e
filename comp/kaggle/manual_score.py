"""What a site said, entered by hand; and what a leaderboard shows."""

from __future__ import annotations

import hashlib
import os
from math import isfinite
from pathlib import Path

from comp.data.competitions.competition import Competition
from comp.errors import CompError, InputError
from comp.kaggle import prepare
from comp.kaggle.client import Kaggle
from comp.kaggle.permissions import with_hint
from comp.kaggle.submitted import Submitted
from comp.kaggle.types import LeaderboardRow
from comp.runs import ledger
from comp.runs.ledger import SubmissionEntry
from comp.runs.submissions import require_its_own
from comp.workspace import Workspace


def enter(
    slug: str,
    public: float | None,
    private: float | None,
    *,
    run: str | None = None,
    file: str | Path | None = None,
    workspace: str | Path | None = None,
) -> Submitted:
    """Writes a site's scores, on its own scale, beside what was submitted: the public part's, the private part's.

    Without ``run`` and ``file`` it is the newest submission that has no such score yet.

    Raises
    ------
    InputError
        If nothing was submitted, or the score cannot be one.
    """
    place, competition = prepare.found(slug, workspace)
    for score in (public, private):
        if score is not None:
            _require_possible(competition, score)
    entry, page = _entry(place, competition, run, file, "private" if public is None else "public")
    written = ledger.write_entry(
        page,
        entry,
        state=ledger.SUBMITTED,
        status="COMPLETE",
        public=entry.public if public is None else public,
        private=entry.private if private is None else private,
    )
    return Submitted(slug, written, place.root, page, competition.facts.score_scale)


def first_rows(slug: str, rows: int, kaggle: str, workspace: str | Path | None) -> list[LeaderboardRow]:
    """The first rows of a competition's leaderboard.

    Raises
    ------
    InputError
        If it is not on Kaggle.
    """
    _, competition = prepare.found(slug, workspace)
    name = kaggle or competition.facts.kaggle.slug
    if not name:
        where = competition.facts.url or "the competition's page"
        raise InputError(
            "only Kaggle's leaderboards can be asked for", f"{slug} is not on Kaggle", f"see {where}"
        )
    api = Kaggle.open()
    try:
        return api.leaderboard(name, rows)
    except CompError as problem:
        raise with_hint(api, name, problem) from problem


def _require_possible(competition: Competition, score: float) -> None:
    """InputError for a score that the metric cannot have on the site's scale."""
    metric, scale = competition.metric, competition.facts.score_scale
    lowest, highest = metric.lowest * scale, metric.highest * scale
    if not (isfinite(score) and lowest <= score <= highest):
        value = f"{score:g}, where {metric.name} is {lowest:g} … {highest:g} on the site"
        raise InputError(
            "a score is on the site's scale", value, "look again, or correct score_scale in competition.toml"
        )


def _entry(
    workspace: Workspace, competition: Competition, run: str | None, file: str | Path | None, part: str
) -> tuple[SubmissionEntry, Path]:
    """The entry that a score belongs to, and its file in the ledger; a new one for what was submitted without ``comp``.

    ``part`` is "public" or "private": the score that the newest submission must lack, where none is named.
    """
    slug = competition.slug
    if run is None and file is None:
        open_ = [
            (e, p.path)
            for p in ledger.pages(workspace, slug)
            for e in p.entries
            if e.counts and e.status != "ERROR" and getattr(e, part) is None
        ]
        if not open_:
            value = f"no submission of {slug} is without a {part} score"
            raise InputError("a score belongs to a submission", value, "name it with `run=RUN` or `file=CSV`")
        return max(open_, key=lambda pair: pair[0].at)
    path, one = prepare.choose(workspace, slug, run, file, yes=True)
    content = prepare.read_submission_bytes(path)
    if one is not None:
        require_its_own(one, path, content)
    sha256 = hashlib.sha256(content).hexdigest()
    page = ledger.page_of(workspace, slug, one.id if one else "", path, sha256)
    before = [e for e in ledger.entries_of(page) if e.sha256 == sha256 and e.counts]
    if before:
        return before[-1], page
    entry = SubmissionEntry(
        run=one.id if one else "",
        file=os.path.relpath(path.absolute(), workspace.root),
        sha256=sha256,
        rows=max(0, content.count(b"\n") - 1),
        message="entered by hand",
        oof=None if one is None else prepare.oof_of(one),
        metric=competition.facts.metric,
    )
    return entry, page
