"""Decoded images: of a set in one flat file, which every later pass maps into memory, and by row in memory."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import zlib
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.data.images.decode import decode
from comp.data.images.preprocess import (
    DEFAULT_BUDGET,
    SIDE,
    STORED_BUDGET,
    Extent,
    Preprocess,
    fit,
    room_side,
    shrunk,
    side_for,
)
from comp.data.images.source import ImageSource, Pixels
from comp.errors import ImageError, InputError
from comp.workspace import cache_folder

VERSION = 4
DEFAULT_GB = 20.0  # of all stores together; COMP_CACHE_GB sets it, 0 keeps none
_SAMPLE = 256  # images after which it is guessed whether all will fit
_MOST = 1 << 62  # no number of an index is as large
SPARE = 2 << 30  # bytes of the disk that are left free


@dataclass(frozen=True)
class DecodedSource:
    """A source whose files come as pixels where a store has them; ``contents`` is the SHA-256 of a path's file.

    It is pickled with the folder of its store, which is opened again; where that is gone ``own`` is what comes back.
    """

    own: ImageSource
    store: PixelStore
    contents: dict[str, str]

    def __reduce__(self) -> tuple[Any, ...]:
        return _decoded_again, (self.own, self.store.folder, self.contents)

    def load(self, path: str) -> bytes | Pixels:
        pixels = self.store.get(self.contents.get(path, ""))
        return self.own.load(path) if pixels is None else pixels

    def shape(self, path: str) -> tuple[int, int] | None:
        """Height and width of the pixels of a path that the store has."""
        return self.store.shape(self.contents.get(path, ""))


class StoreWriter:
    """Writes a store beside the others; images may come from several threads, in any order.

    Nothing is there until ``finish``, which puts the whole store in its place at once: two processes that make
    the same one do not disturb each other. Past the budget, or where the disk does not take it, no store comes of it;
    whether ``expected`` images would be too many is guessed from the first ones, before the disk is filled in vain.
    """

    def __init__(self, expected: int) -> None:
        root = self._root = stores_folder()
        sweep(root)
        self._expected = expected
        self._part = root / f".part-{os.getpid()}-{id(self):x}"
        self._left = budget_of(root)
        self._place: dict[str, tuple[int, int, int, int]] = {}
        self._end = 0
        self._file: int | None = None
        self._lock = Lock()

    @property
    def is_full(self) -> bool:
        """Whether an image did not fit, so that no store will come of it."""
        return self._left < 0

    def put(self, content: str, pixels: Pixels) -> None:
        """Takes the decoded image of a file in."""
        pixels = np.ascontiguousarray(shrunk(pixels, SIDE))
        told = sum_of(pixels, *pixels.shape[:2])
        with self._lock:
            if content in self._place or self._left < pixels.nbytes:
                self._left = self._left if content in self._place else -1  # one is missing: no store
                return
            if len(self._place) == _SAMPLE and self._end // _SAMPLE * self._expected > self._end + self._left:
                self._left = -1
                return
            offset, self._end = self._end, self._end + pixels.nbytes
            self._left -= pixels.nbytes
            self._place[content] = (offset, pixels.shape[0], pixels.shape[1], told)
            try:
                if self._file is None:
                    self._part.mkdir(parents=True, exist_ok=True)
                    self._file = os.open(
                        self._part / "pixels.u8", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666
                    )
            except OSError:
                self._left = -1
                return
        try:
            write_at(self._file, memoryview(pixels.data).cast("B"), offset)
        except OSError:  # a full disk costs the store, not the run
            self._left = -1

    def finish(self, contents: Collection[str]) -> bool:
        """Puts the store in its place if it has all of ``contents`` and they are wanted; True if it is there."""
        if self._file is not None:
            os.close(self._file)
        whole = self._left >= 0 and set(self._place) == set(contents) and self._file is not None
        self._file = None
        try:
            if whole:
                (self._part / "index.json").write_text(json.dumps(self._place), encoding="utf-8")
                if missing(contents):  # what lies there is torn
                    shutil.rmtree(self._root / store_name(contents), ignore_errors=True)
                _evict(self._root)
                os.rename(self._part, self._root / store_name(contents))
        except OSError:  # another process was first, or the disk is full
            whole = False
        shutil.rmtree(self._part, ignore_errors=True)
        return whole


def cached_source(
    source: ImageSource, contents: dict[str, str], advance: Callable[[int], None] = lambda n: None
) -> ImageSource:
    """``source`` with the decoded images of these files, from the store where there is one, else decoded into one.

    Where they are over the budget the source comes back as it is, and images are decoded each time.

    Parameters
    ----------
    source : ImageSource
    contents : dict
        Path to SHA-256 of the file, for what lies in files and decodes.
    advance : callable
        Is told how many files were decoded.
    """
    wanted = set(contents.values())
    if not wanted:
        return source
    folder = stores_folder() / store_name(wanted)
    store = open_store(folder)
    if store is None:
        _fill(source, contents, advance)
        store = open_store(folder)
    return source if store is None else DecodedSource(source, store, contents)


def missing(contents: Iterable[str]) -> bool:
    """Whether there is no store of these contents yet."""
    return open_store(stores_folder() / store_name(contents)) is None


def store_name(contents: Iterable[str]) -> str:
    """The name of the store of some files: by what is in them, whatever they are called."""
    told = hashlib.sha256(f"{VERSION} {SIDE}\n".encode())
    for content in sorted(set(contents)):
        told.update(content.encode())
    return told.hexdigest()[:32]


def stores_folder() -> Path:
    """Where the stores of this machine lie, each under the name of what is in it."""
    return cache_folder() / "pixels"


def open_store(folder: Path) -> PixelStore | None:
    """The store in a folder; None where there is none, or a torn one."""
    try:
        store = PixelStore(folder)
        os.utime(folder)  # when it was last used decides what is evicted
        return store
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def _decoded_again(source: ImageSource, folder: Path, contents: dict[str, str]) -> ImageSource:
    store = open_store(folder)
    return source if store is None else DecodedSource(source, store, contents)


def _fill(source: ImageSource, contents: dict[str, str], advance: Callable[[int], None]) -> None:
    writer = StoreWriter(len(set(contents.values())))
    paths = {content: path for path, content in contents.items()}

    def one(content: str) -> None:
        if writer.is_full:
            return
        loaded = source.load(paths[content])
        pixels = decode(loaded, paths[content]) if isinstance(loaded, bytes) else loaded
        writer.put(content, pixels)

    pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="decode")
    try:
        for _ in pool.map(one, sorted(paths)):
            advance(1)
        writer.finish(paths)
    except ImageError:  # a file has changed since it was looked at; whoever reads it will say so
        writer.finish(())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        writer.finish(())


def budget_of(root: Path) -> int:
    """Bytes that a store may take: what COMP_CACHE_GB allows, as far as the disk has them."""
    told = os.environ.get("COMP_CACHE_GB") or str(DEFAULT_GB)
    try:
        allowed = float(told)
    except ValueError:
        allowed = math.nan
    if not (math.isfinite(allowed) and allowed >= 0):
        raise InputError(
            "COMP_CACHE_GB is a number of gigabytes", repr(told), "for example COMP_CACHE_GB=20, or 0"
        )
    there = next((parent for parent in (root, *root.parents) if parent.exists()), Path("/"))
    free = shutil.disk_usage(there).free + _size(root) - SPARE
    return max(0, min(int(allowed * 1e9), free))


def sweep(root: Path) -> None:
    """Removes what writers left that were killed: nothing else would, and the disk is theirs until then."""
    for part in root.glob(".part-*") if os.name != "nt" else ():
        owner = part.name.split("-")[1]
        try:
            os.kill(int(owner), 0)
        except ProcessLookupError:
            shutil.rmtree(part, ignore_errors=True)
        except (ValueError, OSError, OverflowError):
            continue


def _evict(root: Path) -> None:
    """Removes the stores that were not used for longest until all fit, the one being written among them."""
    stores = sorted(
        (path for path in root.iterdir() if not path.name.startswith(".")),
        key=lambda path: path.stat().st_mtime,
    )
    budget = budget_of(root)
    while stores and _size(root) > budget:
        shutil.rmtree(stores.pop(0), ignore_errors=True)


def _size(root: Path) -> int:
    return sum(file.stat().st_size for file in root.glob("*/pixels.u8")) if root.is_dir() else 0


def write_at(file: int, content: memoryview, offset: int) -> None:
    """Writes bytes at a place of a file, from any thread; OSError for a full disk, and where a system cannot do that."""
    if not hasattr(os, "pwrite"):
        raise OSError("this system cannot write at a place")  # Windows: images are decoded each time
    while content:
        written = os.pwrite(file, content, offset)
        content, offset = content[written:], offset + written


class PixelStore:
    """Decoded images by the SHA-256 of their files; read-only, safe for threads and processes.

    A store is a folder with ``pixels.u8``, the images' RGB bytes one after another, and ``index.json``, which has
    [offset, height, width, CRC-32 of shape and bytes] of each. Each image is summed up when it is first read: one
    that has changed is not given, and the store is made anew the next time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        table = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self._row = dict(zip(table, range(len(table)), strict=True))
        self._places = np.array([_four(place) for place in table.values()], np.int64).reshape(-1, 4)
        del table
        self._index, self._sound = folder / "index.json", np.zeros(len(self._row), np.bool_)
        mapped = np.memmap(folder / "pixels.u8", dtype=np.uint8, mode="r")
        self._flat = np.asarray(mapped)  # a plain array is sliced six times as fast
        starts, heights, widths, _ = self._places.T
        ends = starts + 3 * heights * widths
        ordered = np.sort(np.append(starts, len(self._flat))), np.sort(np.append(ends, 0))
        if not np.array_equal(*ordered):  # one after another, all of it
            raise ValueError(f"{folder} is torn")

    def __len__(self) -> int:
        return len(self._row)

    def get(self, content: str) -> Pixels | None:
        """The image (H, W, 3) of a file, a view of the mapped file; None where it is not here, or not as it was."""
        row = self._row.get(content)
        if row is None:
            return None
        offset, height, width, told = self._places[row].tolist()
        flat = self._flat[offset : offset + 3 * height * width]
        if not self._sound[row]:
            if sum_of(flat, height, width) != told:
                self._row.pop(content, None)
                with suppress(OSError):  # somebody else's store, say: it stays as it is
                    self._index.unlink(missing_ok=True)
                return None
            self._sound[row] = True
        return flat.reshape(height, width, 3)

    def shape(self, content: str) -> tuple[int, int] | None:
        """Height and width of the image of a file, without reading it; None where it is not here."""
        row = self._row.get(content)
        if row is None:
            return None
        _, height, width, _ = self._places[row].tolist()
        return height, width


def sum_of(pixels: Pixels, height: int, width: int) -> int:
    """CRC-32 of an image's shape and its bytes."""
    return zlib.crc32(pixels.data, zlib.crc32(f"{height} {width}".encode()))


def _four(place: Any) -> tuple[int, int, int, int]:
    """Offset, height, width and sum as an index tells them; ValueError for anything else."""
    if len(place) != 4 or not all(type(n) is int and 0 <= n < _MOST for n in place):
        raise ValueError(f"not a place: {place}")
    offset, height, width, told = place
    return offset, height, width, told


class ImageDataset:
    """The images behind some paths as a network reads them; safe to read from several threads.

    ``extent`` says how much of each: "square" is what validation sees (S, S, 3), "room" has the margin around it
    that "crop" cuts away, "whole" is the image as it was decoded, for policies that crop from it. ``budget`` is in
    bytes of uint8 pixels, less where a store has the images; past it an image is decoded or fitted anew each time, so
    that memory stays bounded whatever the size of the set.
    """

    def __init__(
        self,
        source: ImageSource,
        paths: Sequence[str],
        preprocess: Preprocess,
        extent: Extent = "square",
        budget: int | None = None,
    ) -> None:
        self.source = source
        self.paths = list(paths)
        self.preprocess = preprocess
        self.extent = extent
        self._side = side_for(preprocess)
        if budget is None:
            budget = STORED_BUDGET if isinstance(source, DecodedSource) else DEFAULT_BUDGET
        self._left = budget
        self._kept: dict[int, Pixels] = {}
        side = {"whole": 0, "square": preprocess.size, "room": room_side(preprocess)}[extent]
        self._shapes = np.full((len(self.paths), 2), side, np.int64)  # 0 where it is not known yet
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Pixels:
        kept = self._kept.get(row)
        if kept is not None:
            return kept
        content, pixels = self._decoded(row)
        if self.extent != "whole":
            pixels = fit(pixels, self.preprocess, room=self.extent == "room")
        self._shapes[row] = pixels.shape[:2]
        if pixels is content:  # it lies in memory, or in the store, as it is: no second copy
            return pixels
        with self._lock:
            if self._left >= pixels.nbytes and row not in self._kept:
                self._kept[row] = np.ascontiguousarray(pixels)
                self._left -= pixels.nbytes
        return pixels

    def forget(self) -> None:
        """Gives back the memory of the images that were kept; what is read from now on is kept anew."""
        with self._lock:
            self._left += sum(pixels.nbytes for pixels in self._kept.values())
            self._kept.clear()

    def shapes(self, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Heights and widths (R, 2) of these rows' images; None where one of them was not seen yet, and does not lie
        in a store either.
        """
        if isinstance(self.source, DecodedSource):
            for row in rows[~self._shapes[rows].all(1)].tolist():
                self._shapes[row] = self.source.shape(self.paths[row]) or 0
        found = self._shapes[rows]
        return found if found.all() else None

    def squares(self, row: int, wanted: Sequence[Preprocess]) -> list[Pixels]:
        """An image fitted to several squares, decoded once; none of them is kept. Where its source has them already
        (``SquaredSource``) nothing is decoded.
        """
        at_hand = getattr(self.source, "squares", None)
        found: list[Pixels] | None = at_hand and at_hand(self.paths[row], self._side, wanted)
        if found is not None:
            return found
        _, pixels = self._decoded(row)
        return [fit(pixels, one) for one in wanted]

    def _decoded(self, row: int) -> tuple[bytes | Pixels, Pixels]:
        """What the source gives, and the image (H, W, 3) of it before it is fitted."""
        content = self.source.load(self.paths[row])
        decoded = decode(content, self.paths[row]) if isinstance(content, bytes) else content
        return content, shrunk(decoded, self._side)
