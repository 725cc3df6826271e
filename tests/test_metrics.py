"""Metrics agree with scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from comp.data.labels import LabelMap, disorder
from comp.errors import InputError, RecipeError, UnknownName
from comp.metrics import METRICS, metric_by_name, own_metric


@st.composite
def judged(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) of C classes, some perhaps absent, and probabilities (N, C)."""
    classes = draw(st.integers(2, 6))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=40))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    sharpness = draw(st.sampled_from([0.3, 1.0, 5.0]))
    return np.array(labels, dtype=np.int64), rng.dirichlet(np.full(classes, sharpness), len(labels))


@given(judged())
def test_accuracy(given_: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probs = given_
    assert metric_by_name("accuracy")(labels, probs) == pytest.approx(
        sk.accuracy_score(labels, probs.argmax(1))
    )


@given(judged())
def test_macro_f1(given_: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probs = given_
    answers = probs.argmax(1)
    theirs = sk.f1_score(labels, answers, average="macro", zero_division=0)
    assert metric_by_name("macro_f1")(labels, probs) == pytest.approx(theirs)
    every = sk.f1_score(labels, answers, average="macro", labels=range(probs.shape[1]), zero_division=0)
    assert metric_by_name("macro_f1", every_class=True)(labels, probs) == pytest.approx(every)


def test_macro_averages_leave_out_classes_that_are_nowhere() -> None:
    truth = np.array([0, 0, 1, 1])
    perfect = np.eye(13)[truth]
    for name in ("macro_f1", "macro_precision", "macro_recall"):
        assert metric_by_name(name)(truth, perfect) == 1.0
        assert metric_by_name(name, every_class=True)(truth, perfect) == pytest.approx(2 / 13)
    strange = np.eye(13)[[0, 0, 1, 7]]  # a class that is answered counts, though no row has it
    assert metric_by_name("macro_recall")(truth, strange) == pytest.approx((1 + 0.5 + 0) / 3)
    assert metric_by_name("macro_precision")(truth, strange) == pytest.approx((1 + 1 + 0) / 3)


def test_all_classes_are_of_macro_averages_alone() -> None:
    with pytest.raises(RecipeError, match="over which classes a macro average goes"):
        metric_by_name("accuracy", every_class=True)
    assert metric_by_name("f1_macro", every_class=True).name == "macro_f1"


def test_metrics_know_how_many_answers_they_judge() -> None:
    assert {name: one.depth for name, one in METRICS.items() if one.depth != 1} == {
        "log_loss": None,
        "roc_auc": None,
        "average_precision": None,
        "probabilistic_f1": None,
    }
    assert (metric_by_name("map@5").depth, metric_by_name("top3").depth) == (5, 3)
    assert [name for name, one in METRICS.items() if one.ordered] == ["quadratic_kappa"]
    assert own_metric("mine", lambda t, p: 1.0, "max", "index").depth == 1
    assert own_metric("mine", lambda t, p: 1.0, "max", "probs").depth is None


@pytest.mark.parametrize(
    ("names", "stated", "grave"),
    [
        (("0", "1", "2"), False, None),
        (("1", "2", "3", "4", "5"), False, None),
        (("-1", "0", "1"), False, None),
        (("3", "2", "1"), True, None),
        (("0.0", "1.0", "2.0"), False, None),
        (("none", "mild", "severe"), True, None),
        (("yes", "no"), False, None),  # of two classes either order is the same
        (("mild", "none", "severe"), False, True),
        (("0", "1", "other"), False, True),
        (("0", "1", "10", "2"), False, True),
        (("0", "1", "10", "2"), True, True),
        (("0", "1", "3"), False, True),
        (("0", "1", "3"), True, False),
        (("0", "0.5", "1"), False, True),
    ],
)
def test_a_metric_of_order_wants_classes_in_order(
    names: tuple[str, ...], stated: bool, grave: bool | None
) -> None:
    found = disorder(METRICS["quadratic_kappa"], names, stated)
    assert (None if found is None else found.grave) is grave
    assert found is None or ("quadratic_kappa" in found.message and repr(names[0]) in found.message)
    assert disorder(METRICS["accuracy"], names, stated) is None


def test_kappa_of_twelve_grades_that_were_discovered() -> None:
    """Grades 0 … 11: right answers give 1, and answers one grade off what scikit-learn says of the numbers."""
    grades = np.repeat(np.arange(12), 5)
    labels = LabelMap.discover(str(grade) for grade in grades)
    truth = labels.encode(str(grade) for grade in grades)
    near = np.clip(grades + np.tile([0, 1, -1, 0, 1], 12), 0, 11)
    for answers in (grades, near):
        probs = np.eye(12)[labels.encode(str(grade) for grade in answers)]
        expected = sk.cohen_kappa_score(grades, answers, weights="quadratic")
        assert metric_by_name("quadratic_kappa")(truth, probs) == pytest.approx(expected)
    assert expected == pytest.approx(0.976923, abs=1e-6)


@given(judged())
def test_log_loss(given_: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probs = given_
    theirs = sk.log_loss(labels, probs, labels=range(probs.shape[1]))
    assert metric_by_name("log_loss")(labels, probs) == pytest.approx(theirs)


@given(judged())
def test_precision_recall_and_weighted_f1(given_: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probs = given_
    answers, every = probs.argmax(1), range(probs.shape[1])
    theirs = {
        "macro_precision": sk.precision_score(labels, answers, average="macro", zero_division=0),
        "macro_recall": sk.recall_score(labels, answers, average="macro", zero_division=0),
        "weighted_f1": sk.f1_score(labels, answers, average="weighted", labels=every, zero_division=0),
    }
    for name, expected in theirs.items():
        assert metric_by_name(name)(labels, probs) == pytest.approx(expected), name
    recalls = [(answers[labels == c] == c).mean() for c in np.unique(labels)]
    assert metric_by_name("balanced_accuracy")(labels, probs) == pytest.approx(np.mean(recalls))


@given(judged(), st.integers(1, 6))
def test_top_k_and_map_follow_the_place_of_the_true_class(
    given_: tuple[np.ndarray, np.ndarray], k: int
) -> None:
    labels, probs = given_
    probs = np.round(probs, 1)  # ties
    order = np.argsort(-probs, axis=1, kind="stable")
    place = np.argmax(order == labels[:, None], axis=1)
    assert metric_by_name(f"top{k}")(labels, probs) == pytest.approx((place < k).mean())
    precision = np.where(place < k, 1 / (place + 1), 0).mean()
    assert metric_by_name(f"MAP@{k}")(labels, probs) == pytest.approx(precision)


@given(judged())
def test_roc_auc(given_: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probs = given_
    probs = np.round(probs, 2)
    classes = [1] if probs.shape[1] == 2 else range(probs.shape[1])
    areas = [
        sk.roc_auc_score(labels == c, probs[:, c]) for c in classes if 0 < (labels == c).sum() < len(labels)
    ]
    found = metric_by_name("auc")(labels, probs)
    assert found == pytest.approx(np.mean(areas)) if areas else math.isnan(found)


@given(judged())
def test_quadratic_kappa(given_: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probs = given_
    answers, found = probs.argmax(1), metric_by_name("qwk")(labels, probs)
    if len({*labels.tolist(), *answers.tolist()}) == 1:
        assert found == 1
    else:
        assert found == pytest.approx(
            sk.cohen_kappa_score(labels, answers, weights="quadratic", labels=range(probs.shape[1]))
        )


@pytest.mark.parametrize("name", ["top0", "map@", "map@x", "f2", "top-"])
def test_unknown_metrics_are_told(name: str) -> None:
    with pytest.raises(UnknownName):
        metric_by_name(name)


def test_a_metric_of_the_adapter_is_looked_at() -> None:
    labels, probs = np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]])
    hits = own_metric("hits", lambda truth, answers: (truth == answers).sum(), "max", "index")
    assert hits(labels, probs) == 1.0
    wrong = {"raises": lambda t, p: 1 / 0, "nan": lambda t, p: float("nan"), "text": lambda t, p: "good"}
    for name, function in wrong.items():
        with pytest.raises(InputError, match="competition's metric") as error:
            own_metric(name, function, "max", "probs")(labels, probs)
        assert f"adapter:{name}" in error.value.value


def test_log_loss_of_a_certain_mistake_is_finite() -> None:
    loss = metric_by_name("log_loss")(np.array([0]), np.array([[0.0, 1.0]]))
    assert loss == pytest.approx(-math.log(np.finfo(np.float64).eps))


def test_the_better_score_follows_the_direction() -> None:
    assert METRICS["accuracy"].better(0.9, 0.8)
    assert METRICS["log_loss"].better(0.2, 0.3)
    assert not METRICS["log_loss"].better(0.3, 0.3)


def test_names_are_forgiving_and_unknown_ones_list_near_misses() -> None:
    assert metric_by_name("Macro F1") is METRICS["macro_f1"]
    with pytest.raises(UnknownName, match="did you mean accuracy") as error:
        metric_by_name("acuracy")
    assert "adapter:function" in error.value.remedy


def test_rows_must_match_and_no_rows_score_nothing() -> None:
    with pytest.raises(ValueError, match="2 labels against 1 rows"):
        METRICS["accuracy"](np.zeros(2, dtype=np.int64), np.ones((1, 2)) / 2)
    assert math.isnan(METRICS["accuracy"](np.zeros(0, dtype=np.int64), np.ones((0, 2))))
