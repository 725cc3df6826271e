"""What the tests of kernels share: digits as files, a machine like Kaggle's, and a notebook run there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from comp.files import read_json
from comp.kaggle.kernel.machine import GUARD
from contract import TINY
from made import run_comp

SLUG, KAGGLE = "digit-files", "digits-behind-a-curtain"

RUNNER = """\
import json, sys
import nbformat
from nbclient import NotebookClient

book = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(book, timeout=600, kernel_name="python3", resources={"metadata": {"path": sys.argv[2]}}).execute()
print(json.dumps([
    "".join(output.get("text", "") for output in cell.get("outputs", [])) for cell in book.cells if cell.cell_type == "code"
]))
"""


@dataclass(frozen=True)
class Machine:
    """A virtual environment with the libraries of this one, but without comp; no way to other machines."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    @property
    def installed(self) -> list[Path]:
        """What notebooks installed: a folder for each time that the cell ran."""
        return sorted((self.folder / "home").glob("comp-packages-*"))

    @property
    def packages(self) -> Path:
        (found,) = (self.folder / "venv" / "lib").glob("python*/site-packages")
        return found

    @property
    def asked(self) -> list[str]:
        """What was asked of the network."""
        log = self.folder / "network.log"
        return log.read_text().splitlines() if log.exists() else []

    def run(self, *command: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """Python on this machine, with nothing of ours in its environment."""
        ours = ("COMP_", "PYTHON", "PIP_", "JUPYTER", "HF_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        home = self.folder / "home"
        environment |= {"HOME": str(home), "TMPDIR": str(home), "OMP_NUM_THREADS": "1"}
        environment |= {"NETWORK_LOG": str(self.folder / "network.log"), "PIP_NO_CACHE_DIR": "1", **variables}
        arguments = [str(self.python), *map(str, command)]
        return subprocess.run(
            arguments, cwd=home, env=environment, capture_output=True, text=True, check=False
        )


def make_machine(folder: Path) -> Machine:
    """The machine, in ``folder``."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    (folder / "home").mkdir()
    machine = Machine(folder)
    (machine.packages / "image.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (machine.packages / "sitecustomize.py").write_text(GUARD)
    return machine


def write_digits(workspace: Path, per_class: int = 14, tests: int = 30) -> Path:
    """The competition ``digit-files`` of a user, and its raw folder: scikit-learn's scans as files in class folders."""
    from sklearn.datasets import load_digits

    assert run_comp(workspace, "new", SLUG).code == 0
    scans, targets = load_digits(return_X_y=True)
    raw = workspace / "data" / SLUG
    for digit in range(10):
        for row in np.flatnonzero(targets == digit)[:per_class]:
            save_scan(raw / "train" / str(digit) / f"{row}.png", scans[row])
    write_test_rows(raw, scans[-tests:], range(tests))
    return raw


def write_test_rows(raw: Path, scans: Sequence[Any], order: Sequence[int]) -> None:
    """The test part of a raw folder; the template asks for the rows in ``order``."""
    for number, scan in enumerate(scans):
        save_scan(raw / "test" / f"t{number}.png", scan)
    rows = "".join(f"t{number}.png,0\n" for number in order)
    (raw / "sample_submission.csv").write_text(f"id,label\n{rows}")


def write_many(raw: Path, count: int, seed: int = 0) -> None:
    """A test part of so many scans, each with its own noise; the template asks for them in another order."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(seed)
    scans = load_digits().data
    drawn = scans[rng.integers(0, len(scans), count)] + rng.normal(0, 2, (count, 64))
    write_test_rows(raw, np.clip(drawn, 0, 16), rng.permutation(count).tolist())


def save_scan(path: Path, scan: np.ndarray) -> None:
    """A scan (64,) of 0 to 16 as an image of 8x8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(scan.reshape(8, 8) / 16 * 255).astype(np.uint8)).save(path)


def train(workspace: Path, *changed: str) -> str:
    """A run of ``digit-files`` that learns something, so that its answers differ; its id."""
    how = ["mode=scratch", "model.name=test_resnet", "model.size=32", "optimizer.lr=4e-3", "epochs=12"]
    options = [word for one in (*how, *changed) for word in ("--set", one)]
    done = run_comp(workspace, "run", SLUG, "--folds", "2", *TINY, *options, "--set", "batch=16", "--json")
    assert done.code == 0, done.err
    assert changed or done.json["oof"]["score"] > 0.5
    return str(done.json["run"])


def mount(made: dict[str, Any], raw: Path, inputs: Path) -> None:
    """Puts a kernel's dataset where Kaggle mounts it once it was uploaded as the client does that, and the competition.

    The client uploads the files of the folder itself, without its metadata, and skips folders.
    """
    dataset = inputs / "datasets" / made["id"]
    dataset.mkdir(parents=True)
    for path in Path(made["dataset"]).iterdir():
        if path.is_file() and path.name != "dataset-metadata.json":
            shutil.copyfile(path, dataset / path.name)
    shutil.copytree(raw, inputs / "competitions" / made["kaggle"])


def laid_out(dataset: Path, place: Path) -> Path:
    """A workspace with what the dataset holds, as the notebook lays it out."""
    for file in read_json(dataset / "files.json"):
        target = place / file["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(dataset / file["name"], target)
        assert target.stat().st_size == file["bytes"]
    return place


def execute(machine: Machine, book: Path, inputs: Path, output: Path) -> list[str]:
    """Runs a notebook in ``output`` as Kaggle would; what each of its code cells printed."""
    done = machine.run("-c", RUNNER, book, output, COMP_KERNEL_INPUT=str(inputs))
    assert done.returncode == 0, done.stderr[-3000:]
    return list(json.loads(done.stdout.splitlines()[-1]))


def fails(machine: Machine, book: Path, inputs: Path, output: Path, **variables: str) -> str:
    """Runs a notebook that stops with an error; what it said."""
    done = machine.run("-c", RUNNER, book, output, COMP_KERNEL_INPUT=str(inputs), **variables)
    assert done.returncode != 0, done.stdout[-3000:]
    return done.stderr
