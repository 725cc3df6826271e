"""Caltech-256 in numbered class folders, as folder or tar. There is no official test set: a fifth is held out.

An image is held out when the SHA-256 of its file begins with a number in the lowest fifth. So the hold-out is the
same everywhere, does not move when files come or go, and keeps copies of one file on one side.
"""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from comp.data import Manifest, RawTree, Sample, fetch, natural_key, nfc
from comp.errors import RawDataError

FOLDER = "256_ObjectCategories"
ARCHIVE = f"{FOLDER}.tar"
HOME = "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar"
ARCHIVE_MD5 = "67b4f42ca05d46448c6bb8ecd2220f6d"
TEST_SHARE = 0.2


def read(raw: Path, clutter: bool = False) -> Manifest:
    tree = RawTree(raw)
    files = _files(tree, clutter)
    held_out = _held_out(tree, files)
    samples = []
    for path in files:
        _, folder, name = path.split("/")
        sample_id = nfc(f"{folder}/{name}")
        samples.append(
            Sample(sample_id, path, "test")
            if held_out[path]
            else Sample(sample_id, path, "train", nfc(folder))
        )
    notes = [
        *tree.notes,
        f"{sum(held_out.values()):,} of {len(files):,} images held out as the test set, by SHA-256",
    ]
    left_out = 0 if clutter else len(_files(tree, True)) - len(files)
    return Manifest.from_samples(
        samples, [*notes, *([f"{left_out} images of clutter left out"] if left_out else [])]
    )


def classes(raw: Path, clutter: bool = False) -> tuple[str, ...]:
    """The class folders in number order, those without an image included: the checks then name them."""
    names = (nfc(folder.split("/")[1]) for folder in RawTree(raw).folders(f"{FOLDER}/*"))
    return tuple(sorted((name for name in names if _is_class(name, clutter)), key=natural_key))


def answers(raw: Path, clutter: bool = False) -> dict[str, str]:
    """The labels of the held-out images, by id."""
    tree = RawTree(raw)
    files = _files(tree, clutter)
    held_out = _held_out(tree, files)
    return {nfc(path.split("/", 1)[1]): nfc(path.split("/")[1]) for path in files if held_out[path]}


def download(raw: Path) -> None:
    fetch(HOME, raw / ARCHIVE, ARCHIVE_MD5)


def _files(tree: RawTree, clutter: bool) -> list[str]:
    """The images in natural order of class and name, 2 before 10."""
    files = [path for path in tree.images(f"{FOLDER}/*/*") if _is_class(path.split("/")[1], clutter)]
    return sorted(files, key=lambda path: (natural_key(path.split("/")[1]), natural_key(path)))


def _is_class(folder: str, clutter: bool) -> bool:
    return re.fullmatch(r"\d+\..+", folder) is not None and (clutter or not folder.endswith(".clutter"))


def _held_out(tree: RawTree, files: list[str]) -> dict[str, bool]:
    """Whether each file is of the test set; a file that cannot be read is left to the checks, among the train rows."""

    def judge(path: str) -> bool:
        try:
            digest = hashlib.sha256(tree.read(path)).digest()
        except RawDataError:
            return False
        return int.from_bytes(digest[:4], "big") / 2**32 < TEST_SHARE

    with ThreadPoolExecutor(
        thread_name_prefix="hash"
    ) as pool:  # reading and hashing both let go of the interpreter
        return dict(zip(files, pool.map(judge, files), strict=True))


def sample(raw: Path, seed: int) -> None:
    """Made-up images in the real layout: six classes, clutter, and one grey, CMYK, palette and turned file each."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    names = ["001.ring", "002.bar", "003.cross", "010.square", "011.frame", "101.disc", "257.clutter"]
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    far, near = np.maximum(abs(x), abs(y)), np.minimum(abs(x), abs(y))
    radius = np.hypot(x, y)
    shapes = [
        abs(radius - 0.6) < 0.15,
        abs(y) < 0.2,
        near < 0.15,
        far < 0.5,
        abs(far - 0.7) < 0.12,
        radius < 0.6,
        x > 2,
    ]
    for number, (name, shape) in enumerate(zip(names, shapes, strict=True)):
        folder = raw / FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        for row in range(1, 21):
            pixels = rng.integers(0, 130, (8, 8, 3)).repeat(8, axis=0).repeat(8, axis=1)
            pixels[shape] = rng.integers(150, 256, 3)
            image = Image.fromarray(pixels.astype(np.uint8)).resize((72 + 4 * number, 64))
            kinds = {1: "L", 2: "CMYK", 3: "P"}
            place = folder / f"{name[:3]}_{row:04}.{'png' if row == 3 else 'jpg'}"
            exif = Image.Exif()
            exif[0x0112] = 6 if row == 4 else 1
            turned = image.convert(kinds.get(row, "RGB"))
            turned.save(place) if row == 3 else turned.save(place, exif=exif, quality=92)
