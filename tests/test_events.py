"""Who listens hears what a run does, in its order and with its values, and cannot cost it."""

from __future__ import annotations

import csv
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import pytest

import comp
from comp import console, events
from comp.errors import InputError, TrainingFailed
from comp.pipelines.run_result import RunResult
from made import REPOSITORY, probe, write_shapes

COMMON = ["epochs=2", "precision=fp32", "channels_last=false", "threads=1"]


class Tracker(events.RunListener):
    """What an experiment tracker would keep: one class, by the public interface alone."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_run_start(self, event: events.RunStarted) -> None:
        self.heard.append(event)

    def on_fold_start(self, event: events.FoldStarted) -> None:
        self.heard.append(event)

    def on_epoch(self, event: events.EpochEnded) -> None:
        self.heard.append(event)

    def on_fold_end(self, event: events.FoldEnded) -> None:
        self.heard.append(event)

    def on_run_end(self, event: events.RunEnded) -> None:
        self.heard.append(event)

    def of(self, kind: type, fold: int | None = None) -> list[Any]:
        return [one for one in self.heard if isinstance(one, kind) and fold in (None, one.fold)]

    def order(self, fold: int | None = None) -> list[str]:
        every = [one for one in self.heard if fold is None or getattr(one, "fold", fold) == fold]
        return [type(one).__name__ for one in every]


def run(workspace: Path, *listeners: events.RunListener, **more: Any) -> RunResult:
    overrides = [*COMMON, *more.pop("overrides", [])]
    return comp.run("shapes", 2, workspace=workspace, overrides=overrides, listeners=listeners, **more)


def history(result: RunResult, fold: int) -> list[dict[str, str]]:
    text = (result.folder / f"fold-{fold}" / "history.csv").read_text()
    return list(csv.DictReader(text.splitlines()))


def require_epochs_of(tracker: Tracker, result: RunResult) -> None:
    """Every epoch was heard once, with the values that history.csv has."""
    for fold in (0, 1):
        epochs, rows = tracker.of(events.EpochEnded, fold), history(result, fold)
        assert [one.epoch for one in epochs] == [1, 2]
        assert [(one.run, one.folder, one.folds) for one in epochs] == [(result.run, f"fold-{fold}", 2)] * 2
        for one, row in zip(epochs, rows, strict=True):
            assert one.train_loss == float(row["loss"])
            assert one.valid_loss == float(row["valid_loss"])
            assert (one.metric, one.score) == ("accuracy", float(row["valid_metric"]))
            assert one.lr == float(row["lr"])
            assert one.images_per_second == float(row["images_per_second"])
            assert one.seconds > 0
        assert epochs[0].seconds_left == pytest.approx(epochs[0].seconds)
        assert epochs[1].seconds_left == 0


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tracker, RunResult]:
    workspace, tracker = tmp_path_factory.mktemp("heard"), Tracker()
    write_shapes(workspace)
    return tracker, run(workspace, tracker)


def test_a_listener_hears_a_run_in_its_order(heard: tuple[Tracker, RunResult]) -> None:
    tracker, result = heard
    fold = ["FoldStarted", "EpochEnded", "EpochEnded", "FoldEnded"]
    assert tracker.order() == ["RunStarted", *fold, *fold, "RunEnded"]
    assert [one.fold for one in tracker.of(events.FoldStarted)] == [0, 1]
    require_epochs_of(tracker, result)
    lines = (result.folder / "fold-0" / "history.csv").read_bytes().split(b"\n")
    assert lines[0] == b"epoch,loss,valid_loss,valid_metric,lr,images_per_second"
    assert (len(lines), lines[-1]) == (4, b"")


def test_its_values_are_those_of_the_run(heard: tuple[Tracker, RunResult]) -> None:
    tracker, result = heard
    start, end = tracker.heard[0], tracker.heard[-1]
    assert (start.run, start.slug, start.folder) == (result.run, "shapes", str(result.folder))
    assert (start.folds, start.only, start.models, start.epochs) == (2, (0, 1), ("test_resnet",), (2,))
    assert (start.metric, start.direction) == ("accuracy", "max")
    assert (end.run, end.score, end.failure) == (result.run, result.score, "")
    assert (end.folds, end.per_fold) == ((0, 1), tuple(result.per_fold))
    assert end.submission == str(result.submission)
    assert [one.score for one in tracker.of(events.FoldEnded)] == result.per_fold
    assert [one.rows for one in tracker.of(events.FoldEnded)] == [9, 9]
    assert all(json.loads(json.dumps(asdict(one))) for one in tracker.heard), "plain values"


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
def test_folds_at_once_are_heard_in_the_process_that_runs(
    heard: tuple[Tracker, RunResult], tmp_path: Path
) -> None:
    write_shapes(tmp_path)
    tracker = Tracker()
    result = run(tmp_path, tracker, overrides=["jobs=2"])
    for fold in (0, 1):
        assert tracker.order(fold) == [
            "RunStarted",
            "FoldStarted",
            "EpochEnded",
            "EpochEnded",
            "FoldEnded",
            "RunEnded",
        ]
    require_epochs_of(tracker, result)
    values = ("fold", "epoch", "train_loss", "valid_loss", "score", "lr")
    at_once, alone = (
        sorted(tuple(getattr(one, name) for name in values) for one in each.of(events.EpochEnded))
        for each in (tracker, heard[0])
    )
    assert at_once == alone


def test_a_run_that_goes_on_is_heard_from_where_it_goes_on(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    first, second = Tracker(), Tracker()

    class StopsInFoldOne(events.RunListener):
        def on_epoch(self, event: events.EpochEnded) -> None:
            if event.fold == 1 and event.epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, first, StopsInFoldOne(), overrides=["epochs=3", "save_minutes=0.0"])
    assert first.heard[-1].failure == "interrupted"
    assert first.heard[-1].score is None
    fold = next((tmp_path / "runs").iterdir()) / "fold-1"
    assert len((fold / "history.csv").read_text().splitlines()) == 1 + 2, "it grew with each epoch"
    result = comp.run("shapes", workspace=tmp_path, resume="latest", listeners=[second])
    before, *_ = second.of(events.FoldEnded)
    assert (before.fold, before.finished_before) == (0, True)
    assert [one.fold for one in second.of(events.FoldStarted)] == [1]
    assert [one.epoch for one in second.of(events.EpochEnded)] == [2, 3]
    assert [row["epoch"] for row in history(result, 1)] == ["1", "2", "3"]
    assert history(result, 1)[0]["loss"] == str(first.of(events.EpochEnded, 1)[0].train_loss)
    assert not (result.folder / "progress.json").exists()


def test_rows_that_a_lost_state_left_in_history_do_not_come_twice(tmp_path: Path) -> None:
    """Without its state the fold begins anew, and so does its history; so it does where a kill left half a line."""
    write_shapes(tmp_path)

    class StopsAfterOne(events.RunListener):
        def on_epoch(self, event: events.EpochEnded) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, StopsAfterOne(), overrides=["jobs=1"])
    fold = next((tmp_path / "runs").iterdir()) / "fold-0"
    with (fold / "history.csv").open("a") as file:
        file.write("2,0.5,0.")
    result = comp.run("shapes", workspace=tmp_path, resume="latest")
    assert [row["epoch"] for row in history(result, 0)] == ["1", "2"]


@pytest.mark.parametrize("raised", [ValueError("no\nserver"), SystemExit(0), InputError("a", "b", "c")])
def test_a_listener_that_raises_is_dropped_and_the_run_is_whole(
    raised: BaseException,
    heard: tuple[Tracker, RunResult],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_shapes(tmp_path)
    calls = []

    class Broken(events.RunListener):
        def on_epoch(self, event: events.EpochEnded) -> None:
            calls.append(event)
            raise raised

    tracker = Tracker()
    result = run(tmp_path, Broken(), tracker)
    err = capsys.readouterr().err
    assert len(calls) == 1
    assert [line for line in err.splitlines() if "Broken" in line and type(raised).__name__ in line]
    assert err.count("Broken") == 1
    assert tracker.order() == heard[0].order()
    assert result.submission.read_bytes() == heard[1].submission.read_bytes()
    assert (result.folder / "record.json").is_file()


def test_a_probe_says_when_its_folds_begin_and_end(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    tracker = Tracker()
    probe = ["mode=probe", "precision=fp32", "model.weights=none", "threads=1"]
    comp.run("shapes", 2, workspace=tmp_path, overrides=probe, allow=None, listeners=[tracker])
    assert tracker.order() == ["RunStarted", *["FoldStarted", "FoldEnded"] * 2, "RunEnded"]
    assert tracker.heard[0].epochs == (0,)


def test_a_fold_that_fails_ends_with_what_failed(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    tracker = Tracker()
    with pytest.raises(TrainingFailed):
        run(tmp_path, tracker, overrides=["optimizer.lr=1e30", "optimizer.name=sgd"])
    assert [one.score for one in tracker.of(events.FoldEnded)] == [None, None]
    assert all("the loss must be a number" in one.failure for one in tracker.of(events.FoldEnded))
    assert "the loss must be a number" in tracker.heard[-1].failure


@pytest.mark.parametrize(
    "listeners",
    [[Tracker], Tracker(), [lambda event: None], ["tracker"]],
    ids=["class", "bare", "call", "name"],
)
def test_what_is_no_listener_is_refused_before_anything_is_read(listeners: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="listeners are objects"):
        comp.run("nothing", workspace=tmp_path, listeners=listeners)


def test_nobody_listens_any_more_after_a_run_that_failed(tmp_path: Path) -> None:
    before = list(events._listeners)
    with pytest.raises(InputError):
        comp.run("digits", 1, workspace=tmp_path, listeners=[Tracker()])
    assert events._listeners == before


@pytest.mark.parametrize("total", [0, 3])
def test_a_task_says_its_last_step_whatever_came_between(total: int) -> None:
    steps: list[events.Event] = []

    class Steps(events.RunListener):
        def handle(self, event: events.Event) -> None:
            steps.append(event)

    with events.listening(Steps()), events.task("rows", total) as bar:
        for _ in range(total):
            bar.advance(1, "fast")
    assert isinstance(steps[0], events.TaskStarted)
    assert isinstance(steps[-1], events.TaskEnded)
    done = [one.done for one in steps if isinstance(one, events.TaskAdvanced)]
    assert done[-1:] == [total] * bool(total)


def test_the_console_shows_tasks_that_are_events(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(events, "ADVANCE_SECONDS", 0.0)
    with events.task("rows", 4) as bar:
        bar.advance(2, "loss 0.5")
        bar.advance(2)
    assert [line.partition(",")[0] for line in capsys.readouterr().err.splitlines()] == ["  rows: 2/4"]


def test_the_example_of_the_page_writes_each_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (REPOSITORY / "docs" / "events.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/events.md", "exec"), {"__name__": "example"})
    lines = [json.loads(line) for line in (tmp_path / "epochs.jsonl").read_text().splitlines()]
    assert [(one["fold"], one["epoch"], one["epochs"]) for one in lines] == [(0, 1, 1), (1, 1, 1)]


def test_every_event_has_a_method(heard: tuple[Tracker, RunResult]) -> None:
    methods = {name for name in vars(events.RunListener) if name.startswith("on_")}
    assert len(methods) == len(get_args(events.Event)), "one for each kind of event"
    called: list[str] = []

    class Noting(events.RunListener):
        def __getattribute__(self, name: str) -> object:
            if name.startswith("on_"):
                called.append(name)
            return super().__getattribute__(name)

    every = [*heard[0].heard, events.Message(""), events.TaskEnded("1", "")]
    for one in every:
        Noting().handle(one)
    assert len(called) == len(every)
    assert set(called) <= methods


class Bars(events.RunListener):
    """How far each bar came, of how much, by its title."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, int, int]] = []
        self._at: dict[str, tuple[int, int]] = {}

    def on_task_start(self, event: events.TaskStarted) -> None:
        self._at[event.task] = (0, event.total)

    def on_task_advance(self, event: events.TaskAdvanced) -> None:
        self._at[event.task] = (event.done, event.total)

    def on_task_end(self, event: events.TaskEnded) -> None:
        self.ended.append((event.title, *self._at[event.task]))


@pytest.mark.parametrize(
    "overrides", [["batch=8"], ["batch=64"], ["mode=probe"], ["batch=8", "balance=sampler"]], ids=" ".join
)
def test_every_bar_ends_at_its_total(workspace: Path, shapes: Path, overrides: list[str]) -> None:
    if overrides == ["mode=probe"]:
        overrides = probe(workspace)
    for _ in range(2):  # the second time pixels, features and fingerprints are there
        bars = Bars()
        run(workspace, bars, overrides=overrides)
        assert {"looking at images", "test rows", "folds"} <= {title for title, _, _ in bars.ended}
        for title, done, total in bars.ended:
            assert 0 < done == total, title
