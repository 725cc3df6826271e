"""CSV tables as competitions ship them: cells as text, letter by letter, with the encoding and line ends found."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from comp.errors import InputError

ENCODINGS = ("utf-8-sig", "utf-8", "cp949")


@dataclass(frozen=True)
class Table:
    """A CSV table: ``header`` and ``rows`` as they stand, every cell a string.

    ``encoding`` is one of utf-8-sig, utf-8, cp949; ``newline`` and ``quote_all`` are those of the file, so that
    a table can be written back in its own manner.
    """

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    encoding: str = "utf-8"
    newline: str = "\n"
    quote_all: bool = False
    final_newline: bool = True

    def __len__(self) -> int:
        return len(self.rows)

    def place(self, column: str) -> int:
        """The place of a column; stray spaces and case around the name do not matter when nothing else fits.

        Raises
        ------
        InputError
            Naming the columns there are.
        """
        if column in self.header:
            return self.header.index(column)
        loose = [i for i, name in enumerate(self.header) if name.strip().lower() == column.strip().lower()]
        if len(loose) == 1:
            return loose[0]
        has = ", ".join(repr(name) for name in self.header)
        raise InputError(
            "a table must have the columns it is read by",
            f"{self.name} has no {column!r}; it has {has}",
            "correct the name",
        )

    def column(self, column: str) -> list[str]:
        """The cells of a column, letter by letter."""
        place = self.place(column)
        return [row[place] for row in self.rows]

    def text(self, rows: list[list[str]]) -> str:
        """The header and other rows as CSV text in this table's manner."""
        out = io.StringIO()
        if self.quote_all:
            writer = csv.writer(out, lineterminator=self.newline, quoting=csv.QUOTE_ALL)
        else:
            writer = csv.writer(out, lineterminator=self.newline)
        writer.writerow(self.header)
        writer.writerows(rows)
        text = out.getvalue()
        return text if self.final_newline else text.removesuffix(self.newline)


def read_table(path: Path) -> Table:
    """Reads a CSV file whose encoding and line ends are found out.

    Raises
    ------
    InputError
        If it is missing, empty, of no known encoding, or has rows of another width than its header.
    """
    try:
        content = path.read_bytes()
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
    newline = "\r\n" if "\r\n" in text else "\n"
    try:
        cells = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise InputError("a table must be CSV", f"{name}: {error}", "restore the file") from error
    cells = [row for row in cells if row]
    header, rows = cells[0], cells[1:]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            value = f"{name}, row {number}: {len(row)} cells under {len(header)} columns"
            raise InputError("every row must be as wide as the header", value, "restore the file")
    return Table(
        name,
        tuple(header),
        tuple(tuple(row) for row in rows),
        encoding,
        newline,
        text.startswith('"') and text.split(newline, 1)[0].count('"') >= 2 * len(header),
        text.endswith("\n"),
    )


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
