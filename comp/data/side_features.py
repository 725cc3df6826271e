"""Columns beside an image (an angle, an age, a place) as numbers that join its features before the classifier.

What numbers they become is learned on the rows that a fold fits, and on no other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from comp.data.csv_table import NOTHING, clean
from comp.data.images.source import ImageSource, Pixels, file_of, gives, gives_files, layer
from comp.data.manifest import FEATURE, feature_columns
from comp.errors import InputError

MOST_LEVELS = 64  # of a category; rarer ones are one together
_MISTYPED = (
    0.5  # of the cells that are there; with more numbers than this among texts, the texts are mistakes
)
Cells = tuple[str, ...]


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is nothing."""
    return clean(cell).lower() in NOTHING


@dataclass(frozen=True)
class SideSource:
    """A source of images that also knows the cells beside each, by path; ``columns`` are their names."""

    own: ImageSource
    columns: Cells
    by_path: dict[str, Cells]

    @property
    def gives_files(self) -> bool:
        return gives_files(self.own)

    def file_of(self, path: str) -> str:
        return file_of(self.own, path)

    def has(self, path: str) -> bool:
        return gives(self.own, path)

    def load(self, path: str) -> bytes | Pixels:
        return self.own.load(path)

    def cells_of(self, paths: Sequence[str]) -> list[Cells]:
        """The cells beside some images; InputError for an image of which it knows none."""
        absent = [path for path in paths if path not in self.by_path]
        if absent:
            value = f"nothing stands beside {absent[0]} ({len(absent)} of {len(paths)} images)"
            raise InputError("every row has its side features", value, "complete the table")
        return [self.by_path[path] for path in paths]


def with_side(source: ImageSource, table: pd.DataFrame) -> ImageSource:
    """A source with the side features of a manifest's rows; itself where there are none.

    Raises
    ------
    InputError
        Where two rows have one image and other cells: what stands beside it would be a matter of chance.
    """
    names = feature_columns(table.columns)
    if not names:
        return source
    cells = table[names].fillna("").astype(str)
    by_path: dict[str, Cells] = {}
    for path, row in zip(table["path"], cells.itertuples(index=False, name=None), strict=True):
        if by_path.setdefault(path, tuple(row)) != tuple(row):
            value = f"{path}: {by_path[path]} and {tuple(row)}"
            raise InputError("rows of one image have the same features", value, "correct the table")
    return SideSource(source, tuple(name.removeprefix(FEATURE) for name in names), by_path)


@dataclass(frozen=True)
class SideColumn:
    """How a column becomes numbers.

    A number is standardised by ``mean`` and ``std``, and is the mean where it is missing; a category has a place for each
    of ``levels``. ``flagged``: a further place says that it is missing, or of a level that is none of these; there is one
    where the rows that were fitted have such cells, since of others nothing could be learned.
    """

    name: str
    levels: Cells | None
    mean: float = 0.0
    std: float = 1.0
    flagged: bool = False

    @property
    def width(self) -> int:
        return (1 if self.levels is None else len(self.levels)) + self.flagged

    def encode(self, cells: Sequence[str]) -> NDArray[np.float32]:
        """Cells (N,) as numbers (N, W); InputError for a text in a column of numbers."""
        found = np.zeros((len(cells), self.width), np.float32)
        missing = np.array([is_missing(cell) for cell in cells], bool)
        if self.levels is None:
            values = np.array(
                [
                    self.mean if no else number(cell, self.name)
                    for cell, no in zip(cells, missing, strict=True)
                ]
            )
            found[:, 0] = (values - self.mean) / self.std
        else:
            place = {level: n for n, level in enumerate(self.levels)}
            at = np.array(
                [-1 if no else place.get(clean(cell), -1) for cell, no in zip(cells, missing, strict=True)]
            )
            missing = at < 0
            found[np.flatnonzero(~missing), at[~missing]] = 1
        if self.flagged:
            found[:, -1] = missing
        return found


@dataclass(frozen=True)
class SideEncoder:
    """What the cells beside images become: float32 (N, F), the same for training and prediction. It travels in the checkpoint."""

    columns: tuple[SideColumn, ...]

    @property
    def width(self) -> int:
        """F."""
        return sum(column.width for column in self.columns)

    @property
    def names(self) -> Cells:
        return tuple(column.name for column in self.columns)

    def encode(self, cells: Sequence[Cells]) -> NDArray[np.float32]:
        """Rows of cells in the order of ``names`` as numbers (N, F)."""
        by_column = list(zip(*cells, strict=True)) if cells else [()] * len(self.columns)
        parts = [one.encode(own) for one, own in zip(self.columns, by_column, strict=True)]
        return np.concatenate(parts, axis=1)

    def beside(self, source: Any, paths: Sequence[str]) -> NDArray[np.float32]:
        """The numbers (N, F) beside some images.

        Raises
        ------
        InputError
            Where the source does not know these columns, or a cell is none that can be read.
        """
        found = layer(source, SideSource)
        if found is None or found.columns != self.names:
            has = ", ".join(found.columns) if found else "none"
            value = f"it was trained with {', '.join(self.names[:6])}; the rows have {has}"
            raise InputError(
                "a run predicts with the features that it was trained with", value, "restore [data] features"
            )
        return self.encode(found.cells_of(paths))

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {
                "name": c.name,
                "levels": None if c.levels is None else list(c.levels),
                "mean": c.mean,
                "std": c.std,
                "flagged": c.flagged,
            }
            for c in self.columns
        ]

    @classmethod
    def from_json(cls, table: list[dict[str, Any]]) -> SideEncoder:
        columns = []
        for one in table:
            levels = None if one["levels"] is None else tuple(map(str, one["levels"]))
            mean, std = float(one["mean"]), float(one["std"])
            if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
                raise ValueError(f"{one['name']} has mean {mean} and std {std}")
            columns.append(SideColumn(str(one["name"]), levels, mean, std, bool(one["flagged"])))
        return cls(tuple(columns))


def fit_encoder(train: pd.DataFrame, fitted: NDArray[np.bool_]) -> SideEncoder | None:
    """The encoder of the training rows of a manifest: what kind each column is by all of them, its mean, deviation and
    levels by those that are ``fitted`` (N,) alone. None where rows have no side features.
    """
    names = feature_columns(train.columns)
    columns = []
    for name in names:
        cells = [str(cell) for cell in train[name].fillna("")]
        own = [cell for cell, yes in zip(cells, fitted, strict=True) if yes]
        plain = name.removeprefix(FEATURE)
        columns.append(_numbers(plain, own) if is_numeric(plain, cells) else _levels(plain, own))
    return SideEncoder(tuple(columns)) if names else None


def is_numeric(name: str, cells: Sequence[str]) -> bool:
    """Whether a column is one of numbers; InputError where it is of both, and mostly of numbers."""
    there = [cell for cell in cells if not is_missing(cell)]
    texts = [cell for cell in there if _as_number(cell) is None]
    if texts and len(texts) < _MISTYPED * len(there):
        value = f"{name}: {len(there) - len(texts):,} numbers, and {texts[0]!r} ({len(texts)} of {len(there)} cells are no finite number)"
        raise InputError(
            "a feature is of numbers or of categories",
            value,
            'correct the cells; what is missing is empty, "na" or "nan"',
        )
    return not texts


def number(cell: str, name: str) -> float:
    """A cell of a column of numbers; InputError for another."""
    found = _as_number(cell)
    if found is None:
        raise InputError(
            "a feature of numbers has numbers", f"{name}: {cell!r}", "correct the cell, or leave it empty"
        )
    return found


def _as_number(cell: str) -> float | None:
    try:
        found = float(clean(cell))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _numbers(name: str, cells: Sequence[str]) -> SideColumn:
    values = np.array([number(cell, name) for cell in cells if not is_missing(cell)], np.float64)
    mean, std = (float(values.mean()), float(values.std())) if len(values) else (0.0, 1.0)
    return SideColumn(name, None, mean, std if std > 0 else 1.0, len(values) < len(cells))


def _levels(name: str, cells: Sequence[str]) -> SideColumn:
    counts = Counter(clean(cell) for cell in cells if not is_missing(cell))
    common = sorted(counts, key=lambda level: (-counts[level], level))[:MOST_LEVELS]
    return SideColumn(
        name, tuple(sorted(common)), flagged=sum(counts[level] for level in common) < len(cells)
    )
