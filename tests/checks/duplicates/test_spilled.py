"""Arrays on disk are read back as they were written, leave nothing behind, and a full disk is one line."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.checks.duplicates.spilled import Spilled
from comp.errors import InputError


@given(
    width=st.integers(1, 7),
    rows=st.lists(st.integers(0, 20), min_size=1, max_size=5),
    cut=st.tuples(st.integers(0, 25), st.integers(0, 25)),
)
def test_slices_are_as_they_were_written(width: int, rows: list[int], cut: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((count, width)).astype(np.float16) for count in rows]
    with tempfile.TemporaryDirectory() as folder, Spilled(Path(folder)) as spilled:
        for array in arrays:
            spilled.append(array)
        for piece, array in reversed(list(enumerate(arrays))):
            assert np.array_equal(spilled.part(piece), array)
            assert np.array_equal(spilled.part(piece, *cut), array[cut[0] : cut[1]])


def test_a_missing_folder_is_made_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"

    def interrupted() -> None:
        with Spilled(folder) as spilled:
            spilled.append(np.ones((3, 4), np.float16)[:, ::2])
            assert spilled.part(0).tolist() == [[1, 1]] * 3
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="must be writable"):
        Spilled(tmp_path / "file")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(dir: Path, **options: Any) -> Any:
        return Path("/dev/full").open("r+b", **options)

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with Spilled(tmp_path) as spilled, pytest.raises(InputError) as told:
        spilled.append(np.zeros((10, 10), np.float16))
    assert "No space left" in str(told.value)
    assert "free some space" in str(told.value)
