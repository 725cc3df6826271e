"""kill -9 at random moments, then --resume: the same bytes as a run that was never stopped."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from comp.data.predictions import Predictions

RECIPE = """
mode = "scratch"
precision = "fp32"
channels_last = true
epochs = 3
batch = 64
save_minutes = 0.0
tta = ["identity", "hflip"]
transform = "standard"
threads = 2
checkpoint = "best"
stop = { patience = 2 }

[model]
name = "test_resnet"
size = 32
mean = [0.3, 0.3, 0.3]
std = [0.4, 0.4, 0.4]
fit = "squash"
head = { dropout = 0.2 }
kwargs = { drop_path_rate = 0.1 }

[schedule]
name = "plateau"
patience = 0

[regularize]
ema = 0.95
mixup = 0.4
cutmix = 1.0
erasing = 0.2
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
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, np.ndarray]:
    workspace = new_workspace(tmp_path_factory.mktemp("whole") / "ws")
    finish(workspace, "--folds", "2", "--recipe", str(workspace / "recipe.toml"))
    return results(workspace)


def stopped_and_resumed(workspace: Path, saves: list[int]) -> tuple[bytes, np.ndarray, int]:
    """Kills the run after each number of saves seen from outside, and resumes it; at last lets it finish."""
    arguments = ["--folds", "2", "--recipe", str(workspace / "recipe.toml")]
    kills = 0
    for wanted in saves:
        process = subprocess.Popen(
            command(workspace, *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        seen: set[tuple[str, int]] = set()
        while process.poll() is None and len(seen) < wanted:
            for state in workspace.glob("runs/*/fold-*/state.pt"):
                with contextlib.suppress(FileNotFoundError):
                    seen.add((str(state), state.stat().st_mtime_ns))
            time.sleep(0.002)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        arguments = ["--resume", "latest"]
        if list(workspace.glob("runs/*/record.json")):
            return *results(workspace), kills
    finish(workspace, *arguments)
    return *results(workspace), kills


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_killed_at_twenty_random_moments(
    seed: int, tmp_path: Path, uninterrupted: tuple[bytes, np.ndarray]
) -> None:
    draw = random.Random(seed)
    found_csv, found_oof, kills = stopped_and_resumed(
        new_workspace(tmp_path / "ws"), [draw.randint(1, 12), *(draw.randint(2, 12) for _ in range(3))]
    )
    assert kills == 4
    assert found_csv == uninterrupted[0]
    assert np.array_equal(found_oof, uninterrupted[1])
    assert not list(tmp_path.glob("ws/runs/*/fold-*/state.pt"))


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
