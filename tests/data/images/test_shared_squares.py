"""Squares that several networks share: the pixels that each would have fitted for itself, decoded once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comp.data.images.pixel_cache import ImageDataset, stores_folder
from comp.data.images.preprocess import Preprocess
from comp.data.images.shared_squares import SharedSquares, SquaredSource

SMALL = Preprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
OTHER = Preprocess(48, (0.4, 0.4, 0.4), (0.2, 0.2, 0.2), fit="squash")
PADDED = Preprocess(32, (0.9, 0.1, 0.1), (0.5, 0.5, 0.5), fit="pad")
LARGE = Preprocess(600, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
EVERY = [(SMALL, [SMALL, replace(SMALL, size=40)]), (OTHER, [OTHER]), (PADDED, [PADDED]), (LARGE, [LARGE])]


class Counted:
    """Images of 900×1000, and how often each was loaded."""

    def __init__(self) -> None:
        self.loaded = 0

    def load(self, path: str) -> np.ndarray:
        self.loaded += 1
        return np.random.default_rng(int(path)).integers(0, 255, (900, 1000, 3)).astype(np.uint8)


@pytest.fixture
def filled() -> tuple[SharedSquares, SquaredSource, Counted]:
    own = Counted()
    squares = SharedSquares(EVERY, 3)
    contents = {str(n): f"sha-{n}" for n in range(4)}
    for n in range(4):
        squares.put(f"sha-{n}", own.load(str(n)))
    own.loaded = 0
    return squares, SquaredSource(own, squares, contents), own


def test_the_squares_are_those_that_each_network_would_fit(
    filled: tuple[SharedSquares, SquaredSource, Counted],
) -> None:
    squares, source, own = filled
    for base, wanted in EVERY:
        kept = ImageDataset(source, ["0", "1", "2"], base, budget=0)
        plain = ImageDataset(Counted(), ["0", "1", "2"], base, budget=0)
        for row in range(3):
            for one, other in zip(kept.squares(row, wanted), plain.squares(row, wanted), strict=True):
                assert np.array_equal(one, other)
    assert own.loaded == 0
    squares.close()


def test_what_does_not_fit_is_decoded_each_time(filled: tuple[SharedSquares, SquaredSource, Counted]) -> None:
    squares, source, own = filled
    past = ImageDataset(source, ["3"], SMALL, budget=0)  # the fourth of three
    assert past.squares(0, [SMALL])[0].shape == (32, 32, 3)
    assert own.loaded == 1
    unknown = ImageDataset(source, ["0"], replace(SMALL, size=36), budget=0)
    assert unknown.squares(0, [replace(SMALL, size=36)])[0].shape == (36, 36, 3)
    assert own.loaded == 2
    squares.close()


def test_networks_that_differ_by_their_mean_alone_share() -> None:
    alike = replace(SMALL, mean=(0.1, 0.2, 0.3))
    with SharedSquares([(SMALL, [SMALL]), (alike, [alike])], 1) as squares:
        squares.put("sha", Counted().load("0"))
        assert squares.bytes == 32 * 32 * 3
        assert squares.get("sha", 768, [alike]) is not None


def test_nothing_stays_and_nothing_is_kept_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    with SharedSquares(EVERY, 3) as squares:
        assert len(list(stores_folder().glob(".part-*/squares.u8"))) == 1
        squares.put("sha", Counted().load("0"))
    assert squares.get("sha", None, [LARGE]) is None
    assert not list(stores_folder().glob(".part-*"))
    monkeypatch.setenv("COMP_CACHE_GB", "0")
    with SharedSquares(EVERY, 3) as none:
        none.put("sha", Counted().load("0"))
        assert none.bytes == 0
        assert none.get("sha", None, [LARGE]) is None


def test_where_nothing_can_be_written_each_decodes_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COMP_CACHE", str(tmp_path / "file"))
    with SharedSquares(EVERY, 3) as squares:
        squares.put("sha", Counted().load("0"))
        assert squares.get("sha", None, [LARGE]) is None
