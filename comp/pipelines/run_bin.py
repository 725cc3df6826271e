"""Runs that are deleted go to a bin in the workspace, with their submissions, and come back from it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from comp import console, events
from comp.config import Shape, read_shaped
from comp.errors import InputError, Refusal, UnknownName, counted
from comp.files import is_held, make_folder, write_json
from comp.runs import ledger
from comp.runs import run as runs
from comp.workspace import Workspace

BIN = "deleted-runs"  # of the workspace, a folder a run; no name that people's own folders have
_WHEN, _RUN, _BESIDE = "deleted.json", "run", "submissions"


class _Deleted(Shape):
    run: str
    slug: str
    deleted: str


def bin_folder(workspace: Workspace) -> Path:
    """Where deleted runs lie."""
    return workspace.root / BIN


def delete_runs(
    *names: str, workspace: str | Path | None = None, yes: bool = False, force: bool = False
) -> list[str]:
    """Moves runs, with their submissions, into the bin of the workspace; their ids. ``restore_runs`` brings them back.

    A run that was submitted leaves its CSV and its page of the ledger where they are: what was sent stays on record.

    Parameters
    ----------
    names : str
        Ids or prefixes of runs, damaged ones too, or "latest".
    yes : bool
        Do not ask.
    force : bool
        Also runs that others need: members of a blend, the start of a child run, those that were submitted.

    Raises
    ------
    InputError
        For a run that there is not.
    Refusal
        For one that a process is at work on, one that others need, and without a yes.
    """
    ws = Workspace.find(workspace)
    every = runs.all_runs(ws)
    chosen = list({run.id: run for run in (_named(ws, every, name) for name in names)}.values())
    if not chosen:
        raise InputError("one run or more is deleted", "none was named", "`comp runs` shows them all")
    for run in chosen:
        if is_held(run.folder / runs.LOCK):
            remedy = "wait for it to end, or stop it"
            raise Refusal("a run at work is not deleted", f"{run.id} is under way", remedy)
    reasons = [why for run in chosen for why in _needed(ws, run, every, {one.id for one in chosen})]
    if reasons and not force:
        raise Refusal(
            "a run that others need is not deleted", "\n".join(reasons), "keep it, or say `force=True`"
        )
    for why in reasons:
        events.log(f"  warning: {why}")
    size = sum(size_of(run.folder) for run in chosen)
    what = f"{counted(len(chosen), 'run')} ({in_bytes(size)}) to {ws.shown(bin_folder(ws))}"
    require_yes(f"move {what}: {', '.join(run.id for run in chosen)}?", yes)
    for run in chosen:
        _delete(ws, run)
    return [run.id for run in chosen]


def _named(ws: Workspace, every: Sequence[runs.Run], name: str) -> runs.Run:
    """A run by its id, a prefix or "latest"; damaged ones by their id alone."""
    return next((run for run in every if run.id == name), None) or runs.find_run(ws, name)


def _needed(ws: Workspace, run: runs.Run, every: Sequence[runs.Run], going: set[str]) -> list[str]:
    """Why a run is needed, a sentence each; ``going`` are deleted as well and need nothing."""
    found = []
    for other in every:
        if other.id in going or other.damage:
            continue
        began = other.started
        if run.id in {part.partition("/")[0] for part in began.get("parts", [])}:
            found.append(f"{run.id} is a part of the blend {other.id}")
        elif began.get("parent") == run.id or _starts_from(other, run.id):
            found.append(f"{other.id} started from the weights of {run.id}")
        elif _learned_from(other, run.id):
            found.append(f"{other.id} learned from {run.id} (distill)")
        elif (began.get("pseudo") or {}).get("run") == run.id:
            found.append(f"{other.id} trained with pseudo-labels of {run.id}")
    if run.slug:
        sent = [e for e in ledger.entries(ws, run.slug) if e.run == run.id and (e.counts or e.open)]
        if sent:
            found.append(f"{run.id} was submitted on {sent[-1].at[:10]}")
    return found


def _starts_from(run: runs.Run, name: str) -> bool:
    """Whether the recipe of a run begins from another's weights."""
    return f'"run:{name}' in _recipe_text(run)


def _learned_from(run: runs.Run, name: str) -> bool:
    """Whether the recipe of a run learns from another's answers."""
    text = _recipe_text(run)
    return "distill" in text and f'run = "{name}' in text


def _recipe_text(run: runs.Run) -> str:
    try:
        return (run.folder / runs.RECIPE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _delete(ws: Workspace, run: runs.Run) -> None:
    """Moves a run away, its folder last: until then it is there, and deleting it once more goes on."""
    place = make_folder(bin_folder(ws) / run.id)
    if (place / _RUN).exists():
        raise InputError(
            "a run is deleted once", f"{place} has one of this id", "`comp clean` empties the bin"
        )
    when = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(place / _WHEN, {"run": run.id, "slug": run.slug, "deleted": when})
    with ExitStack() as held:
        if not run.damage:
            held.enter_context(runs.at_work(run))
        if not _is_submitted(ws, run):
            for path in _beside(ws, run.slug, run.id):
                make_folder(place / _BESIDE)
                os.replace(path, place / _BESIDE / path.name)
        os.replace(run.folder, place / _RUN)
    (place / _RUN / runs.LOCK).unlink(missing_ok=True)


def _beside(ws: Workspace, slug: str, run: str) -> list[Path]:
    """The submission of a run and its page of the ledger, as far as they are there."""
    if not slug:
        return []
    paths = [ws.submissions(slug) / f"{run}{suffix}" for suffix in (".csv", ".json")]
    return [path for path in paths if path.is_file()]


def _is_submitted(ws: Workspace, run: runs.Run) -> bool:
    return bool(run.slug) and any(entry.run == run.id for entry in ledger.entries(ws, run.slug))


def restore_runs(*names: str, workspace: str | Path | None = None) -> list[str]:
    """Brings runs back from the bin, with their submissions; their ids.

    Raises
    ------
    InputError
        For one that is not in the bin, or whose place is taken.
    """
    ws = Workspace.find(workspace)
    known = deleted_runs(ws)
    chosen = [_of_bin(known, name) for name in dict.fromkeys(names)]
    if not chosen:
        raise InputError("one run or more is restored", "none was named", f"in the bin: {_listed(known)}")
    for name in chosen:
        place = bin_folder(ws) / name
        told: _Deleted = read_shaped(
            place / _WHEN, _Deleted, "move its folder `run` back into runs/ yourself"
        )
        targets = {place / _RUN: ws.runs / name}
        for path in sorted((place / _BESIDE).glob("*")):
            targets[path] = ws.submissions(told.slug) / path.name
        for source, target in targets.items():
            if source.exists() and os.path.lexists(target):
                raise InputError("a restored run has its place", f"{target} is there", "move it away")
        for source, target in reversed(targets.items()):  # the run last: a restore that was stopped goes on
            if source.exists():
                make_folder(target.parent)
                os.replace(source, target)
        shutil.rmtree(place, ignore_errors=True)
    return chosen


def deleted_runs(workspace: Workspace) -> list[str]:
    """The ids of the runs in the bin, newest first."""
    folder = bin_folder(workspace)
    if not folder.is_dir():
        return []
    return sorted((path.name for path in folder.iterdir() if (path / _WHEN).is_file()), reverse=True)


def _of_bin(known: Sequence[str], name: str) -> str:
    fitting = [name] if name in known else [one for one in known if one.startswith(name)]
    if len(fitting) > 1:
        raise InputError(
            "a prefix must fit one run", f"{name!r} fits {', '.join(fitting[:4])}", "write more of the id"
        )
    if not fitting:
        raise UnknownName("run in the bin", name, known)
    return fitting[0]


def _listed(known: Sequence[str]) -> str:
    return ", ".join(known[:4]) + (" …" if len(known) > 4 else "") if known else "nothing"


def require_yes(question: str, yes: bool) -> None:
    """Asks, unless ``yes`` was said already; Refusal without a yes."""
    if yes:
        events.log(f"{question} yes")
        return
    said = console.confirm(question)
    if not said:
        value = "the answer was no" if said is False else "there is no terminal to ask at"
        raise Refusal(question.rstrip("?"), value, "say `yes=True`")


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; what goes away meanwhile counts nothing."""
    total = 0
    every: Callable[[], Any] = (
        (lambda: path.rglob("*")) if path.is_dir() and not path.is_symlink() else lambda: [path]
    )
    for one in every():
        try:
            status = one.lstat()
        except OSError:
            continue
        total += 0 if one.is_dir() and not one.is_symlink() else status.st_size
    return total


def in_bytes(size: int) -> str:
    """A size as people read it."""
    number = float(size)
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"
