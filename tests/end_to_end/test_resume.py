"""kill -9 at random moments, then --resume: the same bytes as a run that was never stopped."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from comp.predictions import Predictions

RECIPE = """
mode = "scratch"
epochs = 3
batch = 64
save_minutes = 0.0
tta = ["identity", "hflip"]
transform = "standard"
threads = 2

[model]
name = "test_resnet"
size = 32
mean = [0.3, 0.3, 0.3]
std = [0.4, 0.4, 0.4]
fit = "squash"
dropout = 0.2
kwargs = { drop_path_rate = 0.1 }
"""


def command(workspace: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "comp.cli.main", "run", "digits", "--workspace", str(workspace), *more]


def finish(workspace: Path, *more: str) -> None:
    done = subprocess.run(command(workspace, *more), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def results(workspace: Path) -> tuple[bytes, np.ndarray]:
    (csv,) = (workspace / "submissions" / "digits").glob("*.csv")
    (run,) = (workspace / "runs").iterdir()
    return csv.read_bytes(), Predictions.load(run / "oof.npz").probs


def new_workspace(folder: Path) -> Path:
    folder.mkdir()
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, np.ndarray, float]:
    workspace = new_workspace(tmp_path_factory.mktemp("whole") / "ws")
    started = time.monotonic()
    finish(workspace, "--folds", "2", "--recipe", str(workspace / "recipe.toml"))
    return *results(workspace), time.monotonic() - started


def stopped_and_resumed(workspace: Path, moments: list[float]) -> tuple[bytes, np.ndarray, int]:
    """Kills the run after each of the moments (seconds from its start) and resumes it; at last lets it finish."""
    arguments = ["--folds", "2", "--recipe", str(workspace / "recipe.toml")]
    kills = 0
    for moment in moments:
        process = subprocess.Popen(
            command(workspace, *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        if (workspace / "submissions" / "digits").exists() and process.returncode == 0:
            return *results(workspace), kills
        begun = sorted((workspace / "runs").glob("*/recipe.toml")) if (workspace / "runs").is_dir() else []
        if begun:
            arguments = ["--resume", "latest"]
    finish(workspace, *arguments)
    return *results(workspace), kills


def moments(seed: int, count: int, whole: float) -> list[float]:
    draw = random.Random(seed)
    return [draw.uniform(0.35, 0.95) * whole for _ in range(count)]


def test_a_killed_run_ends_with_the_same_bytes(
    tmp_path: Path, uninterrupted: tuple[bytes, np.ndarray, float]
) -> None:
    csv, oof, whole = uninterrupted
    workspace = new_workspace(tmp_path / "ws")
    found_csv, found_oof, kills = stopped_and_resumed(workspace, moments(0, 2, whole))
    assert kills >= 1
    assert found_csv == csv
    assert np.array_equal(found_oof, oof)
    assert not list((workspace / "runs").glob("*/fold-*/state.pt"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_killed_at_twenty_random_moments(
    seed: int, tmp_path: Path, uninterrupted: tuple[bytes, np.ndarray, float]
) -> None:
    csv, oof, whole = uninterrupted
    found_csv, found_oof, _ = stopped_and_resumed(new_workspace(tmp_path / "ws"), moments(seed, 2, whole))
    assert found_csv == csv
    assert np.array_equal(found_oof, oof)


def test_a_changed_recipe_refuses_to_resume(tmp_path: Path) -> None:
    workspace = new_workspace(tmp_path / "ws")
    finish(workspace, "--folds", "2", "--quick", "--recipe", str(workspace / "recipe.toml"))
    (run,) = (workspace / "runs").iterdir()
    (run / "record.json").unlink()
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("batch = 64", "batch = 32"))
    done = subprocess.run(
        command(workspace, "--resume", "latest"), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 1
    assert "keeps its own recipe" in done.stderr
