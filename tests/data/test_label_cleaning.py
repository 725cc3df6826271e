"""Labels with stray spaces, case and a BOM."""

from __future__ import annotations

from collections import Counter

import pytest

from comp.data.labels import spellings, tidy_labels, without_test_labels
from comp.data.manifest import Manifest, Sample


@pytest.mark.parametrize("found", [" dog", "dog\t", "\ufeffdog", "DOG", "Dog ", "dog\u200b"])
def test_a_label_map_says_how_labels_are_spelled(found: str) -> None:
    assert spellings(Counter([found]), ("cat", "dog"))[found] == "dog"


def test_a_label_that_fits_two_classes_but_for_case_stays_as_it_is() -> None:
    assert spellings(Counter(["dOG", "Dog"]), ("dog", "Dog")) == {"dOG": "dOG", "Dog": "Dog"}


def test_a_label_that_fits_none_stays_for_the_checks_to_name() -> None:
    assert spellings(Counter(["dgo"]), ("dog",)) == {"dgo": "dgo"}


def test_without_a_label_map_a_rare_spelling_is_a_slip_and_a_common_one_a_class() -> None:
    assert spellings(Counter({"HJ": 50, "hj": 1, "HJ ": 3}), None) == {"HJ": "HJ", "hj": "HJ", "HJ ": "HJ"}
    assert spellings(Counter({"a": 50, "A": 40}), None) == {"a": "a", "A": "A"}


def test_two_spellings_that_have_several_rows_each_are_two_classes() -> None:
    assert spellings(Counter({"a": 40, "A": 3}), None) == {"a": "a", "A": "A"}
    assert spellings(Counter({"a": 40, "A": 2}), None) == {"a": "a", "A": "A"}
    assert spellings(Counter({"a": 10, "A": 1}), None) == {"a": "a", "A": "A"}
    assert spellings(Counter({"a": 11, "A": 1}), None) == {"a": "a", "A": "a"}


def test_numbers_are_read_as_the_stated_classes_spell_them() -> None:
    found = spellings(Counter(["1.0", "+0", "01", "3", "1"]), ("0", "1"))
    assert found == {"1.0": "1", "+0": "0", "01": "01", "3": "3", "1": "1"}
    assert spellings(Counter(["1"]), ("0.0", "1.0")) == {"1": "1.0"}
    assert spellings(Counter(["+1"]), ("1", "1.0")) == {"+1": "+1"}, "it could be either"
    assert spellings(Counter({"1": 40, "1.0": 1}), None) == {"1": "1", "1.0": "1.0"}, "nobody states which"


def test_unicode_forms_are_one_label() -> None:
    assert spellings(Counter(["\u1109\u1161\u1100\u116a"]), ("사과",)) == {"\u1109\u1161\u1100\u116a": "사과"}


def test_what_was_tidied_is_noted_and_test_rows_stay_unlabelled() -> None:
    manifest = Manifest.from_samples(
        [Sample("1", "1", "train", "Dog "), Sample("2", "2", "train", "dog"), Sample("3", "3", "test")]
    )
    tidied = tidy_labels(manifest, ("dog", "cat"))
    assert list(tidied.table["label"]) == ["dog", "dog", ""]
    assert tidied.notes == ("1 labels read in another spelling: 'Dog ' as 'dog'",)
    assert tidy_labels(tidied, ("dog", "cat")) is tidied


def rows(**labels: int) -> Manifest:
    """Rows with so many of each label."""
    every = [label for label, count in labels.items() for _ in range(count)]
    return Manifest.from_samples(
        [Sample(f"{label}{n}", str(n), "train", label) for n, label in enumerate(every)]
    )


def test_what_became_one_class_is_a_remark_with_both_counts() -> None:
    tidied = tidy_labels(rows(a=40, A=3, b=5), ("a", "b"))
    assert [(r.check, r.message) for r in tidied.remarks] == [
        ("label-spelling", "'A' (3 rows) read as 'a' (40 rows)")
    ]
    assert tidied.remarks[0].rows == ("A40", "A41", "A42")
    slip = tidy_labels(rows(a=40, A=1), None)
    assert [r.message for r in slip.remarks] == ["'A' (1 row) read as 'a' (40 rows)"]


def test_a_spelling_that_stands_alone_is_no_remark() -> None:
    assert tidy_labels(rows(Dog=9, cat=9), ("dog", "cat")).remarks == ()
    assert tidy_labels(rows(a=40, A=3), None).remarks == ()


def test_labels_of_test_rows_are_dropped_and_that_is_a_remark() -> None:
    table = [Sample("1", "1", "train", "dog"), Sample("2", "2", "test", "cat"), Sample("3", "3", "test")]
    dropped = without_test_labels(Manifest.from_samples(table))
    assert list(dropped.table["label"]) == ["dog", "", ""]
    assert [(r.check, r.rows) for r in dropped.remarks] == [("test-labels", ("2",))]
    assert dropped.remarks[0].message.startswith("1 of 2 test rows")
    assert without_test_labels(dropped) is dropped
