"""clean(): what a workspace no longer needs, with its size, and its removal."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from comp import events
from comp.files import is_held, is_leftover
from comp.pipelines.run_bin import BIN, deleted_runs, in_bytes, require_yes, size_of
from comp.runs import run as runs
from comp.workspace import Workspace, cache_folder

UNBEGUN_SECONDS = 3600.0  # after which a run folder that says nothing was left by a killed process
_CACHED = re.compile(r"[0-9a-f]{16,64}")  # the digest of what it was made of
_OF_STATE = ("state.pt", "state.json", "best.pt")


@dataclass(frozen=True)
class Kind:
    """Something that may go: its ``name``, why it is no longer needed, and the paths, each with its bytes."""

    name: str
    why: str
    paths: list[tuple[Path, int]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all."""
        return sum(size for _, size in self.paths)


@dataclass(frozen=True)
class CleanResult:
    """What may go, or went (``removed``), by kind."""

    kinds: list[Kind]
    removed: bool

    @property
    def size(self) -> int:
        """Bytes of all kinds."""
        return sum(kind.size for kind in self.kinds)

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp clean --json``."""
        return {
            "removed": self.removed,
            "bytes": self.size,
            "kinds": [
                {
                    "kind": kind.name,
                    "why": kind.why,
                    "bytes": kind.size,
                    "paths": [str(path) for path, _ in kind.paths],
                }
                for kind in self.kinds
            ],
        }


def find_clean(workspace: str | Path | None = None) -> CleanResult:
    """What a workspace no longer needs: nothing that a finished run has, an unfinished one goes on with, or that a process
    is writing now. What can be made again is among it where no run is under way.
    """
    ws = Workspace.find(workspace)
    every = runs.all_runs(ws)
    kinds = [
        Kind("deleted", "runs that were deleted", _sized(_deleted(ws))),
        Kind("leftovers", "half written by processes that were killed", _sized(_leftovers(ws))),
        Kind("unbegun", "run folders of processes that were killed before they began", _sized(_unbegun(ws))),
        Kind("states", "training states of folds that are finished", _sized(_states(every))),
    ]
    if not any(is_held(run.folder / runs.LOCK) for run in every):
        kinds.append(Kind("features", "of runs that are gone", _sized(_features(ws, every))))
        why = "decoded images, of all workspaces: made again when they are needed"
        kinds.append(Kind("pixels", why, _sized(_of_the_cache("pixels"))))
        why = "unpacked archives, of all workspaces: unpacked again when they are needed"
        kinds.append(Kind("archives", why, _sized(_of_the_cache("archives"))))
    return CleanResult([kind for kind in kinds if kind.paths], False)


def clean(workspace: str | Path | None = None, *, yes: bool = False, dry_run: bool = False) -> CleanResult:
    """Removes what ``find_clean`` finds, once that is confirmed.

    Parameters
    ----------
    yes : bool
        Do not ask.
    dry_run : bool
        Only say what may go.

    Raises
    ------
    Refusal
        Without a yes.
    """
    found = find_clean(workspace)
    if dry_run or not found.kinds:
        return found
    require_yes(f"remove {in_bytes(found.size)} for good?", yes)
    again = {
        path for kind in find_clean(workspace).kinds for path, _ in kind.paths
    }  # a run may have begun meanwhile
    for kind in found.kinds:
        for path, _ in kind.paths:
            if path in again:
                _remove(path)
    return CleanResult(found.kinds, True)


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        events.log(f"  warning: {path} stays: {error.strerror}")


def _sized(paths: Iterator[Path]) -> list[tuple[Path, int]]:
    return [(path, size_of(path)) for path in paths]


def _deleted(ws: Workspace) -> Iterator[Path]:
    """The runs in the bin; whatever else lies there is not ours."""
    yield from (ws.root / BIN / name for name in sorted(deleted_runs(ws)))


def _of_the_cache(kind: str) -> Iterator[Path]:
    """What the cache folder holds of a kind, by the names that it is given: the folder may be one that people use."""
    folder = cache_folder() / kind
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if _CACHED.fullmatch(path.name))


def _leftovers(ws: Workspace) -> Iterator[Path]:
    """What killed processes left half written, in the workspace's own folders alone: data and the rest are people's."""
    for name in ("runs", "submissions", "folds", "sweeps", "tracking", ".comp"):
        folder = ws.root / name
        if folder.is_dir():
            yield from sorted(path for path in folder.rglob(".*") if is_leftover(path))


def _unbegun(ws: Workspace) -> Iterator[Path]:
    """Run folders without a word of what they are; one that is being made now has been written to lately."""
    if not ws.runs.is_dir():
        return
    known = {run.id for run in runs.all_runs(ws)}
    for folder in sorted(ws.runs.iterdir()):
        if folder.name in known or not folder.is_dir() or folder.is_symlink():
            continue
        if not _is_run_id(folder.name) or is_held(folder / runs.LOCK):
            continue
        if time.time() - os.stat(folder).st_mtime > UNBEGUN_SECONDS:
            yield folder


def _features(ws: Workspace, every: list[runs.Run]) -> Iterator[Path]:
    """Features that were last used before the oldest run there is began: no run that is left took them."""
    began = [_began(run) for run in every]
    for path in sorted(ws.features.glob("*.npy")):
        if path.stat().st_mtime < min(began, default=float("inf")):
            yield path


def _began(run: runs.Run) -> float:
    """When a run began, in seconds since 1970; of one that does not say so long ago that all is its own."""
    try:
        return datetime.fromisoformat(str(run.started.get("started"))).timestamp()
    except ValueError:
        return 0.0


def _is_run_id(name: str) -> bool:
    parts = name.split("-")
    return len(name) == 20 and len(parts) == 3 and parts[0].isdecimal() and parts[1].isdecimal()


def _states(every: list[runs.Run]) -> Iterator[Path]:
    """Training states beside the result of their fold, which a process that was killed just then did not remove."""
    for run in every:
        if run.damage or is_held(run.folder / runs.LOCK):
            continue
        for result in sorted(run.folder.rglob(f"fold-*/{runs.RESULT}")):
            yield from (result.with_name(name) for name in _OF_STATE if result.with_name(name).is_file())
