"""How an image of any size becomes a square."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.images.preprocess import Preprocess, fit
from made import draw

HALF = Preprocess(32, (0.5, 0.25, 0.75), (0.2, 0.2, 0.2))
SIDES = st.integers(1, 150)
FITS = st.sampled_from(["crop", "squash", "pad"])
INTERPOLATIONS = st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"])


@given(SIDES, SIDES, st.integers(8, 70), FITS, INTERPOLATIONS, st.sampled_from([1.0, 0.95, 0.875, 0.5]))
def test_any_image_becomes_the_square_and_a_plain_one_stays_plain(
    height: int, width: int, size: int, how: str, interpolation: str, crop_pct: float
) -> None:
    pixels = np.full((height, width, 3), (10, 200, 90), np.uint8)
    preprocess = replace(HALF, size=size, fit=how, interpolation=interpolation, crop_pct=crop_pct)
    square = fit(pixels, preprocess)
    assert (square.shape, square.dtype) == ((size, size, 3), np.uint8)
    if how != "pad":
        assert (square == (10, 200, 90)).all()
    room = fit(pixels, preprocess, room=True)
    assert room.shape[0] == room.shape[1] == (round(size / crop_pct) if how == "crop" else size)


@given(SIDES, SIDES)
def test_pad_keeps_the_whole_image_and_fills_with_the_mean(height: int, width: int) -> None:
    square = fit(np.full((height, width, 3), 255, np.uint8), replace(HALF, fit="pad"))
    inside = (square == 255).all(axis=2)
    assert (square[~inside] == (128, 64, 191)).all()
    assert inside.any(axis=0).sum() == max(1, round(width * 32 / max(height, width)))
    assert inside.any(axis=1).sum() == max(1, round(height * 32 / max(height, width)))


def test_crop_keeps_the_centre_and_cuts_the_longer_sides() -> None:
    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[:, 32:64] = 255
    assert (fit(pixels, HALF) == 255).all()


@pytest.mark.parametrize("shape", [(1, 4000), (4000, 1), (3, 900)])
def test_of_a_very_long_image_the_middle_is_seen_at_little_cost(shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    image[shape[0] // 4 : -(shape[0] // 4) or None, shape[1] // 4 : -(shape[1] // 4) or None] = 200
    tracemalloc.start()
    try:
        found = fit(image, Preprocess(224, (0.5,) * 3, (0.5,) * 3))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (found == 200).all()
    assert peak < 30e6


def test_crop_pct_cuts_a_margin_that_room_leaves() -> None:
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[4:36, 4:36] = 255
    preprocess = replace(HALF, crop_pct=0.8)
    assert (fit(pixels, preprocess) == 255).all()
    assert (fit(pixels, preprocess, room=True) == pixels).all()


def test_squash_keeps_every_part_of_the_image() -> None:
    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[:, :48] = 255
    square = fit(pixels, replace(HALF, fit="squash"))
    assert (square[:, :15] == 255).all()
    assert (square[:, 17:] == 0).all()


def test_a_image_of_the_right_size_is_untouched() -> None:
    pixels = draw("circle", 0, 32)
    for how in ("crop", "squash", "pad"):
        assert (fit(pixels, replace(HALF, fit=how)) == pixels).all()


def test_shrinking_does_not_alias() -> None:
    """A fine chessboard becomes its mean grey, not a pattern."""
    board = np.indices((320, 320)).sum(axis=0) % 2 * 255
    square = fit(
        np.repeat(board[..., None], 3, axis=2).astype(np.uint8), replace(HALF, interpolation="bicubic")
    )
    assert square.min() >= 126
    assert square.max() <= 129


@pytest.mark.parametrize("how", ["crop", "squash", "pad"])
def test_mirroring_before_or_after_is_the_same(how: str) -> None:
    pixels = draw("cross", 5, 64)
    once = fit(pixels[:, ::-1], replace(HALF, fit=how)).astype(int)
    assert np.abs(once - fit(pixels, replace(HALF, fit=how))[:, ::-1]).max() <= 1


def test_preprocessing_survives_json() -> None:
    assert Preprocess.from_json(HALF.as_json()) == HALF
