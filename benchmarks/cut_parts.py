"""Recall of parts that adjoin without an overlap (`same-source`), on any photos.

    python benchmarks/cut_parts.py FOLDER [--count 800] [--seed 0] [--json]

Of every four images drawn from FOLDER, one is cut in a left and a right half, one in an upper and a lower half, one in four
tiles, and one stays whole. Each way of storing the parts is a line: recall is the share of all cuts whose two sides are paired;
`false` counts pairs of different images.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from near_duplicate_recall import SUFFIXES
from numpy.typing import NDArray

from comp.checks.duplicates.adjoining import adjoining_pairs, outer_lines

Image = NDArray[np.uint8]
Stored = Callable[[Image, np.random.Generator], Image]


class Parts(NamedTuple):
    """Images, which original each was cut out of, and the pairs that adjoin."""

    images: list[Image]
    source: list[int]
    joins: set[tuple[int, int]]


def cut(images: list[Image]) -> Parts:
    parts = Parts([], [], set())
    for n, image in enumerate(images):
        down, across = image.shape[0] // 2, image.shape[1] // 2
        at = len(parts.images)
        if n % 4 == 0:
            some, joins = [image[:, :across], image[:, across:]], [(0, 1)]
        elif n % 4 == 1:
            some, joins = [image[:down], image[down:]], [(0, 1)]
        elif n % 4 == 2:
            rows = (image[:down], image[down : 2 * down])
            some = [row[:, x : x + across] for row in rows for x in (0, across)]
            joins = [(0, 1), (2, 3), (0, 2), (1, 3)]
        else:
            some, joins = [image], []
        parts.images.extend(np.ascontiguousarray(part) for part in some)
        parts.source.extend([n] * len(some))
        parts.joins.update((at + one, at + other) for one, other in joins)
    return parts


def encoded(image: Image, quality: int) -> Image:
    buffer = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(buffer, cv2.IMREAD_COLOR)[:, :, ::-1], np.uint8)


def resized(image: Image, width: int, height: int) -> Image:
    return np.asarray(
        cv2.resize(image, (max(48, width), max(48, height)), interpolation=cv2.INTER_AREA), np.uint8
    )


WAYS: dict[str, Stored] = {
    "as they are": lambda image, rng: image,
    "JPEG 90": lambda image, rng: encoded(image, 90),
    "JPEG 75": lambda image, rng: encoded(image, 75),
    "each brighter or darker by up to 10 %": lambda image, rng: np.clip(
        image * rng.uniform(0.9, 1.1), 0, 255
    ).astype(np.uint8),
    "half size": lambda image, rng: resized(image, image.shape[1] // 2, image.shape[0] // 2),
    "each 128 x 128, JPEG 85": lambda image, rng: encoded(resized(image, 128, 128), 85),
    "one pixel lost at the left and above": lambda image, rng: np.ascontiguousarray(image[1:, 1:]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    paths = sorted(p for p in args.folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    chosen = np.random.default_rng(args.seed).permutation(len(paths))[: args.count]
    parts = cut([cv2.imread(str(paths[n]), cv2.IMREAD_COLOR)[:, :, ::-1] for n in chosen])
    table = {}
    for name, stored in WAYS.items():
        rng = np.random.default_rng(args.seed + 1)
        started = time.process_time()
        pairs = adjoining_pairs([outer_lines(stored(image, rng)) for image in parts.images]).pairs.tolist()
        seconds = time.process_time() - started
        found = {(one, other) for one, other in pairs}
        false = sum(parts.source[one] != parts.source[other] for one, other in found)
        recall = len(found & parts.joins) / len(parts.joins)
        table[name] = {"recall": recall, "false": false}
        print(
            f"{name:40s} recall {recall:.3f} of {len(parts.joins)}  false {false} of {len(parts.images)} images  {seconds:.1f} s of CPU",
            file=sys.stderr,
        )
    if args.json:
        print(json.dumps(table))


if __name__ == "__main__":
    main()
