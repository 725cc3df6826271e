"""How time and memory of each step grow with the number of images.

    python benchmarks/growth.py [--rows 10000 100000 1000000] [--work DIR] [--steps manifest,check,…] [--json]

Makes photographs of noise, 32 pixels, in folders of 100 classes (nine tenths labelled), and carries out, each in a process of its
own: the manifest; `comp check`, the first time and again; the folds; `comp run` of one epoch of ``test_resnet`` in two folds;
the CSV of as many rows. Seconds are of the clock and of the processor, imports included. "peak" is the largest resident set,
"own" the part of it that is the process's alone: mapped files (the decoded images) count in the first, and the system
takes them back where it needs the memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

CLASSES = 100
SIDE = 32
FACTS = """
slug = "growth"
title = "Made images"
metric = "accuracy"
classes = "discover"

[data]
images = "train/*/*"
test_images = "test/*"

[template]
file = "made"
id = "id"
target = "label"
kind = "label"
"""
RECIPE = 'mode=scratch epochs=1 batch=256 model.name=test_resnet model.weights=none model.size=32 transform=none tta=["identity"]'
MANIFEST = """
import sys
from pathlib import Path
from comp.data.competitions.competition import find_competition
from comp.workspace import Workspace
workspace = Workspace.find(sys.argv[1])
manifest = find_competition("growth", workspace).read(workspace.root / "data" / "growth")
"""
FOLDS = (
    MANIFEST
    + """
from comp.data.folds import make_folds
make_folds(manifest, 2).save(Path(sys.argv[1]) / "folds.csv")
"""
)
CSV = """
import sys
from pathlib import Path
import numpy as np
from comp.data.dataset import made_template
from comp.data.labels import LabelMap
from comp.data.predictions import Predictions
from comp.submission.write import write
ids = [f"{n:07d}.jpg" for n in range(int(sys.argv[2]))]
probs = np.random.default_rng(0).dirichlet(np.ones(100), 1000)[np.arange(len(ids)) % 1000]
predictions = Predictions(tuple(ids), LabelMap(tuple(f"class{n:02d}" for n in range(100))), probs)
write(predictions, made_template(ids, "id", "label", "label"), Path(sys.argv[1]) / "submission.csv")
"""


@dataclass(frozen=True)
class Cost:
    """What a step took: seconds, seconds of the processor, and gigabytes (of 10⁹ bytes)."""

    rows: int
    step: str
    seconds: float
    cpu: float
    peak: float
    own: float


def make_images(raw: Path, rows: int) -> None:
    """Images of smooth noise with a colour of their class, nine tenths of them in class folders."""
    rng = np.random.default_rng(rows)
    colours = rng.integers(60, 196, (CLASSES, 3))
    for k in range(CLASSES):
        (raw / "train" / f"class{k:02d}").mkdir(parents=True)
    (raw / "test").mkdir()
    for n in range(rows):
        k = n % CLASSES
        coarse = rng.integers(-100, 100, (5, 5, 3)).astype(np.float32)
        smooth = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) + colours[k]
        noise = rng.integers(-14, 15, (SIDE, SIDE, 3))
        pixels = np.clip(smooth + noise, 0, 255).astype(np.uint8)
        folder = raw / "test" if n // CLASSES % 10 == 9 else raw / "train" / f"class{k:02d}"
        (folder / f"{n:07d}.jpg").write_bytes(
            cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        )


def measured(rows: int, step: str, command: list[str], cache: Path) -> Cost:
    """Carries out a command, and says what it took."""
    started = time.monotonic()
    env = os.environ | {"COMP_CACHE": str(cache)}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env)
    own = [0.0]
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(process.pid, own, over), daemon=True)
    watch.start()
    assert process.stderr is not None
    said = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    over.set()
    watch.join()
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{step} of {rows} rows: {said[-2000:]}")
    seconds = time.monotonic() - started
    return Cost(rows, step, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9, own[0] / 1e9)


def _watch(pid: int, own: list[float], over: threading.Event) -> None:
    """Keeps the largest number of bytes that are the process's alone."""
    while not over.wait(0.1):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return
        held = next((line for line in status.splitlines() if line.startswith("RssAnon")), "RssAnon: 0 kB")
        own[0] = max(own[0], int(held.split()[1]) * 1024)


def steps_of(workspace: Path, rows: int) -> dict[str, list[str]]:
    """The command of each step."""
    python = [sys.executable, "-c"]
    comp = [sys.executable, "-m", "comp.cli.main"]
    chosen = [word for one in RECIPE.split() for word in ("--set", one)]
    return {
        "manifest": [*python, MANIFEST, str(workspace)],
        "check": [*comp, "check", "growth", "--workspace", str(workspace), "--json"],
        "check again": [*comp, "check", "growth", "--workspace", str(workspace), "--json"],
        "folds": [*python, FOLDS, str(workspace)],
        "run": [
            *(*comp, "run", "growth", "--folds", "2", "--workspace", str(workspace)),
            *("--json", *chosen),
        ],
        "csv": [*python, CSV, str(workspace), str(rows)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--work", help="a folder for the images, which stay there; else they go")
    parser.add_argument("--steps", default="manifest,check,check again,folds,run,csv")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    work = Path(asked.work or tempfile.mkdtemp())
    found: list[Cost] = []
    try:
        for rows in asked.rows:
            workspace = work / str(rows)
            raw = workspace / "data" / "growth"
            if not raw.is_dir():
                make_images(raw, rows)
                facts = workspace / "competitions" / "growth" / "competition.toml"
                facts.parent.mkdir(parents=True)
                facts.write_text(FACTS)
            commands = steps_of(workspace, rows)
            for step in asked.steps.split(","):
                cost = measured(rows, step, commands[step], work / "cache")
                found.append(cost)
                line = f"{rows:>9,} {step:12} {cost.seconds:8.1f} s {cost.cpu:8.1f} s {cost.peak:6.2f} GB"
                print(f"{line} {cost.own:6.2f} GB", file=sys.stderr, flush=True)
    finally:
        if not asked.work:
            shutil.rmtree(work, ignore_errors=True)
    if asked.json:
        print(json.dumps([asdict(cost) for cost in found], indent=1))


if __name__ == "__main__":
    main()
