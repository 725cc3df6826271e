"""Predictions are known by id: the order of rows never changes an answer, and faulty ones cannot be made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.labels import LabelMap
from comp.data.predictions import Predictions, average, join, mean_loss, with_prior
from comp.data.task import Task
from comp.errors import InputError

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


def test_no_array_from_outside_can_change_the_rows() -> None:
    own = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    found = Predictions(("x", "y"), LABELS, own)
    own[:] = own[::-1]
    assert found.probs[0].tolist() == [0.2, 0.3, 0.5]
    for part in (found, found.select(["y"]), average([found, found]), join([found], found.ids)):
        with pytest.raises(ValueError, match="read-only"):
            part.probs[0] = 0


@pytest.mark.parametrize("ids", [("x", ""), ("x", 7), ("x", None), ("x", 1.0)])
def test_ids_are_texts(ids: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="an id is a text"):
        two(ids)


def test_a_sum_off_by_more_than_a_millionth_is_refused() -> None:
    two(probs=[[0.2, 0.3, 0.5 + 9e-7], [1.0, 0.0, 0.0]])
    with pytest.raises(InputError, match="sum to one"):
        two(probs=[[0.2, 0.3, 0.5 + 2e-6], [1.0, 0.0, 0.0]])


def test_rows_of_other_data_are_not_mixed() -> None:
    mine = Predictions(("x", "y"), LABELS, two().probs, "one")
    same = Predictions(("x", "y"), LABELS, two().probs, "other")
    for combine in (lambda: average([mine, same]), lambda: join([mine, same.select(["x"])], ["x", "y"])):
        with pytest.raises(InputError, match="answer the same rows"):
            combine()
    assert average([mine, two()]).fingerprint == ""
    assert average([mine, mine]).fingerprint == "one"


def test_rows_that_nobody_asked_for_do_not_vanish() -> None:
    with pytest.raises(InputError, match="rows asked for") as error:
        join([two(), two(("z", "q"))], ["x", "y", "z"])
    assert "1 of 4 are of other rows, first 'q'" in error.value.value


def test_no_parts_are_refused() -> None:
    for combine in (lambda: average([]), lambda: join([], ["x"])):
        with pytest.raises(InputError, match="there is none"):
            combine()


@given(predictions(), st.integers(0, 99), st.integers(2, 7))
def test_the_order_of_parts_changes_no_bit_of_their_mean(found: Predictions, seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [
        shuffled(Predictions(found.ids, LABELS, rng.dirichlet(np.ones(3), len(found))), seed + n)
        for n in range(count)
    ]
    mixed = [parts[n] for n in rng.permutation(count)]
    assert by_id(average(parts)) == by_id(average(mixed))


IDS = st.lists(st.text("ab0", max_size=2), max_size=6)


@given(IDS, IDS, st.permutations(("a", "b", "c")), st.permutations(("a", "b", "c")))
def test_whatever_could_misalign_raises(
    ids: list[str], others: list[str], names: list[str], other_names: list[str]
) -> None:
    """Any two files of any ids and label maps: a mean is that of each id, or there is none."""
    rng = np.random.default_rng(len(ids) + len(others))

    def made(rows: list[str], classes: list[str]) -> Predictions:
        return Predictions(tuple(rows), LabelMap(classes), rng.dirichlet(np.ones(3), len(rows)))

    sound = all(len(set(rows)) == len(rows) and "" not in rows for rows in (ids, others))
    alike = sound and set(ids) == set(others) and names == other_names
    try:
        one, other = made(ids, names), made(others, other_names)
        mean = average([one, other])
    except InputError:
        assert not alike
        return
    assert alike
    for i in ids:
        expected = (np.array(by_id(one)[i]) + np.array(by_id(other)[i])) / 2
        assert np.allclose(by_id(mean)[i], expected)


def test_the_prior_answers_the_rows_that_could_not_be_read_and_no_others() -> None:
    prior = np.array([2.0, 1.0, 1.0])
    found = with_prior(two(), ["z"], prior, ["z", "y", "x"])
    assert by_id(found) == {**by_id(two()), "z": (0.5, 0.25, 0.25)}
    with pytest.raises(InputError, match="first 'q'"):
        with_prior(two(), ["z"], prior, ["z", "q"])
    with pytest.raises(InputError, match="'x' comes twice"):
        with_prior(two(), ["x"], prior, ["x", "y"])


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_a_torn_file_is_a_clear_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "p.npz"
    two().save(path)
    path.write_bytes(path.read_bytes()[:-30] if content is None else content)
    with pytest.raises(InputError, match="predictions must be readable") as refused:
        Predictions.load(path)
    assert "allow_pickle" not in str(refused.value)


SEVERAL = LabelMap(("a", "b"), Task("multi-label"))
SCALE = LabelMap(("0", "1", "2", "3"), Task("ordinal"))
NUMBERS = LabelMap(("x", "y"), Task("regression", (0.0, -5.0), (10.0, 5.0)))


@pytest.mark.parametrize(
    ("labels", "probs"),
    [
        (SEVERAL, [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]),
        (SCALE, [[0.0], [3.0], [1.25]]),
        (NUMBERS, [[0.0, -5.0], [10.0, 5.0], [2.0, 3.5]]),
    ],
)
def test_predictions_of_each_task_are_kept_and_come_back(
    labels: LabelMap, probs: list[list[float]], tmp_path: Path
) -> None:
    found = Predictions(("x", "y", "z"), labels, np.array(probs))
    found.save(tmp_path / "p.npz")
    back = Predictions.load(tmp_path / "p.npz")
    assert (back.labels, back.labels.task, by_id(back)) == (labels, labels.task, by_id(found))
    mean = average([found, found.select(["z", "x", "y"])])
    assert np.allclose(mean.select(found.ids).probs, probs)


@pytest.mark.parametrize(
    ("labels", "row", "told"),
    [
        (SEVERAL, [0.5, 1.01], "0 to 1"),
        (SEVERAL, [-0.01, 0.5], "0 to 1"),
        (SCALE, [3.1], "0 to 3"),
        (SCALE, [-0.1], "0 to 3"),
        (SCALE, [0.1, 0.2, 0.3, 0.4], "one column a class"),
        (NUMBERS, [11.0, 0.0], "-5 to 10"),
        (NUMBERS, [5.0, 6.0], "-5 to 10"),  # each column has bounds of its own
        (NUMBERS, [5.0, np.nan], "a NaN"),
    ],
)
def test_predictions_outside_of_their_tasks_bounds_are_refused(
    labels: LabelMap, row: list[float], told: str
) -> None:
    with pytest.raises(InputError) as error:
        Predictions(("x",), labels, np.array([row]))
    assert told in str(error.value)


def test_predictions_of_another_task_are_not_mixed() -> None:
    several = Predictions(("x",), SEVERAL, np.array([[0.5, 0.5]]))
    single = Predictions(("x",), LabelMap(("a", "b")), np.array([[0.5, 0.5]]))
    with pytest.raises(InputError, match="share a label map") as error:
        average([several, single])
    assert "multi-label" in error.value.value


def test_rows_of_several_labels_need_not_sum_to_one_and_get_their_prior_as_it_is() -> None:
    found = with_prior(
        Predictions(("x",), SEVERAL, np.array([[0.9, 0.8]])), ["z"], np.array([0.3, 0.1]), ["z", "x"]
    )
    assert by_id(found) == {"z": (0.3, 0.1), "x": (0.9, 0.8)}


def test_the_mean_loss_of_each_task() -> None:
    single = mean_loss(np.array([[0.2, 0.8], [0.5, 0.5]]), np.array([1, 0]), LabelMap(("a", "b")))
    assert single == pytest.approx(-(np.log(0.8) + np.log(0.5)) / 2)
    several = mean_loss(np.array([[0.2, 0.8]]), np.array([[1.0, 1.0]]), SEVERAL)
    assert several == pytest.approx(-(np.log(0.2) + np.log(0.8)) / 2)
    scale = mean_loss(np.array([[1.5]]), np.array([3]), SCALE)
    assert scale == pytest.approx(-np.log(0.5))
    numbers = mean_loss(np.array([[7.5, 0.0]]), np.array([[7.5, 0.0]]), NUMBERS)
    entropy = [-(p * np.log(p) + (1 - p) * np.log(1 - p)) for p in (0.75, 0.5)]
    assert numbers == pytest.approx(np.mean(entropy))
    certain = mean_loss(np.array([[1.0, 0.0]]), np.array([[0.0, 0.0]]), SEVERAL)
    assert np.isfinite(certain)
