"""What a task says of labels, truth and predictions."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comp.data.task import SINGLE_LABEL, TASKS, Task, numbers
from comp.errors import InputError, UnknownName

SEVERAL, SCALE = Task("multi-label"), Task("ordinal")
HEIGHTS = Task("regression", (0.0, -5.0), (10.0, 5.0))
INDEX = {"a": 0, "b": 1, "c": 2}


def test_truth_of_several_labels_is_a_column_each() -> None:
    truth = SEVERAL.truth(["a|c", "", "b", " c | a "], INDEX)
    assert truth.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert SEVERAL.parts("") == []
    assert SEVERAL.takes_no_label


@pytest.mark.parametrize("task", [SINGLE_LABEL, SCALE])
def test_truth_of_one_class_is_its_index(task: Task) -> None:
    assert task.truth(["c", "a"], INDEX).tolist() == [2, 0]
    assert task.parts("a|b") == ["a|b"]  # a name may have the separator
    assert not task.takes_no_label
    with pytest.raises(UnknownName):
        task.truth([""], INDEX)


def test_truth_of_numbers_has_a_column_for_each() -> None:
    assert HEIGHTS.truth(["1.5|-2", "3|1e0"], {"x": 0, "y": 1}).tolist() == [[1.5, -2], [3, 1]]
    for cell in ("1", "1|2|3", "", "1|nan", "inf|1", "1|one"):
        with pytest.raises(InputError, match="a label of a regression is 2 finite numbers"):
            HEIGHTS.truth([cell], {"x": 0, "y": 1})


def test_an_unknown_name_of_several_is_named() -> None:
    with pytest.raises(UnknownName, match="'d'"):
        SEVERAL.truth(["a|d"], INDEX)


@pytest.mark.parametrize(
    ("task", "width", "low", "high"),
    [
        (SINGLE_LABEL, 3, [0, 0, 0], [1, 1, 1]),
        (SEVERAL, 3, [0, 0, 0], [1, 1, 1]),
        (SCALE, 1, [0], [2]),
        (Task("regression", (0.0, 0.0, 1.0), (1.0, 2.0, 3.0)), 3, [0, 0, 1], [1, 2, 3]),
    ],
)
def test_the_columns_of_predictions_and_their_bounds(
    task: Task, width: int, low: list[float], high: list[float]
) -> None:
    assert task.width(3) == width
    lowest, highest = task.bounds(3)
    assert (lowest.tolist(), highest.tolist()) == (low, high)


@pytest.mark.parametrize("task", [SINGLE_LABEL, SEVERAL, SCALE, HEIGHTS])
def test_a_task_comes_back_from_json(task: Task) -> None:
    assert Task.of_json(json.loads(json.dumps(task.as_json()))) == task
    assert task.name in TASKS


def test_what_says_no_task_is_a_single_label_and_what_is_none_is_refused() -> None:
    assert Task.of_json(None) == SINGLE_LABEL
    with pytest.raises(ValueError, match="no task is called 'several'"):
        Task.of_json({"name": "several", "low": [], "high": []})
    for facts in ({}, {"name": "ordinal"}):
        with pytest.raises(KeyError):
            Task.of_json(facts)


def test_strata_of_several_labels_are_the_rarest_of_each_row() -> None:
    cells = ["a", "a|b", "a", "", "a|b|c", "b"]
    assert SEVERAL.strata(cells) == ["a", "b", "a", "", "c", "b"]
    assert SEVERAL.strata(["b|a", "a|b"]) == ["a", "a"]  # of equals the first name
    assert SINGLE_LABEL.strata(["a", "b"]) == ["a", "b"]


@settings(max_examples=20)
@given(st.lists(st.floats(-1e6, 1e6), min_size=20, max_size=60), st.randoms(use_true_random=False))
def test_strata_of_numbers_are_parts_in_order_of_size(values: list[float], random: object) -> None:
    task = Task("regression", (-1e6,), (1e6,))
    found = task.strata([repr(v) for v in values])
    part = [int(name.removeprefix("part ")) for name in found]
    by_value = [p for _, p in sorted(zip(values, part, strict=True))]
    assert by_value == sorted(by_value)
    assert all(len({p for v, p in zip(values, part, strict=True) if v == one}) == 1 for one in values)
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert task.strata([repr(values[n]) for n in order]) == [found[n] for n in order]


def test_distinct_numbers_are_dealt_to_tenths() -> None:
    found = Task("regression", (0.0,), (99.0,)).strata([str(n) for n in range(100)])
    assert sorted({name: found.count(name) for name in found}.values()) == [10] * 10


def test_numbers_that_are_all_equal_are_one_part() -> None:
    assert len(set(HEIGHTS.strata(["3|1"] * 30))) == 1


@pytest.mark.parametrize("parts", [[], ["1", "2"], ["a"], ["nan"], ["-inf"]])
def test_what_is_no_number_is_refused(parts: list[str]) -> None:
    with pytest.raises(InputError, match="a finite number"):
        numbers(parts, 1)
