"""The label map: one name, one index."""

from __future__ import annotations

import pytest

from comp.data.labels import LabelMap
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
