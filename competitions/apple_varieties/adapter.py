"""Apples in flat folders, labelled by a table whose ids come with or without the file's extension."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from comp.data import Manifest, RawTree, Sample, Table, is_image_name, nfc, parse_table
from comp.errors import InputError


def read(raw: Path) -> Manifest:
    tree = RawTree(raw)
    labelled = _table(tree, "train.csv")
    files = Files(tree, "train")
    samples = [
        Sample(nfc(name.strip()), files.of(name), "train", label)
        for name, label in zip(labelled.column("img_id"), labelled.column("a_type"), strict=True)
    ]
    asked = {_stem(name): name for name in _table(tree, "sample_submission.csv").column("img_id")}
    names = _table(tree, "test.csv").column("img_id")
    samples += _test(tree, [(asked.get(_stem(name), name), name) for name in names])
    return Manifest.from_samples(samples, [*tree.notes, *_encodings(labelled)])


def read_test(raw: Path) -> Manifest:
    """The rows to predict where the train part is gone: of test.csv or the template, else of the files there are."""
    tree = RawTree(raw)
    tables = [name for name in ("sample_submission.csv", "test.csv") if tree.has(name)]
    if tables:
        names = _table(tree, tables[0]).column("img_id")
    else:
        names = [PurePosixPath(path).name for path in tree.images("test/*")]
    return Manifest.from_samples(_test(tree, [(name, name) for name in names]), tree.notes)


def _test(tree: RawTree, pairs: list[tuple[str, str]]) -> list[Sample]:
    """Rows to predict, of pairs of an id in the template's spelling and the name of its file."""
    files = Files(tree, "test")
    return [Sample(sample, files.of(name), "test") for sample, name in pairs]


class Files:
    """The images of a flat folder, found by name with or without extension, in any Unicode form."""

    def __init__(self, tree: RawTree, folder: str) -> None:
        self.folder = folder
        self._by_name: dict[str, list[str]] = {}
        for path in tree.images(f"{folder}/*"):
            name = nfc(PurePosixPath(path).name)
            for key in {name, name.casefold(), _stem(name)}:
                self._by_name.setdefault(key, []).append(path)

    def of(self, name: str) -> str:
        """The path of an id; one without a file gets the path that it should have had, which the checks then name."""
        name = nfc(name.strip())
        found = next(
            (self._by_name[key] for key in (name, name.casefold(), _stem(name)) if key in self._by_name), []
        )
        if len(set(found)) > 1:
            raise InputError(
                "an id names one file",
                f"{name!r} fits {', '.join(found[:3])}",
                "write the extension into the table",
            )
        return found[0] if found else f"{self.folder}/{name if is_image_name(name) else name + '.jpg'}"


def _stem(name: str) -> str:
    """An id without its extension, if that is an image's."""
    name = nfc(name.strip())
    return PurePosixPath(name).stem if is_image_name(name) else name


def _table(tree: RawTree, name: str) -> Table:
    return parse_table(tree.read(name), name)


def _encodings(table: Table) -> list[str]:
    return [] if table.encoding == "utf-8" else [f"{table.name} read as {table.encoding}"]


def sample(raw: Path, seed: int) -> None:
    """Made-up apples in the real layout: four codes, as unequal as the real ones, 30 to predict."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(seed)
    counts = {"HJ": 40, "HR": 24, "SG": 12, "AR": 10}
    colours = {"HJ": (40, 40, 220), "HR": (60, 150, 200), "SG": (60, 200, 90), "AR": (30, 60, 120)}
    names = iter(
        ["".join(rng.choice(list("abcdefghjkmnpqrstuvwxyzABCDEFGH23456789"), 10)) for _ in range(400)]
    )

    def image(folder: str, code: str) -> str:
        name = f"{next(names)}.jpg"
        pixels = rng.integers(110, 256, (8, 8, 3)).repeat(16, axis=0).repeat(16, axis=1).astype(np.uint8)
        centre = tuple(int(v) for v in rng.integers(50, 78, 2))
        radii = (int(rng.integers(30, 42)), int(rng.integers(28, 40)))
        colour = tuple(int(v) for v in np.clip(np.array(colours[code]) + rng.integers(-15, 16, 3), 0, 255))
        cv2.ellipse(pixels, centre, radii, float(rng.integers(0, 180)), 0, 360, colour, -1)
        (raw / folder).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(raw / folder / name), pixels)
        return name

    rows = [(image("train", code), code) for code, n in counts.items() for _ in range(n)]
    rows = [rows[i] for i in rng.permutation(len(rows))]
    tests = [image("test", str(rng.choice(list(counts)))) for _ in range(30)]
    (raw / "train.csv").write_text("img_id,a_type\n" + "".join(f"{name},{code}\n" for name, code in rows))
    (raw / "test.csv").write_text("img_id\n" + "".join(f"{name}\n" for name in tests))
    (raw / "sample_submission.csv").write_text("img_id,a_type\n" + "".join(f"{name},AR\n" for name in tests))
