"""The fingerprint: fixed size, any image, deterministic, little moved by re-encoding."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from comp.checks.duplicates.candidates import FINGERPRINT_BYTES, chroma, luma, native_size, perceptual


def image(seed: int, height: int = 120, width: int = 160) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize(
    "size", [(1, 1), (8, 8), (32, 32), (8, 2000), (2000, 8), (31, 33), (227, 227), (1500, 900)]
)
def test_any_size_gives_one_shape(size: tuple[int, int]) -> None:
    fingerprint = perceptual(image(1, *size))
    assert fingerprint.shape == (FINGERPRINT_BYTES,)
    assert fingerprint.dtype == np.uint8
    assert tuple(native_size(fingerprint[None])[0]) == size


def test_a_plain_colour_is_kept() -> None:
    red = np.zeros((50, 70, 3), np.uint8)
    red[..., 0] = 255
    fingerprint = perceptual(red)[None]
    assert np.ptp(luma(fingerprint)) == 0
    assert luma(fingerprint)[0, 0, 0] == 76  # 0.299 of 255
    assert chroma(fingerprint)[0, 0].min() > 250  # Cr
    assert chroma(fingerprint)[0, 1].max() < 128  # Cb


def test_a_thumbnail_sized_image_is_its_own_luma() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    fingerprint = perceptual(cv2.merge([grey] * 3))[None]
    assert np.array_equal(luma(fingerprint)[0], grey)
    assert np.all(chroma(fingerprint) == 128)


def test_re_encoding_hardly_moves_it() -> None:
    seen = image(2)
    again = cv2.imdecode(cv2.imencode(".jpg", seen, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)
    one, two = luma(np.stack([perceptual(seen), perceptual(again)])).astype(int)
    assert np.abs(one - two).mean() < 2


def test_same_answer_from_many_threads() -> None:
    images = [image(seed) for seed in range(8)] * 8
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(perceptual, images))
    assert all(np.array_equal(a, perceptual(b)) for a, b in zip(found, images, strict=True))


def test_the_image_is_not_changed_and_may_be_a_view() -> None:
    seen = image(3)
    before = seen.copy()
    assert np.array_equal(perceptual(seen[:, ::-1]), perceptual(seen[:, ::-1].copy()))
    assert np.array_equal(seen, before)


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (np.zeros((4, 4, 3), np.float32), TypeError),
        (np.zeros((4, 4), np.uint8), ValueError),
        (np.zeros((4, 4, 4), np.uint8), ValueError),
        (np.zeros((0, 4, 3), np.uint8), ValueError),
    ],
)
def test_bad_input_is_refused(image: NDArray[np.uint8], error: type[Exception]) -> None:
    with pytest.raises(error):
        perceptual(image)
