"""Weights and class probabilities of extra rows: read, judged, and made into what a loss learns from."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from comp.data.csv_table import Table, clean, listed
from comp.data.labels import LabelMap, spellings
from comp.data.manifest import PROB, TRAINING, WEIGHT, Manifest, soft_columns
from comp.data.task import SEPARATOR, Task
from comp.errors import InputError, shortened

LIGHTEST = 1e-6  # weight: far smaller ones are lost in float32
SUM_TOLERANCE = 1e-3  # how far from 1 a row's probabilities may sum


def soft_cells(table: Table) -> dict[str, list[str]]:
    """The cells of the columns ``weight`` and ``prob:CLASS`` of a table, by their names, stripped."""
    places = [n for n, name in enumerate(table.header) if _is_soft(clean(name))]
    table.require_once(places)
    named = {clean(table.header[place]): place for place in places}
    return {
        WEIGHT if name.lower() == WEIGHT else PROB + name[len(PROB) :].strip(): [
            row[place].strip() for row in table.rows
        ]
        for name, place in named.items()
    }


def _is_soft(name: str) -> bool:
    return name.lower() == WEIGHT or name.lower().startswith(PROB)


def settled_soft(rows: pd.DataFrame, task: Task, where: str) -> tuple[pd.DataFrame, str]:
    """Rows of a manifest's columns whose weights and probabilities are known to be sound, with a label each; and how many
    have some, for a note.

    A row without a label takes its most probable class, of equal ones the first; of several labels those that are at
    least as probable as not.

    Raises
    ------
    InputError
        Naming file, row and value, for a weight that is no number above zero, a probability that is none of 0 to 1, a row
        with some of its probabilities, and of a single label one whose probabilities do not sum to 1; for probabilities
        of a task without any.
    """
    probs = [name for name in soft_columns(rows) if name != WEIGHT]
    if probs and task.is_numeric:
        value = f"{where} has {listed(probs, 2)}, the task is {task.name}"
        raise InputError("probabilities are of classes", value, f"drop the columns {PROB}…")
    weights, labels, soft, others = [], [], 0, 0
    for row in rows.to_dict("records"):
        place = f"{where}, row {row['id']!r}"
        if row.get(WEIGHT):
            weights.append(_weight(row[WEIGHT], place))
        given = _probs({name: row[name] for name in probs}, task, place)
        likely = _likely(given, task)
        soft += bool(given)
        others += bool(given and row["label"] and task.is_single_label and not _same(row["label"], likely))
        labels.append(row["label"] or likely)
    told = [f"{soft:,} with probabilities"] if soft else []
    told += [f"{len(weights):,} with weights {min(weights):g} to {max(weights):g}"] if weights else []
    told += [f"{others:,} whose label is not their most probable class"] if others else []
    return rows.assign(label=pd.Series(labels, index=rows.index, dtype="object")), ", ".join(told)


def _weight(text: str, place: str) -> float:
    number = _number(text)
    if not LIGHTEST <= number <= 1 / LIGHTEST:
        value = f"{place}, {WEIGHT} {shortened(repr(text), 100)}"
        raise InputError(
            "a row's weight is a number above 0, from 1e-6 to 1e6", value, "correct it; empty is 1"
        )
    return number


def _probs(row: dict[str, str], task: Task, place: str) -> dict[str, float]:
    """A row's probabilities by column; empty where it has none."""
    absent = [name for name, text in row.items() if not text]
    if len(absent) == len(row):
        return {}
    if absent:
        value = f"{place}, {absent[0]} is empty"
        raise InputError("a row has the probability of every class, or none", value, "fill it in, 0 too")
    values = {name: _number(text) for name, text in row.items()}
    for name, number in values.items():
        if not 0 <= number <= 1:
            value = f"{place}, {name} {shortened(repr(row[name]), 100)}"
            raise InputError("a probability is a number of 0 to 1", value, "correct that row")
    total = sum(values.values())
    if task.is_single_label and abs(total - 1) > SUM_TOLERANCE:
        value = f"{place}: they sum to {total:.6g}"
        raise InputError("a row's probabilities sum to 1", value, "correct that row")
    return values


def _likely(probs: dict[str, float], task: Task) -> str:
    """The label cell that a row's probabilities stand for; empty of none."""
    if task.is_single_label:
        return max(probs, key=lambda name: probs[name], default="").removeprefix(PROB)
    return SEPARATOR.join(name.removeprefix(PROB) for name, prob in probs.items() if prob >= 0.5)


def _same(label: str, other: str) -> bool:
    return clean(label).casefold() == clean(other).casefold()


def _number(text: str) -> float:
    """A text as a number; NaN, which is in no range, for any other text."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def with_class_names(manifest: Manifest, labels: LabelMap) -> Manifest:
    """A manifest whose columns of probabilities are named and ordered as the label map has its classes, and empty where a
    label was corrected: that is what a person said last.

    Raises
    ------
    InputError
        Where they are not those of every class, each once.
    """
    columns = [name for name in soft_columns(manifest.table) if name != WEIGHT]
    if not columns:
        return manifest
    spelled = spellings(Counter(name.removeprefix(PROB) for name in columns), labels.names)
    named = {name: spelled[name.removeprefix(PROB)] for name in columns}
    found = list(named.values())
    strange = [name for name in columns if named[name] not in labels]
    twice = [name for name in columns if found.count(named[name]) > 1]
    missing = [PROB + name for name in labels.names if name not in found]
    for faults, what in ((strange, "no class"), (twice, "one class twice"), (missing, "not there")):
        if faults:
            value = f"extra rows: {listed(faults, 3)} {'are' if len(faults) > 1 else 'is'} {what}"
            remedy = f"one column {PROB}CLASS for each of {listed(labels.names, 8)}"
            raise InputError("probabilities are of every class", value, remedy)
    table = manifest.table.rename(columns={name: PROB + named[name] for name in columns})
    if TRAINING in table:
        same = table[TRAINING] == table["label"]
        table = table.assign(**{PROB + name: table[PROB + name].where(same, "") for name in labels.names})
    rest = [name for name in table.columns if not str(name).startswith(PROB)]
    return replace(manifest, table=table[[*rest, *(PROB + name for name in labels.names)]])


def shares(table: pd.DataFrame, truth: NDArray[Any], labels: LabelMap) -> NDArray[np.float32] | None:
    """What rows are to be answered with, float32 (N, C): their probabilities, which sum to one of a single label, and the
    ``truth`` (as ``labels.encode`` has it) of rows without any; None where no row has some.
    """
    columns = [PROB + name for name in labels.names]
    if any(name not in table for name in columns):
        return None
    soft = (table[columns[0]] != "").to_numpy()
    if not soft.any():
        return None
    probs = table.loc[soft, columns].to_numpy(dtype=object).astype(np.float64)
    if labels.task.is_single_label:
        probs /= probs.sum(axis=1, keepdims=True)
    made = np.zeros((len(table), len(labels)), np.float32)
    if labels.task.is_single_label:
        made[np.arange(len(table)), truth] = 1.0
    else:
        made[:] = truth
    made[soft] = probs
    return made


def weights(table: pd.DataFrame) -> NDArray[np.float32] | None:
    """The weight of each row in the loss, float32 (N,); None where no row has one."""
    if WEIGHT not in table or not (table[WEIGHT] != "").any():
        return None
    return np.array([float(text or 1) for text in table[WEIGHT]], dtype=np.float32)
