"""Batches keep the order of their rows whatever the threads do, and hand errors on."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.loading.prefetch import batches, each, loader_pool

SIZE = 2


def image(row: int) -> np.ndarray:
    return np.full((SIZE, SIZE, 3), row % 251, np.uint8)


@given(st.integers(0, 30), st.integers(2, 12), st.integers(1, 6), st.integers(0, 99), st.booleans())
def test_rows_come_in_order_each_with_its_own_image(
    n: int, batch: int, threads: int, seed: int, drop: bool
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.permutation(1000)[:n].astype(np.int64)
    waits = dict(zip(rows.tolist(), rng.uniform(0, 0.0005, n), strict=True))

    def load(row: int) -> np.ndarray:
        time.sleep(waits[row])
        return image(row)

    with loader_pool(threads) as pool:
        found = [
            (part.copy(), images.clone())
            for part, images in batches(pool, rows, batch, (SIZE, SIZE, 3), each(load), drop_last=drop)
        ]
    told = np.concatenate([part for part, _ in found]) if found else rows[:0]
    lone = drop and n > batch and n % batch == 1
    assert told.tolist() == rows[: n - 1 if lone else n].tolist()
    assert all(len(part) == batch for part, _ in found[:-1])
    for part, images in found:
        assert images.shape == (len(part), SIZE, SIZE, 3)
        assert images[:, 0, 0, 0].tolist() == [row % 251 for row in part]


def test_a_faulty_image_is_raised_to_the_reader_and_the_threads_end() -> None:
    def load(row: int) -> np.ndarray:
        if row == 37:
            raise OSError("row 37 is broken")
        return image(row)

    before = threading.active_count()
    seen: list[int] = []

    def read_all() -> None:
        with loader_pool(3) as pool:
            seen.extend(
                len(part) for part, _ in batches(pool, np.arange(100), 10, (SIZE, SIZE, 3), each(load))
            )

    with pytest.raises(OSError, match="row 37"):
        read_all()
    assert seen == [10, 10, 10]
    assert threading.active_count() == before


def test_an_interrupted_reader_does_not_wait_for_what_is_not_begun() -> None:
    loaded: list[int] = []

    def load(row: int) -> np.ndarray:
        loaded.append(row)
        time.sleep(0.01)
        return image(row)

    def interrupted() -> None:
        with loader_pool(1) as pool:
            next(batches(pool, np.arange(400), 40, (SIZE, SIZE, 3), each(load)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(loaded) < 200
