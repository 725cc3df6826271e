"""The template: its rows are paired with samples only where there is one way to do it, and its spelling stays."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from comp.errors import InputError
from comp.names import nfc, without_suffix
from comp.template import paired

NAMES = st.lists(st.text("ab0é.가", min_size=1, max_size=4), min_size=1, max_size=10, unique_by=nfc)


def spelled(name: str, way: int) -> str:
    """A name in another spelling: with a suffix, decomposed, or both."""
    return unicodedata.normalize("NFD" if way & 1 else "NFC", name) + (".jpg" if way & 2 else "")


@given(NAMES, st.integers(0, 3), st.integers(0, 3), st.integers(0, 999))
def test_each_id_finds_its_own_sample_in_any_order(
    names: list[str], ours: int, theirs: int, seed: int
) -> None:
    assume(not any(name.endswith(".") for name in names))  # "a." and "a" with a suffix are two names still
    rng = np.random.default_rng(seed)
    samples = [spelled(name, ours) for name in names]
    asked = [names[n] for n in rng.permutation(len(names))]
    found = paired([spelled(name, theirs) for name in asked], samples, "t.csv")
    assert found == [spelled(name, ours) for name in asked]


@given(
    st.lists(st.sampled_from(["a", "a.jpg", "a.png", "b", "b.JPG", "é", "é.jpg"]), min_size=1, max_size=5),
    st.lists(st.sampled_from(["a", "a.jpg", "a.png", "b", "b.JPG", "é.jpg"]), min_size=1, max_size=5),
)
def test_a_pairing_is_one_to_one_or_none(ids: list[str], samples: list[str]) -> None:
    try:
        found = paired(ids, samples, "t.csv")
    except InputError:
        return
    if found == ids:  # nothing was paired; the checks say what is missing
        return
    assert len(set(found)) == len(ids)
    assert set(found) <= set(samples)
    for one, other in zip(ids, found, strict=True):
        assert nfc(without_suffix(one)) == nfc(without_suffix(other))


@pytest.mark.parametrize(
    ("ids", "samples", "found"),
    [
        (["a", "b"], ["b", "a"], ["a", "b"]),
        (["a", "b"], ["b.jpg", "a.png"], ["a.png", "b.jpg"]),
        (["a.jpg", "b.png"], ["b", "a"], ["a", "b"]),
        (["a", "b.jpg"], ["b.jpg", "a.jpg"], ["a.jpg", "b.jpg"]),
        (["a", "c"], ["b.jpg", "a.jpg"], ["a", "c"]),  # c has none: nothing is guessed
        (["a.jpg"], ["a.png"], ["a.jpg"]),
        (["007"], ["7"], ["007"]),
        (["a "], ["a"], ["a "]),
        (["A"], ["a"], ["A"]),
        (["x/a"], ["x/a.jpg", "y/a.jpg"], ["x/a.jpg"]),
        (["a.b"], ["a.b.jpg", "a"], ["a.b.jpg"]),
    ],
)
def test_spellings(ids: Sequence[str], samples: Sequence[str], found: list[str]) -> None:
    assert paired(ids, samples, "t.csv") == found


@pytest.mark.parametrize(
    ("ids", "samples", "told"),
    [
        (["a"], ["a.jpg", "a.png"], "'a' fits 'a.jpg', 'a.png'"),
        (["a", "a.jpg"], ["a.jpg", "b.jpg"], "'a' and 'a.jpg' both fit 'a.jpg'"),
        (["a.jpg", "a.png"], ["a", "b"], "both fit 'a'"),
    ],
)
def test_what_could_mean_several_samples_is_refused(
    ids: Sequence[str], samples: Sequence[str], told: str
) -> None:
    with pytest.raises(InputError) as refused:
        paired(ids, samples, "t.csv")
    assert told in refused.value.value
