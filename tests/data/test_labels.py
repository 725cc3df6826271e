"""The label map: one name, one index."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.labels import LabelMap, regression_labels, tidy_labels
from comp.data.manifest import Manifest, Sample
from comp.data.task import Task
from comp.errors import InputError, UnknownName


def test_a_names_place_is_its_index() -> None:
    labels = LabelMap(("dog", "cat", "eel"))
    assert labels.encode(["eel", "dog", "cat"]).tolist() == [2, 0, 1]
    assert "cat" in labels
    assert "cow" not in labels


def test_discovered_labels_are_sorted_whatever_their_order_and_numbers_as_numbers() -> None:
    assert LabelMap.discover(["b", "10", "a", "9", "b"]).names == ("9", "10", "a", "b")
    assert LabelMap.discover(map(str, reversed(range(12)))).names == tuple(map(str, range(12)))
    assert LabelMap.discover(["5", "1", "10", "-2"]).names == ("-2", "1", "5", "10")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("a", "b", "a"), "twice in the label map: a"),
        (("a",), "two classes"),
        ((), "two classes"),
        (("a", ""), "empty"),
    ],
)
def test_faulty_label_maps_are_refused(names: tuple[str, ...], told: str) -> None:
    with pytest.raises(InputError) as error:
        LabelMap(names)
    assert told in str(error.value)


def test_an_unknown_name_lists_near_ones() -> None:
    with pytest.raises(UnknownName, match="did you mean giraffe"):
        LabelMap(("dog", "giraffe")).index("girafe")


SEVERAL = Task("multi-label")


def test_a_label_map_of_several_labels_discovers_each_name_and_may_have_one() -> None:
    assert LabelMap.discover(["b|a", "", "c|a"], SEVERAL).names == ("a", "b", "c")
    one = LabelMap(("tumour",), SEVERAL)
    assert (one.width, one.columns, one.encode(["", "tumour"]).tolist()) == (1, ("tumour",), [[0.0], [1.0]])
    with pytest.raises(InputError, match=r"no class of several has a \| in its name"):
        LabelMap(("a|b", "c"), SEVERAL)
    assert len(LabelMap(("a|b", "c"))) == 2  # of a single label it may


def test_a_scale_answers_in_one_column() -> None:
    grades = LabelMap(("0", "1", "2", "3"), Task("ordinal"))
    assert (grades.width, grades.columns, grades.span.tolist()) == (1, ("0 < 1 < 2 < 3",), [3.0])
    assert grades.encode(["3", "0"]).tolist() == [3, 0]
    with pytest.raises(InputError, match="two classes"):
        LabelMap(("0",), Task("ordinal"))


def test_label_maps_of_other_tasks_are_others() -> None:
    assert LabelMap(("a", "b")) != LabelMap(("a", "b"), SEVERAL)
    assert LabelMap(("y",), Task("regression", (0.0,), (1.0,))) != LabelMap(
        ("y",), Task("regression", (0.0,), (2.0,))
    )


@given(st.integers(0, 999), st.integers(1, 4))
def test_scaling_to_the_span_and_back_changes_nothing(seed: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.normal(0, 100, columns)
    high = low + rng.uniform(0.1, 50, columns)
    labels = LabelMap([f"y{n}" for n in range(columns)], Task("regression", tuple(low), tuple(high)))
    values = rng.uniform(low, high, (6, columns))
    scaled = labels.scaled(values)
    assert ((scaled >= 0) & (scaled <= 1)).all()
    assert np.allclose(labels.unscaled(scaled), values, rtol=0, atol=1e-9)
    assert np.allclose(labels.scaled(np.stack([low, high])), [[0] * columns, [1] * columns])
    assert np.allclose(labels.span, high - low)


def test_shares_of_each_task() -> None:
    assert LabelMap(("a", "b", "c")).shares(np.array([0, 0, 2, 0])).tolist() == [0.75, 0, 0.25]
    several = LabelMap(("a", "b"), SEVERAL)
    assert several.shares(several.encode(["a|b", "a", "", "a"])).tolist() == [0.75, 0.25]
    assert LabelMap(("0", "1"), Task("ordinal")).shares(np.array([1, 1, 0, 1])).tolist() == [0.25, 0.75]
    assert LabelMap(("y",), Task("regression", (0.0,), (1.0,))).shares(np.ones((3, 1))).shape == (0,)


def numbered(*cells: str) -> pd.DataFrame:
    return pd.DataFrame({"id": [f"s{n}" for n in range(len(cells))], "label": cells})


def test_a_regression_is_bounded_by_the_facts_or_by_its_labels() -> None:
    rows = numbered("1|5", "3|-2", "2|0")
    free = regression_labels(("x", "y"), rows, None)
    assert (free.task.low, free.task.high) == ((1.0, -2.0), (3.0, 5.0))
    stated = regression_labels(("x", "y"), rows, (-10.0, 10.0))
    assert (stated.task.low, stated.task.high) == ((-10.0, -10.0), (10.0, 10.0))


@pytest.mark.parametrize(
    ("cells", "bounds", "told"),
    [
        (("1", "two"), None, "row 's1' has 'two'"),
        (("1", ""), None, "row 's1' has ''"),
        (("1", "2|3"), None, "row 's1' has '2|3'"),
        (("1", "nan"), None, "row 's1' has 'nan'"),
        (("1", "11"), (0.0, 10.0), "labels go from 1 to 11, `range` from 0 to 10"),
        (("-1", "1"), (0.0, 10.0), "labels go from -1 to 1"),
        (("4", "4"), None, "every label of 'y' is 4"),
    ],
)
def test_labels_that_are_no_numbers_of_the_range_are_refused(
    cells: tuple[str, ...], bounds: tuple[float, float] | None, told: str
) -> None:
    with pytest.raises(InputError) as error:
        regression_labels(("y",), numbered(*cells), bounds)
    assert told in str(error.value)


def test_labels_that_are_all_one_number_are_taken_within_a_stated_range() -> None:
    assert regression_labels(("y",), numbered("4", "4"), (0.0, 5.0)).task.high == (5.0,)


def manifest_of(*cells: str) -> Manifest:
    return Manifest.from_samples(Sample(f"s{n}", f"{n}.png", "train", cell) for n, cell in enumerate(cells))


def test_each_of_several_labels_is_spelled_as_the_label_map_has_it() -> None:
    tidy = tidy_labels(manifest_of("Scab| rust", "healthy", "", "RUST"), ("scab", "rust", "healthy"), SEVERAL)
    assert list(tidy.table["label"]) == ["scab|rust", "healthy", "", "rust"]
    assert "2 labels read in another spelling" in tidy.notes[0]


def test_a_slip_among_several_labels_is_read_as_the_usual_spelling_and_remarked() -> None:
    cells = ["rust|scab"] * 15 + ["Rust|scab", "scab"]
    tidy = tidy_labels(manifest_of(*cells), None, SEVERAL)
    assert set(tidy.table["label"]) == {"rust|scab", "scab"}
    assert [one.rows for one in tidy.remarks] == [("s15",)]


def test_numbers_stay_as_they_are() -> None:
    manifest = manifest_of("1.0", "1", "01")
    assert tidy_labels(manifest, None, Task("regression", (0.0,), (1.0,))) is manifest
