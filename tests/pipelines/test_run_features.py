"""A real run whose images hold one scene in two folds and test images of another light: it says so, and answers as before."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comp.data.competitions.competition import find_competition
from comp.pipelines import run_features
from comp.pipelines.report import gather
from comp.pipelines.run_result import RunResult
from comp.runs import run as runs
from comp.workspace import Workspace
from gallery import save, texture
from made import SHAPES, probe, run_comp, write_shapes

ROWS, TESTS = 120, 40
SCENE, COPY, IN_TEST = "a4", "a100", "t7"  # three photos of one scene, each with another noise over it


def scene(seed: int) -> np.ndarray:
    colours = np.array([30, 30, 210]) + np.linspace(-25, 25, 32)[:, None, None]
    return np.clip(colours + 0.12 * (texture(seed, side=32) - 128.0), 0, 255).astype(np.uint8)


def write_scenes(root: Path, dark: int = 0, tests: int = TESTS) -> Path:
    """The competition ``shapes`` with other images: smooth noise, one scene thrice, test images darker by ``dark``."""
    raw = write_shapes(root, per_class=1, tests=tests)
    lines = ["id,label,group,parent"]
    for n in range(ROWS):
        pixels = scene(n) if f"a{n}" in (SCENE, COPY) else texture(n, side=32)
        save(raw / "train" / f"a{n}.png", pixels)
        lines.append(f"a{n},{SHAPES[n % 3]},,")
    (raw / "train.csv").write_text("\n".join(lines) + "\n")
    for n in range(tests):
        pixels = scene(5000 + n) if f"t{n}" == IN_TEST else texture(5000 + n, side=32)
        save(raw / "test" / f"t{n}.png", np.clip(pixels.astype(int) - dark, 0, 255).astype(np.uint8))
    return raw


def run_of(root: Path, *further: str, mode: str = "probe") -> Path:
    texts = [text for text in probe(root) if not text.startswith("mode=")]
    sets = [word for text in (f"mode={mode}", *texts, *further) for word in ("--set", text)]
    done = run_comp(root, "run", "shapes", "--folds", 3, *sets, "--json")
    assert done.code == 0, done.err
    return root / "runs" / done.json["run"]


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def findings_of(folder: Path) -> dict[str, dict[str, object]]:
    return {one["check"]: one for one in json.loads((folder / "findings.json").read_text())}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a probe whose test images are darker."""
    root = tmp_path_factory.mktemp("features")
    write_scenes(root, dark=90)
    run_of(root)
    return root


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a probe whose test images are drawn as the others."""
    root = tmp_path_factory.mktemp("alike")
    write_scenes(root)
    run_of(root)
    return root


def only_run(root: Path) -> Path:
    return sorted((root / "runs").iterdir())[0]


def test_a_scene_in_two_folds_and_in_the_test_set_is_named_and_not_grouped(alike: Path) -> None:
    folder = only_run(alike)
    pairs = lines_of(folder / "look-alikes.csv")
    first = pairs[0]
    fold = {row["id"]: row["fold"] for row in lines_of(folder / "oof.csv")}
    assert {first["id"], first["other_id"]} == {SCENE, COPY}
    assert (first["fold"], first["other_fold"]) == (fold[first["id"]], fold[first["other_id"]])
    assert fold[SCENE] != fold[COPY]
    of_test = [row for row in pairs if row["other_fold"] == "test"]
    assert of_test[0]["other_id"] == IN_TEST
    assert of_test[0]["id"] in (SCENE, COPY)
    found = findings_of(folder)
    assert (found["look-alike"]["severity"], "near-duplicate" in found) == ("info", False)
    manifest = pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False)
    assert set(manifest["group"]) == {""}
    assert "feature-drift" not in found


def test_the_page_shows_them_with_their_images(alike: Path) -> None:
    text = (only_run(alike) / "report.html").read_text("utf-8")
    _, _, part = text.partition('id="alike"')
    part = part.partition("</details>")[0]
    assert f"train/{SCENE}.png" in part
    assert f"train/{COPY}.png" in part
    assert f"test/{IN_TEST}.png" in part
    assert "features do not tell test images from training images" in text


def test_the_result_has_them_as_a_table(alike: Path, tmp_path: Path) -> None:
    folder = only_run(alike)
    ws = Workspace.find(alike)
    this_run = runs.find_run(ws, folder.name)
    assert {"features.json", "look-alikes.csv", "test-likeness.csv"} <= set(this_run.files)
    made = RunResult(
        **dict.fromkeys(("run", "slug", "metric", "direction"), "x"),
        score=0.5,
        beside={},
        per_fold=[],
        submission=folder / "submission.csv",
        findings={},
        seconds={},
        folder=folder,
    )
    table = made.look_alikes()
    assert set(table.loc[0, ["id", "other_id"]]) == {SCENE, COPY}
    assert table["similarity"].dtype == float
    empty = RunResult(**{**made.__dict__, "folder": tmp_path}).look_alikes()
    assert (len(empty), list(empty)) == (0, list(table))


def test_darker_test_images_are_told_and_the_darker_rows_are_the_test_like_ones(root: Path) -> None:
    folder = only_run(root)
    found = findings_of(folder)["feature-drift"]
    assert (found["severity"], found["count"]) == ("warning", TESTS)
    drift = json.loads((folder / "features.json").read_text())["drift"]
    assert drift["auc"] > 0.95
    rows = lines_of(folder / "test-likeness.csv")
    assert [row["id"] for row in rows] == [f"a{n}" for n in range(ROWS)]
    light = [texture(n, side=32).mean() for n in range(ROWS)]
    likeness = [float(row["likeness"]) for row in rows]
    order = np.argsort([-value for value in likeness])
    assert np.mean([light[n] for n in order[:30]]) < np.mean([light[n] for n in order[-30:]])


def test_the_score_of_test_like_rows_is_the_metric_on_that_quarter(root: Path) -> None:
    folder = only_run(root)
    rows = {row["id"]: row for row in lines_of(folder / "oof.csv")}
    likeness = {row["id"]: float(row["likeness"]) for row in lines_of(folder / "test-likeness.csv")}
    some = sorted(likeness, key=lambda i: -likeness[i])[: ROWS // 4]
    right = np.mean([rows[i]["label"] == rows[i]["answer"] for i in some])
    drift = json.loads((folder / "features.json").read_text())["drift"]
    assert drift["test_like_score"] == pytest.approx(right)
    assert 0 < drift["test_like_error"] < 0.3
    assert f"is {right:.4f} ± " in str(findings_of(folder)["feature-drift"]["message"])


def test_the_page_can_be_written_again_without_the_features(root: Path) -> None:
    folder = only_run(root)
    for path in Workspace.find(root).features.glob("*.npy"):
        path.rename(path.with_suffix(".gone"))
    assert run_comp(root, "report", folder.name).code == 0
    text = (folder / "report.html").read_text("utf-8")
    assert 'id="drift"' in text
    assert "test images differ from training images" in text
    for path in Workspace.find(root).features.glob("*.gone"):
        path.rename(path.with_suffix(".npy"))


def test_a_changed_file_of_them_is_refused(alike: Path) -> None:
    folder = only_run(alike)
    path = folder / "look-alikes.csv"
    before = path.read_bytes()
    path.write_bytes(before + b"a,b\n")
    done = run_comp(alike, "report", folder.name)
    path.write_bytes(before)
    assert done.code == 2
    assert "look-alikes.csv" in done.err


def test_an_error_of_theirs_costs_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise MemoryError("no room")

    write_scenes(tmp_path)
    monkeypatch.setattr(run_features, "feature_drift", broken)
    folder = run_of(tmp_path)
    assert not list(folder.glob("*alike*"))
    assert not (folder / "features.json").exists()
    assert "were not at hand when it ended" in (folder / "report.html").read_text("utf-8")


def test_a_run_from_scratch_has_none_and_says_so(tmp_path: Path) -> None:
    write_scenes(tmp_path)
    done = run_comp(tmp_path, "run", "shapes", "--folds", 2, "--json")
    assert done.code == 0, done.err
    folder = tmp_path / "runs" / done.json["run"]
    assert not (folder / "features.json").exists()
    assert "trained on the rows themselves" in (folder / "report.html").read_text("utf-8")


def test_a_fine_tuned_run_has_those_of_its_training_rows(tmp_path: Path) -> None:
    write_scenes(tmp_path)
    folder = run_of(tmp_path, "epochs=1", mode="finetune")
    pairs = lines_of(folder / "look-alikes.csv")
    assert {pairs[0]["id"], pairs[0]["other_id"]} == {SCENE, COPY}
    assert all(row["other_fold"] != "test" for row in pairs)
    facts = json.loads((folder / "features.json").read_text())
    assert (facts["test_rows"], facts["drift"]) == (0, {})
    ws = Workspace.find(tmp_path)
    this_run = runs.find_run(ws, folder.name)
    data = gather(this_run, ws, find_competition("shapes", ws), runs.raw_folder(this_run, ws), mosaics=False)
    assert data.features is not None
    assert not data.features.has_test
    assert "Test rows have no features" in (folder / "report.html").read_text("utf-8")
