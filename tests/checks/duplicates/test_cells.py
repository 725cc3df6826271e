"""Cells give what comparing everything gives, in memory and on disk, and pairs are counted once."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from comp.checks.duplicates import candidates, cells, search, small_images
from comp.checks.duplicates.candidates import perceptual, signed_cosines
from comp.checks.duplicates.cells import (
    BestHits,
    Found,
    Windows,
    grouped,
    nearest_centres,
    nearest_grouped,
    nearest_windows,
    some_windows,
)
from comp.checks.duplicates.search import NearDuplicates, near_duplicate_pairs
from comp.errors import InputError

Halves = NDArray[np.float16]
PLANTED = 60


def described(count: int, windows: int = 3, dims: int = 6, more: int = 2, seed: int = 0) -> Halves:
    rng = np.random.default_rng(seed)
    all_of_it = rng.standard_normal((count, windows, dims + more))
    all_of_it[..., :dims] /= np.linalg.norm(all_of_it[..., :dims], axis=2, keepdims=True)
    return all_of_it.astype(np.float16)


def windows_of(all_of_it: Halves, asked: tuple[int, ...] = (0, 2), probes: int = 4) -> Windows:
    count, windows, width = all_of_it.shape
    return Windows(count, windows, asked, width - 2, lambda rows: all_of_it[rows], probes)


def hits(images: Windows, cosine: float) -> set[tuple[int, int, int, int]]:
    found = nearest_windows(images, cosine, np.random.default_rng(0))
    columns = [part for f in found for part in zip(*(column.tolist() for column in f[:4]), strict=True)]
    assert len(columns) == len(set(columns))
    return set(columns)


def fingerprints(count: int, side: int = 40) -> NDArray[np.uint8]:
    """Coloured smooth images, `PLANTED` of them mirrored and cropped copies of the first ones, at the end."""
    images = []
    for seed in range(count - PLANTED):
        coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        images.append(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC))
    images += [np.ascontiguousarray(image[2:, ::-1]) for image in images[:PLANTED]]
    return np.stack([perceptual(image) for image in images])


def found_of(found: NearDuplicates, count: int) -> int:
    got = set(map(tuple, found.pairs.tolist()))
    return sum((n, count - PLANTED + n) in got for n in range(PLANTED))


@pytest.fixture(scope="module")
def some_fingerprints() -> NDArray[np.uint8]:
    return fingerprints(400)


def small_steps(monkeypatch: pytest.MonkeyPatch, **others: int) -> None:
    """As if a few hundred images were a million."""
    steps = {"_LEAF": 100, "_FLAT": 10, "_IMAGES": 64, "_TOGETHER": 2, **others}
    for name, value in steps.items():
        monkeypatch.setattr(cells, name, value)


@given(count=st.integers(2, 60), cosine=st.floats(0.3, 0.95), seed=st.integers(0, 5))
def test_few_windows_are_all_compared(count: int, cosine: float, seed: int) -> None:
    all_of_it = described(count, seed=seed)
    flat = all_of_it[..., :6].astype(np.float64)
    near = np.einsum("iad,jbd->iajb", flat, flat)
    away = (np.abs(near - cosine) > 1e-4) | ~(near < 2)  # what is nearly there may fall either way
    wanted = {
        (i, a, j, b) for i, a, j, b in np.argwhere((near > cosine) & away).tolist() if i != j and a in (0, 2)
    }
    doubtful = set(map(tuple, np.argwhere(~away).tolist()))
    assert hits(windows_of(all_of_it), cosine) - doubtful == wanted - doubtful


def test_every_hit_comes_with_its_descriptions() -> None:
    all_of_it = described(50)
    for found in nearest_windows(windows_of(all_of_it), 0.8, np.random.default_rng(0)):
        assert np.array_equal(found.asking[found.row], all_of_it[found.asker, found.window])
        assert np.array_equal(found.answering[found.column], all_of_it[found.answer, found.place])
        cosine = (found.asking[found.row, :6].astype(float) * found.answering[found.column, :6]).sum(axis=1)
        assert np.abs(cosine - found.cosine).max() < 1e-3


@pytest.mark.parametrize("budget", [0, 1 << 30])
def test_cells_with_all_probes_find_all(budget: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMP_CACHE", str(tmp_path))
    all_of_it = described(300)
    every = hits(windows_of(all_of_it), 0.8)
    small_steps(monkeypatch, _FLAT=1000, _IN_MEMORY=budget)
    assert hits(windows_of(all_of_it, probes=9), 0.8) == every
    assert list(tmp_path.iterdir()) == []


def test_some_windows_are_those_that_were_chosen() -> None:
    all_of_it = described(40)
    chosen = np.random.default_rng(1).permutation(120)[:50]
    wanted = all_of_it.reshape(120, -1)[chosen, :6].astype(np.float32)
    assert np.array_equal(some_windows(windows_of(all_of_it), chosen), wanted)


def test_centres_in_groups_are_nearly_the_nearest() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((3000, 12)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    centres = points[:400]
    rows = np.arange(1000, 3000)
    exact = nearest_centres(points, rows, centres, 3)
    got = nearest_grouped(points, rows, grouped(centres), 3)
    assert (exact == got).mean() > 0.85
    assert all(len(set(three)) == 3 for three in got.tolist())


def test_on_disk_in_pieces_the_same_pairs(
    some_fingerprints: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COMP_CACHE", str(tmp_path))
    small_steps(monkeypatch)
    held = near_duplicate_pairs(some_fingerprints)
    monkeypatch.setattr(cells, "_IN_MEMORY", 0)
    spilled = near_duplicate_pairs(some_fingerprints)
    assert all(np.array_equal(one, other) for one, other in zip(held, spilled, strict=True))
    assert found_of(held, len(some_fingerprints)) >= 0.97 * PLANTED
    assert list(tmp_path.iterdir()) == []


def test_a_memory_mapped_file_gives_the_same_pairs(
    some_fingerprints: NDArray[np.uint8], tmp_path: Path
) -> None:
    np.save(tmp_path / "file.npy", some_fingerprints)
    mapped = np.load(tmp_path / "file.npy", mmap_mode="r")
    one, other = near_duplicate_pairs(some_fingerprints), near_duplicate_pairs(mapped)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_hits_that_are_merged_early_lose_no_copy(
    some_fingerprints: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "_WAITING", 200)
    assert found_of(near_duplicate_pairs(some_fingerprints), len(some_fingerprints)) >= 0.97 * PLANTED


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_line_and_leaves_nothing(
    some_fingerprints: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(dir: Path, **options: Any) -> Any:
        return Path("/dev/full").open("r+b", **options)

    monkeypatch.setenv("COMP_CACHE", str(tmp_path))
    monkeypatch.setattr(cells, "_IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(InputError, match="No space left"):
        near_duplicate_pairs(some_fingerprints)
    assert list(tmp_path.iterdir()) == []


def test_memory_grows_by_little_for_each_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMP_CACHE", str(tmp_path))
    small_steps(monkeypatch, _LEAF=500, _IN_MEMORY=0, _TOGETHER=1, _WAITING=5000, _BLOCK=64)
    for module, name in ((candidates, "_CHUNK"), (small_images, "_CHUNK"), (search, "_CHUNK")):
        monkeypatch.setattr(module, name, 64)
    monkeypatch.setattr(small_images, "_MOST_COUNTED", 256)
    monkeypatch.setattr(candidates, "_SAMPLE", 1000)

    def peak(count: int) -> int:
        made = fingerprints(count)
        tracemalloc.start()
        near_duplicate_pairs(made, workers=1)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    few, many = 600, 1800
    assert (peak(many) - peak(few)) / (many - few) < 1500


@given(
    st.lists(
        st.tuples(
            st.integers(0, 9), st.integers(0, 2), st.integers(0, 9), st.integers(0, 2), st.integers(0, 999)
        ),
        min_size=1,
        max_size=80,
        unique_by=lambda hit: hit[4],
    ),
    st.integers(1, 30),
)
def test_the_best_hits_do_not_depend_on_when_they_are_merged(
    hit: list[tuple[int, int, int, int, int]], room: int
) -> None:
    parts = [one for one in hit if one[0] != one[2]]

    def best(waiting: int) -> list[tuple[Any, ...]]:
        held = BestHits(windows_of(described(10)), 2, lambda _: 0.0)
        held._room = waiting
        for one in parts:
            asker, window, answer, place, cosine = (np.array([value]) for value in one)
            none = np.empty((0, 8), np.float16)
            level = cosine.astype(np.float32)
            held.add(
                Found(asker, window, answer, place, level, asker, asker, none, none),
                level,
                np.zeros(1, np.uint8),
            )
        result = held.best()
        return list(zip(*(c.tolist() for c in held.ends(result)), result.cosine.tolist(), strict=True))

    assert best(10_000) == best(room)
    closest: dict[tuple[int, int], int] = {}
    for asker, _, answer, _, cosine in parts:
        pair = (min(asker, answer), max(asker, answer))
        closest[pair] = max(closest.get(pair, -1), cosine)
    assert {cosine for *_, cosine in best(10_000)} <= set(closest.values())


def test_rough_cosines_with_signs_are_those_with_signs() -> None:
    rng = np.random.default_rng(0)
    still, turned = (rng.standard_normal((30, 64)).astype(np.float16) / 8 for _ in range(2))
    one, other = rng.integers(0, 30, (2, 500))
    exact = signed_cosines(still[one].reshape(-1, 8, 8), turned[other].reshape(-1, 8, 8)).max(axis=1)
    assert np.abs(candidates._roughly_signed(still, turned, one, other) - exact).max() < 1e-4
