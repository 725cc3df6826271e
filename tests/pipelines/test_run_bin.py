"""Runs go to the bin with their submissions and come back as they were; those that are needed or at work stay."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import comp
from comp.errors import InputError, Refusal, UnknownName
from comp.files import read_json, write_json
from comp.pipelines.run_bin import deleted_runs, in_bytes, size_of
from comp.runs import run as runs
from comp.workspace import Workspace
from made import run_comp, write_shapes


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A workspace with two runs of shapes."""
    workspace = tmp_path_factory.mktemp("two")
    write_shapes(workspace)
    found = [
        comp.run("shapes", 2, workspace=workspace, overrides=[f"optimizer.lr={lr}"], report=False).run
        for lr in ("1e-3", "3e-3")
    ]
    return workspace, found[0], found[1]


def everything(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "data" not in path.relative_to(folder).parts[:1]
    }


def test_what_is_deleted_comes_back_as_it_was(two: tuple[Path, str, str]) -> None:
    workspace, one, other = two
    before = everything(workspace)
    done = run_comp(workspace, "runs", "delete", one, "--yes", "--json")
    assert (done.code, done.json) == (0, {"deleted": [one]})
    assert [row.run for row in comp.list_runs(workspace=workspace)] == [other]
    assert not (workspace / "submissions" / "shapes" / f"{one}.csv").exists()
    assert deleted_runs(Workspace(workspace)) == [one]
    assert run_comp(workspace, "runs", "--restore", one[:-2]).code == 0
    assert everything(workspace) == before
    assert not (workspace / "deleted-runs" / one).exists()
    assert run_comp(workspace, "runs", "delete", one, "--yes").code == 0
    assert run_comp(workspace, "runs", "delete", "--restore", one).code == 0
    assert everything(workspace) == before


def test_nothing_is_deleted_without_a_yes(two: tuple[Path, str, str]) -> None:
    workspace, one, _ = two
    before = everything(workspace)
    done = run_comp(workspace, "runs", "delete", one)
    assert done.code == 1
    assert "--yes" in done.err
    assert everything(workspace) == before


def test_a_run_at_work_stays_whatever_is_said(two: tuple[Path, str, str]) -> None:
    workspace, one, _ = two
    with runs.at_work(runs.find_run(Workspace(workspace), one)), pytest.raises(Refusal, match="under way"):
        comp.delete_runs(one, workspace=workspace, yes=True, force=True)
    assert (workspace / "runs" / one).is_dir()


def test_members_of_a_blend_stay_unless_it_goes_too(two: tuple[Path, str, str]) -> None:
    workspace, one, other = two
    blend = comp.ensemble(one, other, method="mean", workspace=workspace, report=False).run
    done = run_comp(workspace, "runs", "delete", one, "--yes")
    assert done.code == 1
    assert f"{one} is a part of the blend {blend}" in done.err
    assert "--force" in done.err
    forced = run_comp(workspace, "runs", "delete", one, "--yes", "--force")
    assert forced.code == 0
    assert "is a part of the blend" in forced.err, "it is said all the same"
    comp.restore_runs(one, workspace=workspace)
    assert comp.delete_runs(one, blend, workspace=workspace, yes=True) == [one, blend]
    comp.restore_runs(one, workspace=workspace)


def test_the_parent_of_a_child_is_needed(two: tuple[Path, str, str]) -> None:
    workspace, one, _ = two
    child = comp.run("shapes", workspace=workspace, resume=one, overrides=["epochs=2"], report=False).run
    with pytest.raises(Refusal, match=f"{child} started from the weights of {one}"):
        comp.delete_runs(one, workspace=workspace, yes=True)
    comp.delete_runs(child, workspace=workspace, yes=True)


def test_what_was_submitted_stays_on_record(two: tuple[Path, str, str]) -> None:
    workspace, one, _ = two
    page = workspace / "submissions" / "shapes" / f"{one}.json"
    before = read_json(page)
    entry = {"run": one, "at": "2026-11-20T10:00:00+00:00", "state": "submitted", "ref": 7, "public": 0.5}
    write_json(page, {**before, "submitted": [entry]})
    with pytest.raises(Refusal, match="was submitted on 2026-11-20"):
        comp.delete_runs(one, workspace=workspace, yes=True)
    comp.delete_runs(one, workspace=workspace, yes=True, force=True)
    assert page.is_file()
    assert page.with_suffix(".csv").is_file()
    comp.restore_runs(one, workspace=workspace)
    write_json(page, before)


def test_a_damaged_run_can_be_deleted(two: tuple[Path, str, str]) -> None:
    workspace, one, _ = two
    record = workspace / "runs" / one / "record.json"
    kept = record.read_bytes()
    record.write_bytes(b"{}")
    assert comp.delete_runs(one, workspace=workspace, yes=True) == [one]
    (workspace / "deleted-runs" / one / "run" / "record.json").write_bytes(kept)
    comp.restore_runs(one, workspace=workspace)
    assert runs.find_run(Workspace(workspace), one).record


def test_names_that_fit_nothing_are_refused(two: tuple[Path, str, str]) -> None:
    workspace, one, _ = two
    with pytest.raises(UnknownName):
        comp.delete_runs("1999", workspace=workspace, yes=True)
    with pytest.raises(UnknownName):
        comp.restore_runs(one, workspace=workspace)
    for words in (("diff", one), ("delete",), ("--restore",), ("shapes", "digits")):
        assert run_comp(workspace, "runs", *words).code == 2
    assert run_comp(workspace, "runs", "--yes").code == 2
    assert run_comp(workspace, "runs", "delete", one, "--where", "oof>0").code == 2
    comp.delete_runs(one, workspace=workspace, yes=True)
    (workspace / "runs" / one).mkdir()
    with pytest.raises(InputError, match="has its place"):
        comp.restore_runs(one, workspace=workspace)
    (workspace / "runs" / one).rmdir()
    comp.restore_runs(one, workspace=workspace)


def test_the_difference_of_two_runs(two: tuple[Path, str, str]) -> None:
    workspace, one, other = two
    done = run_comp(workspace, "runs", "diff", one, other, "--json")
    assert done.json["changed"] == {"optimizer.lr": [0.001, 0.003]}
    assert done.json["runs"] == [one, other]
    same = run_comp(workspace, "runs", "diff", one, one)
    assert "the same recipe, rows and folds" in same.out


def test_runs_are_exported_with_their_recipes(two: tuple[Path, str, str], tmp_path: Path) -> None:
    import pandas as pd

    workspace, one, other = two
    path = tmp_path / "runs.csv"
    where = ("--where", f"run~{one[:8]}", "--sort", "optimizer.lr")
    assert run_comp(workspace, "runs", "shapes", *where, "--export", path).code == 0
    table = pd.read_csv(path)
    assert table["run"].tolist() == [one, other]
    assert table["recipe.optimizer.lr"].tolist() == [0.001, 0.003]
    scores = {row.run: row.oof for row in comp.list_runs(workspace=workspace)}
    assert table["oof"].tolist() == pytest.approx([scores[one], scores[other]])
    assert run_comp(workspace, "runs", "--export", tmp_path / "runs.xlsx").code == 2


def test_parquet_needs_its_package(
    two: tuple[Path, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from comp.pipelines import run_export

    monkeypatch.setattr(run_export, "find_spec", lambda name: None)
    done = run_comp(two[0], "runs", "--export", tmp_path / "runs.parquet")
    assert (done.code, "pip install pyarrow" in done.err) == (2, True)
    assert not list(tmp_path.iterdir())


def test_parquet_holds_what_the_csv_holds(two: tuple[Path, str, str], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pandas as pd

    workspace = two[0]
    comp.list_runs(workspace=workspace, export=tmp_path / "runs.csv")
    comp.list_runs(workspace=workspace, export=tmp_path / "runs.parquet")
    csv, parquet = pd.read_csv(tmp_path / "runs.csv"), pd.read_parquet(tmp_path / "runs.parquet")
    assert list(csv.columns) == list(parquet.columns)
    assert csv["oof"].tolist() == parquet["oof"].tolist()
    assert parquet["recipe.optimizer.lr"].tolist() == csv["recipe.optimizer.lr"].tolist()


def test_sizes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert size_of(tmp_path / "a") == 3
    assert size_of(tmp_path) < 200
    assert [in_bytes(n) for n in (5, 1500, 2_500_000, 3_000_000_000_000)] == [
        "5 bytes",
        "1.5 kB",
        "2.5 MB",
        "3000.0 GB",
    ]
    assert json.dumps(size_of(tmp_path / "gone")) == "0"
