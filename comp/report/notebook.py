"""What a notebook shows while a command works: one live block with folds, epochs, scores and the time left.

It needs no widgets: a display of IPython that is updated in place, as Jupyter, Colab and Kaggle all have it.
"""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from markupsafe import Markup

from comp import console, events
from comp.events import RunPace, model_of
from comp.workspace import shown

EVERY = 0.4  # seconds between two drawings
MOST_LINES, MOST_WARNINGS = 40, 12
Show = Callable[[dict[str, str], bool], None]


def shell() -> Any:
    """The shell of the notebook that this process works for; None where there is none."""
    here = sys.modules.get("IPython")
    found = here.get_ipython() if here is not None else None
    return found if hasattr(found, "kernel") else None


def take_over() -> None:
    """From now on the notebook shows events, where there is one, and no lines are written to stderr."""
    if shell() is not None and console.listener is not None:
        # of tqdm, which libraries bring: there are no widgets, and none are needed
        warnings.filterwarnings("ignore", message="IProgress not found")
        events.remove_listener(console.listener)
        console.listener = None
        events.add_listener(NotebookListener())


class NotebookListener(events.RunListener):
    """Draws one block for each cell that is run, and draws it again as events come."""

    def __init__(self, show: Show | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._given, self._clock = show, clock
        self._cell: object = object()
        self._begin()

    def _begin(self) -> None:
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self._warnings: dict[str, str] = {}
        self._tasks: dict[str, tuple[str, int, int, str]] = {}
        self._folds: dict[tuple[int, int], tuple[str, ...]] = {}
        self._names: dict[int, str] = {}  # of a refit's part, which is no fold
        self._metric, self._models, self._last = "", 1, ""
        self._pace, self._drawn, self._shown = RunPace(), -1e9, False
        self._show = self._given or _display()

    def handle(self, event: events.Event) -> None:
        cell = getattr(shell(), "execution_count", None)
        if cell != self._cell:
            self._cell = cell
            self._begin()
        super().handle(event)
        over = isinstance(event, events.RunEnded | events.FoldEnded | events.TaskEnded)
        if over or self._clock() - self._drawn >= EVERY:
            self._draw()

    def on_message(self, event: events.Message) -> None:
        text = event.text.strip()
        if text.startswith("warning: "):
            self._warnings.setdefault(text.removeprefix("warning: "), event.remedy)
        elif text:
            self._lines.append(text)

    def on_task_start(self, event: events.TaskStarted) -> None:
        self._pace.task_start(event)
        self._tasks[event.task] = (event.title, 0, event.total, "")

    def on_task_advance(self, event: events.TaskAdvanced) -> None:
        self._pace.task_advance(event)
        self._tasks[event.task] = (event.title, event.done, event.total, event.facts)

    def on_task_end(self, event: events.TaskEnded) -> None:
        self._pace.task_end(event)
        self._tasks.pop(event.task, None)

    def on_run_start(self, event: events.RunStarted) -> None:
        self._pace.run_start(event)
        self._metric, self._models, self._last = event.metric, len(event.models), ""
        self._folds = {(n, k): ("waits", "", "", "") for n in range(len(event.models)) for k in event.only}

    def on_fold_start(self, event: events.FoldStarted) -> None:
        self._pace.fold_start(event)
        self._folds[model_of(event), event.fold] = ("trains", "", "", "")
        if event.name == events.ALL_ROWS:
            self._names[event.fold] = event.name

    def on_epoch(self, event: events.EpochEnded) -> None:
        row = (
            f"{event.epoch}/{event.epochs}",
            f"{event.train_loss:.4f}",
            *(f"{value:.4f}" if math.isfinite(value) else "" for value in (event.valid_loss, event.score)),
        )
        self._folds[model_of(event), event.fold] = row

    def on_fold_end(self, event: events.FoldEnded) -> None:
        self._pace.fold_end(event)
        _, loss, valid, _ = self._folds.get((model_of(event), event.fold), ("", "", "", ""))
        state = event.failure or ("done before" if event.finished_before else "done")
        score = "" if event.score is None else f"{event.score:.4f}"
        self._folds[model_of(event), event.fold] = (state, loss, valid, score)

    def on_run_end(self, event: events.RunEnded) -> None:
        if event.failure:
            self._last = (
                f"Stopped: {event.failure}. Go on with comp.run({event.slug!r}, resume={event.run!r})"
            )
        else:
            marks = f" ({', '.join(event.marks)})" if event.marks else ""
            scored = "" if event.score is None else f"OOF {event.metric} {event.score:.4f}"
            self._last = (
                f"{scored}{marks}; run {event.run}; submission {shown(Path(event.submission))}".lstrip()
            )

    def _draw(self) -> None:
        self._drawn = self._clock()
        self._show(
            {"text/html": str(self._html()), "text/plain": self._last or (self._lines or [""])[-1]},
            self._shown,
        )
        self._shown = True

    def _html(self) -> Markup:
        parts = [Markup("<div style='font-size:13px'>")]
        left = self._pace.seconds_left
        if self._folds:
            parts.append(self._table())
        if left and not self._last:
            parts.append(Markup("<p>about {} of training left</p>").format(console.duration(left)))
        for title, done, total, facts in self._tasks.values():
            bar = Markup("<p>{} <progress value='{}' max='{}'></progress> {:,}/{:,} {}</p>")
            parts.append(bar.format(title, done, max(total, 1), done, total, facts))
        for text, remedy in list(self._warnings.items())[:MOST_WARNINGS]:
            parts.append(
                Markup("<p style='color:#b45f06'>warning: {} <small>{}</small></p>").format(text, remedy)
            )
        if self._last:
            parts.append(Markup("<p><b>{}</b></p>").format(self._last))
        if self._lines:
            every = Markup("<br>").join(self._lines)
            parts.append(
                Markup("<details><summary>{}</summary><small>{}</small></details>").format(
                    self._lines[-1], every
                )
            )
        return Markup("").join([*parts, Markup("</div>")])

    def _table(self) -> Markup:
        """A row for each fold: where it is, its losses and its score."""
        several = self._models > 1
        head = Markup(
            "<tr>{}<th>fold</th><th>epoch</th><th>loss</th><th>valid loss</th><th>{}</th></tr>"
        ).format(Markup("<th>model</th>") if several else "", self._metric)
        rows = []
        for (model, fold), cells in sorted(self._folds.items()):
            named = (*((model,) if several else ()), self._names.get(fold, fold), *cells)
            rows.append(
                Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(c) for c in named))
            )
        return Markup("<table>{}{}</table>").format(head, Markup("").join(rows))


def _display() -> Show:
    """What shows the block of a cell: a display that is made once and then changed in place."""
    import IPython.display as screen

    name = f"comp-{time.time_ns()}"

    def show(content: dict[str, str], again: bool) -> None:
        if again:
            screen.update_display(content, display_id=name, raw=True)  # type: ignore[no-untyped-call]
        else:
            screen.display(content, display_id=name, raw=True)  # type: ignore[no-untyped-call]

    return show
