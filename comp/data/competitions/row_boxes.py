"""The boxes that the tables of [data] give rows, as paths of a manifest."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from comp.data.competitions.data_facts import DataFacts
from comp.data.csv_table import Table, clean, whole_of
from comp.data.images.boxes import Box, without_box
from comp.data.images.raw_tree import nfc, without_suffix
from comp.data.manifest import Sample
from comp.errors import InputError, shortened

Column = Callable[[Table, str, str], list[str]]
Corners = tuple[float, float, float, float]
_BETWEEN = re.compile(r"[\s,;|]+")
_FAR = 2.0  # fractions beyond are no fractions


class RowBoxes:
    """The boxes of tables by [data]; ``column`` gives the cells of a column, or says that it is not there."""

    def __init__(self, data: DataFacts, column: Column) -> None:
        self.data = data
        self._column = column

    def known(self, table: Table | None) -> bool:
        """Whether a table has the columns of the boxes of rows to predict."""
        columns = self.data.test_box or self.data.box
        return table is not None and all(table.has(name) for name in columns)

    def fragments(self, table: Table, ids: Sequence[str], key: str = "box") -> list[str]:
        """What joins the path of each row's file: its box. ``ids`` are the table's, ``key`` is box or test_box.

        Raises
        ------
        InputError
            Naming table, row and value, for a box that is none: cells that are no numbers, no area, another unit.
        """
        if not self.data.test_box:
            key = "box"
        columns = self.data.test_box if key == "test_box" else self.data.box
        cells = list(zip(*(self._column(table, name, key) for name in columns), strict=True))
        boxes = [self._of_cells(row) for row in cells]
        bad = [n for n, box in enumerate(boxes) if box is None]
        if bad:
            value = f"{self._row(table, bad[0], ids)}: {', '.join(columns)} = {shortened(', '.join(cells[bad[0]]), 80)}"
            value += f" by box_format = {self.data.box_format!r}" + _others(bad)
            rule = "a box is four finite numbers, its width and height above zero"
            raise InputError(rule, value, "correct the cells or box_format, or take the row out")
        sound = [box for box in boxes if box is not None]
        self._require_unit(table, sound, ids)
        sizes = self._sizes(table, ids)
        percent = self.data.box_unit == "fractions"
        scale, margin = 100.0 if percent else 1.0, self.data.box_margin
        return [
            Box(scale * a, scale * b, scale * c, scale * d, percent, margin, of).fragment
            for (a, b, c, d), of in zip(sound, sizes, strict=True)
        ]

    def _row(self, table: Table, place: int, ids: Sequence[str]) -> str:
        """A row of a table, for errors."""
        if table.name in (self.data.coco, self.data.test_coco):
            return f"{table.name}, annotation {ids[place]}"
        return f"{table.name}, row {place + 2}, {ids[place]!r}"

    def _of_cells(self, cells: Sequence[str]) -> Corners | None:
        """Left, top, width and height by the stated format; None for what is no box."""
        try:
            a, b, c, d = map(float, numbers_of(cells))
        except ValueError:
            return None
        if self.data.box_format == "xyxy":
            c, d = c - a, d - b
        elif self.data.box_format == "cxcywh":
            a, b = a - c / 2, b - d / 2
        return (a, b, c, d) if all(map(math.isfinite, (a, b, c, d))) and c > 0 and d > 0 else None

    def _require_unit(self, table: Table, boxes: Sequence[Corners], ids: Sequence[str]) -> None:
        """InputError for fractions that are read as pixels, or the other way round."""
        if not boxes:
            return
        ends = [max(map(abs, (a, b, a + c, b + d))) for a, b, c, d in boxes]
        if self.data.box_unit == "fractions":
            far = [n for n, end in enumerate(ends) if end > _FAR]
            if far:
                value = f"{self._row(table, far[0], ids)}: {boxes[far[0]]} as left, top, width, height{_others(far)}"
                raise InputError("fractions of an image go from 0 to 1", value, 'say box_unit = "pixels"')
        elif max(ends) <= 1:
            value = f"{table.name}: no box goes beyond {max(ends):g}"
            raise InputError("boxes in pixels go beyond 1", value, 'say box_unit = "fractions"')

    def _sizes(self, table: Table, ids: Sequence[str]) -> list[tuple[int, int] | None]:
        """Width and height of the image that each box was drawn on, where columns say them."""
        names = self.data.box_of
        if not names or (self.data.coco and not all(map(table.has, names))):
            return [None] * len(ids)
        sizes: list[tuple[int, int] | None] = []
        for n, cells in enumerate(zip(*(self._column(table, name, "box_of") for name in names), strict=True)):
            width, height = (whole_of(cell) for cell in cells)
            if width is None or height is None or min(width, height) < 1:
                value = f"{self._row(table, n, ids)}: {', '.join(names)} = {', '.join(cells)}"
                rule = "width and height of an image are whole numbers above zero"
                raise InputError(rule, value, "correct the cells, or drop box_of")
            sizes.append((int(width), int(height)))
        return sizes


def numbers_of(cells: Sequence[str]) -> list[str]:
    """The numbers of a box as texts: its cells, or what stands in the one cell, in brackets or not."""
    texts = [clean(cell) for cell in cells]
    return texts if len(texts) > 1 else _BETWEEN.split(texts[0].strip("[]() \t"))


def _others(rows: Sequence[int]) -> str:
    return f" (and {len(rows) - 1:,} more rows)" if len(rows) > 1 else ""


def joined_boxes(
    ids: Sequence[str], paths: Sequence[str], listed: Sequence[str], boxes: Sequence[str], name: str
) -> list[str]:
    """The paths of rows to predict with their boxes, by the ids that a table has (``listed``, with or without suffix and
    folders); ``name`` is the table's.

    Raises
    ------
    InputError
        For an id with two boxes, or with none.
    """
    exact: dict[str, set[str]] = {}
    loose: dict[str, set[str]] = {}
    for own, box in zip(listed, boxes, strict=True):
        exact.setdefault(own, set()).add(box)
        loose.setdefault(plain_id(own), set()).add(box)
    found = []
    for own, path in zip(ids, paths, strict=True):
        fitting = exact.get(nfc(clean(own))) or loose.get(plain_id(own), set())
        if len(fitting) != 1:
            value = f"{name}: {own!r} has {', '.join(sorted(fitting)[:3]) or 'no row'}"
            remedy = "give each row an id of its own, or name `row` where several boxes make one answer"
            raise InputError(
                "a row to predict has one box", value, remedy if fitting else "complete the table"
            )
        found.append(path + next(iter(fitting)))
    return found


def plain_id(name: str) -> str:
    """An id without suffix and folders, for tables that spell it otherwise."""
    return nfc(without_suffix(clean(name))).rpartition("/")[2]


def with_own_ids(rows: Sequence[Sample]) -> tuple[list[Sample], int]:
    """Labelled rows of which those that share an id with another box are named after both; and how many these are."""
    boxes: dict[str, set[str]] = {}
    for row in rows:
        boxes.setdefault(row.id, set()).add(row.path)
    made = [
        row if len(boxes[row.id]) == 1 else row._replace(id=row.id + row.path[len(without_box(row.path)) :])
        for row in rows
    ]
    return made, sum(one.id != row.id for one, row in zip(made, rows, strict=True))


def with_whole_images(rows: Sequence[Sample]) -> list[Sample]:
    """Each row as two images of one answer, its crop and the whole image.

    Raises
    ------
    InputError
        For a file that several rows are of: as a whole it would be each of them.
    """
    owners: dict[str, str] = {}
    made = []
    for row in rows:
        file = without_box(row.path)
        if owners.setdefault(file, row.id) != row.id or row.path == file:
            value = f"{file} is of {owners[file]!r} and {row.id!r}"
            rule = 'box_view = "both" is of one box an image'
            raise InputError(rule, value, 'take box_view = "crop"')
        made += [row._replace(id=path, path=path, row=row.id) for path in (row.path, file)]
    return made


def with_tiles(rows: Sequence[Sample], tiles: Sequence[int], overlap: float) -> list[Sample]:
    """Each image as images of its row, ``tiles`` (rows, columns) of one size that cover it, row after row; two neighbours share
    ``overlap`` of a tile's side.
    """
    down, across = (_stretches(count, overlap) for count in tiles)
    boxes = [Box(left, top, width, height, True) for top, height in down for left, width in across]
    fragments = [box.fragment for box in boxes]
    return [
        row._replace(id=path, path=path, row=row.row or row.id)
        for row in rows
        for path in (row.path + fragment for fragment in fragments)
    ]


def _stretches(count: int, overlap: float) -> list[tuple[float, float]]:
    """Where ``count`` stretches of one length begin that cover 0 to 100, and that length."""
    length = 100 / (1 + (count - 1) * (1 - overlap))
    return [(n * length * (1 - overlap), length) for n in range(count)]
