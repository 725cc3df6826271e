"""The live block of a notebook: one display for a cell, every fold in it, warnings gathered, text escaped."""

from __future__ import annotations

from typing import Any

import pytest

from comp import events
from comp.report.notebook import NotebookListener, shell, take_over
from html_page import Page

FOLD = {"run": "r1", "slug": "digits", "folder": "fold-0", "fold": 0, "folds": 2, "model": "resnet9"}


def started(**changes: Any) -> events.RunStarted:
    facts: dict[str, Any] = {
        "run": "r1",
        "slug": "digits",
        "folder": "/r1",
        "folds": 2,
        "only": (0, 1),
        "models": ("resnet9",),
        "epochs": (3,),
        "summaries": ("",),
        "metric": "accuracy",
        "direction": "max",
    }
    return events.RunStarted(**{**facts, **changes})


def epoch(n: int) -> events.EpochEnded:
    return events.EpochEnded(
        **FOLD,
        epoch=n,
        epochs=3,
        train_loss=1 / n,
        valid_loss=0.5,
        metric="accuracy",
        score=0.75,
        lr=0.1,
        images_per_second=10.0,
        seconds=1.0,
        seconds_left=2.0,
    )


class Screen:
    """What a notebook would show, and how often it was drawn."""

    def __init__(self) -> None:
        self.contents: list[str] = []
        self.again: list[bool] = []
        self.now = 0.0
        self.listener = NotebookListener(self.show, lambda: self.now)

    def show(self, content: dict[str, str], again: bool) -> None:
        self.contents.append(content["text/html"])
        self.again.append(again)

    def hear(self, *heard: events.Event) -> str:
        for event in heard:
            self.now += 1
            self.listener.handle(event)
        return self.contents[-1]


def test_one_block_that_is_drawn_again() -> None:
    screen = Screen()
    shown = screen.hear(started(), events.FoldStarted(**FOLD, epochs=3), epoch(1), epoch(2))
    assert screen.again == [False, True, True, True]
    assert "<td>2/3</td><td>0.5000</td><td>0.5000</td><td>0.7500</td>" in shown
    assert shown.count("<tr>") == 3, "a head and two folds"
    assert "waits" in shown


def test_it_is_not_drawn_more_often_than_eyes_can_follow() -> None:
    screen = Screen()
    for n in range(100):
        screen.listener.handle(events.TaskAdvanced("t", "looking", n, 100, ""))
    assert len(screen.contents) == 1
    screen.listener.handle(events.TaskEnded("t", "looking"))
    assert len(screen.contents) == 2, "the end is always shown"


def test_the_end_says_what_it_came_to_and_a_stop_how_to_go_on() -> None:
    ended = {"run": "r1", "slug": "digits", "metric": "accuracy"}
    shown = Screen().hear(
        started(), events.RunEnded(**ended, score=0.9, submission="s.csv", marks=("quick",))
    )
    assert "OOF accuracy 0.9000 (quick); run r1; submission s.csv" in shown
    shown = Screen().hear(started(), events.RunEnded(**ended, score=None, failure="interrupted"))
    assert "Stopped: interrupted" in shown
    assert "resume=" in shown


def test_warnings_are_gathered_once_with_their_remedies() -> None:
    warned = events.Message("  warning: two images are alike", "drop one")
    shown = Screen().hear(warned, warned, events.Message("looking"))
    assert shown.count("two images are alike") == 1
    assert "drop one" in shown


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(2)>'])
def test_whatever_is_said_is_text(name: str) -> None:
    shown = Screen().hear(
        started(metric=name),
        events.Message(name),
        events.Message(f"warning: {name}", name),
        events.TaskStarted("t", name, 5),
        events.TaskAdvanced("t", name, 2, 5, name),
        events.FoldEnded(**FOLD, metric=name, score=None, rows=0, seconds=0.0, failure=name),
        events.RunEnded(run=name, slug=name, metric=name, score=0.5, submission=name),
    )
    page = Page(shown)
    assert (page.scripts, page.images) == (0, [])


def test_outside_of_a_notebook_nothing_is_taken_over() -> None:
    from comp import console

    before = console.listener
    take_over()
    assert shell() is None
    assert console.listener is before is not None
