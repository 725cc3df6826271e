"""The numbers on a page and in the files beside it are those of the run's record, whatever was done before answering."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import comp
from comp.data.task import Task
from comp.pipelines.report import oof_csv
from comp.pipelines.run_result import RunResult
from made import run_comp, write_shapes
from made_blends import write_run
from made_report import made_rows
from made_tasks import write_task


def shown_score(page: Path) -> str:
    found = re.search(r'<div class="number"><b>([^<]*)</b>', page.read_text("utf-8"))
    assert found is not None
    return found[1]


def result_of(folder: Path, **changes: Any) -> RunResult:
    known: dict[str, Any] = {"run": folder.name, "slug": "made", "metric": "accuracy", "direction": "max"}
    known |= {"score": 0.5, "beside": {}, "per_fold": [], "submission": folder / "s.csv", "findings": {}}
    return RunResult(**{**known, "seconds": {}, "folder": folder, **changes})


@pytest.mark.slow
def test_a_decision_learned_on_the_rows_does_not_flatter_the_page(tmp_path: Path) -> None:
    write_task(tmp_path, "sets")
    done = run_comp(tmp_path, "run", "sets", "--folds", 3, "--json")
    assert done.code == 0, done.err
    folder = tmp_path / "runs" / done.json["run"]
    oof = done.json["oof"]
    assert (folder / "decision.json").is_file()
    assert (folder / "oof-scored.npz").is_file()
    page = folder / "report.html"
    assert shown_score(page) == f"{oof['score']:.4f}"
    assert re.findall(r"<b>([^<]*)</b>fold", page.read_text("utf-8")) == [f"{s:.4f}" for s in oof["per_fold"]]
    assert "when the run was scored" not in page.read_text("utf-8")


def test_a_score_of_zero_is_a_score(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    write_run(tmp_path, "one", 1.5, seed=1)
    nothing = write_run(tmp_path, "two", 1.5, seed=2) / "record.json"
    nothing.write_text(json.dumps({**json.loads(nothing.read_text()), "oof": {"score": 0.0}}))
    every = Path(run_comp(tmp_path, "report", "--all", "--json").json["report"]).read_text("utf-8")
    tables = json.loads(re.search(r'id="tables">(.*?)</script>', every, re.S)[1])  # type: ignore[index]
    assert tables["shapes"]["runs"]["two"]["score"] == 0.0
    page = comp.write_report("one", workspace=tmp_path).read_text("utf-8")
    assert re.search(r"two<br><small>[^<]*</small></td><td>0\.0000</td>", page)


def test_a_record_that_says_another_score_is_named_beside_it(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    write_run(tmp_path, "one", 1.5, seed=1)  # its record says 0.5
    page = comp.write_report("one", workspace=tmp_path)
    assert shown_score(page) != "0.5000"
    assert "<td>when the run was scored</td><td>0.5000</td>" in page.read_text("utf-8")


def test_an_answer_of_several_labels_that_is_right_is_no_mistake(tmp_path: Path) -> None:
    rows = made_rows(3, 30, Task("multi-label"), names=["b", "a", "c"])
    cells = tuple("|".join(reversed(cell.split("|"))) for cell in rows.cells)
    rows = type(rows)(
        rows.ids, rows.paths, cells, rows.truth, *(2 * [rows.probs]), rows.fold, rows.group, rows.labels
    )
    (tmp_path / "oof.csv").write_text(oof_csv(rows), "utf-8")
    result = result_of(tmp_path)
    assert set(result.worst(30)["id"]) == {
        i for i, wrong in zip(rows.ids, rows.is_wrong, strict=True) if wrong
    }


def test_names_of_classes_in_a_confusion_are_text(tmp_path: Path) -> None:
    names = ["NA", "007", "null", "truth", "line\nbreak", "a,b"]
    from comp.data.labels import LabelMap
    from comp.runs.result import confusion_csv

    labels = LabelMap(names)
    (tmp_path / "confusion.csv").write_text(confusion_csv(labels, np.arange(6), np.eye(6)), "utf-8")
    table = result_of(tmp_path).confusion
    assert list(table.index) == list(table.columns) == list(labels.names)
    assert (table.to_numpy() == np.eye(6)).all()
