"""The side features that [data] of a competition.toml names, from the tables of labelled rows and of rows to predict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

import pandas as pd

from comp.data.csv_table import Table, clean
from comp.data.manifest import FEATURE
from comp.errors import InputError

Column = Callable[[Table, str, str], list[str]]


def feature_names(wanted: Sequence[str], table: Table) -> list[str]:
    """The columns that ``features`` means; InputError for a pattern that none fits."""
    found: dict[str, None] = {}
    for one in wanted:
        if "*" not in one:
            found[one] = None
            continue
        fitting = [clean(name) for name in table.header if fnmatchcase(clean(name), one)]
        if not fitting:
            value = f"competition.toml: [data] features: {one!r} fits no column of {table.name}"
            raise InputError(
                "a table must have the columns it is read by", value, "correct features in [data]"
            )
        found.update(dict.fromkeys(fitting))
    return list(found)


def with_cells(
    rows: pd.DataFrame,
    names: Sequence[str],
    table: Table,
    ids: Sequence[str],
    keys: Sequence[str],
    column: Column,
) -> pd.DataFrame:
    """Rows of a manifest with the cells of a table, joined by id: ``ids`` are the table's, ``keys`` those of the rows.

    Raises
    ------
    InputError
        For a column that the table lacks, an id that it lacks, or one that comes twice with other cells.
    """
    cells = list(zip(*(column(table, name, "features") for name in names), strict=True))
    by_id: dict[str, tuple[str, ...]] = {}
    for one, row in zip(ids, cells, strict=True):
        if by_id.setdefault(one, row) != row:
            value = f"{table.name}: {one!r} has {by_id[one][:4]} and {row[:4]}"
            raise InputError("a row has its features once", value, "correct the table")
    absent = [key for key in keys if key not in by_id]
    if absent:
        value = f"{table.name} has no row of {absent[0]!r} ({len(absent)} of {len(keys)})"
        raise InputError("every row has its side features", value, "complete the table")
    joined = [by_id[key] for key in keys]
    return rows.assign(**{f"{FEATURE}{name}": [row[n] for row in joined] for n, name in enumerate(names)})
