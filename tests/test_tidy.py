"""Labels with stray spaces, case and a BOM."""

from __future__ import annotations

from collections import Counter

import pytest

from comp.manifest import Manifest, Sample
from comp.tidy import spellings, tidy_labels


@pytest.mark.parametrize("found", [" dog", "dog\t", "\ufeffdog", "DOG", "Dog ", "dog\u200b"])
def test_a_label_map_says_how_labels_are_spelled(found: str) -> None:
    assert spellings(Counter([found]), ("cat", "dog"))[found] == "dog"


def test_a_label_that_fits_two_classes_but_for_case_stays_as_it_is() -> None:
    assert spellings(Counter(["dOG", "Dog"]), ("dog", "Dog")) == {"dOG": "dOG", "Dog": "Dog"}


def test_a_label_that_fits_none_stays_for_the_checks_to_name() -> None:
    assert spellings(Counter(["dgo"]), ("dog",)) == {"dgo": "dgo"}


def test_without_a_label_map_a_rare_spelling_is_a_slip_and_a_common_one_a_class() -> None:
    assert spellings(Counter({"HJ": 50, "hj": 2, "HJ ": 3}), None) == {"HJ": "HJ", "hj": "HJ", "HJ ": "HJ"}
    assert spellings(Counter({"a": 50, "A": 40}), None) == {"a": "a", "A": "A"}


def test_unicode_forms_are_one_label() -> None:
    assert spellings(Counter(["\u1109\u1161\u1100\u116a"]), ("사과",)) == {"\u1109\u1161\u1100\u116a": "사과"}


def test_what_was_tidied_is_noted_and_test_rows_stay_unlabelled() -> None:
    manifest = Manifest.from_samples(
        [Sample("1", "1", "train", "Dog "), Sample("2", "2", "train", "dog"), Sample("3", "3", "test")]
    )
    tidied = tidy_labels(manifest, ("dog", "cat"))
    assert list(tidied.table["label"]) == ["dog", "dog", ""]
    assert tidied.notes == ("1 labels read without stray spaces or case: 'Dog ' as 'dog'",)
    assert tidy_labels(tidied, ("dog", "cat")) is tidied
