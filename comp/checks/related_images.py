"""The close look at every image: its local features, and which images they relate (`thorough=True`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from comp import events
from comp.checks.duplicates.local_features import FEATURES, LEAST_SIDE, LocalFeatures, local_features
from comp.checks.duplicates.strong_copies import related_pairs
from comp.checks.image_scan import ImageFacts
from comp.data.images.decode import decode
from comp.data.images.source import ImageSource
from comp.errors import ImageError

UP_TO = 3_000  # images: a run looks closely by itself at no more
_MANY = 10_000  # images, from which half as many features of each are held


def is_large_enough(look: ImageFacts) -> bool:
    """Whether an image has enough pixels for local features."""
    return not look.error and min(look.height, look.width) >= LEAST_SIDE


def related_images(source: ImageSource, paths: Sequence[str]) -> list[list[float]]:
    """``[place, place, relation, score]`` of every related pair of images, by their places among ``paths``.

    Decodes every image again, in threads, with a bar; about 20 ms an image and processor core.
    """
    most = FEATURES if len(paths) <= _MANY else FEATURES // 2
    workers = os.cpu_count() or 1

    def look(path: str) -> LocalFeatures:
        try:
            content = source.load(path)
            pixels = decode(content, path) if isinstance(content, bytes) else content
        except ImageError:  # gone since it was first seen: the next command says so
            pixels = np.zeros((1, 1, 3), np.uint8)
        return local_features(pixels, most)

    found = []
    with events.task("looking closely", len(paths)) as bar, ThreadPoolExecutor(workers) as pool:
        for one in pool.map(look, paths):
            found.append(one)
            bar.advance(1)
    related = related_pairs(found, workers=workers)
    score = np.round(related.score.astype(np.float64), 4)
    return [
        [*pair, relation, agree]
        for pair, relation, agree in zip(
            related.pairs.tolist(), related.relation.tolist(), score.tolist(), strict=True
        )
    ]
