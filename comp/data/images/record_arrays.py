"""Images that lie in cells of json tables, as lists of numbers: ``train.json#17`` is those of record 17."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import isqrt
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.config import whole_number
from comp.data.images.raw_tree import RawTree
from comp.errors import ImageError, InputError, shortened
from comp.files import Unreadable, parse_json


class RecordArrays:
    """The images of json lists of records, whose ``columns`` are a channel each.

    A cell is a list of rows, or of all pixels of a square row by row. Safe for threads; pickled as what it is made of.
    """

    def __init__(self, raw: Path, columns: Sequence[str]) -> None:
        self.raw, self.columns = raw, tuple(columns)
        self._tables: dict[str, list[Any]] = {}
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[RecordArrays], tuple[Path, tuple[str, ...]]]:
        return type(self), (self.raw, self.columns)

    @cached_property
    def _tree(self) -> RawTree:
        return RawTree(self.raw)

    def file_of(self, path: str) -> str:
        """The table that an image stands in."""
        return path.rpartition("#")[0]

    def has(self, path: str) -> bool:
        """Whether there is such a record."""
        name, _, text = path.rpartition("#")
        row = whole_number(text)
        try:
            return row is not None and 0 <= row < len(self._table(name))
        except InputError:
            return False

    def load(self, path: str) -> NDArray[np.float32]:
        """The image (H, W, N) of a record.

        Raises
        ------
        ImageError
            If there is no such record, or its cells are no images of one shape.
        """
        if not self.has(path):
            raise ImageError("an array path is TABLE#record", path, "complete the table")
        name, _, text = path.rpartition("#")
        cells = self._table(name)[int(text)]
        if isinstance(cells, str):
            raise ImageError(
                "a record has a list of numbers in each column of [images] columns",
                f"{path}: {cells}",
                "correct the table, or [images] columns",
            )
        return np.asarray(cells, dtype=np.float32)

    def _table(self, name: str) -> list[Any]:
        """Of each record its image, or what is wrong with it."""
        with self._lock:
            if name not in self._tables:
                try:
                    records = parse_json(self._tree.read(name))
                except Unreadable as error:
                    raise InputError(
                        "a json table must be readable", f"{name}: {error}", "restore it"
                    ) from error
                if not isinstance(records, list):
                    value = f"{name} is a {type(records).__name__}"
                    raise InputError("images in a table stand in a list of records", value, "correct [data]")
                self._tables[name] = [self._image(record) for record in records]
            return self._tables[name]

    def _image(self, record: Any) -> NDArray[np.float32] | str:
        absent = [name for name in self.columns if not isinstance(record, dict) or name not in record]
        if absent:
            return f"it has no {absent[0]!r}"
        channels = []
        for name in self.columns:
            try:
                one = np.asarray(record[name], dtype=np.float32)
            except (ValueError, TypeError):
                return f"{name} is {shortened(repr(record[name]), 60)}"
            side = isqrt(one.size)
            if one.ndim == 1 and side * side == one.size:
                one = one.reshape(side, side)
            if one.ndim != 2 or not one.size:
                return f"{name} has the shape {one.shape}, which is no square and no list of rows"
            channels.append(one)
        if len({one.shape for one in channels}) > 1:
            return f"its columns have the shapes {', '.join(str(one.shape) for one in channels)}"
        return np.stack(channels, axis=2)
