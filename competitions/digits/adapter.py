"""scikit-learn's bundled scans: 1,797 digits of 8x8 pixels, a fifth of them held out as the test set.

The hold-out is chosen by SHA-256 of the pixels, so it is the same everywhere and does not move.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comp.data import ArraySource, Manifest, Sample

TEST_SHARE = 0.2


@cache
def _scans() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Grey scans as RGB uint8 (1797, 8, 8, 3), and their digits."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.round(digits.images / 16 * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3), digits.target.astype(np.int64)


def _held_out(pixels: NDArray[np.uint8]) -> bool:
    """Whether a scan is of the test set: the first 32 bits of its SHA-256, as a share of all there are."""
    return int.from_bytes(hashlib.sha256(pixels.tobytes()).digest()[:4], "big") / 2**32 < TEST_SHARE


def read(raw: Path) -> Manifest:
    images, targets = _scans()
    samples = []
    for row, (pixels, target) in enumerate(zip(images, targets.tolist(), strict=True)):
        if _held_out(pixels):
            samples.append(Sample(f"{row:04}", f"digits#{row}", "test"))
        else:
            samples.append(Sample(f"{row:04}", f"digits#{row}", "train", str(target)))
    return Manifest.from_samples(samples)


def source(raw: Path) -> ArraySource:
    return ArraySource({"digits": _scans()[0]})


def answers(raw: Path) -> dict[str, str]:
    """The digits of the held-out scans, by id."""
    images, targets = _scans()
    return {f"{row:04}": str(targets[row]) for row, pixels in enumerate(images) if _held_out(pixels)}


def sample(raw: Path, seed: int) -> None:
    """Nothing to write: the scans come with scikit-learn."""
    raw.mkdir(parents=True, exist_ok=True)
