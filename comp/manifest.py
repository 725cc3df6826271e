"""The manifest: the table of samples, one row each, in the order of the source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from comp.errors import InputError
from comp.names import is_ignored as is_ignored
from comp.names import is_image_name as is_image_name
from comp.names import natural_key as natural_key
from comp.tables import read_table

COLUMNS = ("id", "path", "split", "label", "group", "parent")
SPLITS = ("train", "extra", "test")


class Sample(NamedTuple):
    """One row of a manifest; an absent label, group or parent is the empty string."""

    id: str
    path: str
    split: str
    label: str = ""
    group: str = ""
    parent: str = ""


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
    check judges.
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = field(default=())
    remarks: tuple[Remark, ...] = field(default=(), compare=False)

    @classmethod
    def from_samples(cls, samples: Iterable[Sample], notes: Sequence[str] = ()) -> Manifest:
        table = pd.DataFrame(list(samples), columns=list(COLUMNS), dtype="object")
        return cls(table, tuple(notes))

    @classmethod
    def read_csv(cls, path: Path) -> Manifest:
        """Reads a manifest that `comp` or a person wrote: columns id, path, split, and label, group, parent if any."""
        try:
            stored = read_table(path)
        except InputError as error:
            remedy = "write columns id,path,split,label"
            raise InputError("the manifest must be a CSV file", f"{path}: {error.value}", remedy) from error
        missing = [c for c in ("id", "path", "split", "label") if not stored.has(c)]
        if missing:
            raise InputError(
                "a manifest needs the columns id, path, split, label",
                f"{path} lacks {', '.join(missing)}; it has {', '.join(stored.header)}",
                "rename its columns",
            )
        known = [name for name in (*COLUMNS, "content", "action") if stored.has(name)]
        table = pd.DataFrame({name: stored.column(name) for name in known}, dtype="object")
        for column in COLUMNS:
            if column not in table:
                table[column] = ""
        if "action" in table:  # a manifest that `comp check --fix` proposed
            table = table[table["action"] != "drop"].reset_index(drop=True)
        wrong = sorted(set(table["split"]) - set(SPLITS))
        if wrong:
            raise InputError("split is train, extra or test", f"{path} has {wrong[:3]}", "correct the column")
        return cls(table[[*COLUMNS, *(["content"] if "content" in table else [])]])

    def to_csv(self) -> str:
        return str(self.table.to_csv(index=False, lineterminator="\n"))

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

    def fingerprint(self, split: str) -> str:
        """SHA-256 over the ids, labels, kin and contents (where they are known) of a split, whatever the row order.

        Groups and parents count by the rows that they tie within the split, not by their names: extra rows that
        are kin of a train row change nothing.
        """
        rows = self.table[self.table["split"] == split]
        ids = list(rows["id"])
        own = set(ids)
        among = [parent if parent in own else "" for parent in rows["parent"]]
        outside = ["" if parent in own else parent for parent in rows["parent"]]
        contents = rows["content"] if "content" in rows else [""] * len(ids)
        told = (ids, rows["label"], _tied(ids, rows["group"]), among, _tied(ids, outside), contents)
        lines = sorted("\x1f".join(map(str, row)) for row in zip(*told, strict=True))
        return hashlib.sha256("\x1e".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def _tied(ids: Iterable[str], names: Iterable[str]) -> list[str]:
    """Each name as the smallest id of the rows that share it; nothing where a row has it alone."""
    members: dict[str, list[str]] = {}
    listed = list(names)
    for sample, name in zip(ids, listed, strict=True):
        members.setdefault(name, []).append(sample)
    return [min(members[name]) if name and len(members[name]) > 1 else "" for name in listed]
