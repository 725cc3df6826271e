"""Competitions of arrays in their true layouts, from the raw folder to a CSV whose score is worked out anew."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from made import run_comp
from made_arrays import (
    ICEBERGS,
    file_facts,
    make_files,
    make_icebergs,
    write_competition,
    write_scan,
    write_signal,
)


def answers(workspace: Path, slug: str) -> dict[str, str]:
    (path,) = (workspace / "submissions" / slug).glob("*.csv")
    with path.open(encoding="utf-8") as file:
        return dict(list(csv.reader(file))[1:])


def the_sidecar(workspace: Path) -> dict[str, object]:
    (path,) = (workspace / "runs").glob("*/fold-0/model.json")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def test_icebergs_of_two_bands_with_their_angle(tmp_path: Path) -> None:
    facts = ICEBERGS.replace('label = "is_iceberg"', 'label = "is_iceberg"\nfeatures = ["inc_angle"]')
    write_competition(tmp_path, "icebergs", facts)
    truth = make_icebergs(tmp_path / "data" / "icebergs")
    done = run_comp(tmp_path, "run", "icebergs", "--folds", "2")
    assert done.code == 0, done.err
    given = answers(tmp_path, "icebergs")
    assert list(given) == list(truth)
    assert all((float(given[name]) > 0.5) == bool(label) for name, label in truth.items())

    sidecar = the_sidecar(tmp_path)
    assert sidecar["preprocess"]["scale"]["low"] == [-45.0, -45.0]  # type: ignore[index]
    (column,) = sidecar["side"]  # type: ignore[misc]
    lines = next((tmp_path / "folds").rglob("*.csv")).read_text(encoding="utf-8").splitlines()
    folds = {row["id"]: row["fold"] for row in csv.DictReader(lines)}
    records = json.loads((tmp_path / "data" / "icebergs" / "train.json").read_text())
    own = [r["inc_angle"] for r in records if folds[r["id"]] != "0" and r["inc_angle"] != "na"]
    assert column["mean"] == pytest.approx(np.mean(own))
    assert column["std"] == pytest.approx(np.std(own))
    assert column["flagged"]

    before = (next((tmp_path / "submissions" / "icebergs").glob("*.csv"))).read_bytes()
    again = run_comp(tmp_path, "predict", "latest", "--out", tmp_path / "again.csv")
    assert again.code == 0, again.err
    assert (tmp_path / "again.csv").read_bytes() == before

    hidden = tmp_path / "hidden"
    shutil.copytree(tmp_path / "data" / "icebergs", hidden)
    rows = json.loads((hidden / "test.json").read_text())
    (hidden / "test.json").write_text(
        json.dumps([{k: v for k, v in r.items() if k != "inc_angle"} for r in rows])
    )
    lacking = run_comp(tmp_path, "predict", "latest", "--data", hidden)
    assert lacking.code == 2
    assert "inc_angle" in lacking.err


def test_signals_of_six_channels_by_their_percentiles(tmp_path: Path) -> None:
    write_competition(tmp_path, "signals", file_facts("npy", 'channels = 6\nrange = "percentile"'))
    raw = tmp_path / "data" / "signals"
    truth = make_files(raw, "npy", write_signal)
    done = run_comp(tmp_path, "run", "signals", "--folds", "2")
    assert done.code == 0, done.err
    assert answers(tmp_path, "signals") == truth
    every = np.concatenate([np.load(p).reshape(6, -1).T for p in sorted((raw / "train").iterdir())])
    low, high = np.percentile(every.astype(np.float64), [0.1, 99.9], axis=0)
    scale = the_sidecar(tmp_path)["preprocess"]["scale"]  # type: ignore[index]
    assert np.allclose(scale["low"], low)
    assert np.allclose(scale["high"], high)
    assert scale["kind"] == "float16"

    for path in (raw / "test").iterdir():  # other test images change nothing of the scale
        np.save(path, (np.load(path) * 3).astype(np.float16))
    again = run_comp(tmp_path, "predict", "latest", "--data", raw, "--out", tmp_path / "again.csv")
    assert again.code == 0, again.err
    for path in (raw / "test").iterdir():
        np.save(path, np.load(path).astype(np.float32))
    other = run_comp(tmp_path, "predict", "latest", "--data", raw)
    assert other.code != 0
    assert "the run was trained on float16" in other.err


def test_scans_in_dicom_by_one_window(tmp_path: Path) -> None:
    write_competition(tmp_path, "scans", file_facts("dcm", "window = [40, 400]"))
    truth = make_files(tmp_path / "data" / "scans", "dcm", write_scan)
    done = run_comp(tmp_path, "run", "scans", "--folds", "2")
    assert done.code == 0, done.err
    assert answers(tmp_path, "scans") == truth
    assert the_sidecar(tmp_path)["preprocess"]["scale"]["low"] == [-160.0]  # type: ignore[index]


MAMMOGRAMS = """metric = "probabilistic_f1"
classes = ["0", "1"]
[data]
table = "train.csv"
test_table = "test.csv"
id = "image_id"
label = "cancer"
group = "patient_id"
row = "{patient_id}_{laterality}"
pool = "noisy-or"
images = "train_images/{patient_id}/{image_id}.dcm"
test_images = "test_images/{patient_id}/{image_id}.dcm"
[images]
channels = 1
window = [40, 400]
[template]
file = "sample_submission.csv"
id = "prediction_id"
target = "cancer"
kind = "prob"
positive = "1"
"""


def make_mammograms(raw: Path) -> dict[str, int]:
    """Two breasts a patient, one to three DICOM files each, a line of the table a file; the truth of the test rows."""
    rng = np.random.default_rng(5)
    truth: dict[str, int] = {}
    for part, patients in (("train", range(14)), ("test", range(50, 57))):
        lines = []
        for patient in patients:
            (raw / f"{part}_images" / str(patient)).mkdir(parents=True)
            for side in "LR":
                cancer, row = int(rng.random() < 0.5), f"{patient}_{side}"
                for _ in range(int(rng.integers(1, 4))):
                    image = 10_000 + len(lines) + 1_000 * (part == "test")
                    write_scan(raw / f"{part}_images" / str(patient) / f"{image}.dcm", cancer, rng)
                    lines.append(f"{patient},{image},{side},{cancer if part == 'train' else row}\n")
                if part == "test":
                    truth[row] = cancer
        last = "cancer" if part == "train" else "prediction_id"
        (raw / f"{part}.csv").write_text(f"patient_id,image_id,laterality,{last}\n" + "".join(lines))
    asked = "".join(f"{row},0\n" for row in reversed(truth))
    (raw / "sample_submission.csv").write_text(f"prediction_id,cancer\n{asked}")
    return truth


def test_mammograms_in_dicom_of_several_images_a_row(tmp_path: Path) -> None:
    write_competition(tmp_path, "mammograms", MAMMOGRAMS)
    truth = make_mammograms(tmp_path / "data" / "mammograms")
    done = run_comp(tmp_path, "run", "mammograms", "--folds", "2", "--json")
    assert done.code == 0, done.err
    given = {row: float(cell) for row, cell in answers(tmp_path, "mammograms").items()}
    assert list(given) == list(reversed(truth))
    hits = sum(given[row] for row, cancer in truth.items() if cancer)
    precision, recall = hits / sum(given.values()), hits / sum(truth.values())
    # the grader's rule, with what the rows truly are: scans that tell their label leave little to miss
    assert 2 * precision * recall / (precision + recall) > 0.8
    assert done.json["oof"]["score"] > 0.7
    again = run_comp(tmp_path, "predict", "latest", "--out", tmp_path / "again.csv")
    assert again.code == 0, again.err
    (first,) = (tmp_path / "submissions" / "mammograms").glob("*.csv")
    assert (tmp_path / "again.csv").read_bytes() == first.read_bytes()


def test_leaves_with_features_that_alone_tell_their_label(tmp_path: Path) -> None:
    facts = file_facts("npy", "range = [0, 1]").replace(
        'label = "target"', 'label = "target"\ntest_table = "test.csv"\nfeatures = ["margin*", "soil"]'
    )
    write_competition(tmp_path, "leaves", facts)
    raw = tmp_path / "data" / "leaves"
    truth = make_files(raw, "npy", lambda path, label, rng: np.save(path, rng.random((8, 8))))
    rng = np.random.default_rng(1)
    known = dict(line.split(",") for line in (raw / "train_labels.csv").read_text().splitlines()[1:])
    head = ",".join(f"margin{n}" for n in range(1, 65))
    for name, file, labels in (("train", "train_labels.csv", known), ("test", "test.csv", truth)):
        lines = [f"id,{'target,' if name == 'train' else ''}{head},soil"]
        for key, label in labels.items():
            cells = [f"{v:.5f}" for v in rng.normal(3 * int(label), 1, 64)]
            soil = rng.choice(["clay", "sand"]) if name == "train" else "peat"
            lines.append(",".join([key, *([label] if name == "train" else []), *cells, soil]))
        (raw / file).write_text("\n".join(lines) + "\n")
    done = run_comp(tmp_path, "run", "leaves", "--folds", "2")
    assert done.code == 0, done.err
    assert answers(tmp_path, "leaves") == truth
    assert len(the_sidecar(tmp_path)["side"]) == 65  # type: ignore[arg-type]


def test_a_trained_network_reads_features_and_two_channels(tmp_path: Path) -> None:
    facts = ICEBERGS.replace('label = "is_iceberg"', 'label = "is_iceberg"\nfeatures = ["inc_angle"]')
    write_competition(tmp_path, "icebergs", facts)
    make_icebergs(tmp_path / "data" / "icebergs")
    changes = [
        "mode=scratch",
        "model.name=test_resnet",
        "model.size=32",
        "epochs=1",
        "batch=8",
        "transform=light",
    ]
    sets = [part for change in changes for part in ("--set", change)]
    done = run_comp(tmp_path, "run", "icebergs", "--folds", "2", *sets)
    assert done.code == 0, done.err
    again = run_comp(tmp_path, "predict", "latest", "--out", tmp_path / "again.csv")
    assert again.code == 0, again.err
    assert (tmp_path / "again.csv").read_bytes() == next(
        (tmp_path / "submissions").rglob("*.csv")
    ).read_bytes()
    mixed = run_comp(tmp_path, "run", "icebergs", "--folds", "2", *sets, "--set", "regularize.mixup=0.2")
    assert mixed.code == 2
    assert "regularize.mixup" in mixed.err
    coloured = run_comp(tmp_path, "run", "icebergs", "--folds", "2", *sets, "--set", "transform=standard")
    assert coloured.code == 2
    assert "ColorJitter" in coloured.err


def test_two_kinds_of_number_are_refused_by_name(tmp_path: Path) -> None:
    write_competition(tmp_path, "mixed", file_facts("npy", "range = [0, 255]"))
    kinds = iter([np.uint8] + [np.uint16] * 60)
    make_files(
        tmp_path / "data" / "mixed",
        "npy",
        lambda path, label, rng: np.save(path, rng.integers(0, 200, (8, 8)).astype(next(kinds))),
    )
    done = run_comp(tmp_path, "run", "mixed", "--folds", "2")
    assert done.code == 1
    assert "uint16" in done.err
    assert "1 of uint8" in done.err
