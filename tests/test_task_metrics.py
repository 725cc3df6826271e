"""Metrics of several labels, of two classes, of scales and of numbers agree with scikit-learn; each is of its tasks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from comp.errors import InputError, RecipeError, UnknownName
from comp.metrics import EVERY_TASK, METRICS, Metric, fitting, metric_by_name, register

few = settings(max_examples=20)  # scikit-learn is slow even on few rows
BETAS = {"f1": 1.0, "f2": 2.0, "f0.5": 0.5}


@st.composite
def several(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels float64 (N, C) of 0 and 1, some rows and columns perhaps empty, and probabilities (N, C) with ties."""
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    rows, classes = draw(st.integers(1, 30)), draw(st.integers(1, 6))
    truth = (rng.random((rows, classes)) < draw(st.sampled_from([0.05, 0.3, 0.7]))).astype(np.float64)
    return truth, np.round(rng.random((rows, classes)), draw(st.integers(1, 3)))


@st.composite
def of_two(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Classes 0 and 1 (N,) and probabilities (N, 2)."""
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=1, max_size=30)), dtype=np.int64)
    chance = np.random.default_rng(draw(st.integers(0, 9999))).random(len(labels))
    return labels, np.stack([1 - chance, chance], axis=1)


@st.composite
def numbers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Truth and answers float64 (N, D)."""
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    shape = draw(st.integers(2, 30)), draw(st.integers(1, 4))
    return rng.normal(5, 3, shape), rng.normal(5, 3, shape)


def of_labels(name: str, given_: tuple[np.ndarray, np.ndarray], **options: Any) -> float:
    return metric_by_name(name, task="multi-label", **options)(*given_)


def answered(probs: np.ndarray) -> np.ndarray:
    return (probs >= 0.5).astype(int)


@pytest.mark.parametrize("average", ["micro", "macro", "weighted", "samples"])
@few
@given(given_=several())
def test_averages_of_several_labels(average: str, given_: tuple[np.ndarray, np.ndarray]) -> None:
    truth, probs = given_
    there, said = truth.astype(int), answered(probs)
    occurs = np.flatnonzero(there.sum(axis=0) + said.sum(axis=0))
    options: dict[str, Any] = {"average": average, "zero_division": 0}
    if average == "macro" and len(occurs):
        options["labels"] = occurs  # sklearn counts classes that are nowhere as 0, where we leave them out
    if truth.shape[1] == 1:  # of one column scikit-learn makes two classes
        there, said = (np.pad(cells, ((0, 0), (0, 1))) for cells in (there, said))
    for name, beta in BETAS.items():
        expected = sk.fbeta_score(there, said, beta=beta, **options)
        assert of_labels(f"{average}_{name}", given_) == pytest.approx(expected), name
    assert of_labels(f"{average}_precision", given_) == pytest.approx(
        sk.precision_score(there, said, **options)
    )
    assert of_labels(f"{average}_recall", given_) == pytest.approx(sk.recall_score(there, said, **options))


@few
@given(several())
def test_a_macro_average_over_all_classes_is_scikit_learns(given_: tuple[np.ndarray, np.ndarray]) -> None:
    truth, probs = given_
    classes = truth.shape[1]
    there, said = (np.pad(cells.astype(int), ((0, 0), (0, 1))) for cells in (truth, answered(probs)))
    for name, beta in BETAS.items():
        expected = sk.fbeta_score(
            there, said, beta=beta, average="macro", zero_division=0, labels=range(classes)
        )
        assert of_labels(f"macro_{name}", given_, every_class=True) == pytest.approx(expected)
    with pytest.raises(RecipeError, match="a macro average goes"):
        of_labels("samples_f1", given_, every_class=True)


@given(several())
def test_label_sets_are_exact(given_: tuple[np.ndarray, np.ndarray]) -> None:
    truth, probs = given_
    assert of_labels("accuracy", given_) == pytest.approx((answered(probs) == truth).all(axis=1).mean())
    assert of_labels("acc", (truth, truth)) == 1.0


@pytest.mark.parametrize(
    ("name", "theirs", "least"),
    [("roc_auc", sk.roc_auc_score, True), ("average_precision", sk.average_precision_score, False)],
)
@few
@given(given_=several())
def test_columns_are_averaged_where_they_have_a_curve(
    name: str, theirs: Callable[..., float], least: bool, given_: tuple[np.ndarray, np.ndarray]
) -> None:
    truth, probs = given_
    sums = truth.sum(axis=0)
    columns = np.flatnonzero((sums > 0) & ((sums < len(truth)) | (not least)))
    found = of_labels(name, given_)
    if len(columns) == 0:
        assert math.isnan(found)
    else:
        each = [theirs(truth[:, c], probs[:, c]) for c in columns]
        assert found == pytest.approx(np.mean(each))


@few
@given(several())
def test_log_loss_of_several_labels_is_the_mean_over_columns(given_: tuple[np.ndarray, np.ndarray]) -> None:
    truth, probs = given_
    each = [sk.log_loss(truth[:, c], probs[:, c], labels=[0, 1]) for c in range(truth.shape[1])]
    assert of_labels("logloss", given_) == pytest.approx(np.mean(each), rel=1e-6)
    assert of_labels("log_loss", (np.zeros((1, 1)), np.ones((1, 1)))) == pytest.approx(
        -math.log(np.finfo(np.float64).eps)
    )


def apk(actual: list[int], predicted: list[int], k: int) -> float:
    """Kaggle's own average precision at k (Hamner's ml_metrics)."""
    score, hits = 0.0, 0
    for n, one in enumerate(predicted[:k]):
        if one in actual and one not in predicted[:n]:
            hits += 1
            score += hits / (n + 1)
    return score / min(len(actual), k) if actual else 0.0


@given(several(), st.integers(1, 7))
def test_map_at_k_of_several_labels_is_the_average_precision_of_the_first_k(
    given_: tuple[np.ndarray, np.ndarray], k: int
) -> None:
    truth, probs = given_
    rows = [
        apk(np.flatnonzero(own).tolist(), np.argsort(-row, kind="stable").tolist(), k)
        for own, row in zip(truth, probs, strict=True)
    ]
    assert of_labels(f"map@{k}", given_) == pytest.approx(np.mean(rows))


def correlation(labels: np.ndarray, answers: np.ndarray) -> float:
    """Matthews' correlation; scikit-learn warns where there is one class only."""
    if len({*labels.tolist(), *answers.tolist()}) == 1:
        return 0.0
    return float(sk.matthews_corrcoef(labels, answers))


@few
@given(of_two())
def test_metrics_of_two_classes(given_: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probs = given_
    answers = probs.argmax(axis=1)
    assert metric_by_name("f1")(labels, probs) == pytest.approx(sk.f1_score(labels, answers, zero_division=0))
    assert metric_by_name("mcc")(labels, probs) == pytest.approx(correlation(labels, answers))
    hits, chance = probs[labels == 1, 1].sum(), probs[:, 1].sum()
    rows = (labels == 1).sum()
    precision, recall = hits / chance, hits / rows if rows else 0.0
    expected = 2 * precision * recall / (precision + recall) if hits else 0.0
    assert metric_by_name("pF1")(labels, probs) == pytest.approx(expected)
    if labels.any():
        theirs = sk.average_precision_score(labels, probs[:, 1])
        assert metric_by_name("ap")(labels, probs) == pytest.approx(theirs)


@pytest.mark.parametrize("name", ["f1", "probabilistic_f1"])
def test_metrics_of_two_classes_are_of_no_other_number(name: str) -> None:
    with pytest.raises(InputError, match="is of two classes") as error:
        metric_by_name(name)(np.array([0, 1, 2]), np.eye(3))
    assert "3 classes" in error.value.value


@few
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 9999))
def test_averages_of_a_single_label(labels_: list[int], seed: int) -> None:
    labels = np.array(labels_, dtype=np.int64)
    probs = np.random.default_rng(seed).dirichlet(np.ones(5), len(labels))
    answers, occurring = probs.argmax(axis=1), np.unique(np.concatenate([labels, probs.argmax(axis=1)]))
    for average in ("micro", "macro", "weighted"):
        for name, beta in BETAS.items():
            expected = sk.fbeta_score(
                labels, answers, beta=beta, average=average, labels=occurring, zero_division=0
            )
            assert metric_by_name(f"{average}_{name}")(labels, probs) == pytest.approx(expected)
    every = sk.fbeta_score(labels, answers, beta=2, average="macro", labels=range(5), zero_division=0)
    assert metric_by_name("macro_f2", every_class=True)(labels, probs) == pytest.approx(every)
    assert metric_by_name("mcc")(labels, probs) == pytest.approx(correlation(labels, answers))


@few
@given(numbers())
def test_metrics_of_numbers(given_: tuple[np.ndarray, np.ndarray]) -> None:
    truth, values = given_
    theirs = {
        "rmse": math.sqrt(sk.mean_squared_error(truth, values)),
        "mse": sk.mean_squared_error(truth, values),
        "mae": sk.mean_absolute_error(truth, values),
        "r2": sk.r2_score(truth, values),
        "mcrmse": np.mean([math.sqrt(v) for v in ((truth - values) ** 2).mean(axis=0)]),
    }
    for name, expected in theirs.items():
        assert metric_by_name(name, task="regression")(truth, values) == pytest.approx(expected), name
    positive = np.abs(truth), np.abs(values)
    expected = math.sqrt(sk.mean_squared_log_error(*positive))
    assert metric_by_name("rmsle", task="regression")(*positive) == pytest.approx(expected)
    assert math.isnan(metric_by_name("rmsle", task="regression")(truth - 20, values))


def test_r2_of_a_column_that_does_not_vary() -> None:
    truth = np.array([[1.0, 2.0], [1.0, 4.0]])
    for values in (truth, truth + 1):
        expected = sk.r2_score(truth, values)
        assert metric_by_name("r2", task="regression")(truth, values) == pytest.approx(expected)


@few
@given(st.lists(st.integers(0, 4), min_size=2, max_size=40), st.integers(0, 9999))
def test_metrics_of_a_scale_judge_the_nearest_step(grades: list[int], seed: int) -> None:
    truth = np.array(grades, dtype=np.int64)
    places = np.random.default_rng(seed).uniform(0, 4, (len(truth), 1))
    answers = np.floor(places[:, 0] + 0.5).astype(int)
    assert metric_by_name("accuracy", task="ordinal")(truth, places) == pytest.approx(
        (answers == truth).mean()
    )
    found = metric_by_name("qwk", task="ordinal")(truth, places)
    if len({*truth.tolist(), *answers.tolist()}) > 1:
        expected = sk.cohen_kappa_score(truth, answers, weights="quadratic", labels=range(5))
        assert found == pytest.approx(expected)
    macro = sk.f1_score(truth, answers, average="macro", zero_division=0)
    assert metric_by_name("macro_f1", task="ordinal")(truth, places) == pytest.approx(macro)
    rmse = math.sqrt(sk.mean_squared_error(truth, places[:, 0]))
    assert metric_by_name("rmse", task="ordinal")(truth, places) == pytest.approx(rmse)


def test_a_half_step_is_answered_upwards() -> None:
    places = np.array([[0.5], [1.5], [2.5], [0.49999]])
    assert metric_by_name("accuracy", task="ordinal")(np.array([1, 2, 3, 0]), places) == 1.0


@pytest.mark.parametrize(
    ("name", "task", "of"),
    [
        ("rmse", "single-label", "'ordinal' or 'regression'"),
        ("mcrmse", "ordinal", "'regression'"),
        ("samples_f1", "single-label", "'multi-label'"),
        ("samples_f2", "ordinal", "'multi-label'"),
        ("qwk", "multi-label", "'single-label' or 'ordinal'"),
        ("f1", "multi-label", "'single-label'"),
        ("map@3", "ordinal", "'single-label' or 'multi-label'"),
        ("top5", "multi-label", "'single-label'"),
        ("roc_auc", "regression", "'single-label' or 'multi-label'"),
        ("micro_f2", "regression", "'single-label' or 'ordinal' or 'multi-label'"),
    ],
)
def test_a_metric_of_another_task_is_refused_with_those_that_fit(name: str, task: str, of: str) -> None:
    with pytest.raises(RecipeError, match="a metric scores the task's answers") as error:
        metric_by_name(name, task=task)
    assert of in error.value.value
    assert repr(task) in error.value.value
    assert all(other in error.value.remedy for other in fitting(task))


@pytest.mark.parametrize("task", EVERY_TASK)
def test_unknown_names_list_those_of_the_task(task: str) -> None:
    for name in ("rmsee", "micro_f", "micro_f0", "samples_fx", "map@0", "f3"):
        with pytest.raises(UnknownName):
            metric_by_name(name, task=task)
    for name in fitting(task):
        assert task in metric_by_name(name, task=task).tasks


@pytest.mark.parametrize(
    ("name", "task", "found"),
    [
        ("Micro F2", "multi-label", "micro_f2"),
        ("samples-f1", "multi-label", "samples_f1"),
        ("f1_samples", "multi-label", "samples_f1"),
        ("f1_macro", "multi-label", "macro_f1"),
        ("macro_f0.5", "single-label", "macro_f0.5"),
        ("MCC", "single-label", "matthews"),
        ("pF1", "single-label", "probabilistic_f1"),
        ("MAP@3", "multi-label", "map@3"),
        ("QWK", "ordinal", "quadratic_kappa"),
        ("RMSE", "regression", "rmse"),
    ],
)
def test_names_and_aliases(name: str, task: str, found: str) -> None:
    metric = metric_by_name(name, task=task)
    assert (metric.name, task in metric.tasks) == (found, True)


def test_a_metric_is_registered_for_its_tasks_alone() -> None:
    mine = Metric("made_for_a_test", lambda t, p: 0.5, tasks=("multi-label",))
    register(mine)
    try:
        assert metric_by_name("made for a test", task="multi-label") is mine
        with pytest.raises(RecipeError, match="a metric scores the task's answers"):
            metric_by_name("made_for_a_test")
        with pytest.raises(ValueError, match="there is a metric"):
            register(Metric("made_for_a_test", lambda t, p: 0.5, tasks=("multi-label",)))
        with pytest.raises(ValueError, match="there is a metric"):
            register(Metric("rmse", lambda t, p: 0.5, tasks=("regression",)))
    finally:
        from comp import metrics

        del metrics.MULTI_LABEL["made_for_a_test"]


def test_no_rows_score_nothing_and_columns_must_match() -> None:
    assert math.isnan(of_labels("micro_f1", (np.zeros((0, 3)), np.zeros((0, 3)))))
    with pytest.raises(ValueError, match="2 labels against 1 rows"):
        metric_by_name("rmse", task="regression")(np.zeros((2, 1)), np.zeros((1, 1)))
    assert "rmse" not in METRICS
