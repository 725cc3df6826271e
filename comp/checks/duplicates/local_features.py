"""Local features of an image, by which a strongly changed copy is recognised: where they lie, and what is around them.

SIFT (Lowe 2004) on grey levels, with descriptors as RootSIFT (Arandjelovic and Zisserman 2012). SIFT knows turned,
resized and shifted images. A mirrored or negative image has the same descriptors with their 128 numbers in another
order, so four orders (`VARIANTS`) answer for all four.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

LEAST_SIDE: Final = 48  # pixels: smaller images have too few features, and `search` judges them as a whole
FEATURES: Final = 200  # of one image at most
DIMENSIONS: Final = 128
LONGEST: Final = 160  # pixels: larger images are reduced to it
_MOST_SEEN: Final = 600
_GRID: Final = 4  # features are taken evenly from 4 x 4 parts, so that one texture does not take all

_places = np.arange(DIMENSIONS).reshape(4, 4, 8)  # rows, columns and directions of a descriptor
_mirrored = _places[::-1][:, :, -np.arange(8) % 8]
_negative = _places[::-1, ::-1]
VARIANTS: Final = tuple(
    map(np.ravel, (_places, _mirrored, _negative, _mirrored.ravel()[_negative]))
)  # a bit 1 is mirrored, a bit 2 is negative


class LocalFeatures(NamedTuple):
    """The features of one image.

    `points` float32 (F, 4): x and y in pixels of `grey`, size in pixels, direction in degrees. `descriptors` uint8
    (F, 128): of length 255. `grey` uint8 (h, w): the image, reduced to 160 pixels at its longer side.
    """

    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]
    grey: NDArray[np.uint8]


def local_features(image: NDArray[np.uint8], most: int = FEATURES) -> LocalFeatures:
    """At most `most` features of an image, uint8 RGB (H, W, 3); none where its shorter side is under 48 pixels.

    Deterministic, and safe to call from several threads at once.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    if min(height, width) < LEAST_SIDE:
        return _none(np.asarray(grey, np.uint8))
    scale = LONGEST / max(height, width)
    if scale < 1:
        size = (max(8, round(width * scale)), max(8, round(height * scale)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    sift = cv2.SIFT.create(nfeatures=_MOST_SEEN, contrastThreshold=0.015, edgeThreshold=15)
    keypoints, descriptors = sift.detectAndCompute(grey, None)
    if not keypoints:
        return _none(np.asarray(grey, np.uint8))
    found = np.array([(*k.pt, k.size, k.angle, k.response) for k in keypoints], np.float32)
    chosen = _spread(found, (grey.shape[0], grey.shape[1]), most)
    some = np.asarray(descriptors, np.float32)[chosen]
    root = np.sqrt(some / np.maximum(some.sum(axis=1, keepdims=True), 1e-6))
    return LocalFeatures(
        found[chosen, :4], np.rint(root * 255).astype(np.uint8), np.asarray(grey, dtype=np.uint8)
    )


def _none(grey: NDArray[np.uint8]) -> LocalFeatures:
    return LocalFeatures(np.empty((0, 4), np.float32), np.empty((0, DIMENSIONS), np.uint8), grey)


def _spread(found: NDArray[np.float32], shape: tuple[int, int], most: int) -> NDArray[np.int64]:
    """The places of at most `most` features: the strongest of each part of the image in turn."""
    height, width = shape
    part = np.minimum(found[:, 1] * _GRID // height, _GRID - 1) * _GRID
    part += np.minimum(found[:, 0] * _GRID // width, _GRID - 1)
    order = np.lexsort((-found[:, 4] * np.sqrt(found[:, 2]), part))
    sizes = np.bincount(part.astype(np.int64), minlength=_GRID * _GRID)
    rank = np.empty(len(found), np.int64)
    rank[order] = np.arange(len(found)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    strength = np.argsort(-found[:, 4] * np.sqrt(found[:, 2]), kind="stable")
    return strength[np.argsort(rank[strength], kind="stable")][:most]
