"""Predictions that other programs wrote: a CSV of ids and a column a class, or an .npz of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comp import events
from comp.config import finite_number, whole_number
from comp.data.csv_table import Table, listed, read_table
from comp.data.dataset import ids_apart, match_ids
from comp.data.folds import numbered
from comp.data.images.raw_tree import nfc
from comp.data.labels import LabelMap
from comp.data.predictions import ROW_SUM_TOLERANCE, Predictions
from comp.errors import InputError, UnknownName, near_names

MOST_ROUNDING = 1e-3  # of a row's sum, that the decimals of a file may explain
ID_COLUMNS = ("id", "image_id", "img_id", "image", "filename", "file")


@dataclass(frozen=True)
class ExternalPredictions:
    """A table of predictions: ids as they stand, and the columns that are neither id nor fold, as text."""

    name: str
    ids: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    folds: tuple[int, ...] | None = None


def read_rows(path: Path, id_column: str, fold_column: str | None = None) -> ExternalPredictions:
    """A CSV of predictions; the id is in ``id_column`` or a column of a usual name, else in the first.

    Raises
    ------
    InputError
        If it is unreadable, has no rows, an empty or doubled id, no such fold column, or folds that are no whole
        numbers.
    """
    table = read_table(path)
    place = _id_place(table, id_column)
    ids = tuple(row[place] for row in table.rows)
    if not ids:
        raise InputError("predictions have rows", f"{path} has none", "write a row for each id")
    if "" in ids:
        raise InputError(
            "every prediction has an id", f"{path}, row {ids.index('') + 2} has none", "correct it"
        )
    twice, times = Counter(ids).most_common(1)[0]
    if times > 1:
        rows = [n for n, one in enumerate(ids, start=2) if one == twice][:3]
        value = f"{path} has {twice!r} in rows {', '.join(map(str, rows))}"
        raise InputError("an id is predicted once", value, "average them, or take the doubled rows out")
    fold = table.place(fold_column) if fold_column is not None else None
    if fold == place:
        raise InputError("id and fold are different columns", repr(fold_column), "name another `fold_column`")
    kept = [n for n in range(len(table.header)) if n not in (place, fold)]
    return ExternalPredictions(
        str(path),
        ids,
        tuple(table.header[n] for n in kept),
        tuple(tuple(row[n] for n in kept) for row in table.rows),
        None if fold is None else _folds(table, fold),
    )


def _id_place(table: Table, id_column: str) -> int:
    return next((table.place(name) for name in (id_column, *ID_COLUMNS) if table.has(name)), 0)


def _folds(table: Table, place: int) -> tuple[int, ...]:
    found = []
    for number, row in enumerate(table.rows, start=2):
        fold = whole_number(row[place].strip().removesuffix(".0"))
        if fold is None or fold < 0:
            raise InputError(
                "a fold is a whole number", f"{table.name}, row {number}: {row[place]!r}", "correct it"
            )
        found.append(fold)
    numbered(found, f"{table.name}, {table.header[place]!r}")
    return tuple(found)


def predictions_of(
    rows: ExternalPredictions,
    labels: LabelMap,
    samples: Sequence[str],
    fingerprint: str,
    normalise: bool = False,
) -> Predictions:
    """The rows as Predictions of ``samples``, in their order, with the classes in the order of ``labels``.

    Ids may lack or have an image's suffix. Sums that are off by no more than the decimals of the file explain are
    divided out; with ``normalise`` every sum is.

    Raises
    ------
    InputError
        For ids that are missing or not asked for, columns that are not the classes, cells that are no finite numbers,
        logits, or rows that do not sum to one.
    """
    ids = joined_ids(rows, samples)
    order = _columns(rows, labels)
    probs = np.ascontiguousarray(_numbers(rows)[:, order])  # sums to the same bits in any order of columns
    if labels.task.is_single_label:
        probs = _probabilities(rows, probs, normalise)
    else:
        probs = _within(rows, probs, labels)
    return Predictions(tuple(ids), labels, probs, fingerprint).select(samples)


def joined_ids(rows: ExternalPredictions, samples: Sequence[str]) -> list[str]:
    """The sample of each row; InputError where samples and rows do not pair up one to one."""
    ids = match_ids(rows.ids, samples, rows.name)
    apart = ids_apart(samples, ids, f"of {len(samples)} samples have no row", "rows are of no sample")
    if apart:
        remedy = "bring predictions of exactly the competition's rows, ids read and written as text"
        raise InputError("predictions answer each row once", f"{rows.name}: {apart}", remedy)
    return ids


def _columns(rows: ExternalPredictions, labels: LabelMap) -> list[int]:
    """For each class the place of its column: by name if every column is a class name, else by index. The one number of a
    row needs no name.
    """
    if labels.task.is_numeric and len(rows.columns) == labels.width == 1:
        return [0]
    if labels.task.name == "ordinal":
        value = f"{rows.name} has {listed(rows.columns)}"
        raise InputError("a place on a scale is one number a row", value, "write one column, from 0 to C - 1")
    named = {nfc(name).strip(): index for index, name in enumerate(labels)}
    by_name = {n: named.get(nfc(column).strip()) for n, column in enumerate(rows.columns)}
    by_index = {
        n: index if (index := whole_number(column)) is not None and 0 <= index < len(labels) else None
        for n, column in enumerate(rows.columns)
    }
    known = [sum(index is not None for index in found.values()) for found in (by_name, by_index)]
    found = by_name if known[0] >= known[1] else by_index
    both = [n for n, index in by_name.items() if index is not None and by_index[n] not in (None, index)]
    if found is by_index and both:
        value = f"{rows.name} has {listed(rows.columns)}: {rows.columns[both[0]]!r} is a class, and another's index"
        raise InputError("columns are class names or indices", value, "name each column as its class")
    for n, index in found.items():
        if index is None:
            column = rows.columns[n]
            near = near_names(column, labels.names)
            remedy = "leave id, fold (`fold_column`) and a column a class: other columns, truths too, out"
            if near:
                raise UnknownName("class column", column, labels.names, remedy)
            raise InputError("columns are class names or indices", f"{rows.name} has {column!r}", remedy)
    place = {index: n for n, index in found.items()}
    missing = [name for index, name in enumerate(labels) if index not in place]
    if missing or len(place) < len(found):
        value = f"{rows.name}: {f'no column for {missing[0]!r}' if missing else 'a class has two columns'}"
        raise InputError("predictions have a column for each class", value, "one column a class, all of them")
    return [place[index] for index in range(len(labels))]


def _numbers(rows: ExternalPredictions) -> NDArray[np.float64]:
    for number, cells in enumerate(rows.cells, start=2):
        for column, cell in zip(rows.columns, cells, strict=True):
            if finite_number(cell) is None:
                value = f"{rows.name}, row {number}, {column!r}: {cell!r}"
                raise InputError(
                    "probabilities must be numbers", value, "fill no gaps: predict these rows again"
                )
    return np.array(rows.cells, dtype=np.float64)


def _within(rows: ExternalPredictions, values: NDArray[np.float64], labels: LabelMap) -> NDArray[np.float64]:
    """Values within the bounds of their columns: probabilities outside 0 … 1 are refused, numbers are clipped, and that is
    said.
    """
    low, high = labels.task.bounds(len(labels))
    outside = ((values < low) | (values > high)).any(axis=1)
    if not outside.any():
        return values
    row = int(outside.argmax())
    if not labels.task.is_numeric:
        value = f"{rows.name}, row {row + 2} ({rows.ids[row]!r}) has {values[row].min():.6g} to {values[row].max():.6g}"
        raise InputError("probabilities are 0 to 1", value, "write the sigmoid of logits: 1 / (1 + exp(-x))")
    events.log(
        f"  {int(outside.sum())} rows of {rows.name} have numbers beyond {low.min():g} to {high.max():g}: clipped"
    )
    return np.clip(values, low, high)


def _probabilities(
    rows: ExternalPredictions, values: NDArray[np.float64], normalise: bool
) -> NDArray[np.float64]:
    sums = values.sum(axis=1)
    if values.min() < 0:
        row = int(values.min(axis=1).argmin())
        value = f"{rows.name}, row {row + 2} ({rows.ids[row]!r}) has {values[row].min():.6g}: logits?"
        raise InputError("probabilities are 0 to 1", value, "write their softmax: exp(x) / sum(exp(x))")
    if normalise:
        if sums.min() <= 0:
            value = f"{rows.name}, row {int(sums.argmin()) + 2} is all zeros"
            raise InputError("a row needs something to divide by", value, "predict this row again")
        return np.asarray(values / sums[:, None], dtype=np.float64)
    off = np.abs(sums - 1)
    row = int(off.argmax())
    if off[row] > _rounding(rows):
        value = f"{rows.name}, row {row + 2} ({rows.ids[row]!r}) sums to {sums[row]:.6g}"
        remedy = (
            "`normalise=True` divides each row by its sum, if that is what they mean; logits need a softmax"
        )
        raise InputError("rows of probabilities sum to one", value, remedy)
    return np.asarray(values / sums[:, None], dtype=np.float64)


def _rounding(rows: ExternalPredictions) -> float:
    """What the sum of a row may be off by, for the decimals that the file has (its longest cell among the first rows)."""
    cells = [cell.strip() for row in rows.cells[:100] for cell in row]
    if any("e" in cell.lower() for cell in cells):
        return ROW_SUM_TOLERANCE
    decimals = max(len(cell.partition(".")[2]) for cell in cells)
    return float(min(max(ROW_SUM_TOLERANCE, 0.5 * len(rows.columns) * 10.0**-decimals), MOST_ROUNDING))
