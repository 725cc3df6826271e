"""Parts of one image that were cut apart are paired; edges that only look alike are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from comp.checks.duplicates.adjoining import LONGEST, OuterLines, adjoining_pairs, outer_lines
from gallery import textured

Image = NDArray[np.uint8]


def pairs_of(images: list[Image]) -> set[tuple[int, int]]:
    return {(one, other) for one, other in adjoining_pairs([outer_lines(i) for i in images]).pairs.tolist()}


def encoded(image: Image) -> Image:
    buffer = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    return np.asarray(cv2.imdecode(buffer, cv2.IMREAD_COLOR), np.uint8)


@pytest.mark.parametrize("stored", [np.ascontiguousarray, encoded], ids=["as it is", "JPEG"])
def test_halves_and_tiles_are_paired_and_nothing_else(stored: type) -> None:
    across, down, tiles = textured(1), textured(2), textured(3)
    parts = [across[:, :100], across[:, 100:], down[:80], down[80:]]
    parts += [tiles[y : y + 80, x : x + 100] for y in (0, 80) for x in (0, 100)]
    images = [stored(part) for part in [*parts, *(textured(seed) for seed in range(10, 40))]]
    assert pairs_of(images) == {(0, 1), (2, 3), (4, 5), (6, 7), (4, 6), (5, 7)}


def test_the_score_is_how_well_the_detail_agrees() -> None:
    image = textured(1)
    found = adjoining_pairs([outer_lines(image[:, :100]), outer_lines(image[:, 100:])])
    assert found.pairs.tolist() == [[0, 1]]
    assert 0.5 < found.score[0] <= 1


def test_order_changes_nothing() -> None:
    image = textured(1)
    parts = [*(textured(seed) for seed in range(10, 16)), image[:, :100], image[:, 100:]]
    assert pairs_of(parts) == {(6, 7)}
    assert pairs_of(parts[::-1]) == {(0, 1)}


def test_an_image_is_no_neighbour_of_itself() -> None:
    once = textured(1)
    tileable = np.concatenate([once, once[:, ::-1]], axis=1)  # its right edge goes on at its left
    assert pairs_of([tileable, *(textured(seed, 160, 400) for seed in range(10, 20))]) == set()


def test_an_edge_that_goes_on_in_several_images_says_nothing() -> None:
    """A background that many images share."""
    image = textured(1)
    several = [image[:, 100:].copy() for _ in range(3)]
    for n, each in enumerate(several):
        each[:, 20:] = textured(20 + n)[:, :80]
    assert pairs_of([image[:, :100], *several]) == set()


def test_flat_edges_and_frames_say_nothing() -> None:
    flat = [textured(seed) for seed in range(4)]
    framed = [textured(seed) for seed in range(10, 14)]
    for image in flat:
        image[:] = np.where(np.indices(image.shape)[1] % 199 == 0, 255, image)  # white left and right edges
        image[:2] = image[-2:] = 255
    for image in framed:
        image[0] = image[-1] = image[:, 0] = image[:, -1] = np.arange(3) * 100
    assert pairs_of(flat + framed) == set()


def test_edges_of_unlike_length_are_not_compared() -> None:
    image = textured(1)
    assert pairs_of([image[:, :100], image[:-1, 100:]]) == set()


def test_long_lines_are_averaged_down() -> None:
    image = textured(1, 60, 3 * LONGEST - 5)
    lines = outer_lines(image)
    assert lines.top.shape == (2, (3 * LONGEST - 5) // 3, 3)
    assert lines.left.shape == (2, 60, 3)
    np.testing.assert_array_equal(lines.right, image[:, [-1, -2]].swapaxes(0, 1))
    assert lines.bottom[0, 0].tolist() == np.rint(image[-1, :3].mean(axis=0)).tolist()
    wide = textured(2, 240, 3 * LONGEST)
    assert pairs_of([wide[:120], wide[120:], *(textured(s, 120, 3 * LONGEST) for s in range(5, 9))]) == {
        (0, 1)
    }


def test_few_images_have_no_pairs() -> None:
    empty: list[OuterLines] = []
    assert adjoining_pairs(empty).pairs.shape == (0, 2)
    assert pairs_of([textured(1)]) == set()
    assert pairs_of([np.zeros((48, 48, 3), np.uint8)] * 3) == set()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(50, 150))
def test_wherever_it_is_cut(seed: int, at: int) -> None:
    image = textured(seed)
    others = [textured(seed + n, 160, 100) for n in range(1, 6)]
    assert pairs_of([image[:, :at], image[:, at:], *others]) <= {(0, 1)}
    assert pairs_of([image[:, :at], image[:, at:], *others]) == {(0, 1)}
