"""Processes that work on folds at once: what they did, said and raised, and that none is left behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from comp import console, events
from comp.errors import TrainingFailed, UnknownName
from comp.training.parallel_folds import side_by_side, why_not_parallel
from comp.training.time_limit import Deadline, OutOfTime, stopped

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(path: Path) -> str:
    until = time.monotonic() + 60
    while not (path.is_file() and path.read_text()):
        assert time.monotonic() < until, path
        time.sleep(0.01)
    return path.read_text()


def test_so_many_at_once_on_one_thread_each_and_all_of_them_in_the_end(tmp_path: Path) -> None:
    def work(k: int) -> None:
        assert torch.get_num_threads() == 1
        (tmp_path / f"pid-{k}").write_text(str(os.getpid()))
        if k < 2:  # each waits for the other: they do run at once
            wait_for(tmp_path / f"pid-{1 - k}")
            assert not (tmp_path / "pid-2").exists(), "no third one yet"

    assert sorted(side_by_side(work, [0, 1, 2, 4], 2)) == [(0, None), (1, None), (2, None), (4, None)]
    pids = {(tmp_path / f"pid-{k}").read_text() for k in (0, 1, 2, 4)}
    assert len(pids) == 4
    assert str(os.getpid()) not in pids


def test_what_is_said_and_done_is_shown_here(capsys: pytest.CaptureFixture[str]) -> None:
    def work(k: int) -> None:
        events.log(f"this is {k}")
        with events.task("steps", 100) as bar:
            for _ in range(100):
                bar.advance(1, "fast")

    with console.progress():
        assert len(list(side_by_side(work, range(3), 2))) == 3
    assert sorted(capsys.readouterr().err.splitlines()) == [f"this is {k}" for k in range(3)]


def test_what_a_fold_prints_goes_through_the_parent(capfd: pytest.CaptureFixture[str]) -> None:
    """Not through the parent's stderr, whose locks nobody would ever open here."""
    before = sys.stderr

    def work(k: int) -> None:
        assert sys.stderr is not before
        print("one\ntwo", "three", end="")
        print(file=sys.stderr)
        sys.stderr.write("look out\n")

    assert list(side_by_side(work, [0], 1)) == [(0, None)]
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == ["one", "two three", "look out"]


def test_a_deadline_is_one_for_all(tmp_path: Path) -> None:
    deadline = Deadline(1000.0, rows=10, views=1)

    def work(k: int) -> None:
        if k == 0:
            deadline.measured(1, 50.0)  # ten rows take 500 seconds
        else:
            assert deadline.passed() == (k == 3)

    deadline.fold_finished()
    assert not deadline.passed()
    assert list(side_by_side(work, [0], 2)) == [(0, None)]
    assert sorted(side_by_side(work, [1, 2], 2)) == [(1, None), (2, None)]
    deadline.fold_finished()
    assert deadline.passed(), "of two folds a thousand"
    assert list(side_by_side(work, [3], 2)) == [(3, None)]


def test_where_no_process_can_be_had_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    own, left = os.fork, [1]

    def fork() -> int:
        if not left:
            raise BlockingIOError("no more")
        left.pop()
        return own()

    monkeypatch.setattr(os, "fork", fork)
    running = side_by_side(lambda k: None, range(2), 2)
    assert next(running) == (0, None)
    with pytest.raises(TrainingFailed, match="a fold needs a process"):
        next(running)


def test_errors_come_back_as_they_were(capfd: pytest.CaptureFixture[str]) -> None:
    def work(k: int) -> None:
        if k == 0:
            raise TrainingFailed("a loss is a number", "nan", "less")
        if k == 1:
            raise UnknownName("model", "resnte", ["resnet"])
        if k == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if k == 3:
            _ = 1 / 0
        if k == 4:
            os._exit(0)

    found = dict(side_by_side(work, range(6), 3))
    assert isinstance(found[0], TrainingFailed)
    assert found[0].as_json()["value"] == "nan"
    assert isinstance(found[1], UnknownName)
    assert (found[1].near, found[1].exit_code) == (["resnet"], 2)
    assert "did you mean resnet" in str(found[1])
    assert isinstance(found[2], TrainingFailed)
    assert "SIGKILL" in found[2].value
    assert isinstance(found[3], ZeroDivisionError)
    assert any("1 / 0" in note for note in found[3].__notes__)
    assert isinstance(found[4], TrainingFailed)
    assert found[5] is None
    assert "Traceback" not in capfd.readouterr().err


def test_past_the_time_limit_none_begins_and_others_end(tmp_path: Path) -> None:
    def work(k: int) -> None:
        if k == 1:
            raise stopped("fold 1")
        wait_for(tmp_path / "go")

    found: dict[int, Exception | None] = {}
    for k, failure in side_by_side(work, range(5), 2):
        (tmp_path / "go").write_text("on")
        found[k] = failure
    assert sorted(found) == [0, 1]
    assert found[0] is None
    assert isinstance(found[1], OutOfTime)


def test_none_is_left_behind_by_an_error_here(tmp_path: Path) -> None:
    def work(k: int) -> None:
        (tmp_path / f"pid-{k}").write_text(str(os.getpid()))
        if k:
            time.sleep(600)

    running = side_by_side(work, range(3), 3)
    assert next(running) == (0, None)
    pids = [int(wait_for(tmp_path / f"pid-{k}")) for k in (1, 2)]
    assert all(is_alive(pid) for pid in pids)
    running.close()
    assert not any(is_alive(pid) for pid in pids)


@pytest.mark.parametrize(
    ("device", "gpu", "platform", "why"),
    [
        ("cpu", True, "linux", "GPU"),
        ("cuda", True, "linux", "GPU"),
        ("mps", False, "darwin", "GPU"),
        ("cpu", False, "darwin", "Linux"),
        ("cpu", False, "linux", ""),
    ],
)
def test_where_folds_cannot_train_at_once_it_is_said(
    monkeypatch: pytest.MonkeyPatch, device: str, gpu: bool, platform: str, why: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(sys, "platform", platform)
    assert why in (why_not_parallel(device) or "")
    assert bool(why_not_parallel(device)) == bool(why)
