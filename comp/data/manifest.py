"""The manifest: the table of samples, one row each, in the order of the source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import pandas as pd

from comp.data.csv_table import read_table
from comp.errors import InputError, shortened

COLUMNS = ("id", "path", "split", "label", "group", "parent")
TRAINING = "training_label"  # in memory: what a row trains with, where labels were corrected
ORIGINAL = "original_label"  # in files: what a row is scored by, where ``label`` is a corrected one
WEIGHT = "weight"  # of extra rows, where their table has it: what a row's loss is multiplied by
ROW = "row"  # of a manifest by image: the row that an image belongs to (see ``several_images``)
IMAGES = "images"  # of a manifest by row, where rows have several: the paths of all, a line each
FEATURE = "feature:"  # and a column's name: a cell beside the image, as the table has it
PROB = "prob:"  # and a class name: a probability of extra rows that have them
SPLITS = ("train", "extra", "test")


class Sample(NamedTuple):
    """One row of a manifest; an absent label, group or parent is the empty string."""

    id: str
    path: str
    split: str
    label: str = ""
    group: str = ""
    parent: str = ""
    row: str = ""  # where several images make one answer


class Remark(NamedTuple):
    """What a check has to say of how the rows were read: labels that were respelled, or left out.

    ``rows`` are sample ids.
    """

    check: str
    rows: tuple[str, ...]
    message: str
    remedy: str


@dataclass(frozen=True)
class Manifest:
    """The table of samples of a competition.

    ``table`` has the columns ``id path split label group parent``, all strings; ``path`` is relative to the
    raw folder, of a file there or in an archive that counts as unpacked, or names a row of an array (``train#17``).
    ``notes`` are facts of reading that people should see (files ignored, an encoding found), ``remarks`` those that a
    check judges. Where labels were corrected for training, the column ``training_label`` has what each row trains with,
    beside ``label``, by which it is scored. Where extra rows have weights or probabilities, the columns ``weight`` and
    ``prob:CLASS`` have them as texts, empty where a row has none (see ``soft_rows``).
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = field(default=())
    remarks: tuple[Remark, ...] = field(default=(), compare=False)

    @classmethod
    def from_samples(cls, samples: Iterable[Sample], notes: Sequence[str] = ()) -> Manifest:
        table = pd.DataFrame(list(samples), columns=[*COLUMNS, ROW], dtype="object")
        return cls(table if table[ROW].any() else table.drop(columns=ROW), tuple(notes))

    @classmethod
    def read_csv(cls, path: Path) -> Manifest:
        """Reads a manifest that `comp` or a person wrote: columns id, path, split, and label, group, parent if any.

        With a column original_label (as `comp labels` writes) that one is the label, and label is what the row trains with.

        Raises
        ------
        InputError
            If it is no CSV, lacks a column, has one twice, or has a cell that ``sound`` refuses.
        """
        stored = read_table(path)
        missing = [c for c in ("id", "path", "split", "label") if not stored.has(c)]
        if missing:
            raise InputError(
                "a manifest needs the columns id, path, split, label",
                f"{path} lacks {', '.join(missing)}; it has {', '.join(stored.header)}",
                "rename its columns",
            )
        known = [name for name in (*COLUMNS, ROW, "content", "action") if stored.has(name)]
        known += soft_columns(stored.header)
        beside = [name for name in stored.header if name.startswith(FEATURE)]
        known += beside
        table = pd.DataFrame({name: stored.column(name) for name in known}, dtype="object")
        if stored.has(ORIGINAL):
            table = table.assign(label=stored.column(ORIGINAL), **{TRAINING: table["label"]})
        for column in COLUMNS:
            if column not in table:
                table[column] = ""
        table = sound(table, str(path), 2)
        if "action" in table:  # a manifest that `comp check --fix` proposed
            table = table[table["action"] != "drop"].reset_index(drop=True)
        soft = soft_columns(table)
        names = (*COLUMNS, ROW, "content", TRAINING, *soft, *beside)
        return cls(without_soft(table[[n for n in names if n in table]]))

    def to_csv(self) -> str:
        """The table as ``read_csv`` reads it; of rows of several images by image."""
        return str(as_written(self.table).to_csv(index=False, lineterminator="\n"))

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def train(self) -> pd.DataFrame:
        """The labelled rows that get folds, numbered from 0."""
        return self.table[self.table["split"] == "train"].reset_index(drop=True)

    @cached_property
    def extra(self) -> pd.DataFrame:
        """The labelled rows that only ever train."""
        return self.table[self.table["split"] == "extra"].reset_index(drop=True)

    @cached_property
    def test(self) -> pd.DataFrame:
        """The rows to predict."""
        return self.table[self.table["split"] == "test"].reset_index(drop=True)

    @cached_property
    def corrections(self) -> dict[str, str]:
        """Id → corrected label of the rows that do not train with the label that they are scored by."""
        if TRAINING not in self.table:
            return {}
        rows = self.table[self.table[TRAINING] != self.table["label"]]
        return dict(zip(rows["id"], rows[TRAINING], strict=True))

    def fingerprint(self, split: str) -> str:
        """SHA-256 over the ids, labels, groups and contents (where they are known) of a split, whatever the row order.

        Groups and parents count by the rows that they tie within the split, not by their names: extra rows that
        are related to a train row change nothing.
        """
        rows = self.table[self.table["split"] == split]
        ids = list(rows["id"])
        own = set(ids)
        among = [parent if parent in own else "" for parent in rows["parent"]]
        outside = ["" if parent in own else parent for parent in rows["parent"]]
        contents = rows["content"] if "content" in rows else [""] * len(ids)
        told = [ids, rows["label"], _tied(ids, rows["group"]), among, _tied(ids, outside), contents]
        for name in soft_columns(self.table):
            told += [[f"{name}={cell}" if cell else "" for cell in rows[name]]] if rows[name].any() else []
        lines = sorted("\x1f".join(map(str, row)) for row in zip(*told, strict=True))
        return hashlib.sha256("\x1e".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def feature_columns(names: Iterable[Any]) -> list[str]:
    """Those of a manifest's columns that hold side features."""
    return [name for name in names if isinstance(name, str) and name.startswith(FEATURE)]


def soft_columns(names: Iterable[Any]) -> list[str]:
    """Those of some columns that hold weights or probabilities of extra rows."""
    return [name for name in names if name == WEIGHT or name.startswith(PROB)]


def without_soft(table: pd.DataFrame) -> pd.DataFrame:
    """A table that has weights and probabilities for extra rows alone; without their columns where those have none."""
    is_extra = table["split"] == "extra"
    for name in soft_columns(table):
        own = table[name].where(is_extra, "")
        table = table.assign(**{name: own}) if (own != "").any() else table.drop(columns=name)
    return table


def as_written(table: pd.DataFrame) -> pd.DataFrame:
    """A manifest's table as files have it: corrected labels as ``label``, the others as ``original_label`` beside them."""
    if TRAINING not in table:
        return table
    written = table.rename(columns={"label": ORIGINAL, TRAINING: "label"})
    first = [*COLUMNS[:4], ORIGINAL]
    return written[[*first, *(name for name in written if name not in first)]]


def sound(table: pd.DataFrame, where: str, first: int = 1) -> pd.DataFrame:
    """A manifest's table whose cells are known to be usable texts; a path may be a ``Path``, and becomes a text.

    Parameters
    ----------
    table : DataFrame
        From an adapter or a file, with all of COLUMNS; others stay as they are.
    where : str
        Names the adapter or the file in errors.
    first : int
        The number of the first row in errors: 2 in a file with a header.

    Raises
    ------
    InputError
        Naming row, column and value, for a missing column, a cell that is no text (None, NaN, a number, bytes, a list),
        an empty id, a split that is none, a NUL anywhere, a line break in an id or a path, or half of a surrogate pair.
    """
    missing = [name for name in COLUMNS if name not in table.columns]
    twice = [name for name in COLUMNS if list(table.columns).count(name) > 1]
    if missing or twice:
        fault = f"no {missing[0]!r}" if missing else f"{twice[0]!r} twice"
        value = f"{where}: {fault} in {', '.join(map(str, table.columns))}"
        raise InputError(f"a manifest has the columns {', '.join(COLUMNS)}", value, "correct it")
    table = table.reset_index(drop=True)
    clean: dict[str, list[str]] = {}
    for name in COLUMNS:
        cells = table[name].astype("object").tolist()
        if name == "path":
            cells = [cell.as_posix() if isinstance(cell, PurePath) else cell for cell in cells]
        if not set(map(type, cells)) <= {str}:
            cells = [str(cell) if isinstance(cell, str) else cell for cell in cells]  # numpy's are texts too
        faults = {n: fault for n, cell in _suspects(name, cells) if (fault := _fault(name, cell))}
        if faults:
            n, fault = next(iter(faults.items()))
            shown = shortened(repr(cells[n]), 200)
            more = f" (and {len(faults) - 1} more rows)" if len(faults) > 1 else ""
            value = f"{where}, row {n + first}, {name} {shown}: {fault}{more}"
            raise InputError("cells of a manifest are texts that can be read back", value, "correct that row")
        clean[name] = cells
    return table.assign(**{name: pd.Series(cells, dtype="object") for name, cells in clean.items()})


def _suspects(name: str, cells: list[Any]) -> Iterable[tuple[int, Any]]:
    """The numbered cells of a column, or none where one look at all of them together shows no fault."""
    if all(isinstance(cell, str) for cell in cells):
        together = "\x1f".join(cells)
        if name == "split":
            fine = set(cells) <= set(SPLITS)
        else:
            fine = not _fault(name, together + "x") and (name != "id" or all(cells))
        if fine:
            return ()
    return enumerate(cells)


def _fault(name: str, cell: Any) -> str:
    """What is wrong with a cell; empty where nothing is."""
    if not isinstance(cell, str):
        absent = "; what is absent is the empty text" if name in ("label", "group", "parent") else ""
        return f"no text but {type(cell).__name__}{absent}"
    if name == "split":
        return "" if cell in SPLITS else "split is train, extra or test"
    if name == "id" and not cell:
        return "a row needs an id"
    if "\0" in cell:
        return "it has a NUL"
    if name in ("id", "path") and ("\n" in cell or "\r" in cell):
        return "it has a line break"
    try:
        cell.encode("utf-8", "surrogateescape")  # how file names that are no UTF-8 come
    except UnicodeEncodeError:
        return "it has half of a surrogate pair, which no file can hold"
    return ""


def _tied(ids: Iterable[str], names: Iterable[str]) -> list[str]:
    """Each name as the smallest id of the rows that share it; nothing where a row has it alone."""
    members: dict[str, list[str]] = {}
    listed = list(names)
    for sample, name in zip(ids, listed, strict=True):
        members.setdefault(name, []).append(sample)
    return [min(members[name]) if name and len(members[name]) > 1 else "" for name in listed]
