"""How far a run is: written while it trains, and read by ``comp runs``, from a live process or a dead one."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import Field

from comp import events
from comp.config import Shape, read_shaped
from comp.errors import InputError
from comp.files import is_held, write_json
from comp.runs.run import LOCK, PROGRESS, Run

WRITE_SECONDS = 2.0  # between two writes, but for those at a fold's beginning and end
HISTORY = "history.csv"  # of a fold: an epoch a line, written anew after each


class ProgressFile(events.RunListener):
    """Keeps a run's ``progress.json``: which folds are under way, and how long the rest of the training takes.

    How many epochs they have had stands in their history.csv. The file goes when a run ends with no fold under way.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / PROGRESS
        self._facts: dict[str, Any] = {}
        self._fold_at: dict[str, dict[str, int]] = {}  # model, fold and epochs by the fold's folder
        self._left: dict[str, int] = {}  # epochs by folder, of the folds that are wanted; a probe's is one
        self._under_way: list[str] = []
        self._failed: list[str] = []  # the last that ended otherwise than well
        self._began = self._written = time.monotonic()
        self._epochs_here = 0

    def on_run_start(self, event: events.RunStarted) -> None:
        models = len(event.models)
        self._facts = {"run": event.run, "pid": os.getpid(), "folds": event.folds, "models": models}
        for n, epochs in enumerate(event.epochs):
            for k in sorted({*range(event.folds), *event.only}):
                folder = (model_folder(Path(), n, models) / f"fold-{k}").as_posix()
                self._fold_at[folder] = {"model": n, "fold": k, "epochs": epochs}
                if k in event.only:
                    self._left[folder] = max(1, epochs)
        self._began = time.monotonic()
        self._write()

    def on_fold_start(self, event: events.FoldStarted) -> None:
        self._failed = []
        self._under_way.append(event.folder)
        self._write()

    def on_epoch(self, event: events.EpochEnded) -> None:
        self._epochs_here += 1
        self._left[event.folder] = event.epochs - event.epoch
        if time.monotonic() - self._written >= WRITE_SECONDS:
            self._write()

    def on_fold_end(self, event: events.FoldEnded) -> None:
        self._left.pop(event.folder, None)
        if event.folder in self._under_way:
            self._under_way.remove(event.folder)
            self._epochs_here += self._fold_at[event.folder]["epochs"] == 0
        if event.failure:
            self._failed.append(event.folder)
        self._write()

    def on_run_end(self, event: events.RunEnded) -> None:
        is_whole = not event.failure and "partial" not in event.marks
        if is_whole or not (self._under_way or self._failed):
            self._path.unlink(missing_ok=True)
        else:
            self._write()

    def _write(self) -> None:
        seconds = time.monotonic() - self._began
        pace = seconds / self._epochs_here if self._epochs_here else None
        document = {
            **self._facts,
            "under_way": [self._fold_at[folder] for folder in self._under_way or self._failed],
            "seconds_left": None if pace is None else pace * sum(self._left.values()),
            "written": time.time(),
        }
        write_json(self._path, document)
        self._written = time.monotonic()


class _Fold(Shape):
    model: int
    fold: int
    epochs: int


class _Progress(Shape):
    """What ``progress.json`` must be."""

    run: str
    pid: int
    folds: int
    models: int
    under_way: list[_Fold] = Field(default_factory=list)
    seconds_left: float | None = None
    written: float


def live_state(run: Run) -> dict[str, Any]:
    """What ``comp runs`` says of a run beside its record: its ``state``, and ``progress`` where it is not done.

    ``progress`` has ``text`` for people; ``under_way``, the folds (numbers from 0) that are trained or were when the
    process died, each with the epoch (from 1) that it is in, of how many (0 for a probe); and ``seconds_left``, of
    training, as the pace so far has it. It is None where no process is at work and none was stopped in a fold.
    """
    if run.state != "unfinished":
        return {"state": run.state, "progress": None}
    alive = is_held(run.folder / LOCK)
    known = _read(run, alive)
    folds = [_at(run, known, fold) for fold in known.under_way] if known is not None else []
    if not alive and not folds:
        return {"state": run.state, "progress": None}
    assert known is not None or alive
    left = _left(known) if known is not None and alive and folds else None
    where = [_words(fold, known) for fold in folds] if known is not None else []
    told = "; ".join(where)
    if alive:
        text = ", ".join(["running", *([told] if told else []), *([f"{_time(left)} left"] if left else [])])
    else:
        text = f"stopped at {told}" if alive is False else f"at {told}"
    progress = {
        "text": text,
        "folds": known.folds if known is not None else run.started.get("folds"),
        "under_way": folds,
        "seconds_left": left,
    }
    return {"state": "running" if alive else run.state, "progress": progress}


def _read(run: Run, alive: bool | None) -> _Progress | None:
    """The progress that a run's last process wrote; None where there is none that can be read.

    What an earlier process left says nothing of the one that is at work now, which may not train yet.
    """
    try:
        known: _Progress = read_shaped(run.folder / PROGRESS, _Progress, "")
    except InputError:
        return None
    if alive:
        with suppress(OSError, ValueError):
            if int((run.folder / LOCK).read_text(encoding="utf-8")) != known.pid:
                return None
    return known


def _at(run: Run, known: _Progress, fold: _Fold) -> dict[str, Any]:
    """A fold under way, with the epoch that it is in."""
    folder = model_folder(run.folder, fold.model, known.models) / f"fold-{fold.fold}"
    try:
        ended = (folder / HISTORY).read_bytes().count(b"\n") - 1
    except OSError:
        ended = 0
    epoch = min(max(ended, 0) + 1, fold.epochs)
    return {"model": fold.model, "fold": fold.fold, "epoch": epoch, "epochs": fold.epochs}


def _left(known: _Progress) -> float | None:
    """Seconds of training that are left now."""
    if known.seconds_left is None:
        return None
    return max(0.0, known.seconds_left - max(0.0, time.time() - known.written))


def _words(fold: dict[str, Any], known: _Progress) -> str:
    model = f"model {fold['model'] + 1}/{known.models}, " if known.models > 1 else ""
    epoch = f", epoch {fold['epoch']}/{fold['epochs']}" if fold["epochs"] else ""
    part = f"fold {fold['fold'] + 1}/{known.folds}" if fold["fold"] < known.folds else events.ALL_ROWS
    return f"{model}{part}{epoch}"


def _time(seconds: float) -> str:
    """A time to come, no finer than it is known."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"


def model_folder(run: Path, n: int, models: int) -> Path:
    """Where model n of a run keeps its folds: the run's folder where it is the only one."""
    return run if models == 1 else run / f"model-{n}"
