"""Ctrl-C in the middle of training: exit code 130, nothing half-written, and the run can go on."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from made import clean_environment, run_comp, write_shapes

# A shell may start its children with SIGINT ignored; a terminal does not.
PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from comp.cli.main import main; main(sys.argv[1:])"
)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """A workspace whose run got Ctrl-C in its second fold; the exit code and what was said."""
    workspace = tmp_path_factory.mktemp("interrupted")
    write_shapes(workspace)
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        "run",
        "shapes",
        "--folds",
        "3",
        "--set",
        "epochs=12",
        "--set",
        "transform=standard",
    ]
    process = subprocess.Popen(
        command,
        cwd=workspace,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    said: list[str] = []
    deadline = time.monotonic() + 120
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if "fold 1  epoch 3/" in line:
            process.send_signal(signal.SIGINT)
        if time.monotonic() > deadline:
            process.kill()
    process.stderr.close()
    return workspace, process.wait(timeout=60), "".join(said)


def test_it_ends_with_130_and_a_word_on_how_to_go_on(interrupted: tuple[Path, int, str]) -> None:
    workspace, code, said = interrupted
    assert code == 130, said
    (run,) = (workspace / "runs").iterdir()
    assert said.endswith(f"interrupted\nResume: comp run shapes --resume {run.name}\n")
    assert "Traceback" not in said


def test_nothing_is_half_written(interrupted: tuple[Path, int, str]) -> None:
    workspace, _, _ = interrupted
    (run,) = (workspace / "runs").iterdir()
    assert (run / "fold-0" / "result.json").is_file()
    assert not (run / "fold-1" / "result.json").exists()
    assert not (run / "record.json").exists()
    assert list(workspace.rglob("*.part")) == []
    assert list(workspace.rglob("submissions/**/*.csv")) == []
    assert run_comp(workspace, "runs", "--json").json[0]["state"] == "unfinished"


def test_going_on_gives_the_csv_of_a_run_that_was_never_interrupted(
    interrupted: tuple[Path, int, str], tmp_path: Path
) -> None:
    workspace = tmp_path / "copy"
    shutil.copytree(interrupted[0], workspace)
    (run,) = (workspace / "runs").iterdir()
    resumed = run_comp(workspace, "run", "shapes", "--resume", run.name, "--json")
    assert resumed.code == 0, resumed.err
    whole = run_comp(workspace, "run", "shapes", "--folds", 3, "--recipe", run / "recipe.toml", "--json")
    assert whole.code == 0, whole.err
    one, other = (Path(outcome.json["submission"]).read_bytes() for outcome in (resumed, whole))
    assert one == other
    assert resumed.json["oof"] == whole.json["oof"]


def test_sigterm_ends_it_as_ctrl_c_does(workspace: Path) -> None:
    write_shapes(workspace)
    command = [sys.executable, "-m", "comp.cli.main", "run", "shapes", "--folds", "3"]
    more = ["--set", "epochs=12", "--set", "transform=standard", "--allow", "too-good=made up for a test"]
    process = subprocess.Popen(
        [*command, *more, "--workspace", str(workspace)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    said: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if "fold 0  epoch 2/" in line:
            process.send_signal(signal.SIGTERM)
    process.stderr.close()
    assert process.wait(timeout=60) == 130
    (run,) = (workspace / "runs").iterdir()
    resume = f"Resume: comp run shapes --resume {run.name} --allow 'too-good=made up for a test' --workspace {workspace}"
    assert said[-2:] == ["interrupted\n", resume + "\n"]
    assert list(workspace.rglob("*.part")) == []
    words = shlex.split(resume.removeprefix("Resume: comp "))
    assert run_comp(workspace, *words[:-2]).code == 0
