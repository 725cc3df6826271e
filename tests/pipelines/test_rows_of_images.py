"""Competitions of several images a row, from made raw folders to the CSV: scores and cells are those of pooled images."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import comp
from comp.data.competitions.competition import find_competition
from comp.data.predictions import Predictions
from comp.errors import CheckFailed, InputError, Refusal
from comp.workspace import Workspace
from tests.made import draw, save_image

RECIPE = [
    "mode=scratch",
    "epochs=1",
    "batch=8",
    "model.name=test_resnet",
    "model.weights=none",
    "model.size=32",
]
RECIPE += ["transform=none", 'tta=["identity","hflip"]']
BREAST = """
slug = "breast"
title = "Made mammograms"
metric = "probabilistic_f1"
classes = ["0", "1"]

[data]
table = "train.csv"
test_table = "test.csv"
id = "image_id"
label = "cancer"
group = "patient_id"
row = "{patient_id}_{laterality}"
pool = "POOL"
images = "train_images/{patient_id}/{image_id}.png"
test_images = "test_images/{patient_id}/{image_id}.png"

[template]
file = "sample_submission.csv"
id = "prediction_id"
target = "cancer"
kind = "prob"
positive = "1"
"""
SERIES = """
slug = "series"
title = "Made series"
metric = "roc_auc"
classes = ["0", "1"]

[data]
table = "train_labels.csv"
id = "patient"
label = "value"
row = "patient"
images = "train/{patient}/*/*.png"
test_images = "test/{patient}/*/*.png"

[template]
file = "sample_submission.csv"
id = "patient"
target = "value"
kind = "prob"
positive = "1"
"""


def workspace_of(root: Path, slug: str, facts: str) -> Path:
    (root / "competitions" / slug).mkdir(parents=True)
    (root / "competitions" / slug / "competition.toml").write_text(facts)
    return root / "data" / slug


def write_table(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def breast(root: Path, pool: str = "noisy-or") -> Path:
    raw, rng = workspace_of(root, "breast", BREAST.replace("POOL", pool)), np.random.default_rng(1)
    for split, patients in (("train", range(12)), ("test", range(50, 55))):
        rows: list[dict[str, object]] = []
        for patient in patients:
            for side in "LR":
                cancer = int(rng.random() < 0.5)
                for _ in range(int(rng.integers(1, 4))):
                    number = len(rows) + (1000 if split == "train" else 2000)
                    save_image(
                        raw / f"{split}_images/{patient}/{number}.png",
                        draw("ring" if cancer else "square", number),
                    )
                    row = {"patient_id": patient, "image_id": number, "laterality": side}
                    rows.append(
                        row
                        | ({"cancer": cancer} if split == "train" else {"prediction_id": f"{patient}_{side}"})
                    )
        write_table(raw / f"{split}.csv", rows)
    asked = sorted({str(row["prediction_id"]) for row in rows}, reverse=True)
    write_table(raw / "sample_submission.csv", [{"prediction_id": i, "cancer": 0.5} for i in asked])
    return raw


def series(root: Path) -> Path:
    raw = workspace_of(root, "series", SERIES)
    for split, patients in (("train", range(10)), ("test", range(20, 24))):
        for patient in patients:
            for kind in ("FLAIR", "T1w"):
                for n in range(1 + patient % 2):
                    save_image(raw / split / f"{patient:05d}" / kind / f"Image-{n}.png", draw("ring" if patient % 2 else "square", patient * 100 + n * 10 + len(kind)))  # fmt: skip
    write_table(raw / "train_labels.csv", [{"patient": f"{p:05d}", "value": p % 2} for p in range(10)])
    write_table(raw / "sample_submission.csv", [{"patient": f"{p:05d}", "value": 0.5} for p in range(20, 24)])
    return raw


def cells(path: Path) -> dict[str, float]:
    with path.open(newline="") as file:
        return {row[0]: float(row[1]) for row in list(csv.reader(file))[1:]}


def test_the_score_and_the_csv_are_of_pooled_images(tmp_path: Path) -> None:
    from comp.inference.predict import predict_each
    from comp.recipe import load

    raw = breast(tmp_path)
    made = comp.run("breast", folds=2, workspace=tmp_path, overrides=RECIPE, report=False)
    oof = np.load(made.folder / "oof.npz")["probs"]
    rows = made_rows(raw / "train.csv")
    assert len(oof) == len(rows) == 24
    truth = [rows[i] for i in Predictions.load(made.folder / "oof.npz").ids]
    hits = sum(p for p, y in zip(oof[:, 1], truth, strict=True) if y)
    precision, recall = hits / oof[:, 1].sum(), hits / sum(truth)
    assert made.score == pytest.approx(2 * precision * recall / (precision + recall))

    with (raw / "test.csv").open(newline="") as file:
        tests = list(csv.DictReader(file))
    paths = [f"test_images/{row['patient_id']}/{row['image_id']}.png" for row in tests]
    source = find_competition("breast", Workspace.find(tmp_path)).source(raw)
    recipe = load(made.folder / "recipe.toml").each[0]
    folders = [made.folder / "fold-0", made.folder / "fold-1"]
    each = predict_each(folders, source, paths, paths, recipe)
    wanted = {}
    for name in {row["prediction_id"] for row in tests}:
        own = [n for n, row in enumerate(tests) if row["prediction_id"] == name]
        wanted[name] = np.mean([1 - np.prod([1 - each[f].probs[n, 1] for n in own]) for f in folders])
    asked = cells(made.submission)
    assert list(asked) == list(cells(raw / "sample_submission.csv"))
    for name, cell in asked.items():
        assert cell == pytest.approx(wanted[name], abs=1e-6)

    again = comp.predict(made.run, workspace=tmp_path, out=tmp_path / "again.csv")
    assert again.path.read_bytes() == made.submission.read_bytes()


def made_rows(path: Path) -> dict[str, int]:
    with path.open(newline="") as file:
        return {f"{r['patient_id']}_{r['laterality']}": int(r["cancer"]) for r in csv.DictReader(file)}


def test_all_images_in_the_folders_of_a_row_are_its_images(tmp_path: Path) -> None:
    series(tmp_path)
    made = comp.run("series", folds=2, workspace=tmp_path, overrides=RECIPE, report=False)
    assert set(cells(made.submission)) == {"00020", "00021", "00022", "00023"}
    assert len(np.load(made.folder / "oof.npz")["probs"]) == 10
    images = (made.folder / "manifest.csv").read_text().count(".png,train,")
    assert images == 30


def test_what_does_not_pair_up_is_refused(tmp_path: Path) -> None:
    raw = series(tmp_path)
    save_image(raw / "test" / "00099" / "T1w" / "Image-0.png", draw("ring", 5))
    with pytest.raises(InputError, match="row of the template"):
        comp.check("series", workspace=tmp_path)
    template = raw / "sample_submission.csv"
    template.write_text(template.read_text() + "00099,0.5\n00100,0.5\n")
    with pytest.raises(CheckFailed, match="missing-file"):
        comp.run("series", folds=2, workspace=tmp_path, overrides=RECIPE)


def test_rows_that_the_template_lacks_are_refused(tmp_path: Path) -> None:
    raw = breast(tmp_path)
    lines = (raw / "sample_submission.csv").read_text().splitlines()
    (raw / "sample_submission.csv").write_text("\n".join([*lines[:-1], "99_L,0.5"]) + "\n")
    with pytest.raises(CheckFailed, match="template-mismatch"):
        comp.run("breast", folds=2, workspace=tmp_path, overrides=RECIPE)


def test_two_labels_in_one_row_are_refused(tmp_path: Path) -> None:
    raw = breast(tmp_path)
    with (raw / "train.csv").open(newline="") as file:
        rows: list[dict[str, object]] = list(csv.DictReader(file))
    several = next(n for n in range(1, len(rows)) if rows[n]["laterality"] == rows[n - 1]["laterality"] and rows[n]["patient_id"] == rows[n - 1]["patient_id"])  # fmt: skip
    rows[several]["cancer"] = 1 - int(str(rows[several]["cancer"]))
    write_table(raw / "train.csv", rows)
    with pytest.raises(InputError, match="one label"):
        comp.check("breast", workspace=tmp_path)


def test_another_pool_does_not_go_on_with_a_run(tmp_path: Path) -> None:
    breast(tmp_path)
    made = comp.run("breast", folds=2, workspace=tmp_path, overrides=RECIPE, report=False, only=[0])
    facts = tmp_path / "competitions" / "breast" / "competition.toml"
    facts.write_text(facts.read_text().replace("noisy-or", "max"))
    with pytest.raises(Refusal, match="pools as it began"):
        comp.run("breast", workspace=tmp_path, resume=made.run)


def test_another_pool_does_not_predict_with_a_run(tmp_path: Path) -> None:
    breast(tmp_path)
    made = comp.run("breast", folds=2, workspace=tmp_path, overrides=RECIPE, report=False)
    facts = tmp_path / "competitions" / "breast" / "competition.toml"
    facts.write_text(facts.read_text().replace("noisy-or", "max"))
    with pytest.raises(Refusal, match="pools as it began"):
        comp.predict(made.run, workspace=tmp_path, out=tmp_path / "again.csv")
    assert not (tmp_path / "again.csv").exists()
