"""The ledger: what was submitted, when, under which number, and what it scored. ``submissions/<slug>/<run>.json``.

An entry is written before the upload (its intent) and after every step, so that a crash leaves enough to find out at
the next call what became of it. A run's file also holds what the run came to; a file without a run has one of its own.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from comp import events
from comp.config import Shape, require_shape
from comp.errors import InputError
from comp.files import alone, make_folder, read_json, write_json
from comp.workspace import Workspace

ENTRIES = "submitted"
_RESTORE = "restore it, or move it away"
# how far an entry came: about to be uploaded; uploaded, and the submission about to be asked for; numbered (or entered
# by hand); refused by the server; never uploaded
INTENT, SENT, SUBMITTED, REFUSED, BROKEN = "intent", "sent", "submitted", "refused", "broken"


class SubmissionEntry(Shape):
    """One submission. ``public`` and ``private`` are the site's scores on its own scale, ``oof`` the run's OOF score on
    the metric's; ``known`` are the numbers of submissions that the server listed before and that look like this one.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(default_factory=lambda: secrets.token_hex(4))
    run: str = ""
    file: str = ""
    sha256: str = ""
    rows: int = 0
    message: str = ""
    kaggle: str = ""
    at: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    state: str = INTENT
    known: tuple[int, ...] = Field((), strict=False)  # a list in the file
    ref: int = 0
    status: str = ""
    public: float | None = None
    private: float | None = None
    rank: int = 0
    team: str = ""
    error: str = ""
    oof: float | None = None
    metric: str = ""

    @property
    def open(self) -> bool:
        """Whether it is not known if the server has it."""
        return self.state in (INTENT, SENT)

    @property
    def counts(self) -> bool:
        """Whether the site has it."""
        return self.state == SUBMITTED

    @property
    def pending(self) -> bool:
        """Whether its score is still to be asked for."""
        return self.counts and bool(self.ref) and self.status not in ("COMPLETE", "ERROR")


@dataclass(frozen=True)
class LedgerFile:
    """A file of the ledger and its entries, oldest first."""

    path: Path
    entries: tuple[SubmissionEntry, ...]


def page_of(workspace: Workspace, slug: str, run: str, file: Path, sha256: str) -> Path:
    """The file that holds the entries of a run, or of a CSV that is no run's."""
    folder = workspace.submissions(slug)
    if run:
        return folder / f"{run}.json"
    stem = re.sub(r"[^\w.-]+", "-", file.stem)[:80].strip(".-") or "file"
    return folder / f"{stem}-{sha256[:8]}.json"


def pages(workspace: Workspace, slug: str) -> list[LedgerFile]:
    """Every file of a competition's ledger that has entries; one that is damaged is named and left out."""
    folder, found = workspace.submissions(slug), []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        try:
            found.append(LedgerFile(path, entries_of(path)))
        except InputError as damaged:
            events.warn_once(f"{damaged}: nothing of it is shown, or known when submitting")
    return [page for page in found if page.entries]


def entries(workspace: Workspace, slug: str) -> list[SubmissionEntry]:
    """Every entry of a competition, oldest first."""
    return sorted((e for page in pages(workspace, slug) for e in page.entries), key=lambda e: (e.at, e.ref))


def entries_of(path: Path) -> tuple[SubmissionEntry, ...]:
    """The entries of a file; none where it is not there or holds something else.

    Raises
    ------
    InputError
        If it is damaged.
    """
    if not os.path.lexists(path):
        return ()
    try:
        document = read_json(path)
        listed = document.get(ENTRIES) if isinstance(document, dict) else None
        if listed is None:
            return ()
        return tuple(require_shape(list[SubmissionEntry], listed, str(path), _RESTORE))
    except InputError as error:
        raise InputError("the ledger must be readable", error.value, _RESTORE) from error


def write_entry(path: Path, entry: SubmissionEntry, **changed: Any) -> SubmissionEntry:
    """Writes an entry with changed fields, in the place of the one of its id or after the last; all or nothing."""
    entry = entry.model_copy(update=changed)
    document = _document(path)
    kept = list(entries_of(path))
    places = [n for n, one in enumerate(kept) if one.id == entry.id]
    if places:
        kept[places[0]] = entry
    else:
        kept.append(entry)
    written = {"run": entry.run or None, **document, "message": entry.message}
    write_json(path, {**written, ENTRIES: [one.model_dump(mode="json") for one in kept]})
    return entry


def keep_entries(path: Path, document: dict[str, Any]) -> None:
    """Writes what a run came to, beside the entries that its file has already."""
    before = _document(path)
    kept = {name: before[name] for name in ("message", ENTRIES) if before.get(name)}
    write_json(path, {**document, "message": None, ENTRIES: None, **kept})


def same_file(workspace: Workspace, slug: str, kaggle: str, sha256: str) -> list[SubmissionEntry]:
    """The entries of that very content, oldest first, that the site has or may have."""
    return [
        e
        for e in entries(workspace, slug)
        if e.sha256 == sha256 and e.kaggle == kaggle and (e.counts or e.open)
    ]


def update(workspace: Workspace, slug: str, entry: SubmissionEntry, **changed: Any) -> SubmissionEntry:
    """Writes an entry with changed fields, wherever it stands."""
    for page in pages(workspace, slug):
        if any(one.id == entry.id for one in page.entries):
            return write_entry(page.path, entry, **changed)
    raise InputError("an entry of the ledger is gone", f"{entry.id} of {slug}", "was the file moved away?")


@contextmanager
def submit_lock(workspace: Workspace, slug: str) -> Iterator[None]:
    """Lets one process at a time submit to a competition; a killed one holds nothing.

    Raises
    ------
    Refusal
        If another is under way.
    """
    path = make_folder(workspace.submissions(slug)) / ".submitting"
    value = f"another `comp submit {slug}` is under way in process {{pid}}"
    with alone(path, "one submission at a time", value, "wait for it to end"):
        yield


def _document(path: Path) -> dict[str, Any]:
    """A file of the ledger; empty where there is none."""
    document = read_json(path) if os.path.lexists(path) else {}
    if not isinstance(document, dict):
        raise InputError("the ledger must be readable", f"{path} is no table", _RESTORE)
    return document
