"""The perceptual fingerprint: what of a picture is kept so that near duplicates can be found later.

A fingerprint is a thumbnail, not a hash. The image is squashed to 32x32 luma and 8x8 chroma by area
averaging (which is what makes it deaf to re-encoding and resizing), and its native height and width are
kept beside it, because how much two small thumbnails can prove depends on how much picture there was.
Everything that a search or a comparison needs is worked out from it in bulk by `near_duplicates`, so a
change of method there asks for no second decode.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

LUMA_SIDE: Final = 32
CHROMA_SIDE: Final = 8
_LUMA: Final = LUMA_SIDE * LUMA_SIDE
_CHROMA: Final = CHROMA_SIDE * CHROMA_SIDE
FINGERPRINT_BYTES: Final = _LUMA + 2 * _CHROMA + 4

Fingerprint = NDArray[np.uint8]


def perceptual(image: NDArray[np.uint8]) -> Fingerprint:
    """Reduce one decoded picture to its fingerprint.

    `image` is uint8 RGB, (H, W, 3) with H, W >= 1; it is not changed. Returns uint8 of shape (1156,):
    32x32 luma, 8x8 Cr and 8x8 Cb (row by row, BT.601), then H and W as little-endian uint16 (65535 where
    larger). Deterministic, and safe to call from several threads at once.

    Raises TypeError where the dtype is not uint8, ValueError where the shape is not (H, W, 3).
    """
    if image.dtype != np.uint8:
        raise TypeError(f"image must be uint8 RGB, got dtype {image.dtype}: convert it before fingerprinting")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image must have shape (H, W, 3), got {image.shape}: decode it as RGB")
    height, width = image.shape[:2]
    ycc = cv2.cvtColor(_squash(image), cv2.COLOR_RGB2YCrCb)
    step = LUMA_SIDE // CHROMA_SIDE
    blocks = ycc[:, :, 1:].reshape(CHROMA_SIDE, step, CHROMA_SIDE, step, 2)
    chroma = (blocks.sum(axis=(1, 3), dtype=np.uint16) + step * step // 2) // (step * step)

    fingerprint = np.empty(FINGERPRINT_BYTES, np.uint8)
    fingerprint[:_LUMA] = ycc[:, :, 0].ravel()
    fingerprint[_LUMA:-4] = chroma.transpose(2, 0, 1).ravel()
    size = np.array([min(height, 65535), min(width, 65535)], "<u2")
    fingerprint[-4:] = size.view(np.uint8)
    return fingerprint


def luma(fingerprints: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The luma thumbnails of fingerprints (N, 1156): uint8 (N, 32, 32), a view where numpy can give one."""
    return fingerprints[:, :_LUMA].reshape(-1, LUMA_SIDE, LUMA_SIDE)


def chroma(fingerprints: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The chroma thumbnails of fingerprints (N, 1156): uint8 (N, 2, 8, 8), Cr then Cb, 128 = no colour."""
    return fingerprints[:, _LUMA:-4].reshape(-1, 2, CHROMA_SIDE, CHROMA_SIDE)


def native_size(fingerprints: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Height and width before the squash, of fingerprints (N, 1156): uint16 (N, 2), in pixels."""
    return np.ascontiguousarray(fingerprints[:, -4:]).view("<u2").astype(np.uint16, copy=False)


def _squash(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) to (32, 32, 3): area averages along a side that shrinks, linear along one that grows."""
    height, width = image.shape[:2]
    small = (min(width, LUMA_SIDE), min(height, LUMA_SIDE))
    if small != (width, height):
        image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
    if small != (LUMA_SIDE, LUMA_SIDE):
        whole = (LUMA_SIDE, LUMA_SIDE)
        image = np.asarray(cv2.resize(image, whole, interpolation=cv2.INTER_LINEAR), np.uint8)
    return image
