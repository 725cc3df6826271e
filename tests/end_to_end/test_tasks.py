"""A run of each task and kind of template: what it learned travels to `comp predict`, and no order of rows or columns
changes the answer of an id.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comp.data.competitions.competition import find_competition
from comp.files import read_json
from comp.pipelines.report import oof_rows
from comp.runs.run import find_run
from comp.workspace import Workspace
from made import Outcome, proven_again, run_comp
from made_tasks import FACTS, write_task

DECIDED = {"sets": "thresholds", "grade": "cut points", "named": "cut points", "macro": "multipliers"}

Finished = tuple[Path, Path, dict[str, Any]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Finished]:
    """The workspace of a task's finished run, its folder, and what it ended with; not to be written to."""

    @cache
    def of(slug: str) -> Finished:
        workspace = tmp_path_factory.mktemp(slug)
        write_task(workspace, slug)
        done = run_comp(workspace, "run", slug, "--folds", 2, "--json")
        assert done.code == 0, done.err
        return workspace, workspace / "runs" / done.json["run"], done.json

    return of


def answers(path: Path) -> dict[str, dict[str, str]]:
    """The cells of each id by their column's name."""
    with path.open(newline="", encoding="utf-8") as file:
        return {row["id"]: row for row in csv.DictReader(file, strict=True)}


def predicted(run_: Finished, out: Path, *options: object) -> Outcome:
    workspace, run, _ = run_
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
@pytest.mark.parametrize("slug", FACTS)
def test_predict_gives_the_bytes_of_the_runs_own_csv(
    slug: str, finished: Callable[[str], Finished], tmp_path: Path
) -> None:
    workspace, _, ended = finished(slug)
    done = predicted(finished(slug), tmp_path / "again.csv")
    assert done.code == 0, done.err
    assert (tmp_path / "again.csv").read_bytes() == (workspace / ended["submission"]).read_bytes()
    assert run_comp(workspace, "validate", slug, tmp_path / "again.csv").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("slug", FACTS)
def test_no_order_of_the_templates_rows_or_columns_changes_an_answer(
    slug: str, finished: Callable[[str], Finished], tmp_path: Path
) -> None:
    """Training may depend on the order of train.csv, which says what is in a batch; an answer of one model may not."""
    workspace, _, ended = finished(slug)
    sample = workspace / "data" / slug / "sample_submission.csv"
    template = other_order(sample, tmp_path / "sample_submission.csv")
    done = predicted(finished(slug), tmp_path / "mixed.csv", "--template", template)
    assert done.code == 0, done.err
    mixed = answers(tmp_path / "mixed.csv")
    assert mixed == answers(workspace / ended["submission"])
    assert list(mixed) == list(answers(template))


@pytest.mark.slow
@pytest.mark.parametrize("slug", FACTS)
def test_a_run_keeps_its_decision_where_its_metric_can_gain_by_one(
    slug: str, finished: Callable[[str], Finished]
) -> None:
    _, run, ended = finished(slug)
    path = run / "decision.json"
    if slug not in (*DECIDED, "certain"):
        assert not path.exists()
    elif path.exists():  # else nothing is gained on rows that it was not learned on
        table = read_json(path)
        assert (table["score_after"] > table["score_before"]) == (slug != "certain")
        assert table["rule"] == DECIDED.get(slug, "multipliers")
        assert ended["oof"]["score"] == pytest.approx(table["score_after"])


@pytest.mark.slow
@pytest.mark.parametrize("slug", FACTS)
def test_the_page_judges_the_rows_that_the_run_was_judged_by(
    slug: str, finished: Callable[[str], Finished]
) -> None:
    workspace, run, ended = finished(slug)
    competition = find_competition(slug, Workspace(workspace))
    rows = oof_rows(find_run(Workspace(workspace), run.name))
    assert competition.metric(rows.truth, rows.probs) == pytest.approx(ended["oof"]["score"], abs=1e-9)
    assert "as the run was scored" not in (run / "report.html").read_text("utf-8")
    assert ((run / "oof-answered.npz").exists()) == bool(ended.get("decision"))


@pytest.fixture(params=DECIDED)
def decided(
    request: pytest.FixtureRequest, finished: Callable[[str], Finished], tmp_path: Path
) -> tuple[str, Finished]:
    """A copy of a run with a decision that leaves one answer to all rows."""
    slug = request.param
    workspace, run, ended = finished(slug)
    values = {"sets": [0.001, 0.999], "grade": [0.001, 0.002], "named": [0.001, 0.002], "macro": [1e-6, 1e6]}
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    path = copy / "runs" / run.name / "decision.json"
    rule = {"rule": DECIDED[slug], "values": values[slug], "temperature": None}
    path.write_text(json.dumps({**rule, "named": {}, "score_before": 0.1, "score_after": 0.2}))
    record = copy / "runs" / run.name / "record.json"
    table = read_json(record)
    record.write_text(json.dumps({**table, "files": {**table["files"], "decision.json": ""}}))
    proven_again(copy / "runs" / run.name)
    return slug, (copy, copy / "runs" / run.name, ended)


@pytest.mark.slow
def test_a_decision_is_applied_by_predict(decided: tuple[str, Finished], tmp_path: Path) -> None:
    slug, run = decided
    done = predicted(run, tmp_path / "out.csv")
    assert done.code == 0, done.err
    cells = {
        cell for row in answers(tmp_path / "out.csv").values() for name, cell in row.items() if name != "id"
    }
    assert cells == {"sets": {"box"}, "grade": {"2"}, "named": {"c2"}, "macro": {"c1"}}[slug]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["torn", "changed", "values", "rule", "gone"])
def test_a_damaged_decision_is_refused(decided: tuple[str, Finished], tmp_path: Path, damage: str) -> None:
    run = decided[1]
    path = run[1] / "decision.json"
    table = read_json(path)
    if damage == "gone":
        path.unlink()
    else:
        path.write_text(
            {
                "torn": path.read_text()[:-9],
                "changed": path.read_text().replace("0.2", "0.3"),
                "values": json.dumps({**table, "values": [*table["values"], 1.0]}),
                "rule": json.dumps({**table, "rule": "anything"}),
            }[damage]
        )
    if damage not in ("changed", "gone"):  # a SHA-256 would tell before
        proven_again(run[1])
    done = predicted(run, tmp_path / "out.csv")
    assert done.code == 2, done.err
    assert "decision.json" in done.err
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize("slug", ["sets", "number", "grade", "chance"])
def test_a_blend_predicts_by_its_parts_what_it_answered(
    finished: Callable[[str], Finished], tmp_path: Path, slug: str
) -> None:
    workspace, first, _ = finished(slug)
    copy = tmp_path / "copy"
    shutil.copytree(workspace, copy)
    second = run_comp(copy, "run", slug, "--folds", 2, "--seed", 1, "--json").json["run"]
    blend = run_comp(copy, "ensemble", first.name, second, "--method", "mean", "--json").json["run"]
    done = run_comp(copy, "predict", blend, "--out", tmp_path / "again.csv")
    assert done.code == 0, done.err
    submitted = copy / "submissions" / slug / f"{blend}.csv"
    assert (tmp_path / "again.csv").read_bytes() == submitted.read_bytes()
    shutil.rmtree(copy / "runs" / second)
    refused = run_comp(copy, "predict", blend, "--out", tmp_path / "none.csv")
    assert refused.code == 2
    assert second in refused.err
    assert not (tmp_path / "none.csv").exists()
