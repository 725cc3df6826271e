"""The events of a fold, and its history.csv, which grows with each epoch."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from comp import events
from comp.files import write_text
from comp.runs.contents import home_of
from comp.runs.progress import HISTORY
from comp.training.plan import FoldResult, TrainPlan
from comp.training.state import Epoch
from comp.training.time_limit import OutOfTime


class FoldEvents:
    """Says what happens in fold k of a plan to those who listen."""

    def __init__(self, plan: TrainPlan, k: int) -> None:
        run, folder = home_of(plan.fold_folder(k))
        self._facts: dict[str, Any] = {
            "run": run,
            "slug": plan.slug,
            "folder": folder,
            "fold": k,
            "folds": plan.folds.k,
            "model": plan.recipe.model.name,
        }
        self._metric = plan.metric.name
        self._epochs = 0 if plan.recipe.mode == "probe" else plan.recipe.epochs
        self._since = time.perf_counter()
        self._seconds: list[float] = []  # of each epoch here

    def started(self) -> None:
        self._since = time.perf_counter()
        events.emit(events.FoldStarted(**self._facts, epochs=self._epochs))

    def epoch_ended(self, epoch: Epoch) -> None:
        now = time.perf_counter()
        self._seconds.append(now - self._since)
        self._since = now
        pace = sum(self._seconds) / len(self._seconds)
        events.emit(
            events.EpochEnded(
                **self._facts,
                epoch=epoch.epoch,
                epochs=self._epochs,
                train_loss=epoch.loss,
                valid_loss=epoch.valid_loss,
                metric=self._metric,
                score=epoch.valid_metric,
                lr=epoch.lr,
                images_per_second=epoch.images_per_second,
                seconds=self._seconds[-1],
                seconds_left=pace * (self._epochs - epoch.epoch),
            )
        )

    def ended(self, result: FoldResult, finished_before: bool = False) -> None:
        events.emit(
            events.FoldEnded(
                **self._facts,
                metric=self._metric,
                score=result.score,
                rows=result.rows,
                seconds=result.seconds,
                finished_before=finished_before,
            )
        )

    def failed(self, failure: Any) -> None:
        """``failure`` is the CompError that ended the fold."""
        stopped = isinstance(failure, OutOfTime)
        events.emit(
            events.FoldEnded(
                **self._facts,
                metric=self._metric,
                score=None,
                rows=0,
                seconds=0.0,
                failure=failure.value if stopped else f"{failure.rule}: {failure.value}",
                is_stopped=stopped,
            )
        )


class HistoryFile(events.RunListener):
    """Keeps a fold's history.csv up with its epochs: written anew after each, so that it is whole at any moment."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / HISTORY
        self._epochs: list[Epoch] = []

    def begin(self, epochs: Sequence[Epoch]) -> None:
        """The epochs that training goes on from; whatever an attempt before wrote of later ones no longer holds."""
        self._epochs = list(epochs)
        self._write()

    def on_epoch(self, event: events.EpochEnded) -> None:
        self._epochs.append(
            Epoch(
                event.epoch,
                event.train_loss,
                event.valid_loss,
                event.score,
                event.lr,
                event.images_per_second,
            )
        )
        self._write()

    def _write(self) -> None:
        out = io.StringIO()
        writer = csv.DictWriter(out, [field.name for field in fields(Epoch)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in self._epochs)
        write_text(self._path, out.getvalue())
