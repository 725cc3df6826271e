"""Predictions are known by id: the order of rows never changes an answer, and faulty ones cannot be made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.errors import InputError
from comp.labels import LabelMap
from comp.predictions import Predictions, average, join

LABELS = LabelMap(("a", "b", "c"))


@st.composite
def predictions(draw: st.DrawFn) -> Predictions:
    ids = draw(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=12, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    return Predictions(tuple(ids), LABELS, rng.dirichlet(np.ones(3), len(ids)))


def by_id(found: Predictions) -> dict[str, tuple[float, ...]]:
    return {i: tuple(row) for i, row in zip(found.ids, found.probs, strict=True)}


def shuffled(found: Predictions, seed: int) -> Predictions:
    order = np.random.default_rng(seed).permutation(len(found))
    return Predictions(tuple(found.ids[n] for n in order), LABELS, found.probs[order], found.fingerprint)


@given(predictions(), st.integers(0, 99))
def test_select_answers_by_id_in_the_order_asked(found: Predictions, seed: int) -> None:
    asked = list(np.random.default_rng(seed).permutation(np.array(found.ids, dtype=object)))[
        : max(1, len(found) // 2)
    ]
    part = shuffled(found, seed + 1).select(asked)
    assert part.ids == tuple(asked)
    assert by_id(part) == {i: by_id(found)[i] for i in asked}


@given(predictions(), st.integers(0, 99))
def test_average_does_not_depend_on_the_parts_row_order(found: Predictions, seed: int) -> None:
    other = Predictions(found.ids, LABELS, found.probs[:, [2, 0, 1]])
    straight = average([found, other])
    mixed = average([found, shuffled(other, seed)])
    assert by_id(straight) == by_id(mixed)
    assert np.allclose(straight.probs, (found.probs + other.probs) / 2)


@given(predictions(), st.integers(0, 99), st.integers(0, 12))
def test_join_puts_disjoint_parts_together_by_id(found: Predictions, seed: int, cut: int) -> None:
    mixed = shuffled(found, seed)
    parts = [mixed.select(mixed.ids[:cut]), mixed.select(mixed.ids[cut:])]
    together = join(parts, found.ids)
    assert together.ids == found.ids
    assert by_id(together) == by_id(found)


def two(ids: tuple[str, ...] = ("x", "y"), probs: list[list[float]] | None = None) -> Predictions:
    return Predictions(ids, LABELS, np.array(probs or [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]))


@pytest.mark.parametrize(
    ("ids", "probs", "told"),
    [
        (("x", "x"), None, "'x' comes twice"),
        (("x", "y", "z"), None, "for 3 ids"),
        (("x", "y"), [[0.5, 0.5], [0.5, 0.5]], "3 classes"),
        (("x", "y"), [[0.2, 0.3, 0.5], [np.nan, 0.5, 0.5]], "'y' has a NaN"),
        (("x", "y"), [[0.2, 0.3, 0.5], [np.inf, 0.5, 0.5]], "'y' has a NaN or infinity"),
        (("x", "y"), [[0.2, 0.3, 0.5], [0.2, 0.2, 0.2]], "'y' sums to 0.600000"),
        (("x", "y"), [[0.2, 0.3, 0.5], [1.5, -0.5, 0.0]], "0 to 1"),
    ],
)
def test_faulty_predictions_are_refused(
    ids: tuple[str, ...], probs: list[list[float]] | None, told: str
) -> None:
    with pytest.raises(InputError) as error:
        two(ids, probs)
    assert told in str(error.value)


def test_a_missing_id_is_named() -> None:
    with pytest.raises(InputError, match="2 of 3 have none, first 'q'"):
        two().select(["x", "q", "r"])


def test_an_id_asked_for_twice_is_refused() -> None:
    with pytest.raises(InputError, match="comes twice"):
        two().select(["x", "x"])


def test_a_row_in_two_parts_is_refused() -> None:
    with pytest.raises(InputError, match="'y' comes twice"):
        join([two(), two(("y", "z"))], ["x", "y", "z"])


def test_an_average_needs_the_same_rows_of_every_part() -> None:
    with pytest.raises(InputError, match="1 against 2"):
        average([two(), two().select(["x"])])
    with pytest.raises(InputError, match="first 'y'"):
        average([two(), two(("x", "z"))])


def test_another_label_map_is_refused() -> None:
    other = Predictions(("x", "y"), LabelMap(("b", "a", "c")), two().probs)
    for combine in (lambda: average([two(), other]), lambda: join([two(), other], ["x"])):
        with pytest.raises(InputError, match="share a label map"):
            combine()


def test_saved_predictions_come_back_bit_for_bit(tmp_path: Path) -> None:
    found = Predictions(
        ("plain", "사과", "with,comma"), LABELS, np.random.default_rng(0).dirichlet(np.ones(3), 3), "abc"
    )
    found.save(tmp_path / "p.npz")
    back = Predictions.load(tmp_path / "p.npz")
    assert (back.ids, back.labels, back.fingerprint) == (found.ids, found.labels, "abc")
    assert back.probs.tobytes() == found.probs.tobytes()


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_a_torn_file_is_a_clear_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "p.npz"
    two().save(path)
    path.write_bytes(path.read_bytes()[:-30] if content is None else content)
    with pytest.raises(InputError, match="predictions must be readable"):
        Predictions.load(path)
