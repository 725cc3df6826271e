"""Seeds for everything random, each derived from what it belongs to and from nothing else."""

from __future__ import annotations

import hashlib


def derive(seed: int, *parts: object) -> int:
    """A 31-bit seed for a named purpose: the same for the same parts, on every machine and in any order of use."""
    text = "\x1f".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
