"""A run of each task and kind of template: what it learned travels to `comp predict`, and no order of rows or columns
changes the answer of an id.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from comp.files import read_json
from made import Outcome, proven_again, run_comp
from made_tasks import FACTS, write_task

DECIDED = {"sets": "thresholds", "grade": "cut points", "named": "cut points", "macro": "multipliers"}

Finished = tuple[Path, Path, dict[str, object]]


@pytest.fixture(scope="module", params=FACTS)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The workspace of a finished run, its folder, and what it ended with; not to be written to."""
    workspace = tmp_path_factory.mktemp(request.param)
    write_task(workspace, request.param)
    done = run_comp(workspace, "run", request.param, "--folds", 2, "--json")
    assert done.code == 0, done.err
    return workspace, workspace / "runs" / done.json["run"], done.json


def answers(path: Path) -> dict[str, dict[str, str]]:
    """The cells of each id by their column's name."""
    with path.open(newline="", encoding="utf-8") as file:
        return {row["id"]: row for row in csv.DictReader(file, strict=True)}


def submission(finished: Finished) -> Path:
    return finished[0] / str(finished[2]["submission"])


def predicted(finished: Finished, out: Path, *options: object) -> Outcome:
    workspace, run, _ = finished
    return run_comp(workspace, "predict", run.name, "--out", out, *options)


def other_order(template: Path, place: Path, seed: int = 3) -> Path:
    """A template with its rows and its columns in another order."""
    rows = [line.split(",") for line in template.read_text().splitlines()]
    rng = np.random.default_rng(seed)
    columns = rng.permutation(len(rows[0]))
    mixed = [rows[0], *(rows[1 + n] for n in rng.permutation(len(rows) - 1))]
    place.write_text("".join(",".join(row[c] for c in columns) + "\n" for row in mixed))
    return place


@pytest.mark.slow
def test_predict_gives_the_bytes_of_the_runs_own_csv(finished: Finished, tmp_path: Path) -> None:
    done = predicted(finished, tmp_path / "again.csv")
    assert done.code == 0, done.err
    assert (tmp_path / "again.csv").read_bytes() == submission(finished).read_bytes()
    workspace, _, _ = finished
    slug = next((workspace / "competitions").iterdir()).name
    assert run_comp(workspace, "validate", slug, tmp_path / "again.csv").code == 0


@pytest.mark.slow
def test_no_order_of_the_templates_rows_or_columns_changes_an_answer(
    finished: Finished, tmp_path: Path
) -> None:
    workspace, _, _ = finished
    raw = next((workspace / "data").iterdir())
    template = other_order(raw / "sample_submission.csv", tmp_path / "sample_submission.csv")
    done = predicted(finished, tmp_path / "mixed.csv", "--template", template)
    assert done.code == 0, done.err
    mixed = answers(tmp_path / "mixed.csv")
    assert mixed == answers(submission(finished))
    asked = [row["id"] for row in csv.DictReader(template.read_text().splitlines())]
    assert list(mixed) == asked


@pytest.mark.slow
def test_a_run_keeps_its_decision_where_its_metric_can_gain_by_one(finished: Finished) -> None:
    workspace, run, ended = finished
    slug = next((workspace / "competitions").iterdir()).name
    path = run / "decision.json"
    if slug not in (*DECIDED, "certain"):
        assert not path.exists()
        return
    if not path.exists():  # nothing is gained on rows that it was not learned on
        return
    table = read_json(path)
    better = table["score_after"] > table["score_before"]
    assert better == (slug != "certain")
    assert table["rule"] == DECIDED.get(slug, "multipliers")
    assert ended["oof"]["score"] == pytest.approx(table["score_after"])  # type: ignore[index]


@pytest.fixture
def decided(finished: Finished, tmp_path: Path) -> Finished:
    """A copy of a run with a decision of its own that changes its answers."""
    workspace, run, ended = finished
    slug = next((workspace / "competitions").iterdir()).name
    values = {"sets": [0.001, 0.999], "grade": [0.001, 0.002], "named": [0.001, 0.002], "macro": [1e-6, 1e6]}
    if slug not in values:
        pytest.skip("a run of this metric has no rule")
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    path = copy / "runs" / run.name / "decision.json"
    rule = {"rule": DECIDED[slug], "values": values[slug], "temperature": None}
    path.write_text(json.dumps({**rule, "named": {}, "score_before": 0.1, "score_after": 0.2}))
    record = copy / "runs" / run.name / "record.json"
    table = read_json(record)
    record.write_text(json.dumps({**table, "files": {**table["files"], "decision.json": ""}}))
    proven_again(copy / "runs" / run.name)
    return copy, copy / "runs" / run.name, ended


@pytest.mark.slow
def test_a_decision_is_applied_by_predict(decided: Finished, tmp_path: Path) -> None:
    done = predicted(decided, tmp_path / "out.csv")
    assert done.code == 0, done.err
    column = next(iter(answers(tmp_path / "out.csv").values())).keys() - {"id"}
    cells = {row[next(iter(column))] for row in answers(tmp_path / "out.csv").values()}
    slug = next((decided[0] / "competitions").iterdir()).name
    assert cells == {"sets": {"box"}, "grade": {"2"}, "named": {"c2"}, "macro": {"c1"}}[slug]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["torn", "changed", "values", "task"])
def test_a_damaged_decision_is_refused(decided: Finished, tmp_path: Path, damage: str) -> None:
    path = decided[1] / "decision.json"
    table = read_json(path)
    text = {
        "torn": path.read_text()[:-9],
        "changed": path.read_text().replace("0.2", "0.3"),
        "values": json.dumps({**table, "values": [*table["values"], 1.0]}),
        "task": json.dumps({**table, "rule": "anything"}),
    }[damage]
    path.write_text(text)
    if damage != "changed":  # a SHA-256 would tell before
        proven_again(decided[1])
    done = predicted(decided, tmp_path / "out.csv")
    assert done.code == 2
    assert "decision.json" in done.err
    assert not (tmp_path / "out.csv").exists()
