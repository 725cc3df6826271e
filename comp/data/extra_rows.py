"""Extra rows: labelled images from elsewhere that only ever train."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from comp.data.csv_table import clean, read_table
from comp.data.manifest import COLUMNS, PROB, WEIGHT, Manifest, soft_columns, sound, without_soft
from comp.data.task import SINGLE_LABEL, Task
from comp.errors import InputError


def with_extra(manifest: Manifest, csv: Path, task: Task = SINGLE_LABEL) -> Manifest:
    """A manifest with the rows of ``extra``, a CSV, after its own, as split "extra".

    The CSV has the columns path and label, and id, group and parent if any; a path is absolute or relative to the
    CSV's folder. Where it has a split column, as a manifest does, only its "extra" rows count. A column weight multiplies a
    row's loss; columns prob:CLASS are what it trains on instead of its label, which may then be absent.

    Raises
    ------
    InputError
        For a missing column, a cell that ``sound`` or ``settled_soft`` refuses, or an id that the manifest has already.
    """
    table = read_table(csv)
    there = {clean(name).lower() for name in table.header}
    soft = {}
    if any(name == WEIGHT or name.startswith(PROB) for name in there):
        from comp.data.soft_rows import soft_cells

        soft = soft_cells(table)
    needed = ("path",) if any(name != WEIGHT for name in soft) else ("path", "label")
    columns = [name for name in COLUMNS if name in there or name in needed]
    cells = {name: table.column(name) for name in columns}  # tells which columns there are
    rows = pd.DataFrame({name: cells.get(name, [""] * len(table)) for name in COLUMNS}, dtype="object")
    wanted = rows["split"] == "extra" if "split" in cells else rows["split"] == ""
    rows = rows.assign(
        split="extra",
        id=[i or f"extra:{path}" for i, path in zip(rows["id"], rows["path"], strict=True)],
        path=[str(csv.absolute().parent / path) for path in rows["path"]],
    )
    rows = sound(rows.assign(**soft), str(csv), 2)[wanted].reset_index(drop=True)
    note = ""
    if soft:
        from comp.data.soft_rows import settled_soft

        rows, told = settled_soft(rows, task, str(csv))
        note = f": {told}" if told else ""
    known = set(manifest.table["id"])
    twice = [i for i in rows["id"] if i in known]
    if twice:
        value = f"{len(twice)} ids of {csv} are rows of the competition, first {twice[0]!r}"
        raise InputError(
            "extra rows are other rows", value, "give them ids of their own, or leave the column out"
        )
    if not len(rows):
        return manifest
    note = f"{len(rows):,} extra rows of {csv.name}, which only train{note}"
    every = pd.concat([manifest.table, rows], ignore_index=True)
    every = every.assign(**{name: every[name].fillna("") for name in soft_columns(every)})
    return Manifest(without_soft(every), (*manifest.notes, note), manifest.remarks)
