"""Copies among small coloured images are found by their look; grey drawings are left to the usual search."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from comp.checks.duplicates import small_images
from comp.checks.duplicates.candidates import perceptual
from comp.checks.duplicates.search import near_duplicate_pairs
from comp.checks.duplicates.small_images import small_candidates

Image = NDArray[np.uint8]
COUNT = 150


def small(seed: int, grey: bool = False) -> Image:
    """A coloured image of 40 x 40 pixels, drawn larger and reduced."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(
        rng.integers(0, 256, (3, 3, 3), dtype=np.uint8), (120, 120), interpolation=cv2.INTER_CUBIC
    )
    for _ in range(12):
        at, size = rng.integers(0, 120, 2), rng.integers(6, 40, 2)
        colour = [int(n) for n in rng.integers(0, 256, 3)]
        cv2.ellipse(
            image, [int(n) for n in at], [int(n) for n in size], float(rng.integers(180)), 0, 360, colour, -1
        )
    image = cv2.resize(image, (40, 40), interpolation=cv2.INTER_AREA)
    return np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8) if grey else image


def framed(image: Image) -> Image:
    result = image.copy()
    result[:2] = result[-2:] = result[:, :2] = result[:, -2:] = 255
    return result


CHANGES: dict[str, Callable[[Image], Image]] = {
    "shifted": lambda image: np.asarray(cv2.copyMakeBorder(image, 0, 0, 4, 0, cv2.BORDER_REPLICATE)[:, :40]),
    "stretched": lambda image: np.asarray(cv2.resize(image[3:38], (40, 40), interpolation=cv2.INTER_CUBIC)),
    "framed": framed,
    "mirrored and recoloured": lambda image: np.clip(
        image[:, ::-1] * np.array([0.85, 1.0, 1.1]), 0, 255
    ).astype(np.uint8),
}


def prints(images: list[Image]) -> NDArray[np.uint8]:
    return np.stack([perceptual(np.ascontiguousarray(image)) for image in images])


@pytest.mark.parametrize("name", CHANGES)
def test_copies_are_proposed_and_found(name: str) -> None:
    images = [small(seed) for seed in range(COUNT)]
    copies = [CHANGES[name](image) for image in images[:20]]
    fingerprints = prints([*images, *copies])
    wanted = {(n, COUNT + n) for n in range(20)}
    proposed = small_candidates(fingerprints, np.random.default_rng(0)).part(slice(None))
    ends = {
        (min(pair), max(pair)) for pair in zip(proposed.left.tolist(), proposed.right.tolist(), strict=True)
    }
    assert len(wanted & ends) >= 19
    found = {tuple(pair) for pair in near_duplicate_pairs(fingerprints).pairs.tolist()}
    assert len(found & wanted) >= 19
    assert len(found - wanted) <= 1


def test_grey_large_and_tiny_images_take_no_part() -> None:
    grey = [small(seed, grey=True) for seed in range(10)]
    large = [np.asarray(cv2.resize(small(seed), (60, 60))) for seed in range(10)]
    tiny = [np.asarray(cv2.resize(small(seed), (20, 20))) for seed in range(10)]
    for images in (grey, large, tiny):
        twice = prints([*images, *images])
        assert small_candidates(twice, np.random.default_rng(0)).total == 0
    assert small_candidates(prints(grey)[:0], np.random.default_rng(0)).total == 0


@pytest.mark.parametrize(("values", "needed"), [(3, 0.68), (400, 0.68), (1000, 0.74)])
def test_more_is_asked_where_many_look_alike(values: int, needed: float) -> None:
    cosine = np.linspace(0.68, 0.78, values).astype(np.float32)
    assert small_images._needed(70, cosine) == pytest.approx(needed, abs=0.003)
    assert small_images._needed(1, cosine + np.float32(0.12)) == pytest.approx(0.8 if values > 6 else 0.68)
