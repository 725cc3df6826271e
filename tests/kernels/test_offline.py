"""The notebook in a fresh environment without a network: other test rows, another template, no train folder."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import nbformat
import numpy as np
import pytest

from made import run_comp
from made_kernel import KAGGLE, SLUG, execute, make_machine, mount, train, write_digits, write_test_rows


@pytest.mark.slow
def test_the_notebook_answers_hidden_rows_offline(
    workspace: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from sklearn.datasets import load_digits

    write_digits(workspace)
    run = train(workspace)
    hidden = tmp_path_factory.mktemp("hidden")  # nothing of it was there when the notebook was made
    scans = load_digits().data[-100:-60]
    write_test_rows(hidden, scans, np.random.default_rng(3).permutation(40).tolist())
    expected = workspace / "expected.csv"
    told = run_comp(workspace, "predict", run, "--data", hidden, "--out", expected)
    assert told.code == 0, told.err
    written = run_comp(workspace, "kernel", SLUG, "--run", run, "--kaggle", KAGGLE, "--user", "ann", "--json")
    assert written.code == 0, written.err

    inputs, output = tmp_path_factory.mktemp("input"), tmp_path_factory.mktemp("working")
    mount(written.json, hidden, inputs)
    machine = make_machine(tmp_path_factory.mktemp("machine"))
    asked = machine.run("-c", "import urllib.request as u; u.urlopen('http://example.org', timeout=5)")
    assert asked.returncode, "the guard refuses"
    assert machine.asked == ["socket.getaddrinfo example.org"], "and writes down"
    (machine.folder / "network.log").unlink()
    before = machine.run("-c", "import comp; print(comp.__version__)")
    assert before.returncode, "comp is not there before the notebook installs it"

    (book,) = Path(written.json["folder"]).glob("*.ipynb")
    twice = twice_over(book, tmp_path_factory.mktemp("book"))
    said = execute(machine, twice, inputs, output)
    assert (output / "submission.csv").read_bytes() == expected.read_bytes()
    assert machine.asked == []
    assert [path.name for path in output.iterdir()] == ["submission.csv"]
    whole = "\n".join(said)
    assert f"from {machine.packages / 'comp'}" in whole
    assert whole.count("submission.csv is valid: 40 rows") == 2
    assert whole.count("2 checkpoints") == 2


def twice_over(book: Path, folder: Path) -> Path:
    """A notebook whose cells all come twice: nothing may hinder a second time in the same session."""
    table = nbformat.read(book, as_version=4)
    again = copy.deepcopy(table.cells)
    for cell in again:
        cell["id"] += "-again"
    table.cells += again
    nbformat.validate(table)
    (folder / "twice.ipynb").write_text(json.dumps(table))
    return folder / "twice.ipynb"
