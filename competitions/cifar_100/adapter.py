"""CIFAR-100 in its Python pickles, as folder or tar.gz. The published test labels are for `comp score` alone.

A row's id is its place: ``train-17`` and, in the template, ``17``. The pickles' own file names are not used,
since they tell the class of test rows too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from comp.data import ArraySource, Manifest, Sample, archives, fetch, safe_pickle
from comp.errors import RawDataError

FOLDER = "cifar-100-python"
ARCHIVE = f"{FOLDER}.tar.gz"
HOME = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
ARCHIVE_MD5 = "eb9058c3a382ffc7106e4002c42a8d85"
MD5 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
ROWS = {"train": 50_000, "test": 10_000}
SIDE = 32


def read(raw: Path) -> Manifest:
    names = classes(raw)
    train = _batch(raw, "train")
    fine = train.labels["fine"]
    if fine.max(initial=0) >= len(names):
        raise RawDataError(
            "labels must be places in meta",
            f"train has {fine.max()}, meta names {len(names)}",
            "download it again",
        )
    samples = [
        Sample(f"train-{row}", f"train#{row}", "train", names[label])
        for row, label in enumerate(fine.tolist())
    ]
    test = read_test(raw)
    samples += [Sample(*row) for row in test.table.itertuples(index=False)]
    return Manifest.from_samples(samples, [*([train.note] if train.note else []), *test.notes])


def read_test(raw: Path) -> Manifest:
    """The rows to predict, which need no other pickle."""
    test = _batch(raw, "test")
    samples = [Sample(str(row), f"test#{row}", "test") for row in range(len(test.pixels))]
    return Manifest.from_samples(samples, [test.note] if test.note else [])


def source(raw: Path) -> ArraySource:
    names = [
        name for name in ("train", "test") if (raw / FOLDER / name).is_file() or (raw / ARCHIVE).is_file()
    ]
    return ArraySource({name: _batch(raw, name).pixels for name in names})


def classes(raw: Path) -> tuple[str, ...]:
    return _names(raw, "fine")


def coarse(raw: Path) -> dict[str, str]:
    """The twenty coarse names: the coarse class of each fine one, as the training rows pair them."""
    fine, above = classes(raw), _names(raw, "coarse")
    labels = _batch(raw, "train").labels
    pairs = set(zip(labels["fine"].tolist(), labels["coarse"].tolist(), strict=True))
    if len({one for one, _ in pairs}) != len(pairs):
        raise RawDataError(
            "a fine class has one coarse class", f"{raw} pairs some with several", "download it again"
        )
    return {fine[one]: above[other] for one, other in sorted(pairs)}


def answers(raw: Path) -> dict[str, str]:
    """The published labels of the test rows, by id."""
    names = classes(raw)
    with _open(raw, "test") as opened:
        fine = _plain(safe_pickle.load(opened, "test"))["fine_labels"]
    return {str(row): names[label] for row, label in enumerate(fine)}


def download(raw: Path) -> None:
    fetch(HOME, raw / ARCHIVE, ARCHIVE_MD5)


class Batch:
    """One pickle: pixels uint8 (N, 32, 32, 3), a view of its rows, and its labels, int64 (N,), fine and coarse."""

    def __init__(self, name: str, table: dict[str, Any], with_labels: bool) -> None:
        rows = np.asarray(table["data"], dtype=np.uint8)
        if rows.ndim != 2 or rows.shape[1] != 3 * SIDE * SIDE:
            raise RawDataError(
                "data must be uint8 (N, 3072)", f"{name} has {rows.shape}", "download it again"
            )
        self.pixels: NDArray[np.uint8] = rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        kinds = ("fine", "coarse") if with_labels else ()
        self.labels = {kind: np.asarray(table[f"{kind}_labels"], dtype=np.int64) for kind in kinds}
        if any(len(labels) != len(rows) for labels in self.labels.values()):
            raise RawDataError(
                "each row has its labels",
                f"{name}: {len(rows)} rows and another number of labels",
                "download it again",
            )
        self.note = (
            ""
            if len(rows) == ROWS[name]
            else f"{name} has {len(rows):,} of the {ROWS[name]:,} published rows: a subset"
        )


def _batch(raw: Path, name: str) -> Batch:
    """The train or test rows; those of test without their labels."""
    facts = _place(raw, name).stat()
    return _load(raw, name, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=4)
def _load(raw: Path, name: str, _size: int, _modified: int) -> Batch:
    with _open(raw, name) as opened:
        table = _plain(safe_pickle.load(opened, name))
    lacking = [key for key in ("data", "fine_labels", "coarse_labels") if key not in table]
    if lacking:
        raise RawDataError(
            f"{FOLDER}/{name} must be CIFAR-100's",
            f"it lacks {', '.join(lacking)}",
            "CIFAR-10 is another data set",
        )
    batch = Batch(name, table, with_labels=name == "train")
    if not batch.note:
        _require_published(raw, name)
    return batch


def _names(raw: Path, kind: str) -> tuple[str, ...]:
    with _open(raw, "meta") as opened:
        table = _plain(safe_pickle.load(opened, "meta"))
    try:
        return tuple(
            name.decode() if isinstance(name, bytes) else str(name) for name in table[f"{kind}_label_names"]
        )
    except KeyError as error:
        raise RawDataError(
            f"{FOLDER}/meta must be CIFAR-100's", f"it has no {error}", "CIFAR-10 is another data set"
        ) from error


def _plain(table: Any) -> dict[str, Any]:
    """The table of a pickle with text keys: Python 2 wrote them as bytes."""
    if not isinstance(table, dict):
        raise RawDataError(
            "a CIFAR-100 pickle holds a table", f"found a {type(table).__name__}", "download it again"
        )
    return {key.decode() if isinstance(key, bytes) else str(key): value for key, value in table.items()}


def _require_published(raw: Path, name: str) -> None:
    """All published rows are there, so the bytes must be the published ones."""
    md5 = hashlib.md5(usedforsecurity=False)
    with _open(raw, name) as opened:
        while block := opened.read(1 << 20):
            md5.update(block)
    if md5.hexdigest() != MD5[name]:
        value = f"{_place(raw, name)} has all {ROWS[name]:,} rows, but md5 {md5.hexdigest()}, published {MD5[name]}"
        raise RawDataError(
            "a full CIFAR-100 file must have its published md5",
            value,
            "remove it, then `comp data cifar-100 --download`",
        )


def _place(raw: Path, name: str) -> Path:
    """The pickle itself where it was unpacked, else the archive."""
    unpacked = raw / FOLDER / name
    place = unpacked if unpacked.is_file() else raw / ARCHIVE
    if not place.is_file():
        raise RawDataError(
            "the pickles must be there",
            f"{raw} has no {FOLDER}/{name}",
            "`comp data cifar-100` says what goes where",
        )
    return place


@contextmanager
def _open(raw: Path, name: str) -> Iterator[IO[bytes]]:
    place = _place(raw, name)
    if place.name == ARCHIVE:
        with archives.stream(place, f"{FOLDER}/{name}") as opened:
            yield opened
    else:
        with place.open("rb") as opened:
            yield opened


def sample(raw: Path, seed: int) -> None:
    """Made-up images in the real pickles: 100 classes, 8 a class to train, 2 to predict."""
    import pickle

    rng = np.random.default_rng(seed)
    names = [f"thing_{index:02}" for index in range(100)]
    colours = rng.integers(40, 256, (100, 3))
    corners = rng.integers(0, SIDE - 12, (100, 2))
    folder = raw / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, each in (("train", 8), ("test", 2)):
        fine = rng.permutation(np.repeat(np.arange(100), each))
        pixels = (
            rng.integers(0, 100, (len(fine), 3, 8, 8)).repeat(4, axis=2).repeat(4, axis=3).astype(np.uint8)
        )
        for row, label in enumerate(fine.tolist()):
            top, left = corners[label] + rng.integers(-1, 2, 2)
            pixels[row, :, max(0, top) : top + 12, max(0, left) : left + 12] = colours[label][:, None, None]
        table = {
            b"batch_label": f"{name}ing batch 1 of 1".encode(),
            b"filenames": [f"{name}_{row}.png".encode() for row in range(len(fine))],
            b"fine_labels": fine.tolist(),
            b"coarse_labels": (fine // 5).tolist(),
            b"data": pixels.reshape(len(fine), -1),
        }
        (folder / name).write_bytes(pickle.dumps(table, protocol=2))
    coarse_names = [f"kind_{index:02}".encode() for index in range(20)]
    meta = {b"fine_label_names": [name.encode() for name in names], b"coarse_label_names": coarse_names}
    (folder / "meta").write_bytes(pickle.dumps(meta, protocol=2))
