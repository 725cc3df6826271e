"""Checks of images that are arrays of numbers: planted faults are found, and a clean set is silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made import run_comp
from made_arrays import Rng, file_facts, make_files, write_competition


def write_counts(path: Path, label: int, rng: Rng) -> None:
    """16 bits about 20,000, a brighter part for label 1."""
    counts = rng.normal(20_000, 2_000, (16, 16))
    counts[4:8, 4:8] += 20_000 * label
    np.save(path, counts.astype(np.uint16))


def found(folder: Path, images: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code and findings by check, of the files under ``folder/data/counts``."""
    write_competition(folder, "counts", file_facts("npy", images))
    done = run_comp(folder, "check", "counts", "--json")
    return done.code, {one["check"]: one for one in done.json["findings"]}


@pytest.mark.parametrize(
    ("images", "is_clipped"), [("range = [0, 65535]", False), ("range = [0, 20000]", True)]
)
def test_values_outside_the_range_are_told(tmp_path: Path, images: str, is_clipped: bool) -> None:
    make_files(tmp_path / "data" / "counts", "npy", write_counts)
    code, checks = found(tmp_path, f"channels = 1\n{images}")
    assert code == 0
    assert ("clipped-values" in checks) == is_clipped
    assert "mixed-kinds" not in checks
    if is_clipped:
        assert checks["clipped-values"]["severity"] == "warning"
        share = float(checks["clipped-values"]["message"].split(" %")[0])
        every = [np.load(path) for path in (tmp_path / "data" / "counts").rglob("*.npy")]
        assert share == pytest.approx(100 * np.mean([np.mean(one > 20_000) for one in every]), abs=0.06)


def test_two_kinds_of_number_are_an_error_that_names_both(tmp_path: Path) -> None:
    make_files(tmp_path / "data" / "counts", "npy", write_counts)
    one = sorted((tmp_path / "data" / "counts" / "train").glob("*.npy"))[3]
    np.save(one, (np.load(one) / 65_535).astype(np.float32))
    code, checks = found(tmp_path, "channels = 1\nrange = [0, 65535]")
    assert code == 1
    assert checks["mixed-kinds"]["severity"] == "error"
    assert {"uint16", "float32"} <= set(checks["mixed-kinds"]["message"].replace(",", " ").split())
    assert f"train/{one.name}" in checks["mixed-kinds"]["message"]
