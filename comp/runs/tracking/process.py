"""The side of the tracker: a process that reads a run's events from stdin, until the run ends and all is written."""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from comp import events
from comp.runs.tracking.follower import Follower
from comp.runs.tracking.system import system_values

LIMIT = 10_000  # events that wait here; then the pipe fills, and then the queue of the run
LAST_SECONDS = 600.0  # that this process lives on after the run's
SAMPLE_SECONDS = 10.0  # between two looks at the machine
_KINDS = {
    kind.__name__: kind
    for kind in (
        events.RunStarted,
        events.FoldStarted,
        events.EpochEnded,
        events.FoldEnded,
        events.RunEnded,
    )
}
_TUPLES = ("only", "models", "epochs", "summaries", "folds", "per_fold", "marks")
Item = events.Event | dict[str, float] | None


def main(target: str, name: str, root: str) -> None:
    """Gives the events of stdin to the tracker of class ``target`` ("module:Class"); ends the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(10)  # training comes first
    waiting: queue.Queue[Item] = queue.Queue(LIMIT)
    parent, code = os.getppid(), 0
    waiting.put(system_values(parent))  # of a run that ends at once too
    for work in (_read, _sample, _end_in_time):
        threading.Thread(target=work, args=(waiting, parent), daemon=True).start()
    try:
        module, _, kind = target.partition(":")
        tracker = getattr(importlib.import_module(module), kind)(Path(root))
        follower = Follower(tracker, Path(root), name)
        while (item := waiting.get()) is not None:
            follower.take(item)
        follower.end()
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # whatever threads and hooks the tracker's package leaves


def event_of(line: bytes) -> events.Event:
    """The event that a line of JSON says."""
    table: dict[str, Any] = json.loads(line)
    kind = _KINDS[table.pop("kind")]
    lists = {key: tuple(value) for key, value in table.items() if key in _TUPLES and isinstance(value, list)}
    return kind(**{**table, **lists})


def _read(waiting: queue.Queue[Item], _: int) -> None:
    try:
        for line in sys.stdin.buffer:
            waiting.put(event_of(line))
    finally:
        waiting.put(None)


def _sample(waiting: queue.Queue[Item], parent: int) -> None:
    while True:
        time.sleep(SAMPLE_SECONDS)
        values = system_values(parent)
        if values and waiting.qsize() < LIMIT // 2:
            waiting.put(values)


def _end_in_time(_: queue.Queue[Item], parent: int) -> None:
    """Ends this process some time after the run's has ended, whatever the tracker waits for."""
    while os.name != "nt" and os.getppid() == parent:
        time.sleep(1.0)
    time.sleep(LAST_SECONDS)
    os._exit(3)


if __name__ == "__main__":
    main(*sys.argv[1:])
