"""Classes that are held out whole, so that folds have rows whose class their models never saw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from comp.data.folds import make_folds
from comp.data.labels import LabelMap
from comp.data.manifest import TRAINING, Manifest, Sample
from comp.data.open_set import corrected, mean_of_models, with_unknown, without_unknown
from comp.data.predictions import Predictions
from comp.data.task import SINGLE_LABEL, Task
from comp.errors import InputError
from comp.training.plan import rows_of_fold
from made import planned

NAMES = ("a", "b", "c", "d", "e", "new")
LABELS = LabelMap(NAMES, Task(unknown="new"))


def manifest(new: int = 0, **groups: str) -> Manifest:
    """Classes a to e of 8, 7, 2, 3 and 4 rows, and ``new`` rows of the unknown one; ``groups`` by id."""
    counts = {"a": 8, "b": 7, "c": 2, "d": 3, "e": 4, "new": new}
    return Manifest.from_samples(
        Sample(f"{name}{n}", f"all#{n}", "train", name, groups.get(f"{name}{n}", ""))
        for name, count in counts.items()
        for n in range(count)
    )


def test_the_rarest_classes_are_unknown_where_they_are_scored_and_known_where_they_train() -> None:
    found = with_unknown(manifest(), LABELS, 2)
    rows = found.train.set_index("id")
    assert set(rows["label"][[i[0] in "cd" for i in rows.index]]) == {"new"}
    assert list(rows[TRAINING]) == [i[0] for i in rows.index]
    assert rows["group"]["c0"] == rows["group"]["c1"] != rows["group"]["d0"]
    assert "2 rare classes are 'new'" in found.notes[-1]
    assert corrected(found, LABELS) == {}


def test_folds_judge_what_they_never_fitted() -> None:
    found = with_unknown(manifest(new=4), LABELS, 2)
    folds = make_folds(found, 2, task=LABELS.task)
    plan = replace(planned(manifest=found, folds=folds), labels=LABELS)
    scored: dict[str, str] = {}
    for k in (0, 1):
        part = rows_of_fold(plan, k)
        held = [part.table["id"][n] for n in part.held_out]
        scored |= {i: NAMES[part.targets[n]] for i, n in zip(held, part.held_out, strict=True)}
        unseen = {i[0] for i in held if part.targets[list(part.table["id"]).index(i)] == 5} - {"n"}
        trained = {NAMES[part.targets[n]] for n in part.fitted}
        assert "new" not in trained
        assert not unseen & trained
        assert trained == {"a", "b", "c", "d", "e"} - unseen
    assert {i: label for i, label in scored.items() if label == "new"}.keys() == {
        *("c0", "c1", "d0", "d1", "d2"),
        *("new0", "new1", "new2", "new3"),
    }


def test_classes_that_share_a_group_stay_known() -> None:
    found = with_unknown(manifest(c0="x", a3="x"), LABELS, 2)
    assert {i[0] for i in found.train["id"][found.train["label"] == "new"]} == {"d", "e"}


def test_what_cannot_be_held_out_is_refused() -> None:
    with pytest.raises(InputError, match="leave others to know"):
        with_unknown(manifest(), LABELS, 4)
    with pytest.raises(InputError, match="unknown_classes = 20"):
        with_unknown(manifest(), LABELS, 0)


def test_rows_of_the_unknown_class_suffice() -> None:
    found = with_unknown(manifest(new=5), LABELS, 0)
    assert TRAINING not in found.table
    assert found.notes == ("5 training rows are 'new' and never train",)


def test_a_task_keeps_its_unknown_class() -> None:
    assert Task.of_json(LABELS.task.as_json()) == LABELS.task
    assert "unknown" not in SINGLE_LABEL.as_json()


def test_predictions_keep_the_unknown_class(tmp_path: object) -> None:
    probs = np.full((2, 6), 1 / 6)
    own = Predictions(("a0", "c0"), LABELS, probs, "f")
    own.save(tmp_path / "p.npz")  # type: ignore[operator]
    assert Predictions.load(tmp_path / "p.npz").labels == LABELS  # type: ignore[operator]
    rows = with_unknown(manifest(), LABELS, 2).train
    assert without_unknown(own, rows).ids == ("a0",)


def test_the_mean_does_not_count_against_a_class_that_a_model_never_saw() -> None:
    labels = LabelMap(("a", "b", "new"), Task(unknown="new"))
    one = Predictions(("x", "y"), labels, np.array([[0.2, 0.8, 0.0], [0.9, 0.1, 0.0]]), "f")
    two = Predictions(("x", "y"), labels, np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), "f")
    found = mean_of_models([one, two], [(), ("b",)])
    # the second model knows a alone: of b it has what the first one says
    assert np.allclose(found.probs, [[0.2, 0.8, 0.0], [0.9, 0.1, 0.0]])
    assert np.allclose(mean_of_models([one, two], [(), ()]).probs, [[0.6, 0.4, 0.0], [0.95, 0.05, 0.0]])
    three = Predictions(("x", "y"), labels, np.array([[0.4, 0.4, 0.2], [0.3, 0.5, 0.2]]), "f")
    both = mean_of_models([one, two, three], [(), ("b",), ()]).probs
    b = np.array([0.6, 0.3])  # the mean of those that know it
    assert np.allclose(both[:, 1], (np.array([0.8, 0.1]) + b + np.array([0.4, 0.5])) / 3)
    assert np.allclose(both.sum(axis=1), 1)
