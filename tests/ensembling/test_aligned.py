"""Parts are joined by id: no order of files, parts, rows or folds changes an answer, and what could misalign raises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comp.data.labels import LabelMap
from comp.data.predictions import Predictions
from comp.ensembling.aligned import align, judged
from comp.ensembling.methods import METHODS
from comp.ensembling.nested_cv import AUTO, BlendSpec, learn_all, nested
from comp.errors import InputError
from comp.metrics import METRICS, metric_by_name
from made_blends import LABELS, by_id, guesses, in_folds, rows_of, shuffled, truth_of

ACCURACY = metric_by_name("accuracy")


@st.composite
def made_ids(draw: st.DrawFn, least: int = 8) -> list[str]:
    """Ids as competitions have them: leading zeros, spaces, unicode."""
    return draw(st.lists(st.text(min_size=1, max_size=6), min_size=least, max_size=20, unique=True))


@pytest.mark.parametrize("method", [*METHODS, AUTO])
@given(data=st.data())
@settings(max_examples=12)
def test_no_order_of_parts_rows_or_folds_changes_an_answer(method: str, data: st.DataObject) -> None:
    ids = data.draw(made_ids())
    seed = data.draw(st.integers(0, 999))
    truth = dict(zip(ids, np.random.default_rng(seed).integers(0, 3, len(ids)).tolist(), strict=True))
    parts = {name: guesses(truth, 1.0, n) for n, name in enumerate("abc")}
    tests = {name: guesses({f"t{n}": 0 for n in range(5)}, 1.0, 10 + n) for n, name in enumerate("abc")}
    folds = in_folds(ids, 3)
    groups = {i: i for i in ids}
    procedure = BlendSpec(method, ACCURACY, calibrate=True, decide=True)

    rows = judged(parts, truth, folds, groups)
    straight = by_id(rows.aligned.ids, nested(procedure, rows))
    answers = align(tests)
    told = by_id(answers.ids, learn_all(procedure, rows)(answers))

    order = data.draw(st.permutations("abc"))
    numbers = data.draw(st.permutations(range(3)))
    mixed = judged(
        {name: shuffled(parts[name], seed + n) for n, name in enumerate(order)},
        dict(sorted(truth.items(), reverse=True)),
        {i: numbers[fold] for i, fold in folds.items()},
        groups,
    )
    assert by_id(mixed.aligned.ids, nested(procedure, mixed)) == straight
    other = align({name: shuffled(tests[name], seed) for name in reversed(order)})
    assert by_id(other.ids, learn_all(procedure, mixed)(other)) == told


@pytest.mark.parametrize("method", METHODS)
def test_an_answer_does_not_depend_on_the_rows_answered_with_it(method: str) -> None:
    truth = truth_of(60)
    rows = rows_of({name: guesses(truth, 1.5, n) for n, name in enumerate("ab")}, truth)
    learned = learn_all(BlendSpec(method, ACCURACY, calibrate=True), rows)
    everything = align({name: guesses(truth_of(30, 4), 1.0, 20 + n) for n, name in enumerate("ab")})
    few = everything.rows(np.arange(30) % 7 == 0)
    whole = by_id(everything.ids, learned(everything))
    for name, row in by_id(few.ids, learned(few)).items():
        assert np.allclose(row, whole[name], atol=1e-12)


@given(made_ids(), st.integers(0, 99), st.sampled_from(["missing", "more", "other"]))
def test_other_ids_are_refused_and_named(ids: list[str], seed: int, how: str) -> None:
    truth = dict.fromkeys(ids, 0)
    one = guesses(truth, 1.0, seed)
    rest = {"missing": ids[1:], "more": [*ids, "one more than all"], "other": [*ids[1:], "one more than all"]}
    other = guesses(dict.fromkeys(rest[how], 0), 1.0, seed)
    with pytest.raises(InputError) as error:
        align({"a": one, "b": other})
    named = ids[0] if how != "more" else "one more than all"
    assert repr(named) in error.value.value


def test_what_could_misalign_raises() -> None:
    truth = truth_of(12)
    one = guesses(truth, 1.0, 0)
    for other, told in (
        (Predictions(one.ids, LabelMap(("cross", "circle", "square")), one.probs), "label map"),
        (
            Predictions(
                one.ids,
                LabelMap(("circle", "cross")),
                one.probs[:, :2] / one.probs[:, :2].sum(1, keepdims=True),
            ),
            "label map",
        ),
    ):
        with pytest.raises(InputError, match=told):
            align({"a": one, "b": other})
    with pytest.raises(InputError, match="same rows"):
        align(
            {
                "a": Predictions(one.ids, LABELS, one.probs, "11" * 32),
                "b": Predictions(one.ids, LABELS, one.probs, "22" * 32),
            }
        )
    with pytest.raises(InputError, match="one part or more"):
        align({})
    with pytest.raises(InputError, match="comes twice"):
        align({"a": Predictions((*one.ids[:-1], one.ids[0]), LABELS, one.probs)})
    for table, told in (("truth", "no label"), ("folds", "no fold"), ("groups", "no group")):
        tables = {"truth": dict(truth), "folds": in_folds(list(truth)), "groups": {i: i for i in truth}}
        del tables[table]["r003"]
        with pytest.raises(InputError) as error:
            judged({"a": one}, tables["truth"], tables["folds"], tables["groups"])
        assert told in error.value.value
        assert "'r003'" in error.value.value


def test_folds_that_split_a_group_are_refused() -> None:
    truth = truth_of(12)
    with pytest.raises(InputError, match="keep groups whole"):
        judged({"a": guesses(truth, 1.0, 0)}, truth, in_folds(list(truth)), dict.fromkeys(truth, "one"))


def test_a_learned_blend_takes_its_own_parts_and_classes_alone() -> None:
    truth = truth_of(12)
    parts = {name: guesses(truth, 1.0, n) for n, name in enumerate("ab")}
    learned = learn_all(BlendSpec("mean", ACCURACY), rows_of(parts, truth))
    with pytest.raises(InputError, match="parts and classes"):
        learned(align({"a": parts["a"], "c": parts["b"]}))
    with pytest.raises(InputError, match="parts and classes"):
        learned(align({"a": parts["a"]}))


def test_logits_cannot_be_blended() -> None:
    """Seen as positive factors, the logits -5, -1 and 0.5 would flip an answer; no way leads them into a blend."""
    logits = np.array([[-5.0, -1.0, 0.5]])
    with pytest.raises(InputError, match="0 to 1"):
        Predictions(("x",), LABELS, logits)
    with pytest.raises(InputError, match="0 to 1"):
        Predictions(("x",), LABELS, np.abs(logits))
    odds = np.exp(logits)
    parts = {name: Predictions(("x",), LABELS, odds / odds.sum()) for name in "ab"}
    rows = rows_of({name: guesses(truth_of(12), 1.0, n) for n, name in enumerate("ab")}, truth_of(12))
    for method in ("geometric", "mean", "power"):
        answer = learn_all(BlendSpec(method, METRICS["accuracy"]), rows)(align(parts))
        assert answer.argmax() == logits.argmax()
