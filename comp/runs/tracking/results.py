"""The tables that a finished run leaves to a tracker: its OOF rows, and what was answered for what."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd

from comp.runs import run as runs
from comp.runs.contents import folds_of, manifest_of, predictions_of
from comp.runs.tracking.tracker import Results, Table, Value
from comp.workspace import Workspace

MOST_COLUMNS = 50  # of classes in the table of OOF rows; of more only the answer's probability is there


def results_of(root: Path, name: str) -> Results:
    """What a run left, done or with some of its folds.

    Raises
    ------
    CompError
        Where it has not come to any, or its files are not as it wrote them.
    """
    run = runs.find_run(Workspace(root), name)
    recipe = (run.folder / runs.RECIPE).read_text(encoding="utf-8")
    return Results(recipe, None if run.refit else _oof(run), _confusion(run))


def _oof(run: runs.Run) -> Table:
    found, folds = predictions_of(run, "oof"), folds_of(run)
    train = manifest_of(run).train
    truth = dict(zip(train["id"], train["label"], strict=True))
    names = found.labels.names
    shown = list(names) if len(names) <= MOST_COLUMNS else []
    one_class = found.labels.task.one_class_a_row and not found.labels.task.is_numeric
    header = ["id", "fold", "label", *(["answer", "probability"] if one_class else []), *shown]
    rows: list[tuple[Value, ...]] = []
    for i, fold, probs in zip(
        found.ids, folds.of(pd.Series(found.ids, dtype=object)), found.probs, strict=True
    ):
        best = int(probs.argmax())
        answer: list[Value] = [names[best], float(probs[best])] if one_class else []
        values = [float(p) for p in probs] if shown else []
        rows.append((i, int(fold), str(truth[i]), *answer, *values))
    return Table(tuple(header), rows)


def _confusion(run: runs.Run) -> Table | None:
    if not run.has("confusion.csv"):
        return None
    with run.checked("confusion.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return Table(tuple(header), [(row[0], *map(float, row[1:])) for row in rows])


def as_csv(table: Table) -> str:
    """A table as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.header)
    writer.writerows(table.rows)
    return out.getvalue()
