"""What a run of many classes takes: memory, disk, and the time after its CSV was written.

    python benchmarks/many_classes.py [--rows 20000] [--classes 5000] [--work DIR]

Makes images of noise, 32 pixels, in folders of as many classes (nine tenths labelled), and carries out `comp run` of one
epoch of ``test_resnet`` in two folds in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

FACTS = """
slug = "many"
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


def make_images(raw: Path, rows: int, classes: int) -> None:
    """Images of noise with a colour of their class; every tenth is one to predict."""
    rng = np.random.default_rng(rows)
    colours = rng.integers(60, 196, (classes, 3))
    (raw / "test").mkdir(parents=True)
    for n in range(rows):
        k = n % classes
        coarse = rng.integers(-40, 40, (5, 5, 3)).astype(np.float32)
        smooth = cv2.resize(coarse, (32, 32), interpolation=cv2.INTER_CUBIC) + colours[k]
        pixels = np.clip(smooth + rng.integers(-14, 15, (32, 32, 3)), 0, 255).astype(np.uint8)
        is_test = n // classes >= 2 and n % 5 == 0
        folder = raw / "test" if is_test else raw / "train" / f"class{k:05d}"
        folder.mkdir(exist_ok=True, parents=True)
        cv2.imwrite(str(folder / f"{n:07d}.jpg"), pixels)


def measured(command: list[str], runs: Path) -> str:
    """Carries out a command, and says what it took."""
    started = time.time()
    process = os.spawnv(os.P_NOWAIT, command[0], command)
    _, status, used = os.wait4(process, 0)
    ended = time.time()
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"exit code {os.waitstatus_to_exitcode(status)}")
    run = max(runs.iterdir())
    disk = sum(
        {file.stat().st_ino: file.stat().st_size for file in run.rglob("*") if file.is_file()}.values()
    )
    after = (run / "record.json").stat().st_mtime - (run / "submission.csv").stat().st_mtime
    page = ended - (run / "record.json").stat().st_mtime
    return (
        f"{ended - started:.0f} s, of these {after:.1f} s from the CSV to the record and {page:.1f} s after it; "
        f"peak {used.ru_maxrss * 1024 / 1e9:.2f} GB; disk {disk / 1e6:.0f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--classes", type=int, default=5_000)
    parser.add_argument("--work", type=Path, default=None)
    asked = parser.parse_args()
    work = asked.work or Path(tempfile.mkdtemp())
    raw, facts = work / "data" / "many", work / "competitions" / "many"
    if not raw.is_dir():
        make_images(raw, asked.rows, asked.classes)
        facts.mkdir(parents=True)
        (facts / "competition.toml").write_text(FACTS)
    sets = [word for one in RECIPE.split() for word in ("--set", one)]
    command = [sys.executable, "-m", "comp.cli.main", "run", "many", "--folds", "2", "--workspace", str(work)]
    print(f"{asked.rows:,} rows of {asked.classes:,} classes: {measured([*command, *sets], work / 'runs')}")


if __name__ == "__main__":
    main()
