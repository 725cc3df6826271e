"""A parquet file of image bytes, as the Hugging Face hub has data sets: a row group is read at a time."""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import accumulate
from pathlib import Path
from threading import Event, Lock
from typing import Any

from comp.config import whole_number
from comp.data.images.shard import KEY
from comp.errors import InputError, RawDataError

KEPT = 256 << 20  # bytes of row groups that were read last
LARGEST_GROUP = 4 << 30  # bytes of the images of one row group, which is read whole
_BYTES = "bytes"  # the field that the Hugging Face hub puts an image's file into, beside its path


class ParquetShard:
    """The rows of a parquet file; ``image`` is the column with the bytes of image files, plain or as {bytes, path}.

    Raises
    ------
    InputError
        If pyarrow is not installed, the file cannot be read, or no column, or more than one, has bytes.
    """

    def __init__(self, file: Path, name: str, image: str = "") -> None:
        self.file = file
        self.name = name
        self.notes: list[str] = []
        self._stamp = _stamp(file)
        self._meta = _asked(file, lambda parquet: parquet.read_metadata(file))
        self._schema = _asked(file, lambda parquet: self._meta.schema.to_arrow_schema())
        self.image = image or self._only_image()
        self._leaf = self._bytes_of(self.image)
        counts = (self._meta.row_group(n).num_rows for n in range(self._meta.num_row_groups))
        self._starts = list(accumulate(counts, initial=0))

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name in self.layout if name.partition(".")[0] != self.image)

    @property
    def layout(self) -> Mapping[str, str]:
        return dict(_leaves(self._schema))

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The class names that the Hugging Face hub writes beside the schema, in index order, by column."""
        told = (self._schema.metadata or {}).get(b"huggingface")
        try:
            features = json.loads(told or b"{}").get("info", {}).get("features", {})
            return {name: names for name, one in features.items() if (names := _class_names(one))}
        except (ValueError, AttributeError, TypeError) as error:
            value = f"{self.file}: what is told as 'huggingface' of its columns: {error}"
            raise RawDataError("a parquet shard must be readable", value, "restore it") from error

    def paths(self) -> list[str]:
        self._require_images()
        return [f"{self.name}#{row}" for row in range(self._starts[-1])]

    def values(self, column: str) -> list[Any]:
        if column == KEY and KEY not in self.layout:
            stem = self.name.removesuffix(self.file.suffix)
            return [f"{stem}/{row}" for row in range(self._starts[-1])]
        top, _, field = column.partition(".")
        if column in self._schema.names:
            top, field = column, ""
        found = _asked(self.file, lambda parquet: self._opened(parquet).read([column], use_threads=False))
        cells: list[Any] = found.column(top).to_pylist()
        return [None if cell is None else cell.get(field) for cell in cells] if field else cells

    def has(self, path: str) -> bool:
        row = whole_number(path.rpartition("#")[2])
        return row is not None and 0 <= row < self._starts[-1]

    def load(self, path: str) -> bytes:
        row = whole_number(path.rpartition("#")[2])
        if row is None or not 0 <= row < self._starts[-1]:
            value = f"{path}: {self.file} has {self._starts[-1]:,} rows"
            raise RawDataError("an image must be there", value, "complete the shard")
        group = bisect_right(self._starts, row) - 1
        cell = self._group(group)[row - self._starts[group]].as_py()
        content = cell.get(_BYTES) if isinstance(cell, dict) else cell
        if content is None:
            raise self._null(row)
        return bytes(content)

    def _group(self, number: int) -> Any:
        """The images of a row group, an array of pyarrow's."""
        if _stamp(self.file) != self._stamp:
            value = f"{self.file} has changed since it was looked at"
            raise RawDataError("a shard stays as it is while it is read", value, "begin again")

        def read() -> Any:
            size = self._chunk(number).total_uncompressed_size
            if size > LARGEST_GROUP:
                value = f"{self.file}: row group {number} has {size:,} bytes"
                remedy = "write it with row_group_size=1000: a row group is read whole"
                raise RawDataError(f"a row group has {LARGEST_GROUP:,} bytes at most", value, remedy)
            table = _asked(
                self.file,
                lambda parquet: self._opened(parquet).read_row_group(number, [self._leaf], use_threads=False),
            )
            return table.column(0)

        return _GROUPS.get((str(self.file), *self._stamp, self._leaf, number), read)

    def _opened(self, parquet: Any) -> Any:
        return parquet.ParquetFile(self.file, metadata=self._meta)

    def _chunk(self, group: int) -> Any:
        """What the file says of the images of a row group."""
        row_group = self._meta.row_group(group)
        columns = (row_group.column(n) for n in range(row_group.num_columns))
        return next(column for column in columns if column.path_in_schema == self._leaf)

    def _require_images(self) -> None:
        """RawDataError naming the first row without an image, where the file says that it has such rows."""
        for group in range(self._meta.num_row_groups):
            facts = self._chunk(group).statistics
            if facts is not None and facts.has_null_count and facts.null_count:
                for place, cell in enumerate(self._group(group).to_pylist()):
                    if cell is None or (isinstance(cell, dict) and cell.get(_BYTES) is None):
                        raise self._null(self._starts[group] + place)

    def _null(self, row: int) -> RawDataError:
        value = f"{self.name}#{row}: {self._leaf} is null"
        return RawDataError(
            "each row of a shard has the bytes of its image", value, "write the images into the shard"
        )

    def _only_image(self) -> str:
        """The column with bytes: the one that there is, or that is called image."""
        names: list[str] = [name for name in self._schema.names if self._is_bytes(name)]
        if "image" in names:
            return "image"
        if len(names) == 1:
            return names[0]
        has = ", ".join(names) or f"none of {', '.join(self._schema.names)}"
        remedy = 'state image = "COLUMN" in [data]' if names else "name shards of images"
        raise RawDataError("a column of a shard has the bytes of images", f"{self.file}: {has}", remedy)

    def _is_bytes(self, name: str) -> bool:
        kind = str(self._schema.field(name).type)
        return kind in _BINARY or (kind.startswith("struct<") and f"{name}.{_BYTES}" in self._binary_leaves())

    def _bytes_of(self, image: str) -> str:
        """The column of bytes within an image column."""
        if image not in self._schema.names:
            has = ", ".join(self._schema.names)
            value = f"{self.file} has no {image!r}; it has {has}"
            raise RawDataError("a shard has the column of images", value, "correct image in [data]")
        if not self._is_bytes(image):
            value = f"{self.file}: {image!r} is {self._schema.field(image).type}"
            raise RawDataError("the column of images has bytes", value, "correct image in [data]")
        return image if str(self._schema.field(image).type) in _BINARY else f"{image}.{_BYTES}"

    def _binary_leaves(self) -> set[str]:
        return {name for name, kind in _leaves(self._schema) if kind in _BINARY}


class RowGroups:
    """The row groups that were read last, as many as fit in ``budget`` bytes, for all threads of a process together.

    Of several threads that want the same one, one reads.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.forget()

    def forget(self) -> None:
        self._kept: OrderedDict[object, Any] = OrderedDict()
        self._size = 0
        self._read: dict[object, Event] = {}
        self._lock = Lock()

    def get(self, key: object, read: Callable[[], Any]) -> Any:
        """What ``read()`` gives for this key, read now or kept."""
        while True:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
                done = self._read.get(key)
                if done is None:
                    mine = self._read[key] = Event()
                    break
            done.wait()
        try:
            found = read()
            with self._lock:
                self._kept[key] = found
                self._size += found.nbytes
                while self._size > self.budget and len(self._kept) > 1:
                    self._size -= self._kept.popitem(last=False)[1].nbytes
            return found
        finally:
            with self._lock:
                del self._read[key]
            mine.set()


_GROUPS = RowGroups(KEPT)
_BINARY = ("binary", "large_binary", "binary_view")
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_GROUPS.forget)  # a thread of the parent may hold its lock


def _asked(file: Path, question: Callable[[Any], Any]) -> Any:
    """What pyarrow.parquet answers; its errors become ours."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        value = f"{file}: pyarrow is not installed"
        raise InputError("parquet shards need pyarrow", value, 'pip install "imgcomp[shards]"') from error
    try:
        return question(pyarrow.parquet)
    except (pyarrow.ArrowException, OSError) as error:
        told = " ".join(str(error).split())
        raise RawDataError("a parquet shard must be readable", f"{file}: {told}", "restore it") from error


def _stamp(file: Path) -> tuple[int, int]:
    """Size in bytes and time of change in ns."""
    try:
        facts = file.stat()
    except OSError as error:
        raise RawDataError("a shard must be readable", f"{file}: {error.strerror}", "restore it") from error
    return facts.st_size, facts.st_mtime_ns


def _leaves(schema: Any) -> list[tuple[str, str]]:
    """Name and type of each column, those of a struct by ``COLUMN.FIELD``."""
    found: list[tuple[str, str]] = []
    for field in schema:
        if str(field.type).startswith("struct<"):
            parts = (field.type.field(n) for n in range(field.type.num_fields))
            found += [(f"{field.name}.{part.name}", str(part.type)) for part in parts]
        else:
            found.append((field.name, str(field.type)))
    return found


def _class_names(feature: Any) -> tuple[str, ...]:
    """The names of a class label, or of a list of them; none for any other column."""
    inner = feature.get("feature") if isinstance(feature, dict) and "feature" in feature else feature
    if isinstance(feature, list) and len(feature) == 1:
        inner = feature[0]
    if isinstance(inner, dict) and inner.get("_type") == "ClassLabel":
        return tuple(map(str, inner.get("names") or ()))
    return ()
