"""Seeds for everything random, each derived from what it belongs to and from nothing else."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Draws = NDArray[np.float64]
_GOLDEN, _MIX1, _MIX2 = (np.uint64(v) for v in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def derive_seed(seed: int, *parts: object) -> int:
    """A 31-bit seed for a named purpose: the same for the same parts, on every machine and in any order of use."""
    text = "\x1f".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big") >> 1


def counter_uniforms(seed: int, rows: NDArray[np.int64], count: int) -> Draws:
    """Numbers in [0, 1), (R, ``count``), that follow from seed, row and place alone (SplitMix64, Steele et al. 2014):
    the same whatever other rows are in the batch.
    """
    with np.errstate(over="ignore"):
        start = _scrambled(np.uint64(seed) * _GOLDEN + rows.astype(np.uint64))  # (R,)
        places = (np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)[None, :]
        bits = _scrambled(start[:, None] + places)
    return (bits >> np.uint64(11)).astype(np.float64) / 2.0**53


def _scrambled(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)
