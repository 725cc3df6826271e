"""CSV tables as competitions ship them: cells as text with their encoding and line ends, and when two cells are the same."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from comp.data.images.raw_tree import nfc
from comp.data.limits import read_file
from comp.errors import InputError, shortened

INVISIBLE = "\ufeff\u200b\u200e\u200f"  # byte order mark, zero-width space, direction marks
NOTHING = {"", "nan", "na", "n/a", "null", "none", "<na>"}  # what tables write where there is nothing
_NUMBER = re.compile(r"[+-]?(?:(\d+)(?:[.,]\d*)?|[.,]\d+)(?:e[+-]?\d{1,3})?", re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")
_LONG = 60  # letters of a name in a message
_APART = re.compile(r"[\s_-]+")


def clean(text: str) -> str:
    """Text in NFC without invisible characters and without spaces around it."""
    return nfc(text.translate(dict.fromkeys(map(ord, INVISIBLE)))).strip()


def number_of(text: str) -> Decimal | None:
    """The number that a text is, None where it is none: ``1``, ``1.0``, ``+1``, ``1,0``, ``1e0`` and full-width
    digits are all one; ``1,000`` is a thousand.
    """
    plain = _plain(text)
    if _THOUSANDS.fullmatch(plain):
        return Decimal(plain.replace(",", ""))
    return Decimal(plain.replace(",", ".")) if _NUMBER.fullmatch(plain) else None


def whole_of(text: str) -> Decimal | None:
    """The whole number that a text is, None where it is none; a Decimal, as it may have any number of digits."""
    number = number_of(text)
    return None if number is None or number != number.to_integral_value() else number


def is_padded(text: str) -> bool:
    """Whether a text is a number with zeros in front, as codes have them: ``01``, ``007``."""
    found = _NUMBER.fullmatch(_plain(text))
    digits = found.group(1) or "" if found else ""
    return len(digits) > 1 and digits.startswith("0")


def same_number(text: str) -> Decimal | None:
    """The number under which two spellings are one label; None for words and for codes with zeros in front."""
    return None if is_padded(text) else number_of(text)


def folded(text: str) -> str:
    """Text under which spellings are alike: compatibility forms, case, and what stands between words do not count."""
    return _APART.sub(" ", _plain(text).casefold())


def in_order(names: Iterable[str]) -> list[str]:
    """Names sorted: numbers first and as numbers (2 before 10), then the others as text."""
    return sorted(names, key=_rank)


def _rank(name: str) -> tuple[int, Decimal, str]:
    number = number_of(name)
    return (1, Decimal(0), name) if number is None else (0, number, name)


def _plain(text: str) -> str:
    """Text with full-width digits and other compatibility forms as their plain ones."""
    return unicodedata.normalize("NFKC", clean(text)).replace("\u2212", "-")  # a minus sign is no hyphen


def listed(names: Iterable[str], most: int = 5) -> str:
    """The first names of several in quotes, for a message; very long ones are cut."""
    every = list(names)
    shown = [name if len(name) <= _LONG else f"{name[:_LONG]}…" for name in every[:most]]
    return ", ".join(map(repr, shown)) + (" …" if len(every) > most else "")


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


def parse_table(content: bytes, name: str, delimiter: str = ",") -> Table:
    """The same from bytes; ``name`` is for errors. A table with another ``delimiter`` is written back with commas."""
    text, encoding = _decode_text(content, name)
    if not text.strip():
        raise InputError("a table needs a header", f"{name} is empty", "restore the file")
    newline = _line_end(text)
    try:
        cells = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
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


def flat_record(row: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """A record with the records within it spread over names such as ``outer.inner``."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            found.update(flat_record(value, f"{before}{key}."))
        else:
            found[f"{before}{key}"] = value
    return found
