"""Photographs with several shapes on noise, each in a box: a whole image cannot tell which of them a row asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SHAPES = ("bar", "disk", "frame")
SIDE = 96
SPOT = 24  # pixels of a box's side


@dataclass(frozen=True)
class Spot:
    """A shape in a photograph: the id of its row, and its box as left, top, width, height in pixels."""

    id: str
    file: str
    shape: str
    box: tuple[int, int, int, int]


def _mask(shape: str, side: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    y, x = np.mgrid[0:side, 0:side] - (side - 1) / 2
    if shape == "disk":
        return np.hypot(y, x) < side / 2
    if shape == "bar":
        return np.abs(y) < side / 8
    return np.maximum(np.abs(y), np.abs(x)) > side / 3


def draw(
    folder: Path, names: Sequence[str], rng: np.random.Generator, first: int = 1, rows: int = 3
) -> list[Spot]:
    """PNGs of noise with three shapes each, drawn by chance, in three of four corners, of which ``rows`` become rows; ids
    count from ``first``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spots: list[Spot] = []
    for name in names:
        pixels = rng.integers(60, 160, (SIDE, SIDE, 3)).astype(np.uint8)
        for n, corner in enumerate(rng.permutation(4)[:3].tolist()):
            shape = SHAPES[int(rng.integers(3))]
            left = 48 * (corner % 2) + int(rng.integers(6, 18))
            top = 48 * (corner // 2) + int(rng.integers(6, 18))
            pixels[top : top + SPOT, left : left + SPOT][_mask(shape, SPOT)] = 250
            if n < rows:
                spots.append(Spot(str(first + len(spots)), name, shape, (left, top, SPOT, SPOT)))
        Image.fromarray(pixels).save(folder / name)
    return spots


def draw_in_a_tile(folder: Path, names: Sequence[str], rng: np.random.Generator) -> dict[str, str]:
    """PNGs of 96 pixels with a shape in the middle of one quarter and noise in two; the first is white. The shape by name."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for n, name in enumerate(names):
        pixels = rng.integers(60, 160, (SIDE, SIDE, 3)).astype(np.uint8)
        pixels[: SIDE // 2, : SIDE // 2] = 255
        made[name] = SHAPES[n % 3]
        corner = 1 + int(rng.integers(3))
        left, top = 48 * (corner % 2) + 12, 48 * (corner // 2) + 12
        pixels[top : top + SPOT, left : left + SPOT][_mask(made[name], SPOT)] = 250
        Image.fromarray(pixels).save(folder / name)
    return made


def write_table(path: Path, spots: Sequence[Spot], labelled: bool) -> None:
    """A table of boxes, a row each: id, file, x, y, w, h and where they are ``labelled`` the shape."""
    head = "id,file,x,y,w,h" + (",shape" if labelled else "")
    rows = [
        ",".join([one.id, one.file, *map(str, one.box), *([one.shape] if labelled else [])]) for one in spots
    ]
    path.write_text("\n".join([head, *rows, ""]))


def coco(spots: Sequence[Spot], labelled: bool) -> dict[str, Any]:
    """The same as a COCO document; image ids are numbers from 7 on, category ids 11, 12, 13."""
    files = list(dict.fromkeys(one.file for one in spots))
    document: dict[str, Any] = {
        "images": [
            {"id": 7 + n, "file_name": file, "width": SIDE, "height": SIDE} for n, file in enumerate(files)
        ],
        "annotations": [
            {
                "id": int(one.id),
                "image_id": 7 + files.index(one.file),
                "bbox": [float(value) for value in one.box],
                "area": float(SPOT * SPOT),
                "iscrowd": 0,
                **({"category_id": 11 + SHAPES.index(one.shape)} if labelled else {}),
            }
            for one in spots
        ],
    }
    if labelled:
        document["categories"] = [{"id": 11 + n, "name": name} for n, name in enumerate(SHAPES)]
    return document


def make_boxes(
    raw: Path, train: int = 20, test: int = 6, seed: int = 0, rows: int = 3
) -> tuple[list[Spot], list[Spot]]:
    """A raw folder with train/, test/, tables, COCO's json of both and a template; the labelled spots and those to predict."""
    rng = np.random.default_rng(seed)
    labelled = draw(raw / "train", [f"p{n:03}.png" for n in range(train)], rng, rows=rows)
    asked = draw(raw / "test", [f"q{n:03}.png" for n in range(test)], rng, 1 + len(labelled), rows)
    write_table(raw / "train.csv", labelled, True)
    write_table(raw / "test.csv", asked, False)
    (raw / "train.json").write_text(json.dumps(coco(labelled, True)))
    (raw / "test.json").write_text(json.dumps(coco(asked, False)))
    rows = [f"{one.id},bar" for one in reversed(asked)]
    (raw / "sample_submission.csv").write_text("\n".join(["id,shape", *rows, ""]))
    return labelled, asked


TEMPLATE = """
[template]
file = "sample_submission.csv"
id = "id"
target = "shape"
kind = "label"
"""

BY_TABLE = f"""metric = "macro_f1"
[data]
table = "train.csv"
test_table = "test.csv"
id = "id"
label = "shape"
images = "train/{{file}}"
test_images = "test/{{file}}"
box = ["x", "y", "w", "h"]
{TEMPLATE}"""

BY_COCO = f"""metric = "accuracy"
[data]
coco = "train.json"
test_coco = "test.json"
{TEMPLATE}"""
