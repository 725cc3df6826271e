"""comp score: the metric, the classes, and the count of looks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from comp import registry
from comp.labels import LabelMap
from comp.scoring import class_scores
from comp.workspace import Workspace
from made import run_comp


@pytest.fixture
def truth(workspace: Path) -> dict[str, str]:
    return registry.competition("digits", Workspace(workspace)).adapter.answers(workspace)


def write(path: Path, answers: dict[str, str]) -> Path:
    path.write_text("id,label\n" + "".join(f"{i},{label}\n" for i, label in answers.items()))
    return path


def test_a_perfect_submission_scores_one_and_every_look_is_counted(
    workspace: Path, truth: dict[str, str]
) -> None:
    csv = write(workspace / "mine.csv", truth)
    first = run_comp(workspace, "score", "digits", csv, "--json")
    assert first.code == 0
    assert first.json["score"] == 1.0
    assert first.json["looks"] == 1
    assert {row["recall"] for row in first.json["classes"]} == {1.0}
    wrong = dict(truth, **{next(iter(truth)): "5" if next(iter(truth.values())) != "5" else "6"})
    second = run_comp(workspace, "score", "digits", write(workspace / "other.csv", wrong))
    assert "look 2 at the labels of digits" in second.out
    looks = json.loads((workspace / "submissions" / "digits" / "looks.json").read_text())
    assert [round(look["score"], 6) for look in looks] == [1.0, round(1 - 1 / len(truth), 6)]
    assert looks[0]["file"].endswith("mine.csv")


def test_an_invalid_submission_is_refused_and_is_no_look(workspace: Path, truth: dict[str, str]) -> None:
    del truth[next(iter(truth))]
    done = run_comp(workspace, "score", "digits", write(workspace / "short.csv", truth))
    assert done.code == 1
    assert "missing id" in done.err
    assert not (workspace / "submissions").exists()


def test_a_competition_that_keeps_its_labels_says_so(workspace: Path) -> None:
    done = run_comp(workspace, "score", "art-classification", workspace / "any.csv")
    assert done.code == 2
    assert "only published labels" in done.err


def test_an_index_template_is_scored_by_index(workspace: Path) -> None:
    run_comp(workspace, "data", "cifar-100", "--sample")
    cifar = registry.competition("cifar-100", Workspace(workspace))
    raw = workspace / "data" / "cifar-100"
    places = {name: str(index) for index, name in enumerate(cifar.classes(raw) or ())}
    answers = {i: places[label] for i, label in cifar.adapter.answers(raw).items()}
    done = run_comp(workspace, "score", "cifar-100", write(workspace / "mine.csv", answers), "--json")
    assert done.json["score"] == 1.0
    assert len(done.json["classes"]) == 100


def test_class_scores_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels = LabelMap([f"c{n}" for n in range(6)])
    truth, answers = rng.integers(0, 5, 200), rng.integers(1, 6, 200)
    found = class_scores(truth, answers, labels)
    options = {"labels": range(6), "average": None, "zero_division": 0.0}
    assert np.allclose([one.recall for one in found], recall_score(truth, answers, **options))
    assert np.allclose([one.precision for one in found], precision_score(truth, answers, **options))
    assert np.allclose([one.f1 for one in found], f1_score(truth, answers, **options))
