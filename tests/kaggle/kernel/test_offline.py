"""The notebook in a fresh environment without a network: other test rows, another template, no train folder."""

from __future__ import annotations

import copy
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

from made import run_comp
from made_kernel import (
    KAGGLE,
    SLUG,
    Machine,
    execute,
    fails,
    make_machine,
    mount,
    train,
    write_digits,
    write_test_rows,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return make_machine(tmp_path_factory.mktemp("machine"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run of ``digit-files``, whose adapter imports a library that no other machine has."""
    root = tmp_path_factory.mktemp("trained")
    write_digits(root)
    train(root)
    with zipfile.ZipFile(root / "ruler-2.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("ruler.py", "INCH = 25.4\n")
        wheel.writestr("ruler-2.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: ruler\nVersion: 2.0\n")
        wheel.writestr(
            "ruler-2.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("ruler-2.0.dist-info/RECORD", "")
    return root


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    """A raw folder that was not there when the notebook was made: other rows, in another order, and no train part."""
    from sklearn.datasets import load_digits

    order = np.random.default_rng(3).permutation(40).tolist()
    write_test_rows(tmp_path / "hidden", load_digits().data[-100:-60], order)
    return tmp_path / "hidden"


def write_kernel(workspace: Path, *more: object) -> dict[str, Any]:
    written = run_comp(workspace, "kernel", SLUG, "--kaggle", KAGGLE, "--user", "ann", *more, "--json")
    assert written.code == 0, written.err
    return dict(written.json)


def book_of(made: dict[str, Any]) -> Path:
    (book,) = Path(made["folder"]).glob("*.ipynb")
    return book


def test_the_notebook_answers_hidden_rows_offline(
    trained: Path, hidden: Path, machine: Machine, tmp_path: Path
) -> None:
    expected = tmp_path / "expected.csv"
    told = run_comp(trained, "predict", "latest", "--data", hidden, "--out", expected)
    assert told.code == 0, told.err
    adapter = trained / "competitions" / "digit_files" / "adapter.py"
    adapter.write_text(adapter.read_text().replace("from pathlib", "import ruler\nfrom pathlib", 1))
    made = write_kernel(trained, "--wheels", trained / "ruler-2.0-py3-none-any.whl")
    inputs, output = tmp_path / "input", tmp_path / "working"
    output.mkdir()
    mount(made, hidden, inputs)
    require_shut(machine)

    said = "\n".join(execute(machine, twice_over(book_of(made), tmp_path), inputs, output))
    assert (output / "submission.csv").read_bytes() == expected.read_bytes()
    answers = [line.split(",")[1] for line in expected.read_text().splitlines()[1:]]
    assert len(set(answers)) > 5, "the rows are told apart"
    assert machine.asked == []
    assert [path.name for path in output.iterdir()] == ["submission.csv"]
    first, second = machine.installed
    assert any(f"from {folder / 'comp'}" in said for folder in (first, second)), "comp comes from the dataset"
    assert "ruler: here not at all, attached 2.0" in said
    assert "ruler: here 2.0, attached 2.0" in said
    assert said.count("submission.csv is valid: 40 rows") == 2
    assert said.count("2 checkpoints") == 2
    assert any((folder / "ruler.py").is_file() for folder in (first, second))
    assert not any((folder / "timm").exists() for folder in (first, second)), "the image's own is as new"
    assert not (machine.packages / "comp").exists(), "the image is as it was"


def require_shut(machine: Machine) -> None:
    """The machine has no comp yet, and no way out: trying is refused and written down."""
    assert machine.run("-c", "import comp; print(comp.__version__)").returncode
    asked = machine.run("-c", "import urllib.request as u; u.urlopen('http://example.org', timeout=5)")
    assert asked.returncode
    assert machine.asked == ["socket.getaddrinfo example.org"]
    (machine.folder / "network.log").unlink()


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


def test_an_older_library_of_the_image_gives_way(
    trained: Path, hidden: Path, machine: Machine, tmp_path: Path
) -> None:
    old = machine.packages / "timm-0.9.2.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: timm\nVersion: 0.9.2\n")
    (old / "RECORD").write_text("timm-0.9.2.dist-info/METADATA,,\ntimm-0.9.2.dist-info/RECORD,,\n")
    made = write_kernel(trained, "--wheels", trained / "ruler-2.0-py3-none-any.whl")
    mount(made, hidden, tmp_path / "input")
    said = "\n".join(execute(machine, book_of(made), tmp_path / "input", tmp_path))
    assert f"timm: here 0.9.2, attached {made['wheels']['timm']}" in said
    (folder,) = machine.installed
    assert (folder / "timm" / "__init__.py").is_file()
    assert "submission.csv is valid: 40 rows" in said


def test_where_no_rows_are_shown_yet_the_template_stands_in(
    trained: Path, hidden: Path, machine: Machine, tmp_path: Path
) -> None:
    shutil.rmtree(hidden / "test")
    (hidden / "test").mkdir()
    made = write_kernel(trained, "--wheels", trained / "ruler-2.0-py3-none-any.whl")
    mount(made, hidden, tmp_path / "input")
    said = "\n".join(execute(machine, book_of(made), tmp_path / "input", tmp_path))
    assert "NOTHING WAS PREDICTED" in said
    assert (tmp_path / "submission.csv").read_bytes() == (hidden / "sample_submission.csv").read_bytes()
    refused = fails(machine, book_of(made), tmp_path / "input", tmp_path, KAGGLE_IS_COMPETITION_RERUN="1")
    assert "there must be rows to predict" in refused
    assert not (tmp_path / "submission.csv").exists()
    (tmp_path / "input" / "datasets" / made["id"] / "files.json").unlink()
    assert "files.json" in fails(machine, book_of(made), tmp_path / "input", tmp_path)
    shutil.rmtree(tmp_path / "input" / "datasets")
    assert "is not attached" in fails(machine, book_of(made), tmp_path / "input", tmp_path)
