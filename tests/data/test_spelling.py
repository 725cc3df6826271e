"""Spellings: what is one number, what is one word, and the order of names."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.csv_table import clean, folded, in_order, is_padded, listed, number_of, same_number, whole_of


@pytest.mark.parametrize(
    "text", ["1", "1.0", "1.00", "+1", "1e0", "1E0", "1.", "1,0", "\uff11", " 1", "1\u200b", "\u0661"]
)
def test_spellings_of_one_number(text: str) -> None:
    assert same_number(text) == number_of(text) == whole_of(text) == Decimal(1)


@pytest.mark.parametrize(
    "text", ["", "a", "1a", "1 2", "1.2.3", "0x1", "nan", "inf", "-", "1_0", "1e", "001.ring"]
)
def test_words_are_no_numbers(text: str) -> None:
    assert number_of(text) is None
    assert whole_of(text) is None
    assert not is_padded(text)


@pytest.mark.parametrize("text", ["01", "007", "00", "-01", "\uff10\uff11", "01.0"])
def test_zeros_in_front_make_a_code_that_is_no_other_number(text: str) -> None:
    assert is_padded(text)
    assert same_number(text) is None
    assert number_of(text) is not None


def test_values_of_numbers() -> None:
    assert [number_of(t) for t in ("-1", "\u22121", "0.5", ",5", "1,000", "1,00", "2e3")] == [
        Decimal(v) for v in ("-1", "-1", "0.5", "0.5", "1000", "1", "2000")
    ]
    assert whole_of("0.5") is None
    assert whole_of("9" * 5000) == Decimal("9" * 5000)
    assert not is_padded("0")
    assert not is_padded("0.5")


def test_numbers_stand_before_words_and_as_numbers() -> None:
    names = ["b", "10", "a", "9", "-1", "007", "0.5", "B", "2"]
    assert in_order(names) == ["-1", "0.5", "2", "007", "9", "10", "B", "a", "b"]
    assert in_order(map(str, range(12))) == [str(n) for n in range(12)]


@given(st.lists(st.text("019.ab -é", max_size=4), max_size=8), st.randoms())
def test_the_order_does_not_depend_on_the_order_before(names: list[str], random: object) -> None:
    mixed = list(names)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert in_order(mixed) == in_order(names)


def test_words_are_alike_but_for_case_and_what_stands_between() -> None:
    assert len({folded(t) for t in ("Big Cat", "big_cat", "BIG-CAT ", "big  cat", "\uff22ig cat")}) == 1
    assert folded("bigcat") != folded("big cat")
    assert clean("\ufeff e\u0301 ") == "\u00e9"


def test_a_long_list_and_long_names_are_cut() -> None:
    assert listed(["a", "b", "c"], most=2) == "'a', 'b' …"
    assert len(listed(["9" * 5000])) < 80
