"""The threshold of an unknown class: where it stands among the answers, and what it is learned from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.labels import LabelMap
from comp.data.predictions import Predictions
from comp.data.task import Task
from comp.ensembling.aligned import judged
from comp.ensembling.decisions import UNKNOWN, Decision, learn_rule
from comp.ensembling.evaluate import BlendOptions, evaluate_blend
from comp.ensembling.open_set import best_known, learn_unknown, with_unknown_at
from comp.metrics import metric_by_name

LABELS = LabelMap(("a", "b", "c", "new"), Task(unknown="new"))
PROBS = np.array([[0.6, 0.2, 0.1, 0.1], [0.3, 0.3, 0.3, 0.1], [0.05, 0.05, 0.8, 0.1], [0.0, 0.0, 0.0, 1.0]])


def test_the_unknown_class_stands_where_its_threshold_is_among_the_known_ones() -> None:
    found = with_unknown_at(PROBS, 0.5, LABELS)
    # known classes sum to one beside 0.5, whatever stood in the unknown column: 0.6 / 0.9 = 2/3 of 1.5
    assert found[0].tolist() == pytest.approx([2 / 3 / 1.5, 2 / 9 / 1.5, 1 / 9 / 1.5, 0.5 / 1.5])
    assert found.argmax(axis=1).tolist() == [0, 3, 2, 3]
    assert np.argsort(-found[0], kind="stable").tolist() == [0, 3, 1, 2]
    assert np.allclose(found.sum(axis=1), 1)
    assert best_known(PROBS, LABELS).tolist() == pytest.approx([2 / 3, 1 / 3, 8 / 9, 0.0])


@given(st.integers(0, 999), st.floats(0, 1))
def test_the_order_of_known_classes_stays(seed: int, threshold: float) -> None:
    probs = np.random.default_rng(seed).dirichlet(np.ones(4), 5)
    found = with_unknown_at(probs, threshold, LABELS)
    assert (np.argsort(found[:, :3], axis=1) == np.argsort(probs[:, :3], axis=1)).all()
    assert np.allclose(found.sum(axis=1), 1)


def rows(unknown: int, known: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unknown rows whose best class has under a half, and known ones whose best class is right and has over 0.7."""
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.full(unknown, 3), rng.integers(0, 3, known)])
    probs = np.zeros((len(truth), 4))
    probs[:unknown, :3] = np.array([0.45, 0.3, 0.25])
    for n in range(unknown, len(truth)):
        top = 0.7 + 0.3 * rng.random()
        probs[n, :3] = (1 - top) / 2
        probs[n, truth[n]] = top
    return probs, truth


@pytest.mark.parametrize("name", ["accuracy", "map@3", "macro_f1"])
def test_a_threshold_is_learned_between_what_it_parts(name: str) -> None:
    probs, truth = rows(20, 40)
    found = learn_unknown(probs, truth, metric_by_name(name), LABELS)
    assert 0.45 < found < 0.72
    assert metric_by_name("accuracy")(truth, with_unknown_at(probs, found, LABELS)) == 1.0


def test_without_unknown_rows_no_row_is_answered_with_it() -> None:
    probs, truth = rows(0, 40)
    assert learn_unknown(probs, truth, metric_by_name("accuracy"), LABELS) == 0.0
    assert learn_rule(probs, truth, metric_by_name("accuracy"), LABELS) == (0.0,)


def test_a_decision_keeps_it() -> None:
    decision = Decision(LABELS, (0.4,))
    assert decision.rule == UNKNOWN
    assert decision.named() == {"new": 0.4}
    assert Decision.of_json(decision.as_json(), LABELS) == decision
    assert np.array_equal(decision(PROBS), with_unknown_at(PROBS, 0.4, LABELS))
    for wrong in ({"values": [1.4]}, {"values": [0.2, 0.3]}, {"rule": "multipliers"}):
        with pytest.raises(ValueError, match=r"threshold|multipliers"):
            Decision.of_json({**decision.as_json(), **wrong}, LABELS)


def test_the_score_is_of_thresholds_learned_on_other_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    probs, truth = rows(12, 24)
    ids = tuple(str(n) for n in range(len(truth)))
    seen: list[int] = []
    real = learn_unknown

    def spy(probs: np.ndarray, truth: np.ndarray, metric: object, labels: LabelMap) -> float:
        seen.append(len(truth))
        return real(probs, truth, metric, labels)  # type: ignore[arg-type]

    monkeypatch.setattr("comp.ensembling.decisions.learn_unknown", spy)
    table = judged(
        {"run": Predictions(ids, LABELS, probs, "f")},
        dict(zip(ids, truth, strict=True)),
        {i: n % 3 for n, i in enumerate(ids)},
        {i: i for i in ids},
    )
    # accuracy is no metric that wants a decision: the unknown class is what calls for one
    result = evaluate_blend(table, metric_by_name("accuracy"), BlendOptions("mean"))
    assert result.decision is not None
    assert result.decision.applied
    assert result.score == 1.0
    assert set(seen) == {24, 36}  # of the other folds, and of all rows for the test
    assert result.learned.decision.values == (real(probs, truth, metric_by_name("accuracy"), LABELS),)


def test_parts_are_blended_by_the_rows_that_they_can_know() -> None:
    rng = np.random.default_rng(3)
    truth = np.concatenate([rng.integers(0, 3, 60), np.full(20, 3)])
    ids = tuple(f"{n:02}" for n in range(80))
    good, bad = (rng.dirichlet(np.ones(4), 80) for _ in range(2))
    good[:60] = 0.3 * good[:60] + 0.7 * np.eye(4)[truth[:60]]
    bad[60:] = [0.01, 0.01, 0.01, 0.97]  # what a part says of the unknown class counts for nothing
    own = (dict(zip(ids, truth, strict=True)), {i: n % 4 for n, i in enumerate(ids)}, {i: i for i in ids})

    def weights() -> dict[str, float]:
        parts = {"a": Predictions(ids, LABELS, good, "f"), "b": Predictions(ids, LABELS, bad, "f")}
        result = evaluate_blend(judged(parts, *own), metric_by_name("accuracy"), BlendOptions("weighted"))
        assert result.best_part == "a"
        found = result.learned.blend.by_part()
        assert found is not None
        return found

    before = weights()
    assert before["a"] > before["b"]
    bad[60:] = 0.25
    assert weights() == before
