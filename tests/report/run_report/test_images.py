"""Images of a page: each once, no more than may be, tiny ones exactly, broken ones in words."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np

from comp.data.images.raw_tree import RawTree
from comp.data.images.source import ArraySource
from comp.report.run_report.images import LARGE, SMALL, PageImages
from gallery import save, texture


def pixels_of(url: str) -> np.ndarray:
    content = base64.b64decode(url.partition(",")[2])
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))[:, :, ::-1]


def test_a_tiny_image_stays_exactly_as_it_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    image = PageImages(ArraySource({"train": pixels}), 5).large("train#0")
    assert image is not None
    assert image.url.startswith("data:image/png")
    np.testing.assert_array_equal(pixels_of(image.url), pixels[0])


def test_a_large_one_is_made_smaller_and_keeps_its_shape() -> None:
    pixels = np.zeros((1, 300, 600, 3), np.uint8)
    images = PageImages(ArraySource({"train": pixels}), 5)
    large = images.large("train#0")
    assert large is not None
    assert pixels_of(large.url).shape == (LARGE // 2, LARGE, 3)
    assert (large.width, large.height) == (600, 300), "its own size, for those who look"
    small = PageImages(ArraySource({"train": pixels}), 5).small("train#0")
    assert small is not None
    assert max(pixels_of(small.url).shape) == SMALL


def test_an_image_is_drawn_once_and_no_more_than_may_be() -> None:
    images = PageImages(ArraySource({"train": np.zeros((3, 8, 8, 3), np.uint8)}), 2)
    first = images.large("train#0")
    assert images.small("train#0") is first
    assert images.small("train#1") is not None
    assert images.large("train#2") is None
    assert images.small("train#1") is not None, "what is drawn stays"


def test_broken_and_missing_images_say_so(tmp_path: Path) -> None:
    save(tmp_path / "a.png", texture(0))
    (tmp_path / "b.png").write_bytes(b"broken")
    images = PageImages(RawTree(tmp_path), 5)
    good, broken, gone = (images.small(name) for name in ("a.png", "b.png", "c.png"))
    assert good is not None
    assert broken is not None
    assert gone is not None
    assert (bool(good.url), bool(broken.url), bool(gone.url)) == (True, False, False)
    assert broken.error
    assert gone.error
