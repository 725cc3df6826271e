"""Folds at once, stopped in the middle: no process goes on by itself, and the run can."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from made import clean_environment, run_comp, write_shapes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
# A shell may start its children with SIGINT ignored; a terminal does not.
PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from comp.cli.main import main; main(sys.argv[1:])"
)
SETTINGS = ["epochs=60", "transform=standard", "jobs=2", "precision=fp32", "channels_last=false"]


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def stopped(workspace: Path, how: signal.Signals) -> tuple[int, str, list[int]]:
    """A run of three folds that got a signal in the middle of two: its code, what it said, its folds' processes."""
    sets = [part for one in SETTINGS for part in ("--set", one)]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "run", "shapes", "--folds", "3", *sets],
        cwd=workspace,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    said, folds = "", []
    assert process.stderr is not None
    for line in process.stderr:
        said += line
        if "fold 1  epoch 1/" in line:
            folds = children_of(process.pid)
            process.send_signal(how)
    process.stderr.close()
    return process.wait(timeout=60), said, folds


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_fold_goes_on_by_itself_and_the_run_can(how: signal.Signals, tmp_path: Path) -> None:
    write_shapes(tmp_path)
    code, said, folds = stopped(tmp_path, how)
    assert code == (130 if how == signal.SIGINT else -how), said
    assert "Traceback" not in said
    assert len(folds) == 2
    until = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in folds):
        assert time.monotonic() < until, "a fold went on by itself"
        time.sleep(0.05)
    (run,) = (tmp_path / "runs").iterdir()
    assert not list(run.glob("fold-*/result.json"))
    resumed = run_comp(tmp_path, "run", "shapes", "--resume", run.name, "--json")
    assert resumed.code == 0, resumed.err
    whole = run_comp(tmp_path, "run", "shapes", "--folds", 3, "--recipe", run / "recipe.toml", "--json")
    one, other = (Path(outcome.json["submission"]).read_bytes() for outcome in (resumed, whole))
    assert one == other
    assert resumed.json["oof"] == whole.json["oof"]
