"""Real images and weights for tests marked `real`: COMP_REAL_DATA names the folder of images; a test skips where it is not set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SET_WEIGHTS = os.environ.get("COMP_WEIGHTS", "")  # before tests lose what the developer has set


def real_folder(name: str) -> Path:
    """The raw folder `name` of COMP_REAL_DATA; skips the test where there is none."""
    folder = os.environ.get("COMP_REAL_DATA", "")
    if not folder or not (Path(folder) / name).is_dir():
        pytest.skip(f"COMP_REAL_DATA has no {name}")
    return Path(folder) / name


def use_real_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the test use COMP_WEIGHTS, or the folder `weights` beside COMP_REAL_DATA; skips it where there is neither."""
    beside = Path(os.environ.get("COMP_REAL_DATA", "")).resolve().parent / "weights"
    if not SET_WEIGHTS and not beside.is_dir():
        pytest.skip("COMP_WEIGHTS is not set, and no folder weights is beside COMP_REAL_DATA")
    monkeypatch.setenv("COMP_WEIGHTS", SET_WEIGHTS or str(beside))
