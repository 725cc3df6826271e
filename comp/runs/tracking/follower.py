"""From the events of a run to what a tracker writes: curves from each fold's history.csv, scores, tables."""

from __future__ import annotations

import csv
import io
import math
import re
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from comp import events
from comp.config import Shape, read_shaped
from comp.errors import CompError
from comp.files import write_json
from comp.recipe import Recipe, load
from comp.runs.progress import HISTORY
from comp.runs.run import RECIPE, STARTED
from comp.runs.tracking.tracker import Part, Tracker, Value


class _Memory(Shape):
    """What a tracker was told of a run: when it began, of each fold the epochs with a number of each, and which are over."""

    began: float = 0.0
    epochs: dict[str, dict[str, float]] = Field(default_factory=dict)
    over: list[str] = Field(default_factory=list)


class Follower:
    """Hears a run and tells a tracker.

    The curves come from the folds' history.csv: events say only that there is more in it, so that one which was lost
    costs nothing, and a run that goes on has all its epochs once, those from before it was tracked as well.
    """

    def __init__(self, tracker: Tracker, root: Path, name: str) -> None:
        self._tracker, self._root, self._name = tracker, root, name
        self._open: dict[str, Part] = {}
        self._memory: dict[str, Any] = {}
        self._path = self._folder = Path()
        self._run: events.RunStarted | None = None
        self._early: dict[str, float] = {}  # of the machine, before the run was known
        self._recipes: tuple[Recipe, ...] = ()

    def take(self, item: events.Event | dict[str, float]) -> None:
        """An event, or what the machine does."""
        if isinstance(item, events.RunStarted):
            self._begin(item)
        elif isinstance(item, events.FoldStarted):
            self._part(item)
        elif isinstance(item, events.EpochEnded):
            self._catch_up(self._part(item), item.metric)
        elif isinstance(item, events.FoldEnded):
            self._fold_ended(item)
        elif isinstance(item, events.RunEnded):
            self._run_ended(item)
        elif isinstance(item, dict) and "" in self._open:
            self._look(item)
        elif isinstance(item, dict):
            self._early = item

    def end(self) -> None:
        """No more is to come: what is open was cut off."""
        for key in sorted(self._open, reverse=True):
            self._tracker.close(self._open.pop(key), "the process ended")

    def _begin(self, event: events.RunStarted) -> None:
        self._run, self._folder = event, Path(event.folder)
        self._path = self._root / "tracking" / "logs" / f"{event.run}-{self._name}.json"
        try:
            known: _Memory = read_shaped(self._path, _Memory, "")
        except CompError:
            known = _Memory(began=time.time())
        self._memory = known.model_dump()
        recipe = load(self._folder / RECIPE)
        self._recipes = recipe.each
        config: dict[str, Value] = {
            "run": event.run,
            "slug": event.slug,
            "folds": event.folds,
            "metric": event.metric,
        }
        self._open[""] = Part(event.run, event.slug, "", {**config, **flattened(recipe.as_table())})
        self._tracker.open(self._open[""])
        self._look(self._early)
        self._keep()

    def _look(self, values: dict[str, float]) -> None:
        """Tells what the machine does."""
        if values:
            seconds = int(time.time() - self._memory["began"])
            self._tracker.log(self._open[""], values, max(0, seconds))

    def _part(self, event: events.OfFold) -> Part:
        """The part of a fold, opened where it is not."""
        if event.folder not in self._open:
            assert self._run is not None
            recipe = self._recipes[min(events.model_of(event), len(self._recipes) - 1)]
            config: dict[str, Value] = {
                "run": event.run,
                "slug": event.slug,
                "fold": event.fold,
                "folds": event.folds,
                "metric": self._run.metric,
            }
            part = Part(event.run, event.slug, event.folder, {**config, **flattened(recipe.as_table())})
            self._tracker.open(part)
            self._open[event.folder] = part
        return self._open[event.folder]

    def _fold_ended(self, event: events.FoldEnded) -> None:
        if event.finished_before and event.folder in self._memory["over"]:
            return
        part = self._part(event)
        self._catch_up(part, event.metric)
        if event.score is not None:
            facts = {"rows": float(event.rows), "seconds": event.seconds}
            self._tracker.score(part, {plain(event.metric): event.score, **facts})
        self._tracker.close(part, event.failure)
        del self._open[event.folder]
        if not event.failure:
            self._memory["over"].append(event.folder)
            self._keep()

    def _catch_up(self, part: Part, metric: str) -> None:
        """Tells the epochs of history.csv that the tracker does not know, or knows otherwise."""
        told = self._memory["epochs"].setdefault(part.key, {})
        for row in history(self._folder / part.key / HISTORY):
            number = str(int(row.pop("epoch")))
            values = {name: value for name, value in row.items() if math.isfinite(value)}
            known_by = values.get("valid_loss", values["loss"])  # a refit holds out no row
            if told.get(number) == known_by:
                continue
            if number in told:  # it was trained anew, and came out otherwise
                self._tracker.forget_from(part, int(number))
                for later in [n for n in told if int(n) >= int(number)]:
                    del told[later]
            if "valid_metric" in values:
                values[f"valid_{plain(metric)}"] = values.pop("valid_metric")
            self._tracker.log(part, values, int(number))
            told[number] = known_by
        self._keep()

    def _run_ended(self, event: events.RunEnded) -> None:
        part = self._open[""]
        if event.score is not None:
            folds = {f"fold-{k}": score for k, score in zip(event.folds, event.per_fold, strict=False)}
            values = {f"oof_{plain(event.metric)}": event.score, **folds, "seconds": event.seconds}
            self._tracker.score(part, values)
        if not event.failure and (self._folder / STARTED).is_file():
            try:
                from comp.runs.tracking.results import (
                    results_of,  # pandas: loaded when the run trains no longer
                )

                self._tracker.results(part, results_of(self._root, event.run))
            except CompError:
                traceback.print_exc()
        for key in sorted(self._open, reverse=True):  # the folds before the run
            self._tracker.close(self._open.pop(key), event.failure)

    def _keep(self) -> None:
        write_json(self._path, self._memory)


def history(path: Path) -> Iterator[dict[str, float]]:
    """The epochs of a history.csv; none where there is no such file, as for a probe."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return
    for row in csv.DictReader(io.StringIO(text)):
        yield {name: float(value) for name, value in row.items()}


def flattened(table: dict[str, Any], before: str = "") -> dict[str, Value]:
    """A table by dotted keys; a list of numbers and texts is one value, as text."""
    found: dict[str, Value] = {}
    for key, value in table.items():
        name = f"{before}{key}"
        if isinstance(value, dict):
            found |= flattened(value, f"{name}.")
        elif isinstance(value, list) and any(isinstance(one, dict) for one in value):
            found |= flattened({str(n): one for n, one in enumerate(value)}, f"{name}.")
        else:
            found[name] = value if isinstance(value, bool | int | float | str) else str(value)
    return found


def plain(name: str) -> str:
    """A metric's name with the letters alone that every tracker takes."""
    return re.sub(r"[^\w. -]", "-", name)
