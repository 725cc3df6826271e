"""How far a run is: said while it trains, after it was killed, and of nothing else."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from comp import events
from comp.files import alone, is_held, read_json, write_json, write_text
from comp.runs import progress as module
from comp.runs import run as runs
from comp.runs.progress import ProgressFile, live_state
from comp.workspace import Workspace
from made import run_comp

FOLD = {"run": "r", "slug": "shapes", "folds": 3, "model": "resnet"}


def new_run(workspace: Path) -> runs.Run:
    return runs.new_run(Workspace(workspace), {"slug": "shapes", "folds": 3})


def started(run: runs.Run, epochs: tuple[int, ...] = (7,), only: tuple[int, ...] = (0, 1, 2)) -> ProgressFile:
    listener = ProgressFile(run.folder)
    models = tuple(f"net-{n}" for n in range(len(epochs)))
    listener.handle(
        events.RunStarted(
            run.id, "shapes", str(run.folder), 3, only, models, epochs, models, "accuracy", "max"
        )
    )
    return listener


def begin(listener: ProgressFile, fold: int, folder: str = "", epochs: int = 7) -> None:
    listener.handle(events.FoldStarted(**FOLD, folder=folder or f"fold-{fold}", fold=fold, epochs=epochs))  # type: ignore[arg-type]


def epoch(run: runs.Run, listener: ProgressFile, fold: int, number: int, folder: str = "") -> None:
    """An epoch ends, and history.csv grows, as its own listener lets it."""
    folder = folder or f"fold-{fold}"
    (run.folder / folder).mkdir(parents=True, exist_ok=True)
    write_text(
        run.folder / folder / "history.csv", "epoch,loss\n" + "".join(f"{n + 1},0.5\n" for n in range(number))
    )
    listener.handle(
        events.EpochEnded(
            **FOLD,
            folder=folder,
            fold=fold,
            epoch=number,
            epochs=7,
            train_loss=0.5,
            valid_loss=0.5,
            metric="accuracy",
            score=0.5,
            lr=0.1,
            images_per_second=9.0,
            seconds=1.0,
            seconds_left=1.0,
        )  # type: ignore[arg-type]
    )


def end(listener: ProgressFile, fold: int, failure: str = "", **more: Any) -> None:
    folder = more.pop("folder", f"fold-{fold}")
    score = None if failure else 0.5
    listener.handle(
        events.FoldEnded(
            **FOLD,
            folder=folder,
            fold=fold,
            metric="accuracy",
            score=score,
            rows=9,
            seconds=1.0,
            failure=failure,
            **more,
        )  # type: ignore[arg-type]
    )


def held(run: runs.Run) -> AbstractContextManager[None]:
    return alone(run.folder / runs.LOCK, "one at a time", "{pid}", "wait")


def words(run: runs.Run) -> str:
    """The line of ``comp runs``, or its state where it says no more."""
    found = live_state(run)
    return str(found["progress"]["text"] if found["progress"] else found["state"])


@pytest.fixture
def time_passes(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock and the wall's, in seconds; set its only item."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "time", lambda: now[0])
    return now


def test_a_live_run_says_its_fold_its_epoch_and_the_time_left(
    tmp_path: Path, time_passes: list[float]
) -> None:
    one = new_run(tmp_path)
    with held(one):
        assert words(one) == "running"
        listener = started(one)
        begin(listener, 0)
        assert words(one) == "running, fold 1/3, epoch 1/7"
        time_passes[0] += 120.0
        for number in (1, 2, 3):
            epoch(one, listener, 0, number)
        # one is written every few seconds; three epochs took 120 s, so that the first's pace is not the last word
        assert words(one).startswith("running, fold 1/3, epoch 4/7, ")
        time_passes[0] += 3.0
        epoch(one, listener, 0, 4)
        left = 123.0 / 4 * (3 + 14)
        assert live_state(one) == {
            "state": "running",
            "progress": {
                "text": "running, fold 1/3, epoch 5/7, 9 min left",
                "folds": 3,
                "under_way": [{"model": 0, "fold": 0, "epoch": 5, "epochs": 7}],
                "seconds_left": pytest.approx(left),
            },
        }
        time_passes[0] += 60.0
        assert words(one) == "running, fold 1/3, epoch 5/7, 8 min left"
        time_passes[0] += 9000.0  # it takes longer than it was thought to
        assert words(one) == "running, fold 1/3, epoch 5/7"


def test_a_dead_one_says_where_it_was_stopped(tmp_path: Path) -> None:
    one = new_run(tmp_path)
    listener = started(one)
    end(listener, 0, finished_before=True)
    begin(listener, 1)
    for number in (1, 2, 3):
        epoch(one, listener, 1, number)
    assert words(one) == "stopped at fold 2/3, epoch 4/7"
    assert live_state(one)["state"] == "unfinished"
    epoch(one, listener, 1, 7)  # it predicts the held-out rows
    assert words(one) == "stopped at fold 2/3, epoch 7/7"


def test_folds_at_once_are_all_said(tmp_path: Path) -> None:
    one = new_run(tmp_path)
    listener = started(one)
    begin(listener, 0)
    begin(listener, 1)
    epoch(one, listener, 1, 1)
    assert words(one) == "stopped at fold 1/3, epoch 1/7; fold 2/3, epoch 2/7"
    end(listener, 0)
    begin(listener, 2)
    assert words(one) == "stopped at fold 2/3, epoch 2/7; fold 3/3, epoch 1/7"


def test_of_several_models_the_one_under_way_is_said(tmp_path: Path) -> None:
    one = new_run(tmp_path)
    listener = started(one, epochs=(7, 0))
    begin(listener, 0, "model-0/fold-0")
    epoch(one, listener, 0, 1, "model-0/fold-0")
    assert words(one) == "stopped at model 1/2, fold 1/3, epoch 2/7"
    end(listener, 0, folder="model-0/fold-0")
    begin(listener, 2, "model-1/fold-2", epochs=0)
    assert words(one) == "stopped at model 2/2, fold 3/3"


def test_folds_that_are_not_wanted_take_no_time(tmp_path: Path, time_passes: list[float]) -> None:
    one = new_run(tmp_path)
    with held(one):
        listener = started(one, only=(1,))
        begin(listener, 1)
        time_passes[0] += 10.0
        epoch(one, listener, 1, 1)
        assert words(one) == "running, fold 2/3, epoch 2/7, 1 min left"


@pytest.mark.parametrize("marks", [(), ("partial",)])
def test_after_a_run_nothing_is_left_of_it(marks: tuple[str, ...], tmp_path: Path) -> None:
    one = new_run(tmp_path)
    listener = started(one)
    begin(listener, 0)
    end(listener, 0)
    listener.handle(events.RunEnded(one.id, "shapes", "accuracy", 0.5, marks=marks))
    assert not (one.folder / "progress.json").exists()
    assert words(one) == "unfinished"


def test_the_time_limit_leaves_word_of_where_it_was(tmp_path: Path) -> None:
    one = new_run(tmp_path)
    listener = started(one)
    begin(listener, 0)
    end(listener, 0)
    begin(listener, 1)
    epoch(one, listener, 1, 2)
    end(listener, 1, failure="fold 1, epoch 3, batch 1", is_stopped=True)
    listener.handle(events.RunEnded(one.id, "shapes", "accuracy", 0.5, marks=("partial",)))
    assert words(one) == "stopped at fold 2/3, epoch 3/7"


def test_what_the_process_before_wrote_says_nothing_of_this_one(tmp_path: Path) -> None:
    one = new_run(tmp_path)
    begin(started(one), 0)
    path = one.folder / "progress.json"
    write_json(path, {**read_json(path), "pid": os.getpid() + 1})
    assert words(one) == "stopped at fold 1/3, epoch 1/7"
    with held(one):
        assert words(one) == "running"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b'{"run": 3}', b'{"under_way": [{"fold": "x"}]}', b"null"]
)
@pytest.mark.parametrize("live", [False, True])
def test_a_damaged_file_is_as_none(content: bytes, live: bool, tmp_path: Path) -> None:
    one = new_run(tmp_path)
    (one.folder / "progress.json").write_bytes(content)
    with held(one) if live else nullcontext():
        assert words(one) == ("running" if live else "unfinished")
        (row,) = run_comp(tmp_path, "runs", "--json").json
        assert (row["state"], bool(row["progress"])) == (("running", True) if live else ("unfinished", False))


def test_where_locks_are_not_known_nothing_is_said_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = new_run(tmp_path)
    begin(started(one), 0)
    monkeypatch.setattr(module, "is_held", lambda path: None)
    assert words(one) == "at fold 1/3, epoch 1/7"


def test_a_done_run_is_done_whatever_is_left_in_it(tmp_path: Path) -> None:
    one = new_run(tmp_path)
    begin(started(one), 0)
    runs.finish(one, {"oof": {"score": 0.5}})
    found = runs.find_run(Workspace(tmp_path), one.id)
    assert live_state(found) == {"state": "done", "progress": None}
    assert "progress.json" not in found.files


def test_a_run_that_ends_while_others_are_looked_at_is_seen(tmp_path: Path) -> None:
    new_run(tmp_path)
    (seen,) = runs.all_runs(Workspace(tmp_path))
    assert not seen.has_ended_since()
    runs.finish(seen, {"oof": {"score": 0.5}})
    assert seen.has_ended_since()
    (again,) = runs.all_runs(Workspace(tmp_path))
    assert not again.has_ended_since()


def test_to_ask_whether_a_lock_is_held_takes_it_from_nobody(tmp_path: Path) -> None:
    path = tmp_path / ".running"
    assert is_held(path) is False
    assert not path.exists()
    with alone(path, "one at a time", "{pid}", "wait"):
        assert is_held(path) is True
        assert is_held(path) is True
    path.write_text("123")  # a killed process leaves it so
    assert is_held(path) is False
    with alone(path, "one at a time", "{pid}", "wait"):
        pass
