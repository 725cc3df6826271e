"""Numerals: one rule for what a number written as text is, whatever Python's own int and float would take or raise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.config import apply_override, as_overrides, finite_number, whole_number
from comp.errors import InputError


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("5", 5),
        ("-5", -5),
        ("-0", 0),
        (" \t12 ", 12),
        ("007", 7),
        ("-007", -7),
        ("000", 0),
        ("9" * 18, 10**18 - 1),
        ("-" + "9" * 18, 1 - 10**18),
        ("0" * 5_000 + "3", 3),  # zeros in front are none of the 18 digits
    ],
)
def test_whole_numbers(text: str, number: int) -> None:
    assert whole_number(text) == number


NO_WHOLE = [
    "", " ", "-", "--5", "+5", "5-", "- 5", "1 2", "1_0", "1.0", "1e3", "²", "٣", "５", "½", "x", "0x1", "nan", "inf",
    "1\n", "\u00a05", "1\0", "1" + "0" * 18, "9" * 25, "9" * 5_000, "-" + "9" * 5_000,
]  # fmt: skip


@pytest.mark.parametrize("text", NO_WHOLE)
def test_what_is_no_whole_number(text: str) -> None:
    assert whole_number(text) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0.0),
        ("0.25", 0.25),
        (".5", 0.5),
        ("5.", 5.0),
        ("+1", 1.0),
        ("-2.5", -2.5),
        ("1e-3", 0.001),
        ("1E+2", 100.0),
        (" 0.5\t", 0.5),
        ("1e-400", 0.0),
        ("0." + "3" * 398, 1 / 3),  # 400 letters
    ],
)
def test_finite_numbers(text: str, number: float) -> None:
    assert finite_number(text) == number


NO_NUMBER = [
    "", ".", "-", "+", "e5", ".e5", "1e", "1e+", "--5", "+-5", "1_0", "1,5", "1.2.3", "²", "٣", "５", "nan", "inf",
    "Infinity", "-inf", "1e400", "-1e400", "0x1p3", "1 2", "1\n", "1" * 401, "9" * 5_000, "0." + "3" * 399,
]  # fmt: skip


@pytest.mark.parametrize("text", NO_NUMBER)
def test_what_is_no_finite_number(text: str) -> None:
    assert finite_number(text) is None


@given(st.integers(-(10**18) + 1, 10**18 - 1))
def test_a_written_whole_number_comes_back(number: int) -> None:
    assert whole_number(str(number)) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_written_number_comes_back_bit_for_bit(number: float) -> None:
    found = finite_number(repr(number))
    assert found == number
    assert math.copysign(1, found) == math.copysign(1, number)


@given(st.text("0123456789+-._e²٣ \t\n", max_size=6))
def test_no_text_raises_and_none_is_read_otherwise_than_python_reads_it(text: str) -> None:
    whole, number = whole_number(text), finite_number(text)
    assert whole is None or whole == int(text)
    assert number is None or number == float(text)
    if whole is not None:
        assert number == whole


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
VALUES = st.recursive(
    st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), VALUES, max_size=4))
def test_a_mapping_of_overrides_gives_back_its_values(values: dict[str, object]) -> None:
    table: dict[str, object] = {}
    for text in as_overrides(values):
        apply_override(table, text)
    assert table == values


def test_tables_within_overrides_are_laid_over_key_by_key() -> None:
    table: dict[str, object] = {"optimizer": {"name": "AdamW", "lr": 0.1}}
    for text in as_overrides({"optimizer": {"lr": np.float32(0.5)}, "epochs": np.int64(3)}):
        apply_override(table, text)
    assert table == {"optimizer": {"name": "AdamW", "lr": 0.5}, "epochs": 3}
    assert as_overrides(["a=1"]) == ["a=1"]
    assert as_overrides("a=1") == ["a=1"]
    with pytest.raises(InputError, match=r"views: NoneType None"):
        as_overrides({"views": None})
