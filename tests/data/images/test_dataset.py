"""Fitted images are decoded once while the budget lasts, and are the same from any thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from comp.data.images.pixel_cache import ImageDataset
from comp.data.images.preprocess import Preprocess
from comp.data.images.source import ArraySource
from made import draw

PREPROCESS = Preprocess(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
ARRAY = np.stack([draw("circle", n, 24) for n in range(10)])


class CountingSource(ArraySource):
    """An array source that counts how often each path is loaded."""

    def __init__(self) -> None:
        super().__init__({"a": ARRAY})
        object.__setattr__(self, "loads", [])

    def load(self, path: str) -> np.ndarray:
        self.loads.append(path)  # type: ignore[attr-defined]
        return super().load(path)


def test_each_image_is_loaded_once_within_the_budget_and_again_past_it() -> None:
    source = CountingSource()
    paths = [f"a#{n}" for n in range(10)]
    pixels = ImageDataset(source, paths, PREPROCESS, budget=4 * 16 * 16 * 3)
    first = [pixels[n].copy() for n in range(10)]
    second = [pixels[n].copy() for n in range(10)]
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert source.loads == paths + paths[4:]  # type: ignore[attr-defined]


def test_images_that_are_forgotten_give_their_budget_back() -> None:
    source = CountingSource()
    paths = [f"a#{n}" for n in range(10)]
    pixels = ImageDataset(source, paths, PREPROCESS, budget=4 * 16 * 16 * 3)
    before = [pixels[n].copy() for n in range(4)]
    pixels.forget()
    for _ in range(2):
        assert all((pixels[n] == before[n]).all() for n in range(4))
    assert source.loads == paths[:4] * 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("budget", [0, 1 << 20])
def test_shapes_are_known_of_what_was_seen(budget: int) -> None:
    source = ArraySource({"a": ARRAY, "t": np.zeros((2, 30, 24, 3), np.uint8)})
    pixels = ImageDataset(source, ["a#0", "t#1", "a#2"], PREPROCESS, "whole", budget)
    rows = np.array([1, 0, 1])
    assert pixels.shapes(rows) is None
    assert [pixels[n].shape for n in (0, 1)] == [(24, 24, 3), (30, 24, 3)]
    found = pixels.shapes(rows)
    assert found is not None
    assert found.tolist() == [[30, 24], [24, 24], [30, 24]]
    assert pixels.shapes(np.array([0, 2])) is None


def test_threads_see_the_same_pixels() -> None:
    paths = [f"a#{n % 10}" for n in range(200)]
    pixels = ImageDataset(ArraySource({"a": ARRAY}), paths, PREPROCESS)
    alone = ImageDataset(ArraySource({"a": ARRAY}), paths, PREPROCESS, budget=0)
    with ThreadPoolExecutor(8) as pool:
        for n, found in enumerate(pool.map(pixels.__getitem__, range(200))):
            assert (found == alone[n]).all()
