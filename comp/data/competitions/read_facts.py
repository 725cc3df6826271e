"""The built-in reader: from a raw folder and the facts of competition.toml to a manifest, without an adapter.py."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from comp.data.competitions.data_facts import DataFacts, JoinedColumn, plain_folder
from comp.data.competitions.feature_cells import feature_names, with_cells
from comp.data.competitions.image_paths import ImagePaths, order_of
from comp.data.competitions.row_boxes import (
    RowBoxes,
    joined_boxes,
    plain_id,
    with_own_ids,
    with_tiles,
    with_whole_images,
)
from comp.data.competitions.row_labels import RowLabels
from comp.data.competitions.tables import read_any_table
from comp.data.csv_table import NOTHING, Table, clean, in_order, parse_table
from comp.data.images.boxes import without_box
from comp.data.images.raw_tree import RawTree, nfc
from comp.data.manifest import Manifest, Sample
from comp.data.task import SEPARATOR
from comp.errors import InputError, near_names

if TYPE_CHECKING:
    from comp.data.competitions.facts import CompetitionConfig

FOLDER_LABEL = re.compile(r"(?P<label>[^/]+)/[^/]+$")  # where no table, no pattern says anything else
FILE_NAME = "file_name"  # COCO's column of paths
_SHOWN = 30  # columns in a message


class FactsReader:
    """Reads one raw folder by a competition's facts.

    Labelled rows come from the table, or from the image files where there is none. Rows to predict are those of the
    template, else of the test table, else the test images.
    """

    def __init__(self, facts: CompetitionConfig, data: DataFacts, raw: Path) -> None:
        self.facts = facts
        self.data = data
        self.tree = RawTree(raw)
        self._notes: list[str] = []

    def read(self) -> Manifest:
        """The manifest of labelled rows and rows to predict.

        Raises
        ------
        InputError
            For a table, column or cell that is not as the facts say, naming the key of competition.toml.
        """
        test = self._test_rows()
        train = self._from_table(test) if self.data.table or self.data.shards else self._from_files()
        asked = {row.id for row in test}
        shared = sum(row.id in asked for row in train)
        if shared:
            train = [row._replace(id=f"train/{row.id}") if row.id in asked else row for row in train]
            self._notes.append(
                f"{shared:,} ids stand in train and test both; those of train read as train/ID"
            )
        tables = [self._with_features(train, self._table if train and self.data.features else None)]
        tables.append(self._with_features(test, self._test_table))
        return self._joined_tables(tables)

    def read_test(self) -> Manifest:
        """The rows to predict of a folder whose train part may be absent."""
        return self._joined_tables([self._with_features(self._test_rows(), self._test_table)])

    def _joined_tables(self, tables: Sequence[pd.DataFrame]) -> Manifest:
        full = [table for table in tables if len(table)] or list(tables[:1])
        return Manifest(pd.concat(full, ignore_index=True), tuple(self.notes))

    def _with_features(self, rows: Sequence[Sample], table: Table | None) -> pd.DataFrame:
        """Rows as a manifest's table, with the side features that ``table`` has of them where [data] names some."""
        if self.data.box_view == "both":
            rows = with_whole_images(rows)
        if self.data.tiles:
            rows = with_tiles(rows, self.data.tiles, self.data.tile_overlap)
        made = Manifest.from_samples(rows).table
        if not self.data.features or not rows:
            return made
        if table is None:
            value = f"competition.toml: [data] features, and no test_table ({self.data.test_table or 'none'}) has those of the rows to predict"
            raise InputError(
                "rows to predict have the features of the labelled ones", value, "name test_table"
            )
        ids = [plain_id(i) for i in self._ids(table, "features")]
        names = feature_names(self.data.features, table)
        return with_cells(
            made, names, table, ids, [plain_id(without_box(row.id)) for row in rows], self.column
        )

    @property
    def notes(self) -> list[str]:
        """What people should know of how the folder was read."""
        return [*self.tree.notes, *self._notes]

    def classes(self) -> tuple[str, ...] | None:
        """The class names that columns or folders state, those without a row included; None where labels do."""
        if self.data.onehot and self.facts.task != "regression":
            return self._labels(self._table).columns
        if self.data.table or self.data.pattern or "*" not in self.data.images:
            return None
        above = self.data.images.rpartition("/")[0]
        tests = plain_folder(self.data.test_images)
        folders = [folder for folder in self.tree.folders(above) if not tests.startswith(f"{folder}/")]
        names = (nfc(folder.rpartition("/")[2]) for folder in folders)
        return tuple(in_order({name for name in names if not name.startswith(".")}))

    @cached_property
    def _table(self) -> Table:
        table = self._read(self.data.table, "table")
        if table.encoding != "utf-8":
            self._notes.append(f"{table.name} read as {table.encoding}")
        return table

    @cached_property
    def _template(self) -> Table | None:
        """The sample submission; None where there is none."""
        name = self.facts.template.file
        if name == "made" or not self.tree.has(name):
            return None
        return parse_table(self.tree.read(name), name)

    @cached_property
    def _test_table(self) -> Table | None:
        name = self.data.test_table
        if not name or not self.tree.has(name):
            return None
        return self._read(name, "test_table")

    def _read(self, name: str, key: str) -> Table:
        """A table of [data]; annotations by box where `coco` names it."""
        if not name or name not in (self.data.coco, self.data.test_coco):
            return read_any_table(self.tree, name, key, self._image_columns)
        from comp.data.competitions.coco import read_coco

        labelled = name == self.data.coco
        table, spare = read_coco(self.tree, name, "coco" if labelled else "test_coco", labelled)
        if spare:
            self._notes.append(f"{spare:,} images of {name} have no annotation: no row is of them")
        return table

    @cached_property
    def _boxes(self) -> RowBoxes:
        return RowBoxes(self.data, self.column)

    @property
    def _image_columns(self) -> tuple[str, ...]:
        """The columns of a json table that hold images, which are no cells of it."""
        return self.facts.images.columns if self.facts.images else ()

    def _labels(self, table: Table) -> RowLabels:
        used = [self.id_column(table), *ImagePaths(self.tree, self.data.images, "images").names]
        used += [self.data.group] if isinstance(self.data.group, str) else []
        used += [*self.data.box, *self.data.box_of]
        return RowLabels(self.facts, self.data, table, self.column, used)

    def column(self, table: Table, name: str, key: str) -> list[str]:
        """The cells of a column that ``key`` of [data] names; InputError with the nearest names where it is not there."""
        lowered = [clean(one).lower() for one in table.header]
        if clean(name).lower() in lowered:
            return table.column(name)
        near = near_names(name, map(clean, table.header))
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        has = ", ".join(repr(clean(one)) for one in table.header[:_SHOWN])
        has += f" and {len(table.header) - _SHOWN} more" if len(table.header) > _SHOWN else ""
        value = f"competition.toml: [data] {key} = {name!r}: {table.name} has no {name!r}; it has {has}{hint}"
        raise InputError("a table must have the columns it is read by", value, f"correct {key} in [data]")

    def id_column(self, table: Table) -> str:
        """The column of a table that has the ids: the stated one, else the template's, else the first."""
        if self.data.id and (not self.data.coco or table.has(self.data.id)):
            return self.data.id
        return self.facts.template.id if table.has(self.facts.template.id) else table.header[0]

    def _ids(self, table: Table, key: str) -> list[str]:
        ids = [nfc(clean(cell)) for cell in self.column(table, self.id_column(table), "id")]
        if "" in ids:
            row, column = ids.index("") + 2, self.id_column(table)
            value = f"competition.toml: [data] {key}: {table.name}, row {row}: {column!r} is empty"
            raise InputError("every row of a table has an id", value, "correct that row")
        return ids

    def _from_table(self, test: Sequence[Sample]) -> list[Sample]:
        table = self._table
        ids = self._ids(table, "table")
        paths = self._paths_of(table, ids)
        labelled = self._labelled(table, paths, {row.path for row in test})
        if len(labelled) < len(ids):
            self._notes.append(
                f"{len(ids) - len(labelled):,} rows of {table.name} without a label are rows to predict"
            )
            table = replace(table, rows=tuple(table.rows[n] for n in labelled))
            ids, paths = [ids[n] for n in labelled], [paths[n] for n in labelled]
        labels = self._labels(table).cells() if self._has_label_columns() else [""] * len(ids)
        groups = self._groups(table, ids)
        rows = [
            self._by_pattern(Sample(*cells))
            for cells in zip(ids, paths, ["train"] * len(ids), labels, groups, strict=True)
        ]
        rows = self._one_row_an_image(rows, "annotation_id" in table.header)
        if self.data.box:
            rows, several = with_own_ids(rows)
            if several:
                self._notes.append(f"{several:,} rows share their id with another box: read as ID#xywh=BOX")
        return rows

    def _labelled(self, table: Table, paths: Sequence[str], asked: set[str]) -> list[int]:
        """The places of rows but those whose label is empty and whose image is one to predict."""
        places = range(len(table))
        if not self._has_label_columns() or not asked.intersection(paths):
            return list(places)
        columns = self._labels(table).columns_of_labels()
        return [
            n
            for n in places
            if paths[n] not in asked or any(clean(cells[n]).lower() not in NOTHING for cells in columns)
        ]

    def _has_label_columns(self) -> bool:
        data = self.data
        return bool(data.label or data.onehot or data.labels) or "?P<label>" not in data.pattern

    def _from_files(self) -> list[Sample]:
        files = ImagePaths(self.tree, self.data.images, "images")
        tests = plain_folder(
            self.data.test_images
        )  # a glob of class folders may reach into that of the test images
        labelled = [path for path in files.files if not tests or not nfc(path).startswith(nfc(tests))]
        rows = [self._by_pattern(Sample(nfc(path), path, "train")) for path in labelled]
        if isinstance(self.data.group, JoinedColumn):
            groups = self._joined(self.data.group, [row.id for row in rows], "group")
            rows = [row._replace(group=group) for row, group in zip(rows, groups, strict=True)]
        return rows

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self.data.pattern) if self.data.pattern else FOLDER_LABEL

    def _by_pattern(self, row: Sample) -> Sample:
        """A row with what the pattern, or without table and pattern the folder, says by its path."""
        if not self.data.pattern and (self.data.table or self.data.shards):
            return row
        pattern = self._pattern
        path = without_box(row.path) if self.data.box else row.path
        found = pattern.search(path)
        if found is None:
            value = f"competition.toml: [data] pattern = {pattern.pattern!r} is nowhere in {path!r}"
            raise InputError("the pattern must be in every path", value, "correct pattern, or narrow images")
        return row._replace(
            **{name: nfc(part) for name, part in found.groupdict().items() if part is not None}
        )

    def _one_row_an_image(self, rows: list[Sample], annotations: bool) -> list[Sample]:
        """Rows of one image as one, where a row is a label of it: annotations, or several labels; else those that say
        the same twice, as tables of boxes do.
        """
        many = self.facts.task == "multi-label"
        if not annotations and not (many and self.data.label):
            different = list(dict.fromkeys(rows))
            if len(different) < len(rows):
                again = len(rows) - len(different)
                self._notes.append(
                    f"{again:,} rows of {self.data.table} say what another row says: read once"
                )
            return different
        by_id: dict[tuple[str, str], list[Sample]] = {}
        for row in rows:
            by_id.setdefault((row.id, row.path if self.data.box else ""), []).append(row)
        joined = []
        for same in by_id.values():
            labels = list(dict.fromkeys(part for row in same for part in row.label.split(SEPARATOR) if part))
            if len(labels) > 1 and not many:
                value = f"{self.data.table}: {same[0].id!r} has {', '.join(map(repr, labels[:4]))}"
                remedy = 'state task = "multi-label", or correct the table'
                raise InputError("an image of a single-label competition has one label", value, remedy)
            joined.append(same[0]._replace(label=SEPARATOR.join(labels)))
        if many:
            return joined
        labelled = [row for row in joined if row.label]
        if len(labelled) < len(joined):
            self._notes.append(f"{len(joined) - len(labelled):,} images without an annotation left out")
        return labelled

    def _paths_of(self, table: Table, ids: Sequence[str]) -> list[str]:
        """The path of each labelled row."""
        if self._image_columns:
            return [f"{self.data.table}#{row}" for row in range(len(ids))]
        pattern, key = self.data.train_pattern, "images"
        images = ImagePaths(self.tree, pattern, f"competition.toml: [data] {key} = {pattern!r}")
        columns = {name: self.column(table, name, key) for name in images.names if name != "id"}
        by_file = self.data.coco and not images.names
        columns["id"] = self.column(table, FILE_NAME, "coco") if by_file else list(ids)
        names = list(columns)
        paths = [
            images.of(dict(zip(names, cells, strict=True))) for cells in zip(*columns.values(), strict=True)
        ]
        if not self.data.box:
            return paths
        return [path + box for path, box in zip(paths, self._boxes.fragments(table, ids), strict=True)]

    def _groups(self, table: Table, ids: Sequence[str]) -> list[str]:
        group = self.data.group
        if isinstance(group, JoinedColumn):
            return self._joined(group, ids, "group")
        if not group:
            return [""] * len(ids)
        return [nfc(clean(cell)) for cell in self.column(table, group, "group")]

    def _joined(self, joined: JoinedColumn, ids: Sequence[str], key: str) -> list[str]:
        """The cells of another table's column, for each id; ids agree with or without suffix and folders."""
        table = read_any_table(self.tree, joined.table, f"{key}.table")
        cells = self.column(table, joined.column, f"{key}.column")
        by_id: dict[str, str] = {}
        for name, cell in zip(self.column(table, joined.key, f"{key}.key"), cells, strict=True):
            if by_id.setdefault(plain_id(name), clean(cell)) != clean(cell):
                value = f"{joined.table}: {name!r} has {by_id[plain_id(name)]!r} and {clean(cell)!r}"
                raise InputError("a joined table has one row for an id", value, "correct the table")
        absent = [i for i in ids if plain_id(i) not in by_id]
        if absent:
            value = f"competition.toml: [data] {key}: {joined.table} has no {joined.key} {absent[0]!r}"
            value += f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
            raise InputError(
                "a joined table has a row for every id", value, f"correct {key}, or complete the table"
            )
        return [nfc(by_id[plain_id(i)]) for i in ids]

    def _tests_in_table(self) -> list[Sample]:
        """The rows to predict, whose images stand in the records of the test table."""
        table = self._test_table
        if table is None:
            return []
        rows = {plain_id(i): row for row, i in enumerate(self._ids(table, "test_table"))}
        ids = self._test_ids() or []
        absent = [i for i in ids if plain_id(i) not in rows]
        if absent:
            value = f"{self.data.test_table} has no record of {absent[0]!r} (of {len(absent)})"
            raise InputError("a row to predict has its image", value, "complete the table, or the template")
        return [Sample(i, f"{self.data.test_table}#{rows[plain_id(i)]}", "test") for i in ids]

    def _test_rows(self) -> list[Sample]:
        if self._image_columns:
            return self._tests_in_table()
        pattern = self.data.test_pattern
        images = ImagePaths(self.tree, pattern, f"competition.toml: [data] test_images = {pattern!r}")
        if self.facts.pairs == "position":
            return self._by_position(images)
        ids, table = self._test_ids(), self._test_table
        if ids is None and not self.data.test_images:
            return []  # nothing says which of the images they would be
        if ids is None and self.data.box:
            raise no_boxes()
        if ids is None:
            return [Sample(images.id_of(path), path, "test") for path in images.natural()]
        rows = _rows_by_id(table, self._ids(table, "test_table")) if table else {}
        absent = [i for i in ids if plain_id(i) not in rows]
        own = {"id", self.facts.template.id, self.data.id} - {""}  # an id has these names
        values: list[Mapping[str, str]] = [dict.fromkeys(own, i) for i in ids]
        if table is not None and len(absent) < len(ids):
            values = [
                {**named, **(rows.get(nfc(clean(i))) or rows.get(plain_id(i), {})), "id": i}
                for i, named in zip(ids, values, strict=True)
            ]
        short = next((n for n in images.names if any(n not in row for row in values)), None)
        if short is not None:
            value = f"competition.toml: [data] test_images = {pattern!r}: nothing says {short!r} of "
            value += repr(next(i for i, row in zip(ids, values, strict=True) if short not in row))
            raise InputError(
                "a row to predict has every column of its path", value, "name test_table with it"
            )
        group = self.data.group if isinstance(self.data.group, str) else ""
        groups = [nfc(clean(row.get(group, ""))) if group else "" for row in values]
        if self.data.coco and not images.names:
            paths = [images.of({"id": row.get(FILE_NAME, i)}) for i, row in zip(ids, values, strict=True)]
        else:
            paths = [images.of(row) for row in values]
        made = zip(ids, self._boxed(ids, paths), groups, strict=True)
        return [Sample(i, path, "test", group=one) for i, path, one in made]

    def _boxed(self, ids: Sequence[str], paths: Sequence[str]) -> list[str]:
        """The paths of rows to predict, each with its box where rows have some."""
        if not self.data.box:
            return list(paths)
        table = next((one for one in (self._test_table, self._template) if self._boxes.known(one)), None)
        table = table or self._test_table
        if table is None:
            raise no_boxes()
        column = self.facts.template.id
        listed = self._ids(table, "test_table") if table is self._test_table else table.column(column)
        return joined_boxes(ids, paths, listed, self._boxes.fragments(table, listed, "test_box"), table.name)

    def _test_ids(self) -> list[str] | None:
        """The ids to predict as the template spells them; in the test table's order where it has the same ids."""
        table, template = self._test_table, self._template
        if template is None:
            return self._ids(table, "test_table") if table else None
        asked = template.column(self.facts.template.id)
        if table is None:
            return asked
        spelled = {plain_id(i): i for i in asked}
        listed = [plain_id(i) for i in self._ids(table, "test_table")]
        if len(spelled) == len(asked) == len(listed) and set(spelled) == set(listed):
            return [spelled[i] for i in listed]
        return asked

    def _by_position(self, images: ImagePaths) -> list[Sample]:
        """Row i of the template is the i-th file; without as many rows there, an id is its number."""
        files = (
            images.files if self.facts.order == "table" else sorted(images.files, key=_key(self.facts.order))
        )
        ids = self._template.column(self.facts.template.id) if self._template else []
        if len(ids) != len(files):
            ids = [str(row) for row in range(len(files))]
        return [Sample(i, path, "test") for i, path in zip(ids, files, strict=True)]


def no_boxes() -> InputError:
    """The refusal of rows to predict of which nothing says the box."""
    value = "competition.toml: [data] box, and neither test_table nor the template has these columns"
    return InputError("rows to predict have their boxes", value, "name test_table, or test_box in it")


def _key(order: str) -> Callable[[str], str]:
    return order_of(order)  # type: ignore[return-value]


def _rows_by_id(table: Table, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """The cells of each row of a table by its id, and without suffix and folders where no other has that for an id."""
    names = [clean(name) for name in table.header]
    cells = [dict(zip(names, row, strict=True)) for row in table.rows]
    loose = {plain_id(i): row for i, row in zip(ids, cells, strict=True)}
    return loose | dict(zip(ids, cells, strict=True))
