"""Labels that a person corrected: rows train with them, and are dealt to folds and scored by the original ones."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from comp.data.csv_table import listed
from comp.data.labels import LabelMap, respelled, spellings
from comp.data.manifest import ORIGINAL, TRAINING, Manifest
from comp.data.task import numbers
from comp.errors import InputError, shortened


def with_corrections(manifest: Manifest, corrections: Mapping[str, str]) -> Manifest:
    """A manifest whose rows of these ids train with other labels; ids that are no labelled row are left out."""
    if not corrections:
        return manifest
    table = manifest.table
    wanted = [corrections.get(i, label) for i, label in zip(table["id"], table["label"], strict=True)]
    return replace(manifest, table=table.assign(**{TRAINING: pd.Series(wanted, dtype="object")}))


def settled(manifest: Manifest, labels: LabelMap, where: str = "the manifest") -> Manifest:
    """A manifest whose corrected labels are spelled as the label map has them, with a note of how many there are; without
    the column where no label of a labelled row is another.

    Raises
    ------
    InputError
        For a corrected label that is none of the task, and a labelled row without the original one; ``where`` is the
        table's name.
    """
    table = manifest.table
    if TRAINING not in table:
        return manifest
    labelled = table["split"] != "test"
    wanted = table[TRAINING].where(labelled & table[TRAINING].notna(), table["label"])
    differs = labelled & (wanted != table["label"])
    spelling = _spelling(labels, list(wanted[differs]))
    wanted = wanted.where(~differs, [_respelled(label, spelling, labels) for label in wanted])
    differs = labelled & (wanted != table["label"])
    for sample, label, original in zip(
        table["id"][differs], wanted[differs], table["label"][differs], strict=True
    ):
        _require_sound(sample, label, original, labels, where)
    plain = table.drop(columns=TRAINING)
    if not differs.any():
        return replace(manifest, table=plain)
    note = (
        f"{int(differs.sum())} of {int(labelled.sum())} labels are corrected for training; "
        f"folds and scores go by {ORIGINAL}"
    )
    return replace(manifest, table=plain.assign(**{TRAINING: wanted}), notes=(*manifest.notes, note))


def corrections_sha256(manifest: Manifest) -> str | None:
    """SHA-256 of which row trains with which corrected label, whatever the row order; None where there are none."""
    lines = sorted(f"{i}\x1f{label}" for i, label in manifest.corrections.items())
    if not lines:
        return None
    return hashlib.sha256("\x1e".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _spelling(labels: LabelMap, cells: list[str]) -> dict[str, str]:
    """How the names in some label cells are to be spelled; nothing of a regression."""
    if not labels.task.has_classes:
        return {}
    return spellings(Counter(part for cell in cells for part in labels.task.parts(cell)), labels.names)


def _respelled(cell: str, spelling: dict[str, str], labels: LabelMap) -> str:
    return respelled(cell, spelling, labels.task) if labels.task.has_classes else cell


def _require_sound(sample: str, label: str, original: str, labels: LabelMap, where: str) -> None:
    """InputError for a corrected label, or an original one, that the task does not have."""
    task = labels.task
    if not original and not task.takes_no_label:
        value = f"{where}, row {sample!r} has none"
        raise InputError(f"a row keeps its label in {ORIGINAL}", value, "write the label as it was there")
    if task.has_classes:
        strange = [name for name in task.parts(label) or [""] if name not in labels]
        if strange and (label or not task.takes_no_label):
            value = f"{where}, row {sample!r} has {shortened(repr(strange[0]), 100)}"
            remedy = f"write one of {listed(labels.names, 8)}, or the original label to leave it as it was"
            raise InputError("a corrected label is a class of the label map", value, remedy)
        return
    values = numbers(task.parts(label), len(labels))
    low, high = task.bounds(len(labels))
    if any(not a <= value <= b for value, a, b in zip(values, low, high, strict=True)):
        value = f"{where}, row {sample!r} has {shortened(repr(label), 100)}"
        remedy = "write numbers between the lowest and the highest label of the training rows"
        raise InputError("a corrected label lies within the range of the labels", value, remedy)
