"""One process at a time works on a run; a killed one holds nothing and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import comp
from comp.errors import Refusal
from comp.files import alone, remove_leftovers
from comp.runs import run as runs
from comp.workspace import Workspace
from made import clean_environment, run_comp, write_shapes

HOLD = """
import sys, time
from pathlib import Path
from comp.files import alone
with alone(Path(sys.argv[1]), "rule", "value", "remedy"):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def held(path: Path) -> Iterator[int]:
    """The number of a process that holds a lock, and is killed in the end."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process.pid
        finally:
            process.kill()


def dead_pid() -> int:
    """The number of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_another_process_is_refused_and_named_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with (
        held(path) as pid,
        pytest.raises(Refusal, match="one at a time") as refused,
        alone(path, "one at a time", "{pid}", ""),
    ):
        pass
    assert refused.value.value == str(pid)
    assert path.is_file(), "a killed one removes nothing"
    with alone(path, "rule", "value", "remedy"):
        assert path.read_text() == str(os.getpid())
    assert not path.exists()


@pytest.fixture
def partial(workspace: Path) -> runs.Run:
    """A run of shapes with one of its two folds."""
    write_shapes(workspace)
    return runs.find_run(Workspace(workspace), comp.run("shapes", 2, workspace=workspace, only=[1]).run)


def test_a_run_under_way_is_neither_resumed_nor_merged(workspace: Path, partial: runs.Run) -> None:
    other = comp.run("shapes", 2, workspace=workspace, only=[0]).run
    with held(partial.folder / runs.LOCK) as pid:
        for command in (("run", "shapes", "--resume", partial.id), ("merge", other, partial.id)):
            refused = run_comp(workspace, *command)
            assert refused.code == 1, refused.err
            assert f"{partial.id} is under way in process {pid}" in refused.err
            assert f"comp run shapes --resume {partial.id}" in refused.err
        assert not (partial.folder / "fold-0").exists(), "nothing was trained"
    done = run_comp(workspace, "run", "shapes", "--resume", partial.id, "--json")
    assert done.code == 0, done.err
    assert done.json["marks"] == []
    assert not (partial.folder / runs.LOCK).exists()


def test_what_a_killed_run_left_half_written_goes_and_what_lives_stays(
    workspace: Path, partial: runs.Run
) -> None:
    gone, here = dead_pid(), os.getppid()
    fold = partial.folder / "fold-0"
    fold.mkdir()
    submissions, folds = workspace / "submissions" / "shapes", workspace / "folds" / "shapes"
    left = [
        fold / f".state.pt.{gone}.part",
        fold / f".state.pt.{os.getpid()}.part",
        fold / f".writable-{gone}",
        partial.folder / f".oof.npz.{gone}.part",
        submissions / f".{partial.id}.csv.{gone}.part",
        folds / f".k2-seed0.csv.{gone}.part",
    ]
    kept = [
        fold / f".state.pt.{here}.part",
        submissions / f".other.csv.{here}.part",
        fold / ".notes.part",
        fold / "state.pt.12.part",
    ]
    for path in [*left, *kept]:
        path.write_bytes(b"half")
    (partial.folder / f".fold-0.{gone}.part").mkdir()
    comp.run("shapes", workspace=workspace, resume=partial.id)
    assert not [path for path in left if path.exists()]
    assert not (partial.folder / f".fold-0.{gone}.part").exists()
    assert all(path.exists() for path in kept)
    assert (
        runs.find_run(Workspace(workspace), partial.id)
        .record["files"]
        .keys()
        .isdisjoint({f"fold-0/{path.name}" for path in kept})
    )


def test_leftovers_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    remove_leftovers(tmp_path / "nowhere", below=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_killed_run_is_resumed_by_one_of_two(workspace: Path) -> None:
    """Killed while it trains: nothing blocks the next, and of two that go on at once one does."""
    write_shapes(workspace)
    command = [sys.executable, "-m", "comp.cli.main", "run", "shapes"]
    long = ["--folds", "2", "--set", "epochs=400"]
    environment = clean_environment()
    first = subprocess.Popen([*command, *long], cwd=workspace, env=environment, stderr=subprocess.DEVNULL)
    while not list(workspace.glob("runs/*/fold-0/state.pt")):
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    (run,) = (workspace / "runs").iterdir()
    (run / "fold-0" / f".state.pt.{first.pid}.part").write_bytes(b"half")
    resumed = subprocess.Popen(
        [*command, "--resume", run.name], cwd=workspace, env=environment, stderr=subprocess.DEVNULL
    )
    while not (run / runs.LOCK).is_file() or (run / runs.LOCK).read_text() != str(resumed.pid):
        assert resumed.poll() is None
        time.sleep(0.05)
    other = run_comp(workspace, "run", "shapes", "--resume", run.name)
    resumed.kill()
    resumed.wait()
    assert other.code == 1
    assert "under way" in other.err
    assert not (run / "fold-0" / f".state.pt.{first.pid}.part").exists()
