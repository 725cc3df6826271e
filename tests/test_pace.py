"""How long the rest of a run takes: folds, epochs and models together, and what was done before counts as no pace."""

from __future__ import annotations

import pytest

from comp import events
from comp.events import RunPace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Told:
    """A pace that hears a run's events with a clock that is set by hand."""

    def __init__(self, folds: int, epochs: tuple[int, ...], only: tuple[int, ...] | None = None) -> None:
        self.clock = Clock()
        self.pace = RunPace(self.clock)
        self.epochs, self.folds = epochs, folds
        whole = tuple(range(folds)) if only is None else only
        names = tuple(f"net{n}" for n in range(len(epochs)))
        self.pace.run_start(
            events.RunStarted("r", "s", "f", folds, whole, names, epochs, names, "accuracy", "max")
        )

    def facts(self, fold: int, model: int) -> tuple[str, str, str, int, int, str]:
        folder = f"fold-{fold}" if len(self.epochs) == 1 else f"model-{model}/fold-{fold}"
        return "r", "s", folder, fold, self.folds, f"net{model}"

    def begin(self, fold: int, total: int, model: int = 0) -> str:
        task = f"t{model}{fold}"
        self.pace.fold_start(events.FoldStarted(*self.facts(fold, model), self.epochs[model]))
        self.pace.task_start(events.TaskStarted(task, f"fold {fold}", total))
        return task

    def at(self, task: str, done: int, total: int) -> None:
        self.pace.task_advance(events.TaskAdvanced(task, "", done, total, ""))

    def end(self, fold: int, model: int = 0, before: bool = False) -> None:
        self.pace.fold_end(
            events.FoldEnded(*self.facts(fold, model), "accuracy", 0.5, 9, 1.0, finished_before=before)
        )


def test_all_folds_and_models_count() -> None:
    run = Told(5, (10, 30))
    task = run.begin(0, 1000)
    run.at(task, 0, 1000)
    assert run.pace.seconds_left is None
    run.clock.now += 10
    run.at(task, 100, 1000)  # an epoch in ten seconds
    assert run.pace.seconds_left == pytest.approx(10 * (5 * 10 + 5 * 30 - 1))
    run.clock.now += 90
    run.at(task, 1000, 1000)
    run.end(0)
    assert run.pace.seconds_left == pytest.approx(10 * (4 * 10 + 5 * 30))


def test_what_was_done_before_is_no_pace() -> None:
    run = Told(3, (10,))
    run.end(0, before=True)
    task = run.begin(1, 1000)
    run.at(task, 500, 1000)  # it goes on in the middle
    run.clock.now += 10
    run.at(task, 600, 1000)
    assert run.pace.seconds_left == pytest.approx(10 * (4 + 10))


def test_folds_that_train_at_once_share_the_time() -> None:
    run = Told(4, (10,))
    tasks = [run.begin(k, 100) for k in (0, 1)]
    for task in tasks:
        run.at(task, 0, 100)
    run.clock.now += 10
    for task in tasks:
        run.at(task, 50, 100)
    assert run.pace.seconds_left == pytest.approx(10 / 10 * 30)


def test_only_the_folds_that_are_wanted_count() -> None:
    run = Told(5, (10,), only=(2,))
    task = run.begin(2, 100)
    run.at(task, 0, 100)
    run.clock.now += 10
    run.at(task, 50, 100)
    assert run.pace.seconds_left == pytest.approx(10)


def test_a_probe_is_told_by_its_features() -> None:
    run = Told(5, (0,))
    run.pace.task_start(events.TaskStarted("f", "features", 1000))
    run.clock.now += 10
    run.at("f", 500, 1000)
    assert run.pace.seconds_left == pytest.approx(10 * (1 - 0.475) / 0.475)
    run.at("f", 1000, 1000)
    run.pace.task_end(events.TaskEnded("f", "features"))
    for k in range(5):
        run.end(k)
    assert run.pace.seconds_left == pytest.approx(0)


def test_features_of_a_head_start_are_no_epoch() -> None:
    run = Told(5, (10,))
    run.pace.task_start(events.TaskStarted("f", "features", 1000))
    run.clock.now += 10
    run.at("f", 1000, 1000)
    assert run.pace.seconds_left is None
