"""Files of a raw folder: images, tables, JSON, archives; and names in the manner of Kaggle's."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from .drawing import Pixels, encode


def write_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_image(rng: np.random.Generator, path: Path, pixels: Pixels) -> None:
    write_bytes(path, encode(rng, pixels, path.suffix))


def table_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    write_bytes(path, table_text(header, rows).encode())


def write_json(path: Path, value: object, indent: int | None = None) -> None:
    write_bytes(path, json.dumps(value, indent=indent).encode())


def write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    """A zip whose bytes depend on its members alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content)


def write_tar(path: Path, members: Mapping[str, bytes]) -> None:
    """A tar whose bytes depend on its members alone; .gz where the name says so (without a time in its head)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    content = buffer.getvalue()
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    path.write_bytes(content)


def zip_of_images(rng: np.random.Generator, path: Path, images: Mapping[str, Pixels]) -> None:
    """A zip of images, each under its name in the zip."""
    write_zip(
        path, {name: encode(rng, pixels, PurePosixPath(name).suffix) for name, pixels in images.items()}
    )


def tar_of_images(rng: np.random.Generator, path: Path, images: Mapping[str, Pixels]) -> None:
    """A tar of images, each under its name in the tar."""
    write_tar(
        path, {name: encode(rng, pixels, PurePosixPath(name).suffix) for name, pixels in images.items()}
    )


def names(count: int, draw: Callable[[], str]) -> list[str]:
    """``count`` names, no two alike."""
    seen: dict[str, None] = {}
    while len(seen) < count:
        seen.setdefault(draw())
    return list(seen)


def hexes(rng: np.random.Generator, count: int, digits: int) -> list[str]:
    """Names of hexadecimal digits."""
    return names(count, lambda: "".join(f"{d:x}" for d in rng.integers(0, 16, digits)))


def numbers(rng: np.random.Generator, count: int, low: int, high: int) -> list[int]:
    """Different whole numbers from low up to high - 1."""
    return [int(n) for n in names(count, lambda: str(rng.integers(low, high)))]


def deal(rng: np.random.Generator, counts: Mapping[str, int] | Sequence[int]) -> list[str]:
    """Labels as often as the counts say, in any order; the positions are the labels of a plain list."""
    pairs = counts.items() if isinstance(counts, Mapping) else [(str(i), n) for i, n in enumerate(counts)]
    labels = [label for label, count in pairs for _ in range(count)]
    return [labels[i] for i in rng.permutation(len(labels))]
