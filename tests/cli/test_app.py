"""The verbs in groups, and what stands on the screen before anything heavy is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from comp.cli.app import GROUPS, app, summary
from made import clean_environment, run_comp

COMMAND = typer.main.get_command(app)
VERBS = COMMAND.commands  # type: ignore[attr-defined]


def test_comp_alone_shows_the_verbs_in_groups_with_examples(workspace: Path) -> None:
    shown = run_comp(workspace)
    assert shown.code == 0
    places = [shown.out.index(f"\n{group}:\n") for group in ("Start", "Train", "Look", "Submit", "Examples")]
    assert places == sorted(places)
    assert shown.out.partition("Examples:\n")[2].strip().count("\n") == 2
    for name in VERBS:
        assert f"\n  {name} " in shown.out
    assert shown.out == run_comp(workspace, "--help").out


def test_every_verb_has_a_summary_that_fits_beside_its_name() -> None:
    assert sum(map(len, GROUPS.values())) == len(VERBS)
    for name, verb in VERBS.items():
        assert 0 < len(summary(verb)) <= 55, name


def test_no_usage_line_has_doubled_brackets(workspace: Path) -> None:
    for name in VERBS:
        usage = run_comp(workspace, name, "--help").out
        assert "[[" not in usage.splitlines()[0], name


PROGRAM = """\
import sys
heavy = {"torch", "timm", "pandas", "numpy", "cv2", "sklearn", "scipy", "albumentations", "typer", "pydantic", "rich"}
class Stderr:
    encoding = "utf-8"
    def write(self, text):
        sys.__stderr__.write(f"{text.strip()}|{sorted(heavy & set(sys.modules))}\\n")
        sys.__stderr__.flush()
        import os
        os._exit(0)
    def isatty(self): return False
    def flush(self): pass
sys.stderr = Stderr()
from comp.cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    "arguments",
    [("run", "digits"), ("check", "digits"), ("predict", "latest"), ("lr", "digits")],
    ids=" ".join,
)
def test_the_first_line_comes_before_anything_heavy_is_imported(
    workspace: Path, arguments: tuple[str, ...]
) -> None:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(
        command, cwd=workspace, capture_output=True, text=True, env=clean_environment(), check=True
    )
    assert done.stderr == f"comp {' '.join(arguments)}|[]\n"
    assert done.stdout == ""


def test_help_and_quick_looks_have_no_title(workspace: Path) -> None:
    assert run_comp(workspace, "run", "--help").err == ""
    assert run_comp(workspace, "list").err == ""


def test_no_runs_is_said(workspace: Path) -> None:
    assert run_comp(workspace, "runs").out == "no runs yet: comp run digits\n"
    assert run_comp(workspace, "runs", "cifar-100").out == "no runs of cifar-100 yet: comp run cifar-100\n"
    assert run_comp(workspace, "runs", "--json").json == []
