"""What the shell completes, by the protocol of bash; nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from made import clean_environment

HEAVY = ("torch", "timm", "pandas", "numpy", "cv2", "sklearn", "rich.table")
PROGRAM = f"""\
import sys
from comp.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(sorted(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)
"""


def completed(workspace: Path, line: str) -> list[str]:
    """What bash would offer after a line."""
    words = line.split(" ")
    told = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_COMP_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=workspace,
        capture_output=True,
        text=True,
        env={**clean_environment(), **told},
        check=True,
    )
    assert done.stderr == "[]\n"
    return done.stdout.split()


@pytest.fixture
def two_runs(workspace: Path) -> Path:
    for name in ("20260101-000000-aaaa", "20260102-000000-bbbb"):
        (workspace / "runs" / name).mkdir(parents=True)
        (workspace / "runs" / name / "started.json").write_text("{}")
    return workspace


def test_competitions_are_completed(workspace: Path, shapes: Path) -> None:
    assert completed(workspace, "comp run sh") == ["shapes"]
    assert {"shapes", "digits", "cifar-100"} <= set(completed(workspace, "comp check "))


def test_runs_are_completed_newest_first(two_runs: Path) -> None:
    ids = ["20260102-000000-bbbb", "20260101-000000-aaaa"]
    assert completed(two_runs, "comp predict ") == ["latest", *ids]
    assert completed(two_runs, "comp run digits --resume 20260101") == ids[1:]
    assert completed(two_runs, "comp compare la") == ["latest"]
    assert completed(two_runs, "comp show digi") == ["digits"]


def test_keys_of_the_recipe_are_completed(workspace: Path) -> None:
    assert "optimizer.lr=" in completed(workspace, "comp run digits --set optimizer.")
    assert completed(workspace, "comp run digits --set epo") == ["epochs="]
    assert "model.name=" in completed(workspace, "comp lr digits --set model.na")


def test_a_workspace_that_is_none_completes_nothing(workspace: Path) -> None:
    assert completed(workspace, "comp predict --workspace nowhere lat") == []


def test_the_script_of_a_shell_is_shown(workspace: Path) -> None:
    command = [sys.executable, "-m", "comp.cli.main", "--show-completion", "bash"]
    # a test may run where there is no shell to be found out
    env = {**clean_environment(), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "_comp_completion" in done.stdout
