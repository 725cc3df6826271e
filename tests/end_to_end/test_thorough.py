"""A run looks closely at few large images, keeps folds of its own for that, and goes on as it began."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from comp.files import read_json
from gallery import detailed, save
from made import run_comp, train_table, write_shapes

FAST = ["--set", "mode=scratch", "--set", "model.name=resnet9", "--set", "model.size=32", "--set", "epochs=1"]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Three shapes whose images are large, two of them the negative of another."""
    raw = write_shapes(tmp_path, per_class=4, tests=4)
    images = sorted([*raw.glob("train/*"), *raw.glob("test/*")])
    for number, path in enumerate(images):
        save(path, detailed(number))
    train = sorted(raw.glob("train/*"))
    labels = {row[0]: row[1] for row in train_table(raw)}
    of_one = [path for path in train if labels[path.stem] == "circle"]
    save(of_one[1], np.ascontiguousarray(255 - detailed(images.index(of_one[0]))))
    return tmp_path


def folds_of(folder: Path) -> dict[str, str]:
    lines = [line for line in (folder / "folds.csv").read_text().splitlines() if not line.startswith("#")]
    return {row["id"]: row["fold"] for row in csv.DictReader(lines)}


def test_a_run_looks_closely_and_goes_on_so(workspace: Path) -> None:
    begun = run_comp(workspace, "run", "shapes", "--folds", "2", "--only", "0", *FAST, "--json")
    assert begun.code == 0, begun.err
    run = workspace / "runs" / begun.json["run"]
    assert read_json(run / "started.json")["grouping"] == {"thorough": True, "group_scenes": False}
    assert (workspace / "folds" / "shapes" / "k2-seed0-thorough.csv").is_file()
    other = run_comp(workspace, "run", "shapes", "--resume", begun.json["run"], "--group-scenes")
    assert other.code == 2
    assert "grouped as they were" in other.err
    resumed = run_comp(workspace, "run", "shapes", "--resume", begun.json["run"], "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.json["run"] == begun.json["run"]
    again = run_comp(workspace, "run", "shapes", "--folds", run / "folds.csv", *FAST, "--json")
    assert again.code == 0, again.err
    assert folds_of(workspace / "runs" / again.json["run"]) == folds_of(run)
    judged = run_comp(workspace, "check", "shapes", "--folds", run / "folds.csv", "--json")
    assert judged.code == 0, judged.err
    assert "near-duplicate" in {f["check"] for f in judged.json["findings"]}


def test_a_plain_check_and_a_plain_run_have_folds_of_their_own(workspace: Path) -> None:
    plain = run_comp(workspace, "check", "shapes", "--folds", "2", "--json")
    assert plain.code == 0, plain.err
    assert "one scene (--thorough)" in plain.err
    assert not [f for f in plain.json["findings"] if f["check"] == "near-duplicate"]
    closely = run_comp(workspace, "check", "shapes", "--folds", "2", "--thorough", "--json")
    assert closely.code == 0, closely.err
    (found,) = [f for f in closely.json["findings"] if f["check"] == "near-duplicate"]
    assert found["count"] == 2
    run = run_comp(workspace, "run", "shapes", "--folds", "2", "--no-thorough", *FAST, "--json")
    assert run.code == 0, run.err
    started = read_json(workspace / "runs" / run.json["run"] / "started.json")
    assert started["grouping"] == {"thorough": False, "group_scenes": False}
    names = {path.name for path in (workspace / "folds" / "shapes").glob("*.csv")}
    assert names == {"k2-seed0.csv", "k2-seed0-thorough.csv"}


def test_group_scenes_looks_closely(workspace: Path) -> None:
    outcome = run_comp(workspace, "check", "shapes", "--folds", "2", "--group-scenes", "--json")
    assert outcome.code == 0, outcome.err
    assert (workspace / "folds" / "shapes" / "k2-seed0-thorough-scenes.csv").is_file()
    refused = run_comp(workspace, "run", "shapes", "--folds", "2", "--no-thorough", "--group-scenes", *FAST)
    assert refused.code == 2
    assert "--no-thorough" in refused.err or "--thorough" in refused.err
