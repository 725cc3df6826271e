"""What looks at images told, kept in a folder of segments, so that the next look goes on where this one stopped.

A segment is ``NAME.npz`` (paths, columns, texts) and ``NAME.u8`` (the fingerprints, which stay on disk). It is
written once, when 65,536 images were looked at or some time has passed: a check that is stopped or killed loses the last
one at most. A later segment is right about a path where an earlier one knows it too.
"""

from __future__ import annotations

import hashlib
import json
import time
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from comp.checks.image_index import (
    COLUMNS,
    NO_STAMP,
    PRINT_BYTES,
    Bytes,
    HeldPrints,
    ImageFacts,
    ImageIndex,
    Ints,
    PrintRows,
    Prints,
    Stamp,
    Table,
    Texts,
    Words,
    as_facts,
    renumbered,
)
from comp.errors import InputError
from comp.files import atomic

VERSION: Final = 4
ROWS: Final = 1 << 16
SECONDS: Final = 120.0
_BLOCK: Final = 1 << 22  # bytes read at once
_SPARSE: Final = 32  # rows of a file for one that is wanted, from which each is read by itself


@dataclass(frozen=True, eq=False)
class KeptLooks:
    """What is known of images by path: all rows of all segments, and where each path is known best."""

    names: list[str]  # of the segments, in order
    place: dict[str, int]
    table: Table
    words: Words
    prints: Prints

    def index(self) -> ImageIndex:
        """The known images as a table of their own."""
        rows = np.fromiter(self.place.values(), np.int64, len(self.place))
        prints = Prints(self.prints.parts, self.prints.part[rows], self.prints.row[rows])
        return ImageIndex(list(self.place), self.table[rows], self.words, prints)

    def unchanged(self, rows: Ints, stamps: list[Stamp]) -> NDArray[np.bool_]:
        """Which rows (N,), -1 where there is none, are of files with these stamps and could be read."""
        if not len(self.table):
            return np.zeros(len(rows), bool)
        now = np.array(stamps, np.int64).reshape(-1, 3)
        same = (self.table["stamp"][rows] == now).all(axis=1) & (now[:, 0] != NO_STAMP[0])
        return np.asarray(same & (rows >= 0) & (self.table["error"][rows] == 0), dtype=bool)

    def stamp(self, row: int) -> Stamp:
        """The stamp of a row's file when it was looked at."""
        size, changed, moved = self.table["stamp"][row].tolist()
        return size, changed, moved

    def facts(self, row: int) -> ImageFacts:
        """What is known of a row's image."""
        return as_facts(self.table[row], self.words)

    def shape(self, row: int) -> tuple[int, int]:
        """Height and width of a row's image."""
        return int(self.table["height"][row]), int(self.table["width"][row])

    def has_file(self, row: int, sha: bytes) -> bool:
        """Whether a row's image could be read, and its file has this SHA-256."""
        return not self.table["error"][row] and self.table["file_sha"][row].tobytes() == sha

    def by_file(self, sha: bytes) -> int:
        """A row whose file has this SHA-256 and could be read; -1 where there is none."""
        starts, rows = self._files
        start = np.frombuffer(sha[:8], "<u8")[0]
        for at in range(int(np.searchsorted(starts, start)), len(starts)):
            if starts[at] != start:
                break
            if self.has_file(int(rows[at]), sha):
                return int(rows[at])
        return -1

    @cached_property
    def _files(self) -> tuple[Any, Ints]:
        """The first eight bytes of the SHA-256 of files, sorted, and the rows that they are of."""
        best = np.fromiter(self.place.values(), np.int64, len(self.place))
        best = best[(self.table["error"][best] == 0) & self.table["file_sha"][best].any(axis=1)]
        starts = np.ascontiguousarray(self.table["file_sha"][best][:, :8]).view("<u8").ravel()
        order = np.argsort(starts, kind="stable")
        return starts[order], best[order]


class PrintFile:
    """The fingerprints of a segment's images, uint8 (count, 1768), read from its file when they are asked for.

    The file is not mapped into memory: one that somebody cuts off would end the process without a word. It stays open,
    so that a segment can be removed while it is in use.
    """

    def __init__(self, path: Path, count: int) -> None:
        self._path, self._count = path, count
        self._file = path.open("rb")
        self._lock = Lock()
        weakref.finalize(self, self._file.close)

    def take(self, rows: NDArray[np.int32], columns: slice) -> Bytes:
        """Some columns of some rows: uint8 (len(rows), columns).

        Raises
        ------
        InputError
            If the file is no longer as long as it was.
        """
        found = np.empty((len(rows), columns.stop - columns.start), np.uint8)
        order = np.argsort(rows, kind="stable")
        at = rows[order]
        block = _BLOCK // PRINT_BYTES
        first = np.unique(at // block)
        for start, stop in zip(
            np.searchsorted(at, first * block), np.searchsorted(at, (first + 1) * block), strict=True
        ):
            low, high = int(at[start]), int(at[stop - 1]) + 1
            if (high - low) > _SPARSE * (stop - start):
                read = np.concatenate([self._read(int(n), int(n) + 1) for n in at[start:stop]])
                found[order[start:stop]] = read[:, columns]
            else:
                found[order[start:stop]] = self._read(low, high)[at[start:stop] - low, columns]
        return found

    def _read(self, low: int, high: int) -> Bytes:
        size = (high - low) * PRINT_BYTES
        with self._lock:
            self._file.seek(low * PRINT_BYTES)
            content = self._file.read(size)
        if len(content) < size:
            value = f"{self._path} was cut off while it was in use"
            raise InputError("what was kept of images stays as it is", value, "start again")
        return np.frombuffer(content, np.uint8).reshape(high - low, PRINT_BYTES)


def load(folder: Path | None) -> KeptLooks:
    """What a folder of segments knows; nothing of what is missing, torn or of another version."""
    words, place = Words(), dict[str, int]()
    names: list[str] = []
    tables: list[Table] = []
    parts: list[PrintFile] = []
    count = 0
    for name in _names(folder):
        segment = _segment(folder, name) if folder is not None else None
        if segment is not None:
            paths, table, own, prints = segment
            place.update((path, count + n) for n, path in enumerate(paths))
            names.append(name)
            tables.append(renumbered(table, own, words))
            parts.append(prints)
            count += len(paths)
    sizes = [len(table) for table in tables]
    part = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    row = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes] or [np.empty(0, np.int32)])
    table = np.concatenate(tables) if tables else np.empty(0, COLUMNS)
    return KeptLooks(names, place, table, words, Prints(parts, part, row))


def _names(folder: Path | None) -> Iterator[str]:
    if folder is not None and folder.is_dir():
        yield from sorted(path.stem for path in folder.glob("*.npz"))


def _segment(folder: Path, name: str) -> tuple[list[str], Table, Words, PrintFile] | None:
    """Paths, table, texts and fingerprints of a segment; None where it is torn or of another version."""
    try:
        with (folder / f"{name}.npz").open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
            meta: dict[str, Any] = json.loads(stored["meta"].tobytes().decode("utf-8", "surrogatepass"))
            table, paths = (
                stored["table"],
                stored["paths"].tobytes().decode("utf-8", "surrogatepass").split("\0"),
            )
        if meta["version"] != VERSION or table.dtype != COLUMNS or len(paths) != len(table):
            return None
        tags = [tuple((str(tag), str(text)) for tag, text in one) for one in meta["tags"]]
        words = Words(Texts(map(str, meta["kinds"])), Texts(map(str, meta["errors"])), Texts(tags))
        for column, texts in words.columns().items():
            if not 0 <= int(table[column].min()) <= int(table[column].max()) < len(texts.known):
                return None
        file = folder / f"{name}.u8"
        if file.stat().st_size != len(paths) * PRINT_BYTES or _sum_of(file) != meta["sum"]:
            return None
        return paths, table, words, PrintFile(file, len(paths))
    except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _sum_of(file: Path) -> int:
    """CRC-32 of a file."""
    told = 0
    with file.open("rb") as stored:
        while block := stored.read(_BLOCK):
            told = zlib.crc32(block, told)
    return told


@dataclass(eq=False)
class LooksWriter:
    """Takes rows and fingerprints of images in, and writes a segment whenever it has enough.

    ``prints`` are all parts there are, of the rows that were known before and of those taken in. Without a folder they
    stay in memory.
    """

    folder: Path | None
    known: KeptLooks
    expected: int
    parts: list[PrintRows] = field(init=False)

    def __post_init__(self) -> None:
        self.parts = list(self.known.prints.parts)
        self._size = max(1, min(ROWS, self.expected))
        self._next = 1 + max((int(name.partition("-")[0]) for name in self.known.names), default=-1)
        self._begin()

    def _begin(self) -> None:
        self._paths: list[str] = []
        self._table = np.zeros(self._size, COLUMNS)
        self._prints = np.empty((self._size, PRINT_BYTES), np.uint8)
        self._began = time.monotonic()

    def add(self, path: str, row: Any, prints: Bytes) -> tuple[int, int]:
        """Takes an image in; returns the part of its fingerprints and their row in it."""
        at = len(self._paths)
        self._table[at] = row
        self._prints[at] = prints
        self._paths.append(path)
        place = len(self.parts), at
        if len(self._paths) == self._size or (self.folder and time.monotonic() - self._began > SECONDS):
            self.flush()
        return place

    def flush(self) -> None:
        """Writes what was taken in since the last segment."""
        count = len(self._paths)
        if not count:
            return
        prints, table = self._prints[:count], self._table[:count]
        self.parts.append(
            HeldPrints(prints) if self.folder is None else self._written(self.folder, prints, table)
        )
        self._begin()

    def _written(self, folder: Path, prints: Bytes, table: Table) -> PrintFile:
        own = Words()
        rows = renumbered(table, self.known.words, own)
        meta = json.dumps(
            {
                "version": VERSION,
                "kinds": own.kind.known,
                "errors": own.error.known,
                "tags": own.tags.known,
                "sum": zlib.crc32(prints.data),
            }
        ).encode("utf-8", "surrogatepass")
        paths = "\0".join(self._paths).encode("utf-8", "surrogatepass")
        content = hashlib.sha256(meta + paths + rows.tobytes()).hexdigest()[:12]
        name = f"{self._next:05d}-{content}"
        self._next += 1
        with atomic(folder / f"{name}.u8") as part:
            prints.tofile(part)
        with atomic(folder / f"{name}.npz") as part, part.open("wb") as out:
            np.savez(
                out, table=rows, paths=np.frombuffer(paths, np.uint8), meta=np.frombuffer(meta, np.uint8)
            )
        return PrintFile(folder / f"{name}.u8", len(prints))


def remove(folder: Path, names: list[str]) -> None:
    """Removes segments that say nothing any more, and what an older version of comp kept."""
    for name in names:
        for suffix in (".npz", ".u8"):
            with suppress(OSError):
                (folder / f"{name}{suffix}").unlink(missing_ok=True)
    with suppress(OSError):
        folder.with_name(f"{folder.name}.npz").unlink(missing_ok=True)
