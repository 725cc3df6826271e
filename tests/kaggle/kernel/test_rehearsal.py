"""A notebook rehearsed as Kaggle runs it again: each thing that goes wrong there, and the middle of it cut off."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import comp
from comp.data.competitions.competition import find_competition
from comp.data.predictions import Predictions
from comp.errors import CheckFailed
from comp.kaggle.kernel.build import KernelFolder, kernel
from comp.kaggle.kernel.hidden_rows import write_hidden
from comp.kaggle.kernel.machine import Machine
from comp.kaggle.kernel.rehearsal import mount, rehearse
from comp.workspace import Workspace
from kaggle_server import wait_until
from made import run_comp
from made_kernel import KAGGLE, SLUG, train, write_digits

pytestmark = pytest.mark.slow
MINE = {"kaggle": KAGGLE, "user": "ann"}
HIDDEN = "\n[kaggle]\nhidden_test = true\nhidden_rows = 15000\n"
ALLOW = {"unreadable-image": "hidden"}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a blend of two runs of ``digit-files``, whose test is hidden; not to be written to."""
    root = tmp_path_factory.mktemp("kept")
    write_digits(root)
    toml = root / "competitions" / "digit_files" / "competition.toml"
    toml.write_text(toml.read_text() + HIDDEN)
    runs = [train(root, f"seed={seed}", "epochs=6") for seed in (1, 2)]
    comp.ensemble(*runs, method="mean", workspace=root)
    return root


@pytest.fixture
def written(kept: Path, tmp_path: Path) -> tuple[Path, KernelFolder]:
    """A copy of that workspace, and the blend's kernel."""
    shutil.copytree(kept, tmp_path / "workspace")
    return tmp_path / "workspace", kernel(SLUG, workspace=tmp_path / "workspace", **MINE)


def with_cell(found: KernelFolder, source: str) -> None:
    """Puts a code cell before the notebook's second one."""
    (path,) = found.folder.glob("*.ipynb")
    book = json.loads(path.read_text())
    place = [n for n, cell in enumerate(book["cells"]) if cell["cell_type"] == "code"][2]
    book["cells"].insert(place, {"cell_type": "code", "source": source})
    path.write_text(json.dumps(book))


def test_the_command_prints_what_it_took(kept: Path, tmp_path: Path) -> None:
    done = run_comp(
        kept,
        "kernel",
        SLUG,
        "--kaggle",
        "k",
        "--user",
        "ann",
        "--out",
        tmp_path / "k",
        "--rehearse",
        40,
        "--json",
    )
    assert done.code == 0, done.err
    found = done.json["rehearsal"]
    assert (found["rows"], found["prior"]) == (40, 1)
    assert min(found[name] for name in ("seconds", "memory", "disk", "decoded")) > 0
    assert json.loads((tmp_path / "k" / "rehearsal.json").read_text()) == found
    for words in ("hidden rows", "of memory", "of disk", "1 broken image has the class prior"):
        assert words in " ".join(done.err.split())


def test_it_answers_as_predict_does_and_the_broken_row_by_the_prior(
    written: tuple[Path, KernelFolder], tmp_path: Path
) -> None:
    workspace, found = written
    competition = find_competition(SLUG, Workspace(workspace))
    hidden = tmp_path / "input" / "competitions" / KAGGLE
    rows = write_hidden(competition, workspace / "data" / SLUG, hidden, 60)
    mount(found, tmp_path / "input")
    machine = Machine.make(tmp_path)
    (book,) = found.folder.glob("*.ipynb")
    ran = machine.run(book, tmp_path / "input", tmp_path / "working")
    assert ran.code == 0, ran.text[-2000:]
    assert ran.asked == ()
    expected, _ = comp.predict(
        found.run, workspace=workspace, data=hidden, out=tmp_path / "expected.csv", allow=ALLOW
    )
    given = (tmp_path / "working" / "submission.csv").read_text()
    assert given == expected.read_text()
    answers = dict(line.split(",") for line in given.splitlines()[1:])
    parts = [
        Predictions.load(path)
        for path in (workspace / "runs").glob("*/oof.npz")
        if "fold-0" in os.listdir(path.parent)
    ]
    prior = np.mean([part.probs.mean(axis=0) for part in parts], axis=0)
    assert answers[rows.broken[0]] == parts[0].labels.names[int(prior.argmax())]


FAULTS: dict[str, tuple[str, str]] = {
    "network": ("import urllib.request as u\nu.urlopen('http://example.org', timeout=3)", "runs it"),
    "network, in silence": (
        "import socket\ntry:\n    socket.create_connection(('example.org', 80), 1)\nexcept OSError:\n    pass",
        "asks no network",
    ),
    "input": ("(raw / 'mine.txt').write_text('x')", "its input alone|runs it"),
    "checkpoint": (
        "import glob\nfor name in glob.glob(str(dataset / '*model.safetensors')):\n"
        "    os.chmod(os.path.dirname(name), 0o755); os.remove(name); open(name, 'wb').write(b'x')",
        "runs it",
    ),
    "error": ("raise ValueError('mine')", "runs it"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_goes_wrong_is_refused(fault: str, written: tuple[Path, KernelFolder]) -> None:
    workspace, found = written
    source, says = FAULTS[fault]
    with_cell(found, source)
    with pytest.raises(CheckFailed, match=says) as refused:
        rehearse(found, 20, workspace)
    assert fault != "error" or "ValueError: mine" in refused.value.value
    assert not (found.folder / "rehearsal.json").exists()


def test_an_image_that_is_broken_stops_a_notebook_that_does_not_allow_it(
    written: tuple[Path, KernelFolder], tmp_path: Path
) -> None:
    workspace, _ = written
    toml = workspace / "competitions" / "digit_files" / "competition.toml"
    toml.write_text(toml.read_text().replace(HIDDEN, ""))
    found = kernel(SLUG, workspace=workspace, **MINE)
    assert rehearse(found, 20, workspace).prior == 0  # none was broken: nobody says that rows are hidden
    toml.write_text(toml.read_text() + HIDDEN)
    with pytest.raises(CheckFailed, match="runs it"):
        rehearse(found, 20, workspace)


def test_killed_in_the_middle_it_leaves_a_whole_csv_or_none_and_can_begin_again(
    written: tuple[Path, KernelFolder], tmp_path: Path
) -> None:
    workspace, found = written
    competition = find_competition(SLUG, Workspace(workspace))
    inputs, output = tmp_path / "input", tmp_path / "working"
    write_hidden(competition, workspace / "data" / SLUG, inputs / "competitions" / KAGGLE, 400)
    mount(found, inputs)
    machine = Machine.make(tmp_path)
    (book,) = found.folder.glob("*.ipynb")
    output.mkdir()
    for cut in ("installing", "decoding", "predicting"):
        before = squares(machine)
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                machine.command(book), cwd=output, env=machine.environment(inputs), stdout=log, stderr=log
            )
        if cut == "installing":  # pip goes on for a while, beside what begins next
            wait_until(lambda: list(machine.home.glob("comp-packages-*")), 60)
        else:
            wait_until(
                lambda seen=before, gone=process: squares(machine) - seen or gone.poll() is not None, 300
            )
        time.sleep(cut == "predicting")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert_whole_or_none(output, 400)
    ran = machine.run(book, inputs, output)
    assert ran.code == 0, ran.text[-2000:]
    assert_whole_or_none(output, 400)
    assert [path.name for path in output.iterdir()] == ["submission.csv"]
    assert not squares(machine), "what the killed ones left is gone"


def squares(machine: Machine) -> set[Path]:
    """The files of decoded images that are there now."""
    return set((machine.home / "comp-cache" / "pixels").glob(".part-*/squares.u8"))


def assert_whole_or_none(output: Path, rows: int) -> None:
    path = output / "submission.csv"
    assert not path.exists() or len(path.read_text().splitlines()) == rows + 1


def test_more_rows_than_memory_holds_take_no_more_memory(
    written: tuple[Path, KernelFolder], tmp_path: Path
) -> None:
    """Ten times as many rows, 0.75 GB of pixels, take less than 150 MB more."""
    workspace, found = written
    raw = workspace / "data" / SLUG
    rng = np.random.default_rng(0)
    for path in sorted((raw / "train").rglob("*.png"))[:8]:
        noise = rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(noise).resize((1024, 1024)).save(path)
    for path in sorted((raw / "train").rglob("*.png"))[8:]:
        path.unlink()
    took: list[Any] = [rehearse(found, rows, workspace) for rows in (24, 240)]
    assert took[1].decoded == 240 * 1024 * 1024 * 3
    assert took[1].memory - took[0].memory < 150e6
