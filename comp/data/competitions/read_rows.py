"""The built-in reader where several images make one answer: `[data] row`, or (?P<row>…) in `pattern`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from comp.data.competitions.data_facts import PLACEHOLDER
from comp.data.competitions.image_paths import ImagePaths
from comp.data.competitions.read_facts import FILE_NAME, FactsReader, no_boxes
from comp.data.csv_table import Table, clean
from comp.data.images.raw_tree import nfc
from comp.data.manifest import Manifest, Sample
from comp.errors import InputError


class RowReader(FactsReader):
    """Reads the images of rows by a competition's facts.

    A line of a table is an image, or with a * in the path all images of its row. Where no table says of the images to
    predict, {id} (or the column that `row` names) in their paths is the template's id; else `pattern` says their row.
    """

    @cached_property
    def _in_row(self) -> list[str]:
        """The columns that a row's name is made of."""
        return PLACEHOLDER.findall(self.data.row) or ([self.data.row] if self.data.row else [])

    def read(self) -> Manifest:
        """The images of labelled rows, and of rows to predict; ids are paths, and no two rows have one name.

        Raises
        ------
        InputError
            For a table or path that does not say the row, and a row to predict without an image.
        """
        test, train = self._test_rows(), self._train()
        asked = {image.row for image in test}
        shared = {image.row for image in train} & asked
        if shared:
            train = [
                image._replace(row=f"train/{image.row}") if image.row in shared else image for image in train
            ]
            note = f"{len(shared):,} rows stand in train and test both; those of train are read as train/ROW"
            self._notes.append(note)
        return Manifest.from_samples([*train, *test], self.notes)

    def _train(self) -> list[Sample]:
        if not self.data.table:
            return [self._named(image) for image in self._from_files()]
        table = self._table
        ids = self._ids(table, "table")
        labels = self._labels(table).cells() if self._has_label_columns() else [""] * len(ids)
        groups = self._groups(table, ids)
        images = self._paths(self.data.train_pattern, "images")
        lines = self._lines(table, ids, images, "images")
        boxes = self._boxes.fragments(table, ids) if self.data.box else [""] * len(ids)
        made = []
        for values, label, group, box in zip(lines, labels, groups, boxes, strict=True):
            row = self._row_of(values)
            for path in self._images_of(images, values, box):
                made.append(self._named(Sample(path, path, "train", label, group, row=row)))
        return list(dict.fromkeys(made))

    def _test_rows(self) -> list[Sample]:
        """The images of the rows to predict."""
        images = self._paths(self.data.test_pattern, "test_images")
        table, template = self._test_table, self._template
        asked = None if template is None else template.column(self.facts.template.id)
        if self.data.box and table is None and (asked is not None or self.data.test_images):
            raise no_boxes()
        if table is not None and self.data.row:
            group = self.data.group if isinstance(self.data.group, str) else ""
            ids = self._ids(table, "test_table")
            lines = self._lines(table, ids, images, "test_images")
            boxes = self._boxes.fragments(table, ids, "test_box") if self.data.box else [""] * len(ids)
            made = [
                Sample(path, path, "test", group=nfc(clean(values.get(group, ""))), row=self._row_of(values))
                for values, box in zip(lines, boxes, strict=True)
                for path in self._images_of(images, values, box)
            ]
            return list(dict.fromkeys(made))
        if "?P<row>" in self.data.pattern:
            if asked is None and not self.data.test_images:
                return []  # nothing says which of the images they would be
            return [self._named(Sample(path, path, "test")) for path in images.natural()]
        return self._by_template(images, asked)

    def _images_of(self, images: ImagePaths, values: Mapping[str, str], box: str) -> list[str]:
        """The paths of the images of a line, or that of its box; InputError for a box of several files."""
        if self.data.coco and not images.names:
            values = {"id": values[FILE_NAME]}
        paths = images.every(values)
        if box and len(paths) > 1:
            value = f"{values['id']!r} has {len(paths)} images, first {paths[0]!r}"
            remedy = "name one file in `images`, with a column of the table in braces"
            raise InputError("a box is of one image", value, remedy)
        return [path + box for path in paths]

    def _by_template(self, images: ImagePaths, asked: Sequence[str] | None) -> list[Sample]:
        """The images that the template's ids name in the pattern; all that it matches are some row's."""
        known = {"id", *([self.data.row] if self.data.row in self._in_row else [])}
        if asked is None:
            return []
        if not images.names or set(images.names) - known:
            value = (
                f"competition.toml: [data] test_images = {self.data.test_pattern!r}, row = {self.data.row!r}"
            )
            remedy = "name test_table with the columns of row, or write {id} where the template's id stands"
            raise InputError("something says which images a row to predict has", value, remedy)
        made = [
            Sample(path, path, "test", row=row)
            for row in asked
            for path in images.every(dict.fromkeys(images.names, row))
        ]
        spare = sorted(set(images.files) - {image.path for image in made})
        if spare:
            value = (
                f"{len(spare):,} images under {self.data.test_pattern!r} are of no row, first {spare[0]!r}"
            )
            remedy = "complete the template, or narrow test_images"
            raise InputError("every image to predict belongs to a row of the template", value, remedy)
        return made

    def _paths(self, pattern: str, key: str) -> ImagePaths:
        return ImagePaths(self.tree, pattern, f"competition.toml: [data] {key} = {pattern!r}")

    def _lines(
        self, table: Table, ids: Sequence[str], images: ImagePaths, key: str
    ) -> list[Mapping[str, str]]:
        """The cells of each line by column, ``id`` among them, with all that paths and rows are made of."""
        wanted = dict.fromkeys(images.names, key) | dict.fromkeys(self._in_row, "row")
        if self.data.coco and not images.names:
            wanted[FILE_NAME] = "coco"
        columns = {name: self.column(table, name, of) for name, of in wanted.items() if name != "id"}
        if isinstance(self.data.group, str) and self.data.group and table.has(self.data.group):
            columns.setdefault(self.data.group, table.column(self.data.group))
        columns["id"] = list(ids)
        names = list(columns)
        return [dict(zip(names, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]

    def _row_of(self, values: Mapping[str, str]) -> str:
        """The row that a line names; nothing where `pattern` says it."""
        if not self.data.row:
            return ""
        cells = {name: nfc(clean(values[name])) for name in self._in_row}
        empty = next((name for name, cell in cells.items() if not cell), None)
        if empty is not None:
            value = (
                f"competition.toml: [data] row = {self.data.row!r}: {empty!r} of {values['id']!r} is empty"
            )
            raise InputError("every line names its row", value, "correct that line")
        if self.data.row in cells:
            return cells[self.data.row]
        return PLACEHOLDER.sub(lambda found: cells[found[1]], self.data.row)

    def _named(self, image: Sample) -> Sample:
        """An image with what `pattern` says by its path: its row, a group, and of labelled ones the label."""
        if not self.data.pattern:
            return image
        found = self._by_pattern(image)
        return found._replace(id=image.path, label=found.label if image.split != "test" else "")
