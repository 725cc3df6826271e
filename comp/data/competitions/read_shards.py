"""The built-in reader where images lie in shards: rows by the shards' own columns, or by a table that names them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from comp.data.competitions.data_facts import DataFacts
from comp.data.competitions.facts import CompetitionConfig
from comp.data.competitions.read_facts import FactsReader
from comp.data.competitions.tables import as_cell
from comp.data.csv_table import Table, clean
from comp.data.images.raw_tree import nfc, without_suffix
from comp.data.images.shard import KEY, Shard
from comp.data.images.shard_source import ShardSource, list_shards, open_shard
from comp.data.manifest import Sample
from comp.data.task import SEPARATOR
from comp.errors import InputError, RawDataError

CLS = "cls"  # the suffix that webdataset gives labels in a tar


def shard_source(data: DataFacts, raw: Path) -> ShardSource:
    """Where the images of the facts' shards come from."""
    patterns = [pattern for pattern in (data.shards, data.test_shards) if pattern]
    return ShardSource(raw, patterns, data.image)


@dataclass(frozen=True)
class ShardSet:
    """The shards of a glob, read one after the other in natural order of their names.

    ``key`` of [data] is for errors.
    """

    raw: Path
    pattern: str
    key: str
    image: str

    @cached_property
    def names(self) -> list[str]:
        return list_shards(self.raw, self.pattern)

    @cached_property
    def first(self) -> Shard:
        return open_shard(self.raw, self.names[0], self.image)

    def opened(self) -> Iterator[Shard]:
        """The shards, one at a time.

        Raises
        ------
        RawDataError
            If one has other columns, types or class names than the first.
        """
        for name in self.names:
            shard = open_shard(self.raw, name, self.image)
            first = self.first
            pairs = {
                "columns": (first.layout, shard.layout),
                "class names in one order": (first.classes, shard.classes),
            }
            for what, (own, theirs) in pairs.items():
                wrong = next((one for one in {**own, **theirs} if own.get(one) != theirs.get(one)), None)
                if wrong is not None:
                    value = f"{self.names[0]} has {wrong} as {own.get(wrong)}, {name} as {theirs.get(wrong)}"
                    remedy = f"correct the shards, or narrow {self.key} in [data]"
                    raise RawDataError(f"shards of a set have the same {what}", value, remedy)
            yield shard

    def read(self, columns: Sequence[str]) -> ShardRows:
        """Paths and cells of all rows; cells that count class names become these."""
        rows = ShardRows(cells={name: [] for name in columns})
        for shard in self.opened():
            paths = shard.paths()
            for name in columns:
                cells = shard.values(name)
                names = shard.classes.get(name, ())
                rows.lists = rows.lists or any(isinstance(cell, list) for cell in cells)
                rows.cells[name] += _named(cells, names, paths, name) if names else map(as_cell, cells)
            rows.paths += paths
            rows.notes += shard.notes
        self._require_keys(rows)
        return rows

    def _require_keys(self, rows: ShardRows) -> None:
        """RawDataError for a key that two samples of tars or LMDBs have; ids of a column are for the checks."""
        keys = rows.cells.get(KEY, [])
        if len(set(keys)) < len(keys):
            seen: dict[str, str] = {}
            for key, path in zip(keys, rows.paths, strict=True):
                if seen.setdefault(key, path) != path:
                    value = f"{seen[key]} and {path} both have the key {key!r}"
                    raise RawDataError(
                        "a key is of one sample", value, "write the shards with keys of their own"
                    )


@dataclass
class ShardRows:
    """Paths and cells by column of N rows; ``lists`` where a cell is a list."""

    cells: dict[str, list[str]]
    paths: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lists: bool = False


class ShardReader(FactsReader):
    """Reads one raw folder whose images lie in shards, by a competition's facts."""

    def __init__(self, facts: CompetitionConfig, data: DataFacts, raw: Path) -> None:
        super().__init__(facts, data, raw)
        if facts.pairs == "position" and facts.order == "text":
            value = 'competition.toml: order = "text"'
            remedy = 'order = "natural": shards by their names, rows as they lie'
            raise InputError("rows of shards have the order in which they lie", value, remedy)
        self.train_shards = ShardSet(raw, data.shards, "shards", data.image)
        own = data.test_shards or data.shards
        self.test_shards = ShardSet(raw, own, "test_shards" if data.test_shards else "shards", data.image)
        self._rows: ShardRows | None = None

    @property
    def notes(self) -> list[str]:
        return list(dict.fromkeys(self._notes))

    def classes(self) -> tuple[str, ...] | None:
        """The class names that columns of 0 and 1, or the shards beside a column of indices, state; else None."""
        if self.data.onehot and not self.data.table and self.facts.task != "regression":
            return self._labels(self._head).columns
        if self.data.table or self.data.pattern or self.facts.task == "regression":
            return super().classes()
        names = [name for name, _ in self._label_columns()]
        found = self.train_shards.first.classes.get(names[0], ()) if len(names) == 1 else ()
        return tuple(nfc(clean(name)) for name in found) or None

    @cached_property
    def _table(self) -> Table:
        """The table of labels; without one that of the shards' own columns, as far as they are needed."""
        if self.data.table:
            return super()._table
        head = self._head
        wanted = [(self.id_column(head), "id"), *self._label_columns()]
        if isinstance(self.data.group, str) and self.data.group:
            wanted.append((self.data.group, "group"))
        for name, key in wanted:
            self.column(head, name, key)  # which says what is missing
        columns = list(dict.fromkeys(head.header[head.place(name)] for name, _ in wanted))
        rows = self._rows = self.train_shards.read(columns)
        if self.data.labels and rows.lists and self.data.separator == " ":
            self.data = self.data.model_copy(update={"separator": SEPARATOR})
        self._said(self.train_shards, rows)
        return Table(self.data.shards, tuple(columns), tuple(zip(*rows.cells.values(), strict=True)))

    @cached_property
    def _head(self) -> Table:
        """The columns of the labelled shards, without rows; the keys stand first where no column has the ids."""
        return Table(self.data.shards, self._header(self.train_shards), ())

    def _header(self, shards: ShardSet) -> tuple[str, ...]:
        columns, wanted = shards.first.columns, self.data.id or self.facts.template.id
        if Table(shards.pattern, columns, ()).has(wanted):
            return columns
        if "." in wanted and wanted in shards.first.layout:
            return (wanted, *columns)  # the path beside an image's bytes
        return columns if self.data.id not in ("", KEY) else (KEY, *columns)

    def _label_columns(self) -> list[tuple[str, str]]:
        """The columns of labels, with their keys of [data]; none where the pattern says labels.

        Raises
        ------
        InputError
            If nothing says them, or one is not there.
        """
        if not self._has_label_columns():
            return []
        if CLS in self._head.header and not (self.data.label or self.data.onehot or self.data.labels):
            self.data = self.data.model_copy(update={"label": CLS})
        labels = self._labels(self._head)
        labels.columns_of_labels()  # which says what is missing
        return labels.named_columns()

    def _from_table(self, test: Sequence[Sample]) -> list[Sample]:
        rows = super()._from_table(test)
        if not self.data.table and self._has_label_columns() and self.facts.task != "multi-label":
            bare = next((row for row in rows if not row.label), None)
            if bare is not None:
                value = f"{bare.path} has no {self._label_columns()[0][0]}"
                raise RawDataError("each labelled sample has a label", value, "complete the shards")
        return rows

    def _paths_of(self, table: Table, ids: Sequence[str]) -> list[str]:
        if self._rows is not None and table.name == self.data.shards:
            return list(self._rows.paths)
        return self._found(self.train_shards, ids)

    def _found(self, shards: ShardSet, ids: Sequence[str]) -> list[str]:
        """The path of the sample of each id: by the shards' column of ids, else by key; with or without suffix.

        Raises
        ------
        RawDataError
            If an id has no sample, or several.
        """
        column = self._column_of_ids(shards)
        rows = shards.read([column])
        self._said(shards, rows)
        exact: dict[str, str] = {}
        loose: dict[str, str | None] = {}
        for cell, path in zip(rows.cells[column], rows.paths, strict=True):
            name = nfc(clean(cell))
            if exact.setdefault(name, path) != path:
                value = f"{exact[name]} and {path} both have {column} {name!r}"
                raise RawDataError("an id is of one sample of the shards", value, "correct the shards")
            stem = without_suffix(name)
            loose[stem] = path if loose.get(stem, path) == path else None
        paths = [exact.get(one) or loose.get(without_suffix(one)) for one in ids]
        absent = [one for one, path in zip(ids, paths, strict=True) if path is None]
        if absent:
            more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
            value = f"{shards.pattern} has no {column} {absent[0]!r}{more}"
            remedy = f"complete the shards, or correct {shards.key} or id in [data]"
            raise RawDataError("a row has a sample in the shards", value, remedy)
        found = [path for path in paths if path is not None]
        spare = len(rows.paths) - len(set(found))
        if spare and self.data.test_shards:  # else labelled images and those to predict lie together
            self._notes.append(f"{spare:,} of the images of {shards.pattern} have no row, and are not read")
        return found

    def _column_of_ids(self, shards: ShardSet) -> str:
        """The column of shards that has the ids of rows, or of the table beside them; else their keys."""
        table = Table(shards.pattern, self._header(shards), ())
        if self.data.table and not (self.data.id and table.has(self.data.id)):
            stated = self.facts.template.id
            return table.header[table.place(stated)] if table.has(stated) else KEY
        name = self.id_column(table)
        self.column(table, name, "id")  # which says what is missing
        return table.header[table.place(name)]

    def _test_rows(self) -> list[Sample]:
        """The rows to predict; of shards that have labels too only the ids are read."""
        if self.data.test_shards:
            self._require_apart()
        ids = self._test_ids() if self.facts.pairs != "position" else None
        if ids is not None:
            groups = self._test_groups(ids)
            paths = self._found(self.test_shards, [nfc(clean(one)) for one in ids])
            return [
                Sample(i, path, "test", group=one) for i, path, one in zip(ids, paths, groups, strict=True)
            ]
        if not self.data.test_shards:
            return []  # nothing says which of the images they would be
        column = self._column_of_ids(self.test_shards)
        group = self.data.group if isinstance(self.data.group, str) and not self.data.table else ""
        group = group if group in self.test_shards.first.columns else ""
        rows = self.test_shards.read(list(dict.fromkeys([column, group] if group else [column])))
        self._said(self.test_shards, rows)
        named = [nfc(clean(cell)) for cell in rows.cells[column]]
        if "" in named:
            value = f"{rows.paths[named.index('')]}: {column} is empty"
            raise RawDataError("every row to predict has an id", value, "correct the shard, or id in [data]")
        if self.facts.pairs == "position":
            asked = self._template.column(self.facts.template.id) if self._template else []
            named = asked if len(asked) == len(named) else [str(row) for row in range(len(named))]
        groups = [nfc(clean(cell)) for cell in rows.cells[group]] if group else [""] * len(named)
        return [
            Sample(i, path, "test", group=one) for i, path, one in zip(named, rows.paths, groups, strict=True)
        ]

    def _test_groups(self, ids: Sequence[str]) -> list[str]:
        """The groups of rows to predict that the test table has."""
        table, group = self._test_table, self.data.group
        if table is None or not isinstance(group, str) or not group or not table.has(group):
            return [""] * len(ids)
        cells = dict(zip(self._ids(table, "test_table"), self.column(table, group, "group"), strict=True))
        return [nfc(clean(cells.get(nfc(clean(one)), ""))) for one in ids]

    def _require_apart(self) -> None:
        """RawDataError where a shard is of labelled rows and of rows to predict."""
        trains: list[str] = []
        with suppress(RawDataError):  # of a folder of rows to predict alone
            trains = self.train_shards.names
        both = [name for name in self.test_shards.names if name in set(trains)]
        if both:
            value = f"{both[0]} is of {self.data.shards} and of {self.data.test_shards}"
            remedy = "narrow shards or test_shards in [data]"
            raise RawDataError("a shard has labelled images or images to predict", value, remedy)

    def _said(self, shards: ShardSet, rows: ShardRows) -> None:
        which = names[0] if len(names := shards.names) == 1 else ""
        which = which or f"{len(names):,} shards in natural order, {names[0]} … {names[-1]}"
        self._notes += [f"{len(rows.paths):,} images of {which}, read without unpacking", *rows.notes]


def _named(cells: Sequence[Any], names: Sequence[str], paths: Sequence[str], column: str) -> list[str]:
    """Cells that are indices of class names, as these; several in a cell have ``|`` between.

    Raises
    ------
    RawDataError
        For an index that no name has.
    """
    plain = [nfc(clean(name)) for name in names]
    found = []
    for cell, path in zip(cells, paths, strict=True):
        several = cell if isinstance(cell, list) else [] if cell is None else [cell]
        wrong = [one for one in several if not isinstance(one, int) or not 0 <= one < len(plain)]
        if wrong:
            value = f"{path}: {column} is {wrong[0]!r}, and there are {len(plain)} class names"
            raise RawDataError("a label is an index of a class name", value, "correct the shards")
        found.append(SEPARATOR.join(plain[one] for one in several))
    return found
