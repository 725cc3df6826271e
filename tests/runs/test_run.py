"""Run folders: found by id, prefix or latest; unfinished until their record is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from comp.errors import InputError, UnknownName
from comp.files import write_json
from comp.runs import run as runs
from comp.workspace import Workspace


def make(workspace: Path, name: str, slug: str = "shapes", record: bool = True) -> None:
    folder = workspace / "runs" / name
    write_json(folder / "started.json", {"slug": slug, "marks": ["quick"]})
    if record:
        write_json(folder / "record.json", {"metric": "accuracy", "oof": {"score": 0.5}})


def test_runs_are_listed_newest_first_and_by_competition(tmp_path: Path) -> None:
    make(tmp_path, "20260101-000000-aaaa")
    make(tmp_path, "20260102-000000-bbbb", "digits", record=False)
    (tmp_path / "runs" / "something else").mkdir()
    place = Workspace(tmp_path)
    assert [run.id[-4:] for run in runs.all_runs(place)] == ["bbbb", "aaaa"]
    assert [run.id[-4:] for run in runs.all_runs(place, "shapes")] == ["aaaa"]
    assert [run.state for run in runs.all_runs(place)] == ["unfinished", "done"]


def test_a_run_is_found_by_id_by_prefix_and_as_latest(tmp_path: Path) -> None:
    for name in ("20260101-000000-aaaa", "20260101-000001-bbbb"):
        make(tmp_path, name)
    place = Workspace(tmp_path)
    assert runs.find_run(place, "latest").id.endswith("bbbb")
    assert runs.find_run(place, "20260101-000000").id.endswith("aaaa")
    with pytest.raises(InputError, match="must fit one run"):
        runs.find_run(place, "2026")
    with pytest.raises(UnknownName, match="did you mean 20260101-000000-aaaa"):
        runs.find_run(place, "20260101-000000-aaab")


def test_a_run_that_names_no_competition_is_damaged(tmp_path: Path) -> None:
    write_json(tmp_path / "runs" / "20260101-000000-aaaa" / "started.json", {})
    with pytest.raises(InputError, match=r"started\.json names no competition"):
        runs.find_run(Workspace(tmp_path), "latest")


def test_latest_of_no_runs_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown run"):
        runs.find_run(Workspace(tmp_path), "latest")


def test_a_new_run_is_unfinished_and_named_by_its_time(tmp_path: Path) -> None:
    run = runs.new_run(Workspace(tmp_path), {"slug": "shapes"})
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}", run.id)
    assert runs.find_run(Workspace(tmp_path), run.id).state == "unfinished"
    runs.finish(run, {"oof": {"score": 1.0}})
    assert runs.find_run(Workspace(tmp_path), run.id).state == "done"


def test_runs_of_one_second_are_newest_last(tmp_path: Path) -> None:
    made = [runs.new_run(Workspace(tmp_path), {"slug": "shapes"}).id for _ in range(60)]
    assert made == sorted(set(made))
    assert [one.id for one in runs.all_runs(Workspace(tmp_path))] == made[::-1]
    assert runs.find_run(Workspace(tmp_path), "latest").id == made[-1]
