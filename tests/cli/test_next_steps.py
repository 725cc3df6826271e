"""The last lines of a command name what may come next, as it can be typed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from comp import console
from comp.cli import next_steps
from made import run_comp

VERBS = frozenset({"run", "submit", "report", "runs", "score", "data"})


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "settings", console.Settings(verbs=VERBS))
    console.new_command()


def result(slug: str, workspace: Path, *marks: str) -> Any:
    csv = workspace / "submissions" / slug / "RUN.csv"
    return SimpleNamespace(slug=slug, run="RUN", marks=list(marks), submission=csv)


def commands(said: str) -> list[str]:
    return [line.split("  ")[1] for line in said.partition("next:\n")[2].splitlines()]


@pytest.mark.parametrize(
    ("marks", "next_command"),
    [
        (["quick"], "comp run digits"),
        (["partial"], "comp run digits --resume RUN"),
        (["sample"], "comp data digits"),
        (["quick", "partial"], "comp run digits --resume RUN"),
    ],
)
def test_a_run_that_is_no_full_one_is_made_full(
    workspace: Path, capsys: pytest.CaptureFixture[str], marks: list[str], next_command: str
) -> None:
    next_steps.after_run(result("digits", workspace, *marks), workspace)
    captured = capsys.readouterr()
    assert commands(captured.err) == [next_command]
    assert captured.out == ""


def test_a_full_run_is_reported_compared_and_only_then_scored(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    next_steps.after_run(result("digits", workspace), workspace)
    assert commands(capsys.readouterr().err) == [
        "comp report RUN",
        "comp runs digits",
        "comp score digits submissions/digits/RUN.csv",
    ]


def test_a_verb_that_there_is_not_is_not_named(
    workspace: Path, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console.settings.verbs = VERBS - {"report"}
    next_steps.after_run(result("shapes", workspace), workspace)
    assert commands(capsys.readouterr().err) == ["comp submit shapes --run RUN", "comp runs shapes"]


def test_the_workspace_that_was_named_goes_along(
    workspace: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    shown = run_comp(workspace, "check", "shapes", "--folds", 3).err  # run_comp names the workspace
    assert f"comp run shapes --workspace {workspace}  train and predict" in shown


def test_after_a_failed_check_nothing_is_suggested(workspace: Path, shapes: Path) -> None:
    (shapes / "train" / "a2.png").write_bytes(b"no image")
    failed = run_comp(workspace, "check", "shapes", "--folds", 3)
    assert failed.code == 1
    assert "next:" not in failed.err
