"""submit(): from a validated file to its score, with a ledger that a crash cannot make lie."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from comp import events
from comp.errors import CompError, InputError, KaggleError, KaggleRefusal
from comp.kaggle import prepare
from comp.kaggle.client import SITE, Kaggle
from comp.kaggle.http import status_of
from comp.kaggle.permissions import require_allowance, require_open, with_hint
from comp.kaggle.prepare import PreparedSubmission
from comp.kaggle.reconcile import await_score, file_name, look_for, matching_submissions, reconcile
from comp.kaggle.submit_kernel import submit_kernel
from comp.kaggle.submitted import Submitted, require_again, require_scored, with_rank
from comp.runs import ledger
from comp.runs.ledger import SubmissionEntry
from comp.workspace import Workspace


def submit(
    slug: str,
    *,
    run: str | None = None,
    file: str | Path | None = None,
    kernel: str | Path | None = None,
    message: str = "",
    kaggle: str = "",
    wait: bool = True,
    dry_run: bool = False,
    again: bool = False,
    yes: bool = False,
    allow: dict[str, str] | None = None,
    data: str | Path | None = None,
    workspace: str | Path | None = None,
) -> Submitted:
    """Validates a submission, uploads it to Kaggle, waits for its score and writes the ledger.

    Of a competition that is not on Kaggle, the file is validated, and named with the page where it goes.

    Parameters
    ----------
    slug : str
    run, file : str or path, optional
        A run or a CSV; by default the newest full run on real data, once that is confirmed.
    kernel : path, optional
        A folder of ``comp kernel`` instead: its notebook is pushed, run there, and its version submitted.
    message : str
        Stands beside the submission on the site.
    kaggle : str
        The competition's name on Kaggle, where competition.toml has none or another.
    wait : bool
        For the score.
    dry_run : bool
        Everything but the upload; nothing is written.
    again : bool
        Upload a file that was submitted before.
    yes : bool
        Answers the questions: is it this run, also a quick, sample or partial one?
    allow : dict, optional
        Of ``stale-folds`` and ``control-rows``, each with its reason.
    data, workspace : path, optional

    Raises
    ------
    InvalidSubmission, CheckFailed, Refusal
        If it is not to leave the machine.
    KaggleError, KaggleRefusal
        If Kaggle cannot be reached, says no, or cannot score it.
    """
    if kernel is not None:
        _require_alone(run, file)
        how = {"wait": wait, "dry_run": dry_run, "again": again, "yes": yes}
        return submit_kernel(slug, kernel, message=message, kaggle=kaggle, workspace=workspace, **how)
    place, competition = prepare.found(slug, workspace)
    path, one = prepare.choose(place, slug, run, file, yes or dry_run)
    ready = prepare.make_ready(place, competition, path, one, data, allow or {})
    marks = [] if one is None else prepare.marks_of(one)
    if one is not None and not dry_run:
        prepare.require_proven(one, yes)
    if one is not None and marks and not dry_run:
        question = f"run {one.id} is no full run ({', '.join(marks)}): submit it all the same?"
        prepare.require_yes(question, yes, "say `yes=True`, or submit a full run")
    name = kaggle or competition.facts.kaggle.slug
    entry = SubmissionEntry(
        run=one.id if one else "",
        file=os.path.relpath(ready.file.absolute(), place.root),
        sha256=ready.sha256,
        rows=ready.rows,
        message=" ".join(message.split()) or _message(ready),
        kaggle=name,
        oof=ready.oof,
        metric=competition.facts.metric,
    )
    page = ledger.page_of(place, slug, entry.run, ready.file, entry.sha256)
    asked = Submitted(slug, entry, place.root, page, competition.facts.score_scale)
    events.log(f"{place.shown(ready.file)}: valid, {ready.rows} rows")
    if not name:
        return _by_hand(place, replace(asked, page=competition.facts.url), dry_run)
    with ledger.submit_lock(place, slug):
        return _to_kaggle(place, slug, ready, asked, wait, dry_run, again)


def _require_alone(run: str | None, file: str | Path | None) -> None:
    """InputError where a run or a file is named beside a kernel's folder."""
    if run is not None or file is not None:
        value = "`run`" if run is not None else "`file`"
        remedy = f"drop {value}: the folder says which run it is of"
        raise InputError("`kernel` names what is submitted", f"{value} is given too", remedy)


def _message(ready: PreparedSubmission) -> str:
    if ready.run is None:
        return ready.file.name
    score = "" if ready.oof is None else f", OOF {ready.oof:.4f}"
    return f"comp {ready.run.id}: {ready.run.started.get('model')}{score}"


def _by_hand(workspace: Workspace, asked: Submitted, dry_run: bool) -> Submitted:
    """Names the file and the page; the ledger remembers that it was made ready."""
    entry = asked.entry
    if dry_run:
        return replace(asked, dry_run=True, ledger=None)
    before = [e for e in ledger.same_file(workspace, asked.slug, "", entry.sha256) if e.counts]
    if before:
        return replace(asked, entry=before[-1])
    assert asked.ledger is not None
    return replace(
        asked,
        entry=ledger.write_entry(asked.ledger, entry, state=ledger.SUBMITTED, status="BY HAND"),
    )


def _to_kaggle(
    workspace: Workspace,
    slug: str,
    ready: PreparedSubmission,
    asked: Submitted,
    wait: bool,
    dry_run: bool,
    again: bool,
) -> Submitted:
    """Looks on Kaggle first, then uploads what is not there yet, and waits for the score."""
    name = asked.entry.kaggle
    api = Kaggle.open()
    left = require_open(api, name)
    listed = api.submissions(name)
    recovered = set() if dry_run else reconcile(api, workspace, slug, name, listed)
    before = [e for e in ledger.same_file(workspace, slug, name, asked.entry.sha256) if e.counts]
    if before and not (again or dry_run) and (before[-1].pending or before[-1].id in recovered):
        entry = before[-1]
        events.log(f"this very file was submitted at {entry.at} as {entry.ref}: nothing is uploaded again")
    else:
        if before and not again:
            require_again(before[-1], dry_run)
        require_allowance(left, name)
        if dry_run:
            return replace(asked, ledger=None, dry_run=True, left=left.left if left else None)
        assert asked.ledger is not None
        known = tuple(one.ref for one in matching_submissions(asked.entry, listed))
        entry = upload(api, asked.ledger, asked.entry.model_copy(update={"known": known}), ready)
        left = replace(left, left=max(0, left.left - 1)) if left else None
    asked = replace(asked, ledger=_page_of(workspace, slug, entry), left=left.left if left else None)
    if wait:
        entry = with_rank(api, workspace, slug, await_score(api, workspace, slug, entry))
        require_scored(entry)
    return replace(asked, entry=entry)


def _page_of(workspace: Workspace, slug: str, entry: SubmissionEntry) -> Path:
    return next(p.path for p in ledger.pages(workspace, slug) if any(e.id == entry.id for e in p.entries))


def upload(api: Kaggle, path: Path, entry: SubmissionEntry, ready: PreparedSubmission) -> SubmissionEntry:
    """Uploads a file and makes it a submission, with the intent written down before and each step after it."""
    entry = ledger.write_entry(path, entry)
    kept = f"nothing was submitted and {entry.file} is kept: the same command tries again"
    try:
        modified = int(ready.file.stat().st_mtime)
        token, address = api.start_upload(entry.kaggle, file_name(entry), len(ready.content), modified)
    except CompError as problem:
        ledger.write_entry(path, entry, state=ledger.BROKEN, error=problem.value)
        raise with_hint(api, entry.kaggle, problem) from problem
    try:
        api.put(address, ready.content)
    except CompError as problem:
        ledger.write_entry(path, entry, state=ledger.BROKEN, error=problem.value)
        raise KaggleError(
            "the upload must arrive", problem.value, kept, status=status_of(problem)
        ) from problem
    entry = ledger.write_entry(path, entry, state=ledger.SENT)
    try:
        ref = api.create(entry.kaggle, token, entry.message)
    except CompError as problem:
        return _after_no_number(api, path, entry, problem, kept)
    events.log(f"submitted as {ref}")
    return ledger.write_entry(path, entry, state=ledger.SUBMITTED, ref=ref, status="PENDING")


def _after_no_number(
    api: Kaggle, path: Path, entry: SubmissionEntry, problem: CompError, kept: str
) -> SubmissionEntry:
    """What became of a submission that was asked for and got no number: the server's list knows."""
    if isinstance(problem, KaggleError) and problem.unsure:
        events.log(f"  {problem.value}: looking whether Kaggle has it")
        found = look_for(api, entry, {*entry.known}, None)
        if found is not None:
            events.log(f"it was submitted as {found.ref}")
            return ledger.write_entry(path, entry, state=ledger.SUBMITTED, ref=found.ref, status=found.status)
        remedy = (
            f"it is not in Kaggle's list; the same command looks there again before it uploads {entry.file}"
        )
        raise KaggleError(problem.rule, problem.value, remedy, status=problem.status) from problem
    state = ledger.REFUSED if isinstance(problem, KaggleRefusal) else ledger.BROKEN
    ledger.write_entry(path, entry, state=state, error=problem.value)
    if status_of(problem) in (400, 403):
        page = "accept its rules at {}/rules" if status_of(problem) == 403 else "{} says what is allowed"
        remedy = f"{page.format(f'{SITE}/{entry.kaggle}')}; {entry.file} is kept"
        raise KaggleRefusal("Kaggle must take a submission", problem.value, remedy, status=status_of(problem))
    problem.remedy = f"{problem.remedy}. {kept[:1].upper()}{kept[1:]}"
    raise problem
