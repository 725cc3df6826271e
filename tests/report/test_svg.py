"""Plots: every point where its value says, text escaped, ticks round, odd values left out."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.report import svg

FINITE = st.floats(-1e9, 1e9, allow_nan=False)
LARGE = 1e30  # so large that a half beside it is nothing


def parsed(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup)


def test_a_point_lies_where_its_value_says() -> None:
    drawn = svg.chart(
        [svg.Line("one", [0.0, 1.0], [0.0, 10.0])],
        "x",
        "y",
        description="two points",
        x_range=(0, 1),
        y_range=(0, 10),
    )
    circles = parsed(drawn).findall("circle")
    at = [(float(c.get("cx") or 0), float(c.get("cy") or 0)) for c in circles]
    assert at == [
        (svg.LEFT, svg.HEIGHT - svg.BOTTOM),
        (svg.WIDTH - svg.RIGHT, svg.TOP),
    ]
    assert parsed(drawn).get("aria-label") == "two points"


@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=80))
def test_whatever_the_values_all_points_are_on_the_sheet(points: list[tuple[float, float]]) -> None:
    line = svg.Line("some", [x for x, _ in points], [y for _, y in points])
    drawn = parsed(svg.chart([line], "x", "y", description="some"))
    (path,) = drawn.findall("polyline")
    for x, y in (map(float, pair.split(",")) for pair in (path.get("points") or "").split()):
        assert svg.LEFT - 1 <= x <= svg.WIDTH - svg.RIGHT + 1
        assert svg.TOP - 1 <= y <= svg.HEIGHT - svg.BOTTOM + 1


def test_values_that_are_no_numbers_are_left_out() -> None:
    line = svg.Line("holes", [1, 2, 3], [1.0, math.nan, math.inf])
    drawn = parsed(svg.chart([line], "x", "y", description="holes"))
    assert len(drawn.findall("circle")) == 1
    assert "nan" not in str(ElementTree.tostring(drawn))


def test_values_that_are_all_one_large_number_are_drawn() -> None:
    drawn = parsed(svg.chart([svg.Line("one", [1, 2], [LARGE, LARGE])], "x", "y", description="one"))
    assert len(drawn.findall("circle")) == 2


def test_nothing_to_draw_is_an_empty_plot() -> None:
    assert parsed(svg.chart([], "x", "y", description="nothing")).findall("circle") == []


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(2)>'])
def test_names_are_text(name: str) -> None:
    line = svg.Line(name, [1, 2], [1, 2])
    for drawn in (
        svg.chart([line], name, name, description=name, marks=[(1, name)]),
        svg.bars([(name, (0.5,))], (name,), description=name),
        svg.legend([(name, 0)]),
    ):
        assert "<script" not in drawn
        assert "<img" not in drawn
        parsed(drawn)


def test_bars_are_as_long_as_their_values() -> None:
    drawn = parsed(svg.bars([("a", (1.0, 0.5)), ("b", (0.25, 0.0))], ("one", "two"), description="bars"))
    wide = [float(bar.get("width") or 0) for bar in drawn.findall("rect")]
    assert [round(w / wide[0], 2) for w in wide] == [1.0, 0.5, 0.25, 0.0]


@given(FINITE, st.floats(1e-6, 1e6))
def test_ticks_are_few_and_within(low: float, apart: float) -> None:
    scale = svg.Scale(low, low + max(apart, abs(low) * 1e-6), 0, 100)
    ticks = svg._ticks(scale)
    assert 1 <= len(ticks) <= 9
    step = (scale.high - scale.low) * 1e-6
    assert all(scale.low - step <= tick <= scale.high + step for tick in ticks)


@pytest.mark.parametrize(
    ("values", "expected"), [([1, 2], ["1", "2"]), ([1, 2, 3], ["1", "2", "3"]), ([0.0, 1.5], None)]
)
def test_runs_and_epochs_are_counted_in_whole_numbers(
    values: list[float], expected: list[str] | None
) -> None:
    drawn = parsed(
        svg.chart([svg.Line("one", values, [0.0] * len(values))], "epoch", "loss", description="a line")
    )
    words = [text.text for text in drawn.findall("text") if text.get("class") == "middle small"]
    assert words == expected if expected else "0.5" in words


def test_numbers_are_short() -> None:
    assert [svg._number(v) for v in (0, 0.25, 12345.678, 1e-5, 2e6, math.nan)] == [
        "0",
        "0.25",
        "12346",
        "1e-5",
        "2e6",
        "–",
    ]
    assert re.fullmatch(r"x{19}…", svg._short("x" * 50, 20))
