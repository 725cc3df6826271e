"""A competition whose test has classes that training does not have, from the raw folder to answers and all that follows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import comp
from comp.data.predictions import Predictions
from comp.errors import InputError
from comp.models.checkpoint import read_sidecar
from comp.pipelines.run_result import RunResult
from comp.runs.contents import manifest_of
from comp.runs.run import find_run
from comp.workspace import Workspace
from made import run_comp, save_image

COLOURS = {
    "ada": (200, 30, 30),
    "bea": (30, 200, 30),
    "cid": (30, 30, 200),
    "dan": (200, 200, 30),
    "eve": (200, 30, 200),
    "fay": (30, 200, 200),
    "gus": (110, 110, 110),  # this one training does not have
}
FACTS = """slug = "whales"
title = "Whales by colour"
metric = "map@3"
unknown = "new_whale"
unknown_classes = 3

[data]
table = "train.csv"
images = "train/{id}"
test_images = "test/{id}"
id = "Image"
label = "Id"

[template]
file = "sample_submission.csv"
id = "Image"
target = "Id"
kind = "topk"
k = 3
"""
RECIPE = 'mode = "probe"\ntta = ["identity"]\nprobe.l2 = 1.0\n[model]\nname = "pixels"\nweights = "none"\nkwargs = {side = 2}\n'


def write_table(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("Image", "Id"), *rows])


def write_whales(workspace: Path, new_rows: int = 0, facts: str = FACTS) -> dict[str, str]:
    """The workspace, with ``new_rows`` training rows of the unknown class; returns the right answers."""
    rng = np.random.default_rng(0)
    raw, folder = workspace / "data" / "whales", workspace / "competitions" / "whales"
    train: list[tuple[str, str]] = []
    test: list[tuple[str, str]] = []

    def add(part: str, rows: list[tuple[str, str]], colour: tuple[int, int, int], label: str) -> None:
        name = f"{rng.integers(10**9):09d}.png"
        noisy = np.array(colour) + rng.normal(0, 25, (32, 32, 3))
        save_image(raw / part / name, np.clip(noisy, 0, 255).astype(np.uint8))
        rows.append((name, label))

    for n, (name, colour) in enumerate(COLOURS.items()):
        for _ in range(0 if name == "gus" else 12 - n):
            add("train", train, colour, name)
        for _ in range(4):
            add("test", test, colour, "new_whale" if name == "gus" else name)
    for n in range(new_rows):
        add("train", train, (100 + 8 * n, 100, 140), "new_whale")
    write_table(raw / "train.csv", train)
    write_table(raw / "sample_submission.csv", [(name, "new_whale ada bea") for name, _ in test])
    folder.mkdir(parents=True)
    (folder / "competition.toml").write_text(facts, encoding="utf-8")
    (folder / "baseline.toml").write_text(RECIPE, encoding="utf-8")
    return dict(test)


def answers(path: Path) -> dict[str, list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row["Image"]: row["Id"].split(" ") for row in csv.DictReader(file)}


def right_first(path: Path, truth: dict[str, str]) -> float:
    told = answers(path)
    return float(np.mean([told[name][0] == wanted for name, wanted in truth.items()]))


@pytest.fixture(scope="module")
def whales(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], RunResult]:
    place = tmp_path_factory.mktemp("whales")
    truth = write_whales(place)
    return place, truth, comp.run("whales", 3, workspace=place)


Whales = tuple[Path, dict[str, str], RunResult]


def test_rows_of_classes_that_no_fold_knew_are_answered_with_the_unknown_one(whales: Whales) -> None:
    place, truth, run = whales
    told = answers(run.submission)
    assert all(len(set(row)) == 3 for row in told.values())
    assert sum("new_whale" in row for row in told.values()) == len(told)  # at its place among the three
    assert right_first(run.submission, truth) > 0.8
    oof = Predictions.load(run.folder / "oof-scored.npz")
    rows = manifest_of(find_run(Workspace(place), run.run)).train.set_index("id").loc[list(oof.ids)]
    first = [oof.labels.names[n] for n in oof.probs.argmax(axis=1)]
    new = rows["label"] == "new_whale"
    assert set(rows["training_label"][new]) == {"dan", "eve", "fay"}
    assert np.mean([a == b for a, b in zip(first, rows["label"], strict=True)]) > 0.8
    decision = json.loads((run.folder / "decision.json").read_text())
    assert decision["named"].keys() == {"new_whale"}
    assert decision["score_after"] > decision["score_before"]
    assert read_sidecar(run.folder / "fold-0").labels.task.unknown == "new_whale"
    assert "corrected" not in " ".join(run.marks)


def test_what_follows_a_run_answers_alike(whales: Whales) -> None:
    place, truth, run = whales
    again = run_comp(place, "predict", run.run, "--json")
    assert again.code == 0, again.err
    assert Path(json.loads(again.out)["submission"]).read_bytes() == run.submission.read_bytes()
    refitted = comp.run("whales", workspace=place, refit=run.run)
    assert any(row[0] == "new_whale" for row in answers(refitted.submission).values())
    other = comp.run("whales", 3, workspace=place, overrides=["model.kwargs.side=3"], report=False)
    blended = run_comp(place, "ensemble", run.run, other.run, "--json")
    assert blended.code == 0, blended.err
    document = json.loads(blended.out)
    assert right_first(place / document["submission"], truth) > 0.8
    for verb in (("report", run.run), ("labels", run.run), ("runs", "whales"), ("show", run.run)):
        assert run_comp(place, *verb).code == 0, verb


def test_some_folds_and_then_the_rest(whales: Whales) -> None:
    place, _, run = whales
    part = comp.run("whales", 3, workspace=place, only=[0, 2], report=False)
    assert any(row[0] == "new_whale" for row in answers(part.submission).values())
    late = comp.run("whales", workspace=place, resume=part.run, report=False)
    assert late.submission.read_bytes() == run.submission.read_bytes()


def test_training_rows_of_the_unknown_class_are_judged_and_never_fitted(tmp_path: Path) -> None:
    truth = write_whales(tmp_path, new_rows=9, facts=FACTS.replace("unknown_classes = 3\n", ""))
    run = comp.run("whales", 3, workspace=tmp_path, report=False)
    assert right_first(run.submission, truth) > 0.8
    rows = manifest_of(find_run(Workspace(tmp_path), run.run)).train
    new = set(rows["content"][rows["label"] == "new_whale"])
    for k in range(3):
        assert not new & set((run.folder / f"fold-{k}" / "fitted.txt").read_text().split())


def test_what_cannot_be_learned_is_refused(tmp_path: Path) -> None:
    write_whales(tmp_path, facts=FACTS.replace("unknown_classes = 3\n", ""))
    with pytest.raises(InputError, match="unknown_classes = 20"):
        comp.run("whales", 3, workspace=tmp_path)
    toml = tmp_path / "competitions" / "whales" / "competition.toml"
    toml.write_text(FACTS.replace("unknown_classes = 3", "unknown_classes = 2"))
    with pytest.raises(InputError, match="only ever train"):
        comp.run("whales", 3, workspace=tmp_path, rare="pool")
    for wrong in ('task = "multi-label"', 'task = "ordinal"'):
        toml.write_text(FACTS.replace('metric = "map@3"', f'metric = "accuracy"\n{wrong}'))
        assert run_comp(tmp_path, "run", "whales").code == 2
