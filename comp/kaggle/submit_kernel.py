"""submit(kernel=FOLDER): a notebook and its dataset go to Kaggle, run there, and the version that ran is submitted."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from comp import events
from comp.errors import CompError, KaggleError, KaggleRefusal
from comp.kaggle.client import SITE, Kaggle
from comp.kaggle.http import status_of
from comp.kaggle.kernel.client import KernelCalls
from comp.kaggle.kernel.push import Folder, push, read_folder
from comp.kaggle.permissions import require_allowance, require_open, with_hint
from comp.kaggle.prepare import found, marks_of, require_yes
from comp.kaggle.reconcile import await_score, look_for, matching_submissions, reconcile
from comp.kaggle.submitted import Submitted, require_again, require_scored, with_rank
from comp.runs import ledger
from comp.runs import run as runs
from comp.runs.ledger import SubmissionEntry
from comp.workspace import Workspace

FILE = "submission.csv"  # what the notebook writes


def submit_kernel(
    slug: str,
    folder: str | Path,
    *,
    message: str = "",
    kaggle: str = "",
    wait: bool = True,
    dry_run: bool = False,
    again: bool = False,
    yes: bool = False,
    workspace: str | Path | None = None,
) -> Submitted:
    """Pushes a folder of ``comp kernel``, waits until Kaggle ran its notebook, submits that version, waits for its score.

    Whatever Kaggle has already of it, by content, is not sent again: after a crash the same command goes on.

    Parameters
    ----------
    folder : path
        As ``comp kernel`` wrote it.
    message, kaggle, wait, dry_run, again, yes
        As for ``submit``.

    Raises
    ------
    InputError
        For a folder that is none, or another competition's.
    Refusal
        For a run that is no full one, and a notebook that was submitted before, without a yes.
    KaggleError, KaggleRefusal
        If Kaggle cannot be reached, says no, or its run of the notebook fails.
    """
    place, competition = found(slug, workspace)
    given = read_folder(folder, slug)
    run = runs.find_run(place, str(given.about["run"]))
    marks = marks_of(run)
    if marks and not dry_run:
        question = f"run {run.id} is no full run ({', '.join(marks)}): submit it all the same?"
        require_yes(question, yes, "say `yes=True`, or submit a full run")
    name = kaggle or str(given.about["kaggle"])
    entry = _entry(given, run, name, message, place, competition.facts.metric)
    page = ledger.page_of(place, slug, run.id, Path(FILE), entry.sha256)
    asked = Submitted(slug, entry, place.root, page, competition.facts.score_scale)
    with ledger.submit_lock(place, slug):
        return _to_kaggle(place, given, asked, wait, dry_run, again)


def _entry(
    given: Folder, run: runs.Run, name: str, message: str, place: Workspace, metric: str
) -> SubmissionEntry:
    """The entry of a notebook, not yet written."""
    budget = given.about.get("budget") or {}
    oof = budget.get("score", run.record.get("oof", {}).get("score"))
    sha256 = given.sha256
    own = f"comp kernel {run.id} {sha256[:8]}"  # by which it is found again on Kaggle
    return SubmissionEntry(
        run=run.id,
        file=os.path.relpath((given.path / FILE).absolute(), place.root),
        sha256=sha256,
        rows=int(budget.get("rows") or 0),
        message=f"{' '.join(message.split())} ({own})" if message.strip() else own,
        kaggle=name,
        oof=oof if isinstance(oof, float) else None,
        metric=metric,
    )


def _to_kaggle(
    workspace: Workspace, given: Folder, asked: Submitted, wait: bool, dry_run: bool, again: bool
) -> Submitted:
    """Looks on Kaggle first, then sends what is not there yet, and waits for the score."""
    name, slug = asked.entry.kaggle, asked.slug
    api = Kaggle.open()
    left = require_open(api, name, notebook=True)
    listed = api.submissions(name)
    recovered = set() if dry_run else reconcile(api, workspace, slug, name, listed)
    before = [e for e in ledger.same_file(workspace, slug, name, asked.entry.sha256) if e.counts]
    if before and not (again or dry_run) and (before[-1].pending or before[-1].id in recovered):
        entry = before[-1]
        events.log(f"this very notebook was submitted at {entry.at} as {entry.ref}: nothing is sent again")
    else:
        if before and not again:
            require_again(before[-1], dry_run)
        require_allowance(left, name)
        if dry_run:
            return replace(asked, ledger=None, dry_run=True, left=left.left if left else None)
        try:
            version = push(api, given)
        except CompError as problem:
            raise with_hint(api, name, problem) if status_of(problem) == 403 else problem from problem
        known = tuple(one.ref for one in matching_submissions(asked.entry, listed))
        entry = _submitted(api, asked, given, version, known)
        left = replace(left, left=max(0, left.left - 1)) if left else None
    asked = replace(asked, left=left.left if left else None)
    if wait:
        entry = with_rank(api, workspace, slug, await_score(api, workspace, slug, entry))
        require_scored(entry)
    return replace(asked, entry=entry)


def _submitted(
    api: Kaggle, asked: Submitted, given: Folder, version: int, known: tuple[int, ...]
) -> SubmissionEntry:
    """Submits a version, with the intent written down before and what came of it after."""
    assert asked.ledger is not None
    path = asked.ledger
    entry = ledger.write_entry(path, asked.entry, known=known, state=ledger.SENT)
    try:
        ref = KernelCalls(api).submit(entry.kaggle, (given.owner, given.name, version), FILE, entry.message)
    except CompError as problem:
        if isinstance(problem, KaggleError) and problem.unsure:
            events.log(f"  {problem.value}: looking whether Kaggle has it")
            there = look_for(api, entry, {*known}, None)
            if there is not None:
                return ledger.write_entry(
                    path, entry, state=ledger.SUBMITTED, ref=there.ref, status=there.status
                )
            raise
        state = ledger.REFUSED if isinstance(problem, KaggleRefusal) else ledger.BROKEN
        ledger.write_entry(path, entry, state=state, error=problem.value)
        if status_of(problem) in (400, 403):
            remedy = f"{SITE}/{entry.kaggle} says what is allowed; the notebook stays on Kaggle"
            raise KaggleRefusal(
                "Kaggle must take a submission", problem.value, remedy, status=status_of(problem)
            ) from problem
        raise
    events.log(f"version {version} is submitted as {ref}")
    return ledger.write_entry(path, entry, state=ledger.SUBMITTED, ref=ref, status="PENDING")
