"""comp score: the metric, the classes, and the count of looks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from comp.data.competitions.competition import find_competition
from comp.data.labels import LabelMap
from comp.pipelines.score import class_scores
from comp.workspace import Workspace
from made import run_comp


@pytest.fixture
def truth(workspace: Path) -> dict[str, str]:
    return find_competition("digits", Workspace(workspace)).adapter.answers(workspace)


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
    cifar = find_competition("cifar-100", Workspace(workspace))
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
    found = class_scores(truth, np.eye(6)[answers], labels)
    options = {"labels": range(6), "average": None, "zero_division": 0.0}
    assert np.allclose([one.recall for one in found], recall_score(truth, answers, **options))
    assert np.allclose([one.precision for one in found], precision_score(truth, answers, **options))
    assert np.allclose([one.f1 for one in found], f1_score(truth, answers, **options))


def test_a_metric_of_order_wants_classes_in_order_here_too(workspace: Path, truth: dict[str, str]) -> None:
    folder = workspace / "competitions" / "words"
    folder.mkdir(parents=True)
    overlay = 'extends = "digits"\nslug = "words"\nmetric = "quadratic_kappa"\n'
    (folder / "competition.toml").write_text(overlay)
    csv = write(workspace / "mine.csv", truth)
    assert run_comp(workspace, "score", "words", csv, "--json").json["score"] == 1.0, "digits are stated"
    mixed = ", ".join(f'"{n}"' for n in (0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9))
    (folder / "competition.toml").write_text(f"{overlay}classes = [{mixed}]\n")
    done = run_comp(workspace, "score", "words", csv)
    assert done.code == 2
    assert "these numbers do not follow by ones: '0', '1', '10', '2'" in done.err


def test_a_macro_average_is_over_present_classes_unless_the_facts_say_all(
    workspace: Path, truth: dict[str, str]
) -> None:
    folder = workspace / "competitions" / "more"
    folder.mkdir(parents=True)
    classes = ", ".join(f'"{n}"' for n in range(12))  # two of them are nowhere
    facts = f'extends = "digits"\nslug = "more"\nmetric = "macro_f1"\nclasses = [{classes}]\n'
    csv = write(workspace / "mine.csv", truth)
    for more, expected in (("", 1.0), ('metric_classes = "all"\n', 10 / 12)):
        (folder / "competition.toml").write_text(facts + more)
        done = run_comp(workspace, "score", "more", csv, "--json")
        assert done.json["score"] == pytest.approx(expected)
    (folder / "competition.toml").write_text(facts.replace("macro_f1", "accuracy") + more)
    refused = run_comp(workspace, "score", "more", csv)
    assert refused.code == 2
    assert "over which classes a macro average goes" in refused.err
