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
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from comp.errors import InputError, Refusal
from comp.workspace import Workspace, make_folder, read_json, write_json

ENTRIES = "submitted"
# how far an entry came: about to be uploaded; uploaded, and the submission about to be asked for; numbered (or entered
# by hand); refused by the server; never uploaded
INTENT, SENT, SUBMITTED, REFUSED, BROKEN = "intent", "sent", "submitted", "refused", "broken"


@dataclass(frozen=True)
class Entry:
    """One submission. ``public`` and ``private`` are the site's scores on its own scale, ``oof`` the run's OOF score on
    the metric's; ``known`` are the numbers of submissions that the server listed before and that look like this one.
    """

    id: str = field(default_factory=lambda: secrets.token_hex(4))
    run: str = ""
    file: str = ""
    sha256: str = ""
    rows: int = 0
    message: str = ""
    kaggle: str = ""
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    state: str = INTENT
    known: tuple[int, ...] = ()
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
class Page:
    """A file of the ledger and its entries, oldest first."""

    path: Path
    entries: tuple[Entry, ...]


def page_of(place: Workspace, slug: str, run: str, file: Path, sha256: str) -> Path:
    """The file that holds the entries of a run, or of a CSV that is no run's."""
    folder = place.submissions(slug)
    if run:
        return folder / f"{run}.json"
    stem = re.sub(r"[^\w.-]+", "-", file.stem)[:80].strip(".-") or "file"
    return folder / f"{stem}-{sha256[:8]}.json"


def pages(place: Workspace, slug: str) -> list[Page]:
    """Every file of a competition's ledger that has entries.

    Raises
    ------
    InputError
        If one is damaged.
    """
    folder = place.submissions(slug)
    found = (
        [Page(path, entries_of(path)) for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []
    )
    return [page for page in found if page.entries]


def entries(place: Workspace, slug: str) -> list[Entry]:
    """Every entry of a competition, oldest first."""
    return sorted((e for page in pages(place, slug) for e in page.entries), key=lambda e: (e.at, e.ref))


def entries_of(path: Path) -> tuple[Entry, ...]:
    """The entries of a file; none where it is not there or holds something else."""
    document = read_json(path) if path.is_file() else None
    listed = document.get(ENTRIES) if isinstance(document, dict) else None
    if listed is None:
        return ()
    names = {one.name for one in fields(Entry)}
    try:
        kept = [{k: v for k, v in one.items() if k in names} for one in listed]
        return tuple(Entry(**{**one, "known": tuple(one.get("known", ()))}) for one in kept)
    except (TypeError, AttributeError) as error:
        value = f"{path}: {error}"
        raise InputError("the ledger must be readable", value, "restore it, or move it away") from error


def put(path: Path, entry: Entry) -> Entry:
    """Writes an entry, in the place of the one of its id or after the last; all or nothing."""
    document = read_json(path) if path.is_file() else {}
    if not isinstance(document, dict):
        raise InputError("the ledger must be readable", f"{path} is no table", "restore it, or move it away")
    kept = list(entries_of(path))
    places = [n for n, one in enumerate(kept) if one.id == entry.id]
    if places:
        kept[places[0]] = entry
    else:
        kept.append(entry)
    written = {"run": entry.run or None, **document, "message": entry.message}
    write_json(path, {**written, ENTRIES: [_plain(one) for one in kept]})
    return entry


def keep_entries(path: Path, document: dict[str, Any]) -> None:
    """Writes what a run came to, beside the entries that its file has already."""
    before = read_json(path) if path.is_file() else {}
    kept = {name: before[name] for name in ("message", ENTRIES) if before.get(name)}
    write_json(path, {**document, "message": None, ENTRIES: None, **kept})


def same_file(place: Workspace, slug: str, kaggle: str, sha256: str) -> list[Entry]:
    """The entries of that very content, oldest first, that the site has or may have."""
    return [
        e for e in entries(place, slug) if e.sha256 == sha256 and e.kaggle == kaggle and (e.counts or e.open)
    ]


def update(place: Workspace, slug: str, entry: Entry, **changed: Any) -> Entry:
    """Writes an entry with changed fields, wherever it stands."""
    for page in pages(place, slug):
        if any(one.id == entry.id for one in page.entries):
            return put(page.path, replace(entry, **changed))
    raise InputError("an entry of the ledger is gone", f"{entry.id} of {slug}", "was the file moved away?")


@contextmanager
def alone(place: Workspace, slug: str) -> Iterator[None]:
    """Lets one process at a time submit to a competition; a killed one holds nothing.

    Raises
    ------
    Refusal
        If another is under way.
    """
    path = make_folder(place.submissions(slug)) / ".submitting"
    if os.name == "nt":  # no flock there
        yield
        return
    import fcntl

    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            value = f"another `comp submit {slug}` is under way in {place.root}"
            raise Refusal("one submission at a time", value, "wait for it to end") from error
        yield


def _plain(entry: Entry) -> dict[str, Any]:
    return asdict(entry)
