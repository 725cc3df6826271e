"""Strongly changed copies are found among unlike images; scenes and parts are told apart from them."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from comp.checks.duplicates.feature_index import feature_pairs
from comp.checks.duplicates.local_features import LocalFeatures, local_features
from comp.checks.duplicates.strong_copies import COPY, PART, SCENE, RelatedPairs, related_pairs
from gallery import detailed

Image = NDArray[np.uint8]
SIDE = 200
ORIGINALS = 30


def turned(image: Image, degrees: float) -> Image:
    about = cv2.getRotationMatrix2D((image.shape[1] / 2, image.shape[0] / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(image, about, image.shape[1::-1]), np.uint8)


def seen_aslant(image: Image) -> Image:
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    inner = corners + np.array([[20, 10], [-5, 15], [-25, -10], [10, -20]], np.float32)
    return np.asarray(
        cv2.warpPerspective(image, cv2.getPerspectiveTransform(inner, corners), (width, height)), np.uint8
    )


def erased(image: Image) -> Image:
    result = image.copy()
    result[40:150, 50:160] = 128
    return result


def on_a_canvas(image: Image) -> Image:
    canvas = np.full((2 * SIDE, 2 * SIDE, 3), 255, np.uint8)
    canvas[150 : 150 + SIDE, 60 : 60 + SIDE] = image
    return canvas


def solarised(image: Image) -> Image:
    return np.where(image < 128, image, 255 - image).astype(np.uint8)


CHANGES: dict[str, Callable[[Image], Image]] = {
    "negative": lambda image: 255 - image,
    "turned by 15": lambda image: turned(image, 15),
    "turned by 45": lambda image: turned(image, 45),
    "mirrored and turned": lambda image: turned(image[:, ::-1], 70),
    "central half": lambda image: image[50:150, 50:150],
    "negative central half": lambda image: 255 - image[50:150, 50:150],
    "canvas": on_a_canvas,
    "erased": erased,
    "erased and turned": lambda image: turned(erased(image), 15),
    "aslant": seen_aslant,
    "swapped channels": lambda image: image[:, :, ::-1],
    "few levels": lambda image: (image // 64 * 64 + 32).astype(np.uint8),
    "quarter turn, cropped, JPEG 30": lambda image: cv2.imdecode(
        cv2.imencode(".jpg", np.rot90(image)[30:170, 30:170].copy(), [cv2.IMWRITE_JPEG_QUALITY, 30])[1],
        cv2.IMREAD_COLOR,
    ),
}


@pytest.fixture(scope="module")
def originals() -> list[LocalFeatures]:
    return [local_features(detailed(seed, SIDE)) for seed in range(ORIGINALS)]


def of_two(related: RelatedPairs, left: int, right: int) -> int:
    """How two images are related, 0 where they are not."""
    found = [
        int(r)
        for pair, r in zip(related.pairs.tolist(), related.relation, strict=True)
        if pair == [left, right]
    ]
    assert len(found) <= 1
    return found[0] if found else 0


def test_copies_of_every_kind_are_found_and_no_others(originals: list[LocalFeatures]) -> None:
    copies = [
        local_features(np.ascontiguousarray(change(detailed(n, SIDE))))
        for n, change in enumerate(CHANGES.values())
    ]
    related = related_pairs([*originals, *copies])
    missed = [name for n, name in enumerate(CHANGES) if not of_two(related, n, ORIGINALS + n) & COPY]
    assert missed == []
    own = {(n, ORIGINALS + n) for n in range(len(CHANGES))}
    assert {tuple(pair) for pair in related.pairs.tolist()} == own
    assert (related.score > 0.3).all()
    assert related.score.dtype == np.float32
    assert related.relation.dtype == np.uint8


def test_unlike_images_are_not_related(originals: list[LocalFeatures]) -> None:
    assert len(related_pairs(originals).pairs) == 0


def test_a_still_camera_shows_one_scene(originals: list[LocalFeatures]) -> None:
    frames = []
    for at in (10, 70, 130):
        frame = detailed(100, SIDE)
        frame[80:140, at : at + 60] = detailed(101, 60)
        frames.append(local_features(frame))
    related = related_pairs([*originals, *frames])
    for left, right in ((0, 1), (1, 2)):
        how = of_two(related, ORIGINALS + left, ORIGINALS + right)
        assert how & SCENE
        assert how & COPY


def test_overlapping_parts_are_parts(originals: list[LocalFeatures]) -> None:
    whole = detailed(200, 280)
    parts = [local_features(whole[:, :190]), local_features(whole[:, 90:])]
    how = of_two(related_pairs([*originals, *parts]), ORIGINALS, ORIGINALS + 1)
    assert how & PART
    assert how & COPY


def test_a_crop_is_no_part_beside_others(originals: list[LocalFeatures]) -> None:
    crop = local_features(np.ascontiguousarray(detailed(0, SIDE)[40:160, 40:160]))
    assert of_two(related_pairs([*originals, crop]), 0, ORIGINALS) == COPY


def test_workers_and_repetition_change_nothing(originals: list[LocalFeatures]) -> None:
    images = [*originals[:10], *(local_features(turned(detailed(n, SIDE), 20)) for n in range(4))]
    one, two = related_pairs(images, workers=1), related_pairs(images, workers=3)
    for left, right in zip(one, two, strict=True):
        assert np.array_equal(left, right)
    assert len(one.pairs) == 4


def test_nothing_and_featureless_images_are_fine() -> None:
    blank = local_features(np.full((100, 100, 3), 120, np.uint8))
    for images in ([], [blank], [blank, blank]):
        related = related_pairs(images)
        assert related.pairs.shape == (0, 2)
        assert len(related.relation) == len(related.score) == 0


def test_proposed_pairs_are_ordered(originals: list[LocalFeatures]) -> None:
    copies = [local_features(turned(detailed(n, SIDE), 10)) for n in range(5)]
    pairs = feature_pairs([*originals, *copies])
    assert (pairs.left < pairs.right).all()
    assert (pairs.votes >= 3).all()
    assert {(n, ORIGINALS + n) for n in range(5)} <= set(
        zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)
    )
