"""What lies in a raw folder: its images by name, its tables, and which of them is the sample submission."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

from comp.data.competitions.tables import is_table, read_any_table
from comp.data.csv_table import Table, clean
from comp.data.images.raw_tree import RawTree, in_tree, is_image_name, natural_key, nfc, without_suffix
from comp.errors import CompError

MATCHED = 0.9  # of the rows of a column that names images
_TEMPLATE = re.compile(r"sample|submi|benchmark", re.IGNORECASE)
_MOST_TABLES = 60
_MOST_ROWS = 5_000  # that are compared with file names


class Survey:
    """One look at a raw folder; tables that cannot be read are in ``unread`` with the reason."""

    def __init__(self, tree: RawTree) -> None:
        self.tree = tree
        self.unread: dict[str, str] = {}

    @cached_property
    def images(self) -> list[str]:
        """The image files by their suffix, else all that begin like an image."""
        named = [path for path in self.tree.files if is_image_name(path)]
        return named or [path for path in self.tree.files if not is_table(path) and self.tree.is_image(path)]

    @cached_property
    def by_stem(self) -> dict[str, list[str]]:
        """The images by their name without folder and suffix, in small letters."""
        found: dict[str, list[str]] = {}
        for path in self.images:
            found.setdefault(stem_key(path), []).append(path)
        return found

    @cached_property
    def tables(self) -> dict[str, Table]:
        """The tables by path, those at the top first."""
        names = [path for path in self.tree.files if is_table(path)]
        names.sort(key=lambda path: (path.count("/"), natural_key(path)))
        found = {}
        for name in names[:_MOST_TABLES]:
            try:
                table = read_any_table(self.tree, name, "table")
            except CompError as error:
                self.unread[name] = str(error)
            else:
                if len(table) and table.header:
                    found[name] = table
        return found

    @cached_property
    def templates(self) -> list[str]:
        """The tables that are named like a sample submission, the likeliest first."""
        named = [name for name in self.tables if _TEMPLATE.search(name.rpartition("/")[2])]
        named = [name for name in named if name.lower().endswith((".csv", ".tsv"))]

        def rank(name: str) -> tuple[int, int]:
            plain = name.rpartition("/")[2].lower()
            return (-("sample" in plain) - 2 * ("submi" in plain), name.count("/"))

        return sorted(named, key=rank)

    def matched(self, cells: Sequence[str]) -> float:
        """The share of cells that name an image, by stem or at the end of its path."""
        looked = spread(cells)
        return sum(bool(self.paths_of(cell)) for cell in looked) / max(1, len(looked))

    def paths_of(self, cell: str) -> list[str]:
        """The images that a cell may name."""
        name = in_tree(clean(cell))
        found = self.by_stem.get(stem_key(name), [])
        if "/" in name:
            plain = without_suffix(name).casefold()
            found = [
                path for path in found if f"/{without_suffix(nfc(path)).casefold()}".endswith(f"/{plain}")
            ]
        if is_image_name(name):
            exact = [path for path in found if nfc(path).casefold().endswith(name.casefold())]
            return exact or found
        return found

    def id_column(self, table: Table) -> tuple[str, float]:
        """The column whose cells name images best, and the share that do; the first of equals."""
        best = ("", 0.0)
        for name in map(clean, table.header):
            cells = column(table, name)
            if not name or (len(set(cells)) < 2 and len(cells) > 1):
                continue
            share = self.matched(cells)
            as_path = any("/" in cell and is_image_name(cell) for cell in cells[:50])
            if share > best[1] + 0.001 or (as_path and share > best[1] - 0.001 and share):
                best = (name, share)
        return best


def stem_key(path: str) -> str:
    """A name without folders and suffix, in small letters, by which images are looked up."""
    return without_suffix(nfc(path)).rpartition("/")[2].casefold()


def column(table: Table, name: str) -> list[str]:
    """The cells of a column by its clean name; the first where there are several."""
    place = next(n for n, one in enumerate(table.header) if clean(one) == name)
    return [clean(row[place]) for row in table.rows]


def columns(table: Table) -> list[str]:
    """The clean names of a table's columns."""
    return [clean(name) for name in table.header]


def spread(cells: Sequence[str], most: int = _MOST_ROWS) -> list[str]:
    """At most so many cells, evenly over all."""
    step = max(1, -(-len(cells) // most))
    return list(cells[::step])


def counted(cells: Iterable[str], most: int = 4) -> str:
    """The commonest values of cells with their numbers: ``0 (580 rows), 1 (20)``."""
    counts = Counter(cells)
    shown = [f"{value or 'empty'} ({n})" for value, n in counts.most_common(most)]
    return ", ".join(shown) + (f" and {len(counts) - most} more values" if len(counts) > most else "")
