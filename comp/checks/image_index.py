"""The table of what is known of every image: numbers in columns, fingerprints in files.

A million images take a few hundred bytes each in memory, whatever their fingerprints take on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from comp.checks.duplicates.candidates import FINGERPRINT_BYTES
from comp.checks.image_regions import REGION_BYTES
from comp.data.images.decode import BACKGROUND

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Stamp = tuple[int, int, int]
NO_STAMP: Stamp = (-1, -1, -1)
PRINT_BYTES = (
    FINGERPRINT_BYTES + REGION_BYTES
)  # of an image: its perceptual fingerprint, then its small regions
COLUMNS = np.dtype(
    [
        ("stamp", "<i8", (3,)),
        ("file_sha", "u1", (32,)),  # all 0 where there is none
        ("pixel_sha", "u1", (32,)),
        ("height", "<i4"),
        ("width", "<i4"),
        ("file_bytes", "<i8"),
        ("kind", "<i4"),  # a number in ``Words``
        ("mean", "<f8"),
        ("std", "<f8"),
        ("error", "<i4"),
        ("is_transparent", "?"),
        ("bits", "<i4"),
        ("greatest", "<i8"),
        ("pages", "<i4"),
        ("tags", "<i4"),
    ]
)
CROP = "crop"  # the kind of what is a box of a photograph
Table = NDArray[np.void]


class ImageFacts(NamedTuple):
    """One image.

    ``stamp`` is size, mtime and ctime of its file in bytes and ns; ``file_sha`` and ``pixel_sha`` are SHA-256 of
    the bytes as they lie and of the decoded RGB pixels with their shape (empty where ``error`` says why there are
    none); ``kind`` is format and mode ("JPEG RGB", "array", "crop"); ``tags`` are the texts beside the pixels by name (see
    ``read_header``); ``mean`` and ``std`` are of grey levels 0 … 255; ``is_transparent`` says whether it was laid over
    a grey; ``bits`` are those of a value, and ``greatest`` the greatest value where they are more than 8; ``pages`` is
    the number of images in the file, of which the first is read.
    """

    stamp: Stamp
    file_sha: str
    pixel_sha: str
    height: int
    width: int
    file_bytes: int
    kind: str
    mean: float
    std: float
    error: str
    is_transparent: bool
    bits: int
    greatest: int
    pages: int
    tags: dict[str, str]


class Texts:
    """Texts that a table names by number; most images of a set share most of theirs."""

    def __init__(self, known: Iterable[Any]) -> None:
        self.known = list(known)
        self._number = {text: n for n, text in enumerate(self.known)}

    def number(self, text: Any) -> int:
        """The number of a text, which is taken in where it is new."""
        found = self._number.setdefault(text, len(self.known))
        if found == len(self.known):
            self.known.append(text)
        return found


@dataclass(frozen=True, eq=False)
class Words:
    """The texts of a table's columns ``kind``, ``error`` and ``tags`` (pairs of name and text); 0 is none."""

    kind: Texts = field(default_factory=lambda: Texts([""]))
    error: Texts = field(default_factory=lambda: Texts([""]))
    tags: Texts = field(default_factory=lambda: Texts([()]))

    def columns(self) -> dict[str, Texts]:
        """Them by the name of their column."""
        return {"kind": self.kind, "error": self.error, "tags": self.tags}


def renumbered(table: Table, words: Words, own: Words) -> Table:
    """A copy of a table that names the texts of ``words``, by the numbers of ``own``, which takes in what it lacks."""
    table = table.copy()
    for column, texts in own.columns().items():
        used, where = np.unique(table[column], return_inverse=True)
        named = words.columns()[column].known
        numbers = np.array([texts.number(named[n]) for n in used.tolist()], np.int32)
        table[column] = numbers[where] if len(used) else 0
    return table


def as_row(facts: ImageFacts, words: Words) -> tuple[Any, ...]:
    """An image as a row of a table."""
    return (
        facts.stamp,
        _bytes_of(facts.file_sha),
        _bytes_of(facts.pixel_sha),
        facts.height,
        facts.width,
        facts.file_bytes,
        words.kind.number(facts.kind),
        facts.mean,
        facts.std,
        words.error.number(facts.error),
        facts.is_transparent,
        facts.bits,
        facts.greatest,
        facts.pages,
        words.tags.number(tuple(facts.tags.items())),
    )


def _bytes_of(sha: str) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(sha) if sha else bytes(32), np.uint8)


def as_facts(row: Any, words: Words) -> ImageFacts:
    """A row of a table as an image's facts."""
    return ImageFacts(
        tuple(row["stamp"].tolist()),
        _text_of(row["file_sha"]),
        _text_of(row["pixel_sha"]),
        int(row["height"]),
        int(row["width"]),
        int(row["file_bytes"]),
        words.kind.known[row["kind"]],
        float(row["mean"]),
        float(row["std"]),
        words.error.known[row["error"]],
        bool(row["is_transparent"]),
        int(row["bits"]),
        int(row["greatest"]),
        int(row["pages"]),
        dict(words.tags.known[row["tags"]]),
    )


def _text_of(sha: Bytes) -> str:
    return sha.tobytes().hex() if sha.any() else ""


class PrintRows(Protocol):
    """Fingerprints of some images, in memory or in a file."""

    def take(self, rows: NDArray[np.int32], columns: slice) -> Bytes:
        """Some columns of some rows: uint8 (len(rows), columns)."""
        ...


@dataclass(frozen=True, eq=False)
class HeldPrints:
    """Fingerprints uint8 (n, 1768) in memory."""

    rows: Bytes

    def take(self, rows: NDArray[np.int32], columns: slice) -> Bytes:
        found: Bytes = self.rows[rows, columns]
        return found


@dataclass(frozen=True, eq=False)
class Prints:
    """Fingerprints of images in several parts: image i has row ``row[i]`` of part ``part[i]``."""

    parts: Sequence[PrintRows]
    part: NDArray[np.int32]
    row: NDArray[np.int32]

    def of(self, places: Ints, columns: slice) -> Bytes:
        """Some columns of the fingerprints at some places: (len(places), columns)."""
        found = np.empty((len(places), columns.stop - columns.start), np.uint8)
        which = self.part[places]
        for number in np.unique(which).tolist():
            wanted = np.flatnonzero(which == number)
            found[wanted] = self.parts[number].take(self.row[places[wanted]], columns)
        return found


def _no_prints() -> Prints:
    return Prints((), np.empty(0, np.int32), np.empty(0, np.int32))


_LONG = 1000  # paths of a list that is worth knowing
_LISTS = 4


@dataclass(frozen=True, eq=False)
class ImageIndex(Mapping[str, ImageFacts]):
    """What is known of images, by path, in the order of ``paths``; ``decoded`` says how many images were decoded for it."""

    paths: Sequence[str] = ()
    table: Table = field(default_factory=lambda: np.empty(0, COLUMNS))
    words: Words = field(default_factory=Words)
    prints: Prints = field(default_factory=_no_prints)
    decoded: int = 0

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __getitem__(self, path: str) -> ImageFacts:
        return as_facts(self.table[self._place[path]], self.words)

    @cached_property
    def _place(self) -> dict[str, int]:
        return {path: n for n, path in enumerate(self.paths)}

    def places(self, paths: Iterable[str]) -> Ints:
        """Where some paths stand in the table: int64 (N,), read-only. The few lists that checks ask for again and again are known."""
        asked = tuple(paths)
        for known, places in self._asked:
            if known == asked:
                return places
        place = self._place
        found = np.array([place[path] for path in asked], dtype=np.int64)
        found.flags.writeable = False
        if len(asked) >= _LONG:
            self._asked[:] = [(asked, found), *self._asked[: _LISTS - 1]]
        return found

    @cached_property
    def _asked(self) -> list[tuple[tuple[str, ...], Ints]]:
        return []

    def column(self, name: str, paths: Iterable[str] | Ints) -> NDArray[Any]:
        """A number of some images, by the name of its column, of paths or of places; texts are numbered alike where they are
        equal.
        """
        places = paths if isinstance(paths, np.ndarray) else self.places(paths)
        values: NDArray[Any] = self.table[name][places]
        return values

    def kinds(self, paths: Iterable[str]) -> set[str]:
        """The kinds of some paths' images."""
        return {self.words.kind.known[n] for n in np.unique(self.column("kind", paths))}

    @cached_property
    def failed(self) -> dict[str, str]:
        """Path → why, of those that could not be read."""
        return {
            self.paths[n]: self.words.error.known[self.table["error"][n]]
            for n in np.flatnonzero(self.table["error"]).tolist()
        }

    def can_be_read(self, paths: Iterable[str]) -> NDArray[np.bool_]:
        """Which of some paths' images could be read: bool (N,)."""
        failed = self.failed
        return np.array([path not in failed for path in paths], dtype=bool)

    def contents(self, paths: Iterable[str], name: str = "pixel_sha") -> list[str]:
        """The SHA-256 of some paths' pixels, or files (``file_sha``); empty where there is none."""
        found = self.column(name, paths)
        texts, none = found.tobytes().hex(), "0" * 64
        return ["" if (text := texts[at : at + 64]) == none else text for at in range(0, len(texts), 64)]

    def sorted_by_content(self, paths: Sequence[str]) -> list[str]:
        """Paths by the SHA-256 of their pixels; equal ones stay as they come."""
        whole = np.ascontiguousarray(self.column("pixel_sha", paths)).view("S32").ravel()
        return [paths[n] for n in np.argsort(whole, kind="stable").tolist()]

    def same_pixels(self, paths: Sequence[str]) -> list[list[str]]:
        """Clusters of two paths or more with the same pixels, in the order of their first ones."""
        start = np.ascontiguousarray(self.column("pixel_sha", paths)[:, :8]).view("<u8").ravel()
        order = np.argsort(start, kind="stable")
        again = np.flatnonzero(start[order][1:] == start[order][:-1])
        some = np.unique(np.concatenate([order[again], order[again + 1]])).tolist()
        found: dict[str, list[str]] = {}
        for path, content in zip((listed := [paths[n] for n in some]), self.contents(listed), strict=True):
            found.setdefault(content, []).append(path)
        return [cluster for cluster in found.values() if len(cluster) > 1]

    def files(self, paths: Sequence[str]) -> dict[str, str]:
        """The SHA-256 of the files among some paths that decode, by path; rows of arrays lie in memory as they are."""
        array = self.words.kind.number("array")
        is_file = (self.column("error", paths) == 0) & (self.column("kind", paths) != array)
        listed = [paths[n] for n in np.flatnonzero(is_file).tolist()]
        return dict(zip(listed, self.contents(listed, "file_sha"), strict=True))

    def perceptual(self, paths: Sequence[str]) -> Bytes:
        """Perceptual fingerprints uint8 (N, 1156) of some paths, for the search of near duplicates."""
        return self.prints.of(self.places(paths), slice(0, FINGERPRINT_BYTES))

    def regions(self, paths: Sequence[str]) -> Bytes:
        """Small regions uint8 (N, 612) of some paths, for the search of marks."""
        return self.prints.of(self.places(paths), slice(FINGERPRINT_BYTES, PRINT_BYTES))

    def notes(self) -> list[str]:
        """What people should know of how the images' values were read."""
        whole = self.table[self.table["error"] == 0]
        told = []
        transparent = int(whole["is_transparent"].sum())
        if transparent:
            told.append(f"{transparent:,} images have transparent pixels: laid over grey {BACKGROUND}")
        for bits in np.unique(whole["bits"][whole["bits"] > 8]).tolist():
            values = whole["greatest"][whole["bits"] == bits]
            scale = f"all scaled from 0 … {(1 << bits) - 1:,} to 0 … 255; the greatest value in them is {int(values.max()):,}"
            told.append(f"{len(values):,} images have {bits} bits a value: {scale}")
        return told

    def digest(self, paths: Iterable[str]) -> str:
        """SHA-256 over the contents of some paths, in their order, whatever the paths are called."""
        places = self.places(paths)
        told = hashlib.sha256(self.table["pixel_sha"][places].tobytes())
        errors = self.table["error"][places]
        for n in np.flatnonzero(errors).tolist():
            told.update(f"{n} {self.words.error.known[errors[n]]}\x1e".encode("utf-8", "surrogatepass"))
        return told.hexdigest()
