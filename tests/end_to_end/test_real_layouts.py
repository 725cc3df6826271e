"""Real competitions' downloads, made small: from the raw folder to a CSV that the competition's grader takes, without a
line of Python, and the grader's rule on it is comp's metric.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comp.data.competitions.competition import Competition, find_competition
from comp.data.csv_table import Table, read_table
from comp.data.dataset import load_template
from comp.data.labels import LabelMap
from comp.submission.answers import read_back
from comp.workspace import Workspace
from made import run_comp
from raw_layouts import LAYOUTS, Truth, read_answers, write_answers

# the metric cannot be read from a folder; comp's name of the one that the competition's page words
METRICS = {
    "aerial-cactus": "roc_auc",
    "dogs-vs-cats": "log_loss",
    "histopathologic-cancer": "roc_auc",
    "siim-isic-melanoma": "roc_auc",
    "aptos2019-blindness": "qwk",
    "cassava-leaf-disease": "accuracy",
    "dog-breed": "log_loss",
    "plant-pathology-2020": "roc_auc",
    "plant-pathology-2021": "samples_f1",
    "ranzcr-clip": "roc_auc",
    "imet-2020": "micro_f1",
    "petfinder-pawpularity": "rmse",
    "state-farm-drivers": "log_loss",
    "herbarium-2021": "macro_f1",
    "iwildcam-2020": "accuracy",
}
QUICK = ("--folds", "2", "--quick", "--set", "mode=scratch", "--set", "model.name=test_resnet")
QUICK += ("--set", "model.size=32", "--set", "model.weights=none", "--set", 'tta=["identity"]')


def known_rows(table: Table, labels: LabelMap, kind: str) -> list[int]:
    """The rows of a perfect answer whose classes all have training rows; others cannot be answered."""
    if kind not in ("label", "labels", "topk"):
        return list(range(len(table)))
    cells = [row[-1] for row in table.rows]
    parts = [[cell] if kind == "label" else cell.split() for cell in cells]
    return [n for n, names in enumerate(parts) if all(name in labels for name in names)]


def of_comp(competition: Competition, raw: Path, submitted: Path, perfect: Path) -> tuple[float, list[str]]:
    """What comp's metric says of a CSV beside a perfect one in the same format, and the ids that it looked at."""
    manifest = competition.read(raw)
    labels = competition.label_map(manifest, raw)
    template = load_template(competition, raw, manifest)
    right, ours = read_table(perfect), read_table(submitted)
    place = template.id_place
    rows = known_rows(right, labels, template.kind)
    answer = {row[place]: row for row in ours.rows}
    asked = [right.rows[n] for n in rows]
    right = replace(right, rows=tuple(asked))
    ours = replace(ours, rows=tuple(answer[row[place]] for row in asked))
    truth = read_back(right, template, labels)
    if labels.task.is_single_label:
        truth = truth.argmax(axis=1)
    elif labels.task.one_class_a_row:
        truth = truth[:, 0].astype(np.int64)
    return competition.metric(truth, read_back(ours, template, labels)), [row[place] for row in asked]


def perfect_csv(path: Path, csv_path: Path, truth: Truth) -> Path:
    """The right answers with the columns in the order of a submission."""
    with csv_path.open(newline="", encoding="utf-8") as file:
        header = next(csv.reader(file))
    cells = {i: dict(zip(truth.columns, row, strict=True)) for i, row in truth.answers.items()}
    lines = [header, *([i if c == truth.id_column else row[c] for c in header] for i, row in cells.items())]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("slug", METRICS)
def test_a_raw_folder_becomes_a_submission_that_the_grader_takes(slug: str, workspace: Path) -> None:
    layout, raw = LAYOUTS[slug], workspace / "raw"
    raw.mkdir()
    truth = layout.make(raw, 0)
    new = run_comp(workspace, "new", "made", "--from", raw, "--metric", METRICS[slug])
    assert new.code == 0, new.err
    checked = run_comp(workspace, "check", "made", "--data", raw, "--folds", "2")
    assert checked.code == 0, checked.out + checked.err
    done = run_comp(workspace, "run", "made", "--data", raw, *QUICK, "--json")
    assert done.code == 0, done.err
    submitted = workspace / done.json["submission"]
    valid = run_comp(workspace, "validate", "made", submitted, "--data", raw)
    assert valid.code == 0, valid.out + valid.err
    layout.grade(submitted, truth)  # the competition takes it

    competition = find_competition("made", Workspace(workspace))
    perfect = perfect_csv(workspace / "perfect.csv", submitted, truth)
    ours, ids = of_comp(competition, raw, submitted, perfect)
    assert len(ids) > len(truth.answers) / 2
    some = replace(truth, answers={i: cells for i, cells in truth.answers.items() if i in set(ids)})
    submitted_cells = dict(zip(truth.answers, read_answers(submitted, truth), strict=True))
    write_answers(workspace / "some.csv", some, {i: submitted_cells[i] for i in some.answers})
    assert ours == pytest.approx(layout.grade(workspace / "some.csv", some), abs=1e-6)
