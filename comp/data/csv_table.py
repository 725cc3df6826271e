"""CSV tables as competitions ship them: cells as text, letter by letter, with the encoding and line ends found."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comp.data.limits import read_file
from comp.data.spelling import clean
from comp.errors import InputError, shortened

ENCODINGS = ("utf-8-sig", "utf-8", "cp949")
_SPECIAL = re.compile(r'[,"\r\n]')
_CELL = re.compile(r'("(?:[^"]|"")*"|[^,\r\n]*)(,|\r\n|\n|\r|$)')


@dataclass(frozen=True)
class Table:
    """A CSV table: ``header`` and ``rows`` as they stand, every cell a string.

    ``encoding`` is one of utf-8-sig, utf-8, cp949. ``newline``, ``quoted`` (for the header and for the rows, the places
    of the columns whose cells stand in quotes without need) and ``end`` (the line ends after the last row) are those
    of the file, so that a table can be written back in its own manner.
    """

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    encoding: str = "utf-8"
    newline: str = "\n"
    quoted: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())
    end: str = "\n"

    def __len__(self) -> int:
        return len(self.rows)

    def has(self, column: str) -> bool:
        """Whether there is a column of that name; stray spaces around it do not matter."""
        return any(clean(name) == clean(column) for name in self.header)

    def place(self, column: str) -> int:
        """The place of a column; stray spaces do not matter, nor does case when nothing else fits.

        Raises
        ------
        InputError
            If it is not there, naming the columns there are; if it comes twice, since nothing says which is meant.
        """
        wanted = clean(column)
        found = [i for i, name in enumerate(self.header) if clean(name) == wanted]
        found = found or [i for i, name in enumerate(self.header) if clean(name).lower() == wanted.lower()]
        if len(found) == 1:
            return found[0]
        if found:
            raise self._twice(column, found)
        has = ", ".join(repr(name) for name in self.header)
        raise InputError(
            "a table must have the columns it is read by",
            f"{self.name} has no {column!r}; it has {has}",
            "correct the name",
        )

    def require_once(self, places: Sequence[int]) -> None:
        """InputError where two of these columns have one name, stray spaces apart."""
        first: dict[str, int] = {}
        for place in places:
            name = clean(self.header[place])
            if name in first:
                raise self._twice(self.header[place], [first[name], place])
            first[name] = place

    def _twice(self, column: str, places: Sequence[int]) -> InputError:
        names = ", ".join(f"{self.header[i]!r} in column {i + 1}" for i in places)
        remedy = "rename or remove all but one: nothing says which of them is meant"
        return InputError(
            "a table has a column once", f"{self.name} has {column!r} more than once: {names}", remedy
        )

    def column(self, column: str) -> list[str]:
        """The cells of a column, letter by letter."""
        place = self.place(column)
        return [row[place] for row in self.rows]

    def text(self, rows: list[list[str]]) -> str:
        """The header and other rows as CSV text in this table's manner."""
        head, body = self.quoted
        lines = [self._line(self.header, head), *(self._line(row, body) for row in rows)]
        return self.newline.join(lines) + self.end

    def _line(self, cells: Sequence[str], quoted: frozenset[int]) -> str:
        if len(cells) == 1 and not cells[0]:
            return '""'  # an empty line would be no row
        return ",".join(
            _in_quotes(cell) if place in quoted or _needs_quotes(cell) else cell
            for place, cell in enumerate(cells)
        )


def _needs_quotes(cell: str) -> bool:
    return _SPECIAL.search(cell) is not None


def _in_quotes(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def read_table(path: Path) -> Table:
    """Reads a CSV file whose encoding and line ends are found out.

    Raises
    ------
    InputError
        If it is missing, empty, too large, of no known encoding, has a NUL, or rows of another width than its header.
    """
    try:
        content = read_file(path, f"{path}")
    except FileNotFoundError as error:
        raise InputError("the table must exist", f"{path} is not there", "check the path") from error
    except OSError as error:
        raise InputError(
            "the table must be readable", f"{path}: {error.strerror}", "check the path"
        ) from error
    return parse_table(content, path.name)


def parse_table(content: bytes, name: str) -> Table:
    """The same from bytes; ``name`` is for errors."""
    text, encoding = _decode_text(content, name)
    if not text.strip():
        raise InputError("a table needs a header", f"{name} is empty", "restore the file")
    newline = _line_end(text)
    try:
        cells = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise InputError("a table must be CSV", f"{name}: {error}", "restore the file") from error
    cells = [row for row in cells if row]
    header, rows = cells[0], cells[1:]
    if "\0" in text:
        raise _with_nul(cells, name)
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            value = f"{name}, row {number}: {len(row)} cells under {len(header)} columns"
            raise InputError("every row must be as wide as the header", value, "restore the file")
    end = text[len(text.rstrip("\r\n")) :]
    return Table(
        name, tuple(header), tuple(tuple(row) for row in rows), encoding, newline, _quoted(text, header), end
    )


def _with_nul(cells: list[list[str]], name: str) -> InputError:
    number, row = next((n, row) for n, row in enumerate(cells, start=1) if any("\0" in cell for cell in row))
    cell = next(cell for cell in row if "\0" in cell)
    value = f"{name}, row {number}: {shortened(repr(cell), 200)} has a NUL"
    return InputError("a table is text", value, "restore the file, or save it as UTF-8 CSV")


def _line_end(text: str) -> str:
    """The first line end that is not inside quotes."""
    for found in re.finditer(r"\r\n|\n|\r", text):
        if text.count('"', 0, found.start()) % 2 == 0:
            return found.group()
    return "\n"


def _quoted(text: str, header: Sequence[str]) -> tuple[frozenset[int], frozenset[int]]:
    """The columns whose cells stand in quotes without need: in the header, and in the rows.

    A column is judged by its first cell that needs no quotes; most are known after one row.
    """
    if '"' not in text:
        return frozenset(), frozenset()
    head: dict[int, bool] = {}
    body: dict[int, bool] = {}
    line, place = 0, 0
    for found in _CELL.finditer(text):
        cell, after = found.groups()
        bare = cell[1:-1] if cell.startswith('"') else cell
        if not _needs_quotes(bare):
            (body if line else head).setdefault(place, cell.startswith('"'))
        place += 1
        if after != ",":
            line, place = line + 1, 0
            if line > 1 and len(body) == len(header):
                break
    return frozenset(n for n, yes in head.items() if yes), frozenset(n for n, yes in body.items() if yes)


def _decode_text(content: bytes, name: str) -> tuple[str, str]:
    if content.startswith(b"\xef\xbb\xbf"):
        encodings: tuple[str, ...] = ("utf-8-sig",)
    else:
        encodings = ENCODINGS[1:]
    for encoding in encodings:
        try:
            return content.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    raise InputError("a table must be UTF-8 or cp949 text", f"{name} is neither", "save it as UTF-8 CSV")
