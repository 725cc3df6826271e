"""One look at every image, in threads, and no second one as long as nothing changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from comp.checks.duplicates.candidates import perceptual
from comp.checks.image_index import (
    COLUMNS,
    CROP,
    NO_STAMP,
    PRINT_BYTES,
    Bytes,
    ImageFacts,
    ImageIndex,
    Prints,
    Stamp,
    as_row,
)
from comp.checks.image_metadata import NO_HEADER, read_header
from comp.checks.image_regions import regions
from comp.checks.kept_looks import KeptLooks, LooksWriter, remove
from comp.checks.kept_looks import load as load_kept
from comp.data.images.boxes import MARK
from comp.data.images.decode import Decoded, decode_with_facts, preview
from comp.data.images.source import ImageSource, file_of, gives_files
from comp.errors import ImageError

_NO_PRINTS = np.zeros(PRINT_BYTES, np.uint8)
_AT_ONCE = 64  # images that a thread takes
_FEW = 0.5  # of a segment's rows: with fewer in use they are written anew, and it goes


class _Look(NamedTuple):
    """What a look at an image came to: ``facts`` and fingerprints, or a known row that has its content; ``is_same`` where that
    row is its own, and its file as it was. With facts, the row is what was known of its path.
    """

    stamp: Stamp
    row: int = -1
    is_same: bool = False
    facts: ImageFacts | None = None
    prints: Bytes = _NO_PRINTS
    is_decoded: bool = False


def scan(
    source: ImageSource,
    raw: Path,
    paths: Sequence[str],
    kept: Path | None = None,
    advance: Callable[[int], None] = lambda n: None,
    keep: Callable[[str, Bytes], None] = lambda content, pixels: None,
) -> ImageIndex:
    """Looks at every image once, in threads, and keeps what was seen in ``kept``, also of a scan that is stopped.

    A file whose size and times are those of the last look is not opened, where the source gives files as they lie; one
    that only moved or was touched is read but not decoded (its bytes are known); everything else is decoded. Images
    that failed are looked at again each time: what refused them may have changed. Missing files have an error.

    Parameters
    ----------
    source : ImageSource
    raw : Path
        The raw folder, for the files' times.
    paths : sequence of str
        Distinct paths of a manifest.
    kept : Path, optional
        A folder to read before and write to (see ``kept_looks``).
    advance : callable
        Is told how many images were seen.
    keep : callable
        Is given the SHA-256 and the pixels of every file that was decoded, from several threads.
    """
    known = load_kept(kept)
    writer = LooksWriter(kept, known, len(paths))
    scanned = _Scanned(list(paths), known, writer)
    straight = gives_files(source)
    base = os.fspath(raw)

    def look(some: Sequence[str]) -> list[_Look]:
        stamps = [_stamp(base, file_of(source, path)) for path in some]
        rows = np.array([known.place.get(path, -1) for path in some], np.int64)
        same = known.unchanged(rows, stamps) if straight else np.zeros(len(some), bool)
        return [
            _Look(stamp, row, True) if is_same else _look(source, path, stamp, row, known, keep)
            for path, stamp, row, is_same in zip(some, stamps, rows.tolist(), same.tolist(), strict=True)
        ]

    chunks = [scanned.paths[at : at + _AT_ONCE] for at in range(0, len(paths), _AT_ONCE)]
    pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="look")
    try:
        for chunk, seen in zip(chunks, pool.map(look, chunks), strict=True):
            for path, one in zip(chunk, seen, strict=True):
                scanned.take(path, one)
            advance(len(chunk))
        scanned.tidy()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        writer.flush()
    return scanned.index()


class _Scanned:
    """What a scan has seen so far: rows that were known, and new ones that go to the writer."""

    def __init__(self, paths: list[str], known: KeptLooks, writer: LooksWriter) -> None:
        self.paths, self._known, self._writer = paths, known, writer
        self._table = np.zeros(len(paths), COLUMNS)
        self._old = np.full(len(paths), -1, np.int64)
        self._part = np.zeros(len(paths), np.int32)
        self._row = np.zeros(len(paths), np.int32)
        self._count = self._decoded = 0

    def take(self, path: str, seen: _Look) -> None:
        """Takes the next image in."""
        at = self._count
        self._count += 1
        self._decoded += seen.is_decoded
        if seen.facts is not None and seen.row >= 0 and seen.facts == self._known.facts(seen.row):
            self._old[at] = seen.row  # it failed as it did before
        elif seen.facts is not None:
            self._add(at, path, as_row(seen.facts, self._known.words), seen.prints)
        elif seen.is_same:
            self._old[at] = seen.row
        else:
            row = self._known.table[seen.row].copy()
            row["stamp"] = seen.stamp
            self._add(at, path, row, self._prints_of(seen.row))

    def _add(self, at: int, path: str, row: Any, prints: Bytes) -> None:
        self._table[at] = row
        self._part[at], self._row[at] = self._writer.add(path, row, prints)

    def _prints_of(self, row: int) -> Bytes:
        prints = self._known.prints
        found: Bytes = prints.of(np.array([row]), slice(0, PRINT_BYTES))[0]
        return found

    def tidy(self) -> None:
        """Writes rows of segments of which few are still in use anew, and removes those that none is in use of."""
        known, folder = self._known, self._writer.folder
        if folder is None or (self._old >= 0).all():
            return
        part = known.prints.part[self._old[self._old >= 0]]
        used = np.bincount(part, minlength=len(known.names))
        sizes = np.bincount(known.prints.part, minlength=len(known.names))
        is_few = (used > 0) & (used < _FEW * sizes)
        moved = np.flatnonzero(self._old >= 0)
        moved = moved[is_few[known.prints.part[self._old[moved]]]] if len(moved) else moved
        for at in moved.tolist():
            row = int(self._old[at])
            self._old[at] = -1
            self._add(at, self.paths[at], known.table[row], self._prints_of(row))
        gone = np.flatnonzero(is_few | ((used == 0) & (sizes > 0))).tolist()
        if gone and len(self.paths):
            self._writer.flush()
            remove(folder, [known.names[n] for n in gone])

    def index(self) -> ImageIndex:
        """All that was seen, as a table."""
        from_old = np.flatnonzero(self._old >= 0)
        rows = self._old[from_old]
        self._table[from_old] = self._known.table[rows]
        self._part[from_old], self._row[from_old] = (
            self._known.prints.part[rows],
            self._known.prints.row[rows],
        )
        prints = Prints(self._writer.parts, self._part, self._row)
        return ImageIndex(self.paths, self._table, self._known.words, prints, self._decoded)


def _look(
    source: ImageSource,
    path: str,
    stamp: Stamp,
    row: int,
    known: KeptLooks,
    keep: Callable[[str, Bytes], None],
) -> _Look:
    """A look at one image, of which ``row`` is what was known of its path; -1 where nothing was."""
    try:
        content = source.load(path)
    except ImageError as error:
        return _Look(stamp, row, facts=_unreadable(stamp, "", max(0, stamp[0]), error.value))
    raw_bytes = content if isinstance(content, bytes) else np.ascontiguousarray(content).tobytes()
    is_crop = MARK in path and not isinstance(content, bytes) and content.shape[2] == 3
    sha = hashlib.sha256(f"{CROP} {content.shape}".encode() if is_crop else b"")  # type: ignore[union-attr]
    sha.update(raw_bytes)
    same = row if row >= 0 and known.has_file(row, sha.digest()) else known.by_file(sha.digest())
    if same >= 0 and (isinstance(content, bytes) or known.shape(same) == content.shape[:2]):
        return _Look(stamp, same, same == row and known.stamp(row) == stamp)
    kind = CROP if is_crop else "array"
    return _decoded(content, len(raw_bytes), sha.hexdigest(), path, stamp, keep, kind)._replace(row=row)


def _decoded(
    content: bytes | Bytes,
    size: int,
    file_sha: str,
    path: str,
    stamp: Stamp,
    keep: Callable[[str, Bytes], None],
    kind: str,
) -> _Look:
    """A look at the pixels of an image; ``size`` is that of its file in bytes, ``kind`` that of what is no file."""
    header = read_header(content) if isinstance(content, bytes) else NO_HEADER._replace(kind=kind)
    try:
        found = decode_with_facts(content, path) if isinstance(content, bytes) else Decoded(preview(content))
    except ImageError as error:
        failed = _unreadable(stamp, file_sha, size, error.value, header.kind)
        return _Look(stamp, facts=failed, is_decoded=True)
    pixels = found.pixels
    if isinstance(content, bytes) or kind == CROP:  # other arrays lie in memory as they are
        keep(file_sha, pixels)
    whole = pixels if isinstance(content, bytes) else content  # of which a preview may show less
    shape = f"{pixels.shape[0]}x{pixels.shape[1]}|".encode()
    # sums of channels fit in 16 bits: several times faster than means of them
    grey = pixels[..., 0].astype(np.uint16) + pixels[..., 1] + pixels[..., 2]
    mean, spread = cv2.meanStdDev(grey)
    facts = ImageFacts(
        stamp=stamp,
        file_sha=file_sha,
        pixel_sha=hashlib.sha256(shape + whole.tobytes()).hexdigest(),
        height=int(pixels.shape[0]),
        width=int(pixels.shape[1]),
        file_bytes=size,
        kind=header.kind,
        tags=header.tags,
        mean=float(mean[0, 0]) / 3,
        std=float(spread[0, 0]) / 3,
        error="",
        is_transparent=found.is_transparent,
        bits=found.bits,
        greatest=found.greatest,
        pages=header.pages,
    )
    return _Look(
        stamp, facts=facts, prints=np.concatenate([perceptual(pixels), regions(pixels)]), is_decoded=True
    )


def _unreadable(stamp: Stamp, file_sha: str, size: int, error: str, kind: str = "") -> ImageFacts:
    return ImageFacts(stamp, file_sha, "", 0, 0, size, kind, 0.0, 0.0, error, False, 8, 0, 1, {})


def _stamp(base: str, path: str) -> Stamp:
    try:
        facts = os.stat(os.path.join(base, path))
    except (OSError, ValueError):
        return NO_STAMP
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def load(kept: Path) -> ImageIndex:
    """The looks that were kept; none where the folder is missing, torn or of another version."""
    return load_kept(kept).index()
