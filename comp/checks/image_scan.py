"""Fingerprints: what one look at every image told, kept so that the next look decodes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from comp.checks.duplicates.candidates import FINGERPRINT_BYTES, perceptual
from comp.checks.image_metadata import NO_HEADER, read_header
from comp.checks.image_regions import REGION_BYTES, regions
from comp.data.images.decode import BACKGROUND, Decoded, decode_with_facts
from comp.data.images.source import ImageSource, file_of, gives_files
from comp.errors import ImageError
from comp.files import atomic

VERSION = 3
_NO_PIXELS = np.zeros(FINGERPRINT_BYTES, np.uint8)
_NO_REGIONS = np.zeros(REGION_BYTES, np.uint8)
Stamp = tuple[int, int, int]
NO_STAMP: Stamp = (-1, -1, -1)


class ImageFacts(NamedTuple):
    """One image.

    ``stamp`` is size, mtime and ctime of its file in bytes and ns; ``file_sha`` and ``pixel_sha`` are SHA-256 of
    the bytes as they lie and of the decoded RGB pixels with their shape (empty where ``error`` says why there are
    none); ``kind`` is format and mode ("JPEG RGB", "array"); ``tags`` are the texts beside the pixels by name (see
    ``read_header``); ``mean`` and ``std`` are of grey levels 0 … 255; ``is_transparent`` says whether it was laid over
    a grey; ``bits`` are those of a value, and ``greatest`` the greatest value where they are more than 8; ``pages`` is
    the number of images in the file, of which the first is read; ``perceptual`` is uint8 (1156,), ``regions`` uint8
    (612,): small parts at their own resolution (see ``image_regions``).
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
    perceptual: NDArray[np.uint8]
    regions: NDArray[np.uint8]


@dataclass(frozen=True)
class ImageIndex:
    """Looks by path; ``decoded`` says how many images were decoded to make them."""

    looks: dict[str, ImageFacts]
    decoded: int = 0

    def __len__(self) -> int:
        return len(self.looks)

    def __getitem__(self, path: str) -> ImageFacts:
        return self.looks[path]

    def files(self, paths: Sequence[str]) -> dict[str, str]:
        """The SHA-256 of the files among some paths that decode, by path; rows of arrays lie in memory as they are."""
        looks = {path: self.looks[path] for path in paths}
        return {
            path: look.file_sha for path, look in looks.items() if not look.error and look.kind != "array"
        }

    def perceptual(self, paths: Sequence[str]) -> NDArray[np.uint8]:
        """Perceptual fingerprints uint8 (N, 1156) of some paths, for the search of near duplicates."""
        if not paths:
            return np.zeros((0, FINGERPRINT_BYTES), np.uint8)
        return np.stack([self.looks[path].perceptual for path in paths])

    def regions(self, paths: Sequence[str]) -> NDArray[np.uint8]:
        """Small regions uint8 (N, 612) of some paths, for the search of marks."""
        if not paths:
            return np.zeros((0, REGION_BYTES), np.uint8)
        return np.stack([self.looks[path].regions for path in paths])

    def notes(self) -> list[str]:
        """What people should know of how the images' values were read."""
        whole = [look for look in self.looks.values() if not look.error]
        told = []
        transparent = sum(look.is_transparent for look in whole)
        if transparent:
            told.append(f"{transparent:,} images have transparent pixels: laid over grey {BACKGROUND}")
        for bits in sorted({look.bits for look in whole if look.bits > 8}):
            values = [look.greatest for look in whole if look.bits == bits]
            scale = f"all scaled from 0 … {(1 << bits) - 1:,} to 0 … 255; the greatest value in them is {max(values):,}"
            told.append(f"{len(values):,} images have {bits} bits a value: {scale}")
        return told

    def digest(self, paths: Sequence[str]) -> str:
        """SHA-256 over the contents of some paths, in their order, whatever the paths are called."""
        told = hashlib.sha256()
        for path in paths:
            look = self.looks[path]
            told.update(f"{look.pixel_sha or look.error}\x1e".encode("utf-8", "surrogatepass"))
        return told.hexdigest()


def scan(
    source: ImageSource,
    raw: Path,
    paths: Sequence[str],
    kept: Path | None = None,
    advance: Callable[[int], None] = lambda n: None,
    keep: Callable[[str, NDArray[np.uint8]], None] = lambda content, pixels: None,
) -> ImageIndex:
    """Looks at every image once, in threads, and keeps what was seen in ``kept``.

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
        An .npz to read before and write after.
    advance : callable
        Is told how many images were seen.
    keep : callable
        Is given the SHA-256 and the pixels of every file that was decoded, from several threads.
    """
    before = load(kept) if kept else {}
    by_content = {look.file_sha: look for look in before.values() if look.file_sha and not look.error}
    straight = gives_files(source)
    decoded = 0

    def look(path: str) -> tuple[ImageFacts, bool]:
        stamp = _stamp(raw, file_of(source, path))
        known = before.get(path)
        if straight and known is not None and not known.error and NO_STAMP != stamp == known.stamp:
            return known, False
        return _look(source, path, stamp, by_content, keep)

    looks: dict[str, ImageFacts] = {}
    pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="look")
    try:
        for path, (seen, fresh) in zip(paths, pool.map(look, paths), strict=True):
            looks[path] = seen
            decoded += fresh
            advance(1)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if kept and (decoded or any(before.get(p) is not seen for p, seen in looks.items())):
        _save(kept, looks)
    return ImageIndex(looks, decoded)


def _look(
    source: ImageSource,
    path: str,
    stamp: Stamp,
    by_content: dict[str, ImageFacts],
    keep: Callable[[str, NDArray[np.uint8]], None],
) -> tuple[ImageFacts, bool]:
    """A look at one image, and whether it was decoded for it."""
    try:
        content = source.load(path)
    except ImageError as error:
        return _unreadable(stamp, "", max(0, stamp[0]), error.value), False
    raw_bytes = content if isinstance(content, bytes) else np.ascontiguousarray(content).tobytes()
    file_sha = hashlib.sha256(raw_bytes).hexdigest()
    known = by_content.get(file_sha)
    if known is not None and (isinstance(content, bytes) or (known.height, known.width) == content.shape[:2]):
        return known._replace(stamp=stamp), False
    header = read_header(content) if isinstance(content, bytes) else NO_HEADER._replace(kind="array")
    try:
        found = decode_with_facts(content, path) if isinstance(content, bytes) else Decoded(content)
    except ImageError as error:
        return _unreadable(stamp, file_sha, len(raw_bytes), error.value, header.kind), True
    pixels = found.pixels
    if isinstance(content, bytes):
        keep(file_sha, pixels)
    shape = f"{pixels.shape[0]}x{pixels.shape[1]}|".encode()
    # sums of channels fit in 16 bits: several times faster than means of them
    grey = pixels[..., 0].astype(np.uint16) + pixels[..., 1] + pixels[..., 2]
    return (
        ImageFacts(
            stamp=stamp,
            file_sha=file_sha,
            pixel_sha=hashlib.sha256(shape + pixels.tobytes()).hexdigest(),
            height=int(pixels.shape[0]),
            width=int(pixels.shape[1]),
            file_bytes=len(raw_bytes),
            kind=header.kind,
            tags=header.tags,
            mean=float(grey.mean()) / 3,
            std=float(grey.std()) / 3,
            error="",
            is_transparent=found.is_transparent,
            bits=found.bits,
            greatest=found.greatest,
            pages=header.pages,
            perceptual=perceptual(pixels),
            regions=regions(pixels),
        ),
        True,
    )


def _unreadable(stamp: Stamp, file_sha: str, size: int, error: str, kind: str = "") -> ImageFacts:
    return ImageFacts(
        stamp, file_sha, "", 0, 0, size, kind, 0.0, 0.0, error, False, 8, 0, 1, {}, _NO_PIXELS, _NO_REGIONS
    )


def _stamp(raw: Path, path: str) -> Stamp:
    try:
        facts = os.stat(raw / path)
    except (OSError, ValueError):
        return NO_STAMP
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def load(kept: Path) -> dict[str, ImageFacts]:
    """The looks that were kept, by path; none where the file is missing, torn or of another version."""
    try:
        with kept.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            meta: dict[str, Any] = json.loads(stored["meta"].tobytes().decode("utf-8", "surrogatepass"))
            prints, near = stored["perceptual"], stored["regions"]
        if meta["version"] != VERSION:
            return {}
        return {
            path: ImageFacts._make([tuple(stamp), *facts, dict(meta["texts"][n] for n in tags), row, part])
            for (path, stamp, *facts, tags), row, part in zip(meta["looks"], prints, near, strict=True)
        }
    except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile):
        return {}


def _save(kept: Path, looks: dict[str, ImageFacts]) -> None:
    texts: dict[tuple[str, str], int] = {}  # most images of a set share most of theirs
    listed = [
        [
            path,
            list(look.stamp),
            *look[1:-3],
            [texts.setdefault(tag, len(texts)) for tag in look.tags.items()],
        ]
        for path, look in looks.items()
    ]
    meta = json.dumps({"version": VERSION, "texts": list(texts), "looks": listed}).encode(
        "utf-8", "surrogatepass"
    )
    found = ImageIndex(looks)
    prints, near = found.perceptual(list(looks)), found.regions(list(looks))
    with atomic(kept) as part, part.open("wb") as out:
        np.savez(out, perceptual=prints, regions=near, meta=np.frombuffer(meta, dtype=np.uint8))
