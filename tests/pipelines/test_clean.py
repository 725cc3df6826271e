"""What may go goes, once that is confirmed, and nothing else does."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import comp
from comp.pipelines.clean import find_clean
from comp.runs import run as runs
from comp.workspace import Workspace
from made import run_comp, write_shapes

DEAD = 2**22 + 1  # no process has it


def kinds(workspace: Path) -> dict[str, set[str]]:
    return {
        kind.name: {path.name for path, _ in kind.paths}
        for kind in find_clean(workspace).kinds
        if kind.name not in ("pixels", "archives")
    }


@pytest.fixture
def full(workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, str, str]:
    """A finished run, one with a fold to go, one in the bin, and all sorts of things that killed processes leave."""
    monkeypatch.setenv("COMP_CACHE", str(tmp_path / "cache"))
    write_shapes(workspace)
    common = {"workspace": workspace, "report": False}
    kept, gone = (comp.run("shapes", 2, **common).run for _ in range(2))  # type: ignore[arg-type]
    partial = comp.run("shapes", 2, only=[0], **common).run  # type: ignore[arg-type]
    comp.delete_runs(gone, workspace=workspace, yes=True)
    (workspace / "runs" / kept / f".oof.npz.{DEAD}.part").write_bytes(b"123")
    (workspace / "runs" / kept / f".mine.{os.getppid()}.part").write_bytes(b"123")
    (workspace / "runs" / kept / "fold-0" / "state.pt").write_bytes(b"1234")
    (workspace / "runs" / partial / "fold-1").mkdir(exist_ok=True)
    (workspace / "runs" / partial / "fold-1" / "state.pt").write_bytes(b"1234")
    old = workspace / "runs" / "20260101-000000-0a0b"
    old.mkdir()
    os.utime(old, (1.0, 1.0))
    (workspace / "runs" / "20260101-000000-0a0c").mkdir()
    (workspace / "runs" / "my-notes").mkdir()
    features = workspace / ".comp" / "features"
    features.mkdir(parents=True)
    for name, seconds in (("old", 1.0), ("new", time.time() + 60)):
        (features / f"{name}.npy").write_bytes(b"1")
        os.utime(features / f"{name}.npy", (seconds, seconds))
    return workspace, kept, gone


def test_what_may_go_is_found(full: tuple[Path, str, str]) -> None:
    workspace, _, gone = full
    assert kinds(workspace) == {
        "deleted": {gone},
        "leftovers": {f".oof.npz.{DEAD}.part"},
        "unbegun": {"20260101-000000-0a0b"},
        "states": {"state.pt"},
        "features": {"old.npy"},
    }


def test_it_goes_once_that_is_confirmed_and_nothing_else_does(full: tuple[Path, str, str]) -> None:
    workspace, kept, gone = full
    found = run_comp(workspace, "clean", "--dry-run", "--json")
    assert (found.code, found.json["removed"]) == (0, False)
    assert found.json["bytes"] == sum(kind["bytes"] for kind in found.json["kinds"]) > 0
    assert run_comp(workspace, "clean").code == 1, "there is nobody to say yes"
    paths = {path for kind in found.json["kinds"] for path in kind["paths"]}
    before = {str(path) for path in workspace.rglob("*")}
    done = run_comp(workspace, "clean", "--yes", "--json")
    assert (done.code, done.json["removed"]) == (0, True)
    after = {str(path) for path in workspace.rglob("*")}
    lost = before - after
    assert lost == {path for path in before if any(path == p or path.startswith(p + "/") for p in paths)}
    assert not (workspace / "deleted-runs" / gone).exists()
    partial = runs.find_run(Workspace(workspace), "latest")
    assert partial.id != kept
    assert (partial.folder / "fold-1" / "state.pt").is_file()
    (partial.folder / "fold-1" / "state.pt").unlink()
    assert comp.run("shapes", workspace=workspace, resume=partial.id, report=False).folds == [0, 1]
    comp.predict(kept, workspace=workspace)
    assert "nothing may go" in run_comp(workspace, "clean", "--dry-run").out or not kinds(workspace)


def test_nothing_of_a_run_at_work_may_go(full: tuple[Path, str, str]) -> None:
    workspace, kept, _ = full
    (workspace / "runs" / kept / f".oof.npz.{DEAD}.part").unlink()
    with runs.at_work(runs.find_run(Workspace(workspace), kept)):
        found = find_clean(workspace)
    assert {kind.name for kind in found.kinds} == {"deleted", "unbegun"}


def test_what_people_put_into_such_folders_stays(full: tuple[Path, str, str], tmp_path: Path) -> None:
    workspace, _, gone = full
    theirs = [workspace / "bin" / "tool.sh", workspace / "deleted-runs" / "notes" / "why.txt"]
    theirs += [tmp_path / "cache" / kind / "holiday" / "1.png" for kind in ("pixels", "archives")]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
    ours = tmp_path / "cache" / "pixels" / ("0" * 32)
    ours.mkdir(parents=True)
    comp.clean(workspace, yes=True)
    assert all(path.is_file() for path in theirs)
    assert not ours.exists()
    assert not (workspace / "deleted-runs" / gone).exists()
