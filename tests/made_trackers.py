"""Trackers of the tests' own, which the process of a tracker imports by name: one that hangs, one that fails, one that is slow."""

from __future__ import annotations

import csv
import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from comp.runs.tracking.tracker import Part, Tracker

if TYPE_CHECKING:
    from comp.pipelines.run_result import RunResult

SET = ["epochs=2", "precision=fp32", "channels_last=false", "threads=1"]
RELEASED = "released"  # a file in the workspace: until it is there, nothing moves on


class Noted(Tracker):
    """Writes a line for each thing that it is told."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = root

    def note(self, *told: object) -> None:
        with (self.folder / "noted.jsonl").open("a") as file:
            file.write(json.dumps(told) + "\n")

    def open(self, part: Part) -> None:
        self.note("open", part.key)

    def log(self, part: Part, values: dict[str, float], step: int) -> None:
        if part.key:
            self.note("log", part.key, step, values)

    def score(self, part: Part, values: dict[str, float]) -> None:
        self.note("score", part.key, values)

    def close(self, part: Part, failure: str) -> None:
        self.note("close", part.key, failure)


class Hanging(Noted):
    """Does nothing until a file is there, which the test makes once the run has come back."""

    def open(self, part: Part) -> None:
        while not (self.root / RELEASED).exists():
            time.sleep(0.05)
        super().open(part)


class Failing(Tracker):
    """Raises as soon as it is told anything."""

    def open(self, part: Part) -> None:
        raise ConnectionError("the server says no")


def all_written() -> None:
    """Waits for the trackers that still work."""
    for thread in threading.enumerate():
        if thread.name.startswith("track-"):
            thread.join(120)
            assert not thread.is_alive()


def history(result: RunResult, fold: str) -> list[tuple[int, dict[str, float]]]:
    """The epochs of history.csv as a tracker is told them."""
    with (result.folder / fold / "history.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    return [(int(row.pop("epoch")), {"valid_accuracy": row.pop("valid_metric"), **row}) for row in rows]
