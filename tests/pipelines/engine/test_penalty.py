"""The penalty of a probe: which values are solved, and that a better one must be better by more than chance."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.pipelines.engine.penalty import PATH, follow


@pytest.mark.parametrize(
    ("best", "asked"),
    [
        (0.1, [0.1, 0.03, 0.3]),  # a peak where it begins: both neighbours and no more
        (1.0, [0.1, 0.03, 0.3, 1.0]),
        (0.01, [0.1, 0.03, 0.01, 0.3]),
    ],
)
def test_the_path_is_followed_to_its_peak_and_no_further(best: float, asked: list[float]) -> None:
    seen = []

    def score(l2: float) -> float:
        seen.append(l2)
        return -abs(PATH.index(l2) - PATH.index(best))

    follow(PATH, PATH.index(0.1), score, operator.gt)
    assert seen == asked


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.data())
def test_nothing_is_solved_twice_and_the_best_of_one_peak_is_found(
    steps: list[int], data: st.DataObject
) -> None:
    peak = data.draw(st.integers(0, len(steps)))
    heights = [-sum(steps[min(n, peak) : max(n, peak)]) for n in range(len(steps) + 1)]
    start = data.draw(st.integers(0, len(steps)))
    seen: list[int] = []

    def score(at: float) -> float:
        seen.append(int(at))
        return heights[int(at)]

    follow(list(range(len(heights))), start, score, operator.gt)
    assert len(seen) == len(set(seen))
    assert start in seen
    if all(steps):  # no plateau that it would stop on
        assert peak in seen
