"""The ledger and the server: what became of submissions that a crash, a cut or an impatient user left open."""

from __future__ import annotations

import time
from collections.abc import Sequence

from comp import console, events
from comp.errors import CompError
from comp.kaggle.client import Kaggle
from comp.kaggle.http import status_of
from comp.kaggle.types import Submission
from comp.runs import ledger
from comp.runs.ledger import SubmissionEntry
from comp.workspace import Workspace

LOOKS = 3  # at the list, for a submission that may just have been made


def matching_submissions(entry: SubmissionEntry, listed: Sequence[Submission]) -> list[Submission]:
    """Those that Kaggle lists with the file name and the message of an entry, as far as it names them, oldest first.

    A message may be listed cut off: to upload twice costs more than to look at the wrong one of two that are alike.
    """
    name = file_name(entry)
    return sorted(
        (
            one
            for one in listed
            if one.file in ("", name) and entry.message.startswith(" ".join(one.message.split()))
        ),
        key=lambda one: one.ref,
    )


def reconcile(
    api: Kaggle, workspace: Workspace, slug: str, kaggle: str, listed: Sequence[Submission]
) -> set[str]:
    """Settles every open entry against the server's list, and writes down scores that came since.

    Returns the ids of entries that were open and are on the server.
    """
    recovered: set[str] = set()
    taken = {e.ref for e in ledger.entries(workspace, slug) if e.ref}
    for entry in ledger.entries(workspace, slug):
        if entry.kaggle != kaggle or entry.state == ledger.REFUSED:
            continue
        if entry.open:
            found = look_for(api, entry, taken | {*entry.known}, listed)
            if found is None:
                events.log(f"an upload of {entry.file} that broke off at {entry.at} is not on Kaggle")
                ledger.update(workspace, slug, entry, state=ledger.BROKEN, error="not found on the server")
                continue
            taken.add(found.ref)
            recovered.add(entry.id)
            events.log(f"an upload of {entry.file} that broke off at {entry.at} is on Kaggle as {found.ref}")
            update_entry(workspace, slug, entry, found)
        elif entry.ref:
            for one in listed:
                if one.ref == entry.ref:
                    update_entry(workspace, slug, entry, one)
    return recovered


def look_for(
    api: Kaggle, entry: SubmissionEntry, others: set[int], listed: Sequence[Submission] | None
) -> Submission | None:
    """The submission that an open entry became, or None; looked for a few times where it may just have been made.

    ``others`` are numbers that it cannot have; ``listed`` is a list of a moment ago.
    """
    looks = LOOKS if entry.state == ledger.SENT else 1
    for look in range(looks):
        if look:
            time.sleep(api.patience.poll)
        rows = listed if listed is not None and not look else api.submissions(entry.kaggle)
        new = [one for one in matching_submissions(entry, rows) if one.ref not in others]
        if new:
            return new[0]
    return None


def update_entry(
    workspace: Workspace, slug: str, entry: SubmissionEntry, found: Submission
) -> SubmissionEntry:
    """Writes down what the server says of an entry, if that is news."""
    changed = {
        "state": ledger.SUBMITTED,
        "ref": found.ref,
        "status": found.status,
        "public": found.public if found.public is not None else entry.public,
        "private": found.private if found.private is not None else entry.private,
        "error": found.error,
        "team": found.team or entry.team,
    }
    if all(getattr(entry, name) == value for name, value in changed.items()):
        return entry
    return ledger.update(workspace, slug, entry, **changed)


def file_name(entry: SubmissionEntry) -> str:
    """The name under which an entry's file is uploaded."""
    return entry.file.replace("\\", "/").rpartition("/")[2]


def await_score(api: Kaggle, workspace: Workspace, slug: str, entry: SubmissionEntry) -> SubmissionEntry:
    """Looks at a submission until it is scored or refused, or patience ends; every news is written down.

    Raises
    ------
    KaggleError
        If Kaggle stops answering; the submission stands all the same.
    """
    ends = time.monotonic() + api.patience.wait
    try:
        with console.waiting(f"submission {entry.ref}") as told:
            while True:
                entry = update_entry(workspace, slug, entry, _now(api, entry))
                if not entry.pending or time.monotonic() + api.patience.poll > ends:
                    return entry
                told(f"{entry.status}, asked every {api.patience.poll:g} s")
                time.sleep(api.patience.poll)
    except (CompError, KeyboardInterrupt):
        events.log(f"submission {entry.ref} is made; `comp runs {slug}` asks what it scored")
        raise


def _now(api: Kaggle, entry: SubmissionEntry) -> Submission:
    """How a submission stands; one that cannot be read yet is looked for in the list, else it is pending."""
    try:
        return api.submission(entry.ref)
    except CompError as problem:
        if status_of(problem) != 404:
            raise
    for one in api.submissions(entry.kaggle, pages=1):
        if one.ref == entry.ref:
            return one
    return Submission(entry.ref, "PENDING", None, None, "", file_name(entry), entry.message, "", None)
