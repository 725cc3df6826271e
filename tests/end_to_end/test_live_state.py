"""`comp runs` beside a live run, and after it was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from made import clean_environment, run_comp

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no flock")


def row(workspace: Path) -> dict[str, Any] | None:
    rows = run_comp(workspace, "runs", "--json").json
    return rows[0] if rows else None


def in_epoch(process: subprocess.Popen[bytes], workspace: Path, least: int) -> dict[str, Any]:
    """The line of ``comp runs`` once the run is in epoch ``least`` of its first fold, or further."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert process.poll() is None, "it ended before it was looked at"
        found = row(workspace)
        under_way = found["progress"]["under_way"] if found and found["progress"] else []
        if found and under_way and under_way[0]["epoch"] >= least:
            return found
        time.sleep(0.05)
    raise AssertionError("it never came so far")


@pytest.mark.slow
def test_a_live_run_and_a_killed_one_say_where_they_are(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "comp.cli.main", "run", "digits", "--folds", "3", "--set", "epochs=40"]
    command += ["--set", "threads=1"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean_environment()
    )
    try:
        found = in_epoch(process, tmp_path, 3)
        assert found["state"] == "running"
        (fold,) = found["progress"]["under_way"]
        assert (fold["fold"], fold["epochs"], found["progress"]["folds"]) == (0, 40, 3)
        start = f"running, fold 1/3, epoch {fold['epoch']}/40"
        assert found["progress"]["text"].startswith(start)
        history = tmp_path / "runs" / found["run"] / "fold-0" / "history.csv"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
    lines = history.read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", *map(str, range(1, len(lines)))]
    dead = row(tmp_path)
    assert dead is not None
    assert dead["state"] == "unfinished"
    assert dead["progress"]["text"] == f"stopped at fold 1/3, epoch {len(lines)}/40"
    assert dead["progress"]["seconds_left"] is None
    assert f"{dead['run']}: {dead['progress']['text']}" in run_comp(tmp_path, "runs").out.splitlines()
