"""Tables as text: cells are wrapped between words, never within one, and columns are left out where there is no room."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

PIPE_WIDTH = 120  # what a table is wrapped to where nobody says how wide the screen is
MOST_LINES = 2  # of a cell of a column that may be left out
_GAP = 3


@dataclass(frozen=True)
class Drawn:
    """A table as ``text``, and the names of the columns that had no room."""

    text: str
    hidden: list[str] = field(default_factory=list)


def draw(
    title: str,
    header: Sequence[str],
    cells: Sequence[Sequence[str]],
    numeric: Sequence[bool],
    codes: Sequence[str],
    drop: Sequence[str],
    width: int | None,
) -> Drawn:
    """Draws rows of texts.

    Parameters
    ----------
    numeric : sequence of bool
        Whether a column stands to the right, for each column.
    codes : sequence of str
        The terminal's code for the colour of each row; none for plain ones.
    drop : sequence of str
        Names of columns that may be left out, in the order in which they are.
    width : int or None
        Columns of the screen; None for a pipe, which gets every column.
    """
    shown, widths = _laid_out(header, cells, drop, width)
    if width and cells and _whole(widths) > width:
        return Drawn(_blocks(title, header, cells, width))
    hidden = [name for name in drop if name in header and header.index(name) not in shown]
    right = [numeric[n] for n in shown]
    lines = [title] if title else []
    lines += ["", *_lines([header[n] for n in shown], widths, right)]
    lines += [f" {'─' * (_whole(widths) - 1)}"]
    for number, row in enumerate(cells):
        code = codes[number] if codes else ""
        drawn = _lines([row[n] for n in shown], widths, right)
        lines += [f"{code}{line}\x1b[0m" if code else line for line in drawn]
    return Drawn("\n".join([*lines, ""]), hidden)


def text_width(text: str) -> int:
    """How many columns of a screen a text takes: wide letters two, those that stand over others none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def wrapped(text: str, width: int, first: str = "", further: str = "") -> list[str]:
    """The lines of a text, broken between words; a word longer than the width stays whole."""
    lines: list[str] = []
    for line in text.splitlines() or [""]:
        lines += textwrap.wrap(
            line,
            width,
            initial_indent=first,
            subsequent_indent=further,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [first.rstrip()]
    return lines


def _whole(widths: Sequence[int]) -> int:
    """How wide a table of such columns is, with the margin to its left."""
    return 1 + sum(widths) + _GAP * (len(widths) - 1)


def _longest_word(texts: Sequence[str]) -> int:
    return max((text_width(word) for text in texts for word in text.split()), default=1)


def _laid_out(
    header: Sequence[str], cells: Sequence[Sequence[str]], drop: Sequence[str], width: int | None
) -> tuple[list[int], list[int]]:
    """The columns that are shown and their widths: those of ``drop`` go, in that order, until no word is broken and none
    of their own cells takes more than two lines.
    """
    columns = [[name, *(row[n] for row in cells)] for n, name in enumerate(header)]
    shown, going = list(range(len(header))), [header.index(name) for name in drop if name in header]
    while True:
        widths = _widths([columns[n] for n in shown], width or PIPE_WIDTH)
        tall = any(
            len(_cell_lines(cell, size)) > MOST_LINES
            for n, size in zip(shown, widths, strict=True)
            if n in going
            for cell in columns[n]
        )
        if width is None or not going or (_whole(widths) <= width and not tall):
            return shown, widths
        shown.remove(going.pop(0))


def _widths(columns: Sequence[Sequence[str]], width: int) -> list[int]:
    """The widths of columns of texts (header first): what they want, or the widest ones narrower, each at least its
    longest word.
    """
    least = [_longest_word(texts) for texts in columns]
    wanted = [
        max(text_width(line) for text in texts for line in text.splitlines() or [""]) for texts in columns
    ]
    while _whole(wanted) > width:
        shrinking = [n for n in range(len(wanted)) if wanted[n] > least[n]]
        if not shrinking:
            break
        wanted[max(shrinking, key=lambda n: wanted[n])] -= 1
    return [max(one, small, 1) for one, small in zip(wanted, least, strict=True)]


def _lines(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    """The lines of one row."""
    parts = [_cell_lines(cell, width) for cell, width in zip(row, widths, strict=True)]
    lines = []
    for number in range(max(map(len, parts))):
        texts = [part[number] if number < len(part) else "" for part in parts]
        padded = [
            " " * (width - text_width(text)) + text if to_right else text + " " * (width - text_width(text))
            for text, width, to_right in zip(texts, widths, right, strict=True)
        ]
        lines.append((" " + (" " * _GAP).join(padded)).rstrip())
    return lines


def _cell_lines(cell: str, width: int) -> list[str]:
    """A cell's text in lines of at most ``width`` columns, broken between words."""
    lines: list[str] = []
    for text in cell.splitlines() or [""]:
        if text_width(text) <= width:
            lines.append(text)
            continue
        line = ""
        for word in text.split():
            if line and text_width(line) + 1 + text_width(word) > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return lines


def _blocks(title: str, header: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> str:
    """A table too wide for the screen: each row as lines of name and cell."""
    lines = [title] if title else []
    if len(header) == 2 and not header[1]:  # names and values
        facts = [line for name, value in cells for line in wrapped(f"{name}: {value}", width, "", "  ")]
        return "\n".join([*lines, "", header[0], *facts, ""])
    for row in cells:
        lines.append("")
        for name, cell in zip(header, row, strict=True):
            if name:
                lines += wrapped(f"{name}: {cell}", width, "", "  ")
            else:
                lines += wrapped(cell, width, "  ", "  ")
    return "\n".join([*lines, ""])
