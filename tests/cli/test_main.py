"""The command line: versions, help, looking around, and one place where errors become exit codes."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import comp
from comp.cli.main import app
from comp.pipelines import listing
from made import run_comp, subprocess_comp


def test_the_version_and_the_help_are_told() -> None:
    here = Path.cwd()
    assert subprocess_comp(here, "--version").out.strip() == comp.__version__
    assert all(
        name in subprocess_comp(here, "--help").out for name in ("run", "check", "predict", "validate")
    )


def test_every_command_has_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    import typer

    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert command.help, name
        for parameter in command.params:
            assert getattr(parameter, "help", None) or parameter.name == "help", f"{name} {parameter.name}"


def test_list_names_each_competition_and_whether_its_data_is_there(workspace: Path, shapes: Path) -> None:
    rows = {row["slug"]: row for row in run_comp(workspace, "list", "--json").json}
    assert rows["shapes"]["data"] is True
    assert rows["art-classification"]["data"] is False
    text = run_comp(workspace, "list")
    assert text.code == 0
    assert "shapes" in text.out


def test_a_damaged_ledger_hides_no_other_competition(workspace: Path, shapes: Path) -> None:
    page = workspace / "submissions" / "shapes" / "x.json"
    page.parent.mkdir(parents=True)
    page.write_text('{"submissions": [1')
    listed = run_comp(workspace, "list")
    assert listed.code == 0
    assert "art-classification" in listed.out
    assert "warning: the ledger must be readable" in listed.err
    assert str(page) in listed.err


@pytest.mark.parametrize("to_stderr", [True, False])
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("--help",), 0),
        (("list",), 0),
        (("runs", "--json"), 0),
        (("data", "art-classification"), 1),
        (("validate", "shapes", "wrong.csv"), 1),
        (("runs", "nosuch", "--json"), 2),
    ],
)
def test_a_reader_that_goes_away_changes_no_exit_code(
    workspace: Path, shapes: Path, command: tuple[str, ...], code: int, to_stderr: bool
) -> None:
    (workspace / "wrong.csv").write_text("id,label\n1,cross\n")
    kinds = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE if to_stderr else subprocess.DEVNULL}
    one = subprocess.Popen([sys.executable, "-m", "comp.cli.main", *command], cwd=workspace, **kinds)  # type: ignore[call-overload]
    one.stdout.close()
    said = one.stderr.read() if to_stderr else b""
    if to_stderr:
        one.stderr.close()
    assert one.wait() == code
    assert b"Traceback" not in said
    assert b"BrokenPipe" not in said


def test_what_only_stderr_lost_is_still_on_stdout(workspace: Path) -> None:
    command = [sys.executable, "-m", "comp.cli.main", "list", "--json"]
    one = subprocess.Popen(command, cwd=workspace, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert one.stdout is not None
    assert one.stderr is not None
    one.stderr.close()
    listed = json.loads(one.stdout.read())
    one.stdout.close()
    assert one.wait() == 0
    assert "digits" in [row["slug"] for row in listed]


def test_show_tells_the_facts(workspace: Path, shapes: Path) -> None:
    shown = run_comp(workspace, "show", "shapes", "--json").json
    assert shown["classes"] == ["circle", "cross", "square"]
    assert shown["missing"] == []
    assert "sample_submission.csv" in run_comp(workspace, "show", "shapes").out


def test_data_says_what_is_missing_and_makes_a_sample(workspace: Path) -> None:
    before = run_comp(workspace, "data", "art-classification", "--json")
    assert before.code == 1
    assert before.json["missing"]
    made = run_comp(workspace, "data", "art-classification", "--sample", "--json")
    assert made.code == 0, made.err
    assert made.json["missing"] == []
    again = run_comp(workspace, "data", "art-classification", "--sample")
    assert again.code == 2
    assert "needs an empty folder" in again.err
    assert run_comp(workspace, "check", "art-classification", "--folds", 3).code == 0


def test_runs_of_an_empty_workspace_are_none(workspace: Path) -> None:
    assert run_comp(workspace, "runs", "--json").json == []
    assert run_comp(workspace, "runs", "nothing").code == 2


def test_doctor_tells_of_this_machine(workspace: Path) -> None:
    outcome = run_comp(workspace, "doctor", "--json")
    assert outcome.json["workspace"] == str(workspace)
    assert outcome.json["versions"]["torch"]
    assert (outcome.code == 0) == (outcome.json["problems"] == [])


def test_a_bug_of_ours_is_3_with_a_traceback_and_still_one_document(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> Any:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(listing, "find_competitions", broken)
    outcome = run_comp(workspace, "list", "--json")
    assert outcome.code == 3
    assert outcome.json["error"]["exit_code"] == 3
    assert "Traceback" in outcome.err
    assert "planted" in outcome.err


def test_a_home_that_nobody_has_is_a_wrong_input(workspace: Path) -> None:
    outcome = run_comp(workspace, "check", "digits", "--data", "~nobody-of-this-name/x", "--json")
    assert (outcome.code, outcome.json["error"]["rule"]) == (2, "~ stands for a home folder")


@pytest.mark.parametrize(
    ("problem", "code"), [(SystemExit("not what I expected"), 2), (BrokenPipeError(), 1)]
)
def test_what_leaves_in_the_middle_is_no_success(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, problem: BaseException, code: int
) -> None:
    def leaves(*args: Any) -> Any:
        raise problem

    monkeypatch.setattr(listing, "find_competitions", leaves)
    outcome = run_comp(workspace, "list")
    assert outcome.code == code
    assert str(problem) in outcome.err
    assert "bug" not in outcome.err


SYSTEM = [
    "EACCES",
    "EDQUOT",
    "EFBIG",
    "EIO",
    "EISDIR",
    "ELOOP",
    "EMFILE",
    "ENAMETOOLONG",
    "ENFILE",
    "ENOSPC",
    "ENOTDIR",
    "EPERM",
    "EROFS",
]


@pytest.mark.parametrize("name", SYSTEM)
def test_what_a_disk_or_a_path_says_is_one_line_with_the_file(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    number = getattr(errno, name)

    def fails(*args: Any) -> Any:
        raise OSError(number, os.strerror(number), str(workspace / "some.csv"))

    monkeypatch.setattr(listing, "find_competitions", fails)
    outcome = run_comp(workspace, "list", "--json")
    assert outcome.code == 2
    assert outcome.json["error"]["rule"] == "files must be usable"
    assert outcome.json["error"]["value"] == f"{workspace / 'some.csv'}: {os.strerror(number)}"
    assert "Traceback" not in outcome.err
    assert "bug" not in outcome.err


@pytest.mark.parametrize("problem", [OSError(errno.EIO, "x"), OSError(errno.ENOSPC, "x", None)])
def test_a_disk_that_names_no_file_is_one_line_too(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, problem: OSError
) -> None:
    def fails(*args: Any) -> Any:
        raise problem

    monkeypatch.setattr(listing, "find_competitions", fails)
    outcome = run_comp(workspace, "list")
    assert outcome.code == 2
    assert f"a file: {os.strerror(problem.errno)}" in outcome.err


@pytest.mark.parametrize(
    "problem", [OSError("planted"), OSError(errno.EBADF, "planted"), ValueError("planted")]
)
def test_what_is_no_word_of_the_system_stays_a_bug(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def fails(*args: Any) -> Any:
        raise problem

    monkeypatch.setattr(listing, "find_competitions", fails)
    assert run_comp(workspace, "list").code == 3


def test_outputs_that_no_disk_takes_are_a_wrong_input(workspace: Path, shapes: Path) -> None:
    """ENAMETOOLONG, EISDIR and ENOTDIR by real commands; nothing is left behind."""
    csv = workspace / "sub.csv"
    csv.write_bytes((shapes / "sample_submission.csv").read_bytes())
    (workspace / "folder").mkdir()
    before = {path for path in workspace.rglob("*") if path.is_file()}
    for target, said in (
        (workspace / ("n" * 300 + ".png"), os.strerror(errno.ENAMETOOLONG)),
        (workspace / "folder", "is a folder"),
        (csv / "page.png", ""),
    ):
        outcome = run_comp(workspace, "show", "shapes", "--transforms", "--out", target)
        assert outcome.code == 2, (target, outcome.err)
        assert said in outcome.err
        assert "Traceback" not in outcome.err
    assert before <= {path for path in workspace.rglob("*") if path.is_file()}
    assert not list(workspace.rglob("*.part"))


def test_a_limit_on_the_size_of_files_is_a_wrong_input(workspace: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        outcome = run_comp(workspace, "data", "art-classification", "--sample")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert outcome.code == 2, outcome.err
    assert os.strerror(errno.EFBIG) in outcome.err
    assert "Traceback" not in outcome.err


def test_an_interrupt_is_130_in_any_command(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(listing, "find_competitions", interrupted)
    outcome = run_comp(workspace, "list", "--json")
    assert (outcome.code, outcome.json["error"]["exit_code"]) == (130, 130)


def test_the_verbs_are_a_python_api(workspace: Path, shapes: Path) -> None:
    found = comp.check("shapes", folds=3, workspace=workspace)
    assert found.status == "pass"
    result = comp.run("shapes", folds=2, workspace=workspace)
    assert 0 <= result.score <= 1
    assert result.submission.is_file()
    with pytest.raises(comp.errors.UnknownName):
        comp.run("shape", workspace=workspace)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = comp.nothing
