"""A fold's saved state goes on only with the training that it is of, and only as it was written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import comp
from comp.errors import InputError
from comp.training.early_stopping import load_best, save_best
from comp.training.state import FILE, SIDECAR, require_state
from comp.training.time_limit import OutOfTime
from made import write_shapes

LONG = ["epochs=400", "checkpoint=best"]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two runs of other learning rates that stopped in fold 0; not to be written to."""
    place = tmp_path_factory.mktemp("stopped")
    write_shapes(place)
    for rate in ("3e-3", "1e-3"):
        with pytest.raises(OutOfTime):
            comp.run("shapes", 2, workspace=place, overrides=[*LONG, f"optimizer.lr={rate}"], time_limit="1s")
    return place


@pytest.fixture
def workspace(stopped: Path, tmp_path: Path) -> Path:
    """A copy that may be written to."""
    shutil.copytree(stopped, tmp_path / "ws")
    return tmp_path / "ws"


def folds(workspace: Path) -> list[Path]:
    return [run / "fold-0" for run in sorted((workspace / "runs").iterdir())]


def refused(workspace: Path, fold: Path) -> InputError:
    with pytest.raises(InputError) as error:
        comp.run("shapes", workspace=workspace, resume=fold.parent.name, time_limit="1s")
    assert str(fold) in error.value.value
    assert "begins anew" in error.value.remedy
    return error.value


def test_a_state_goes_on_where_nothing_was_changed(workspace: Path) -> None:
    first, _ = folds(workspace)
    assert require_state(first, "")["fold"] == "fold-0"
    with pytest.raises(OutOfTime):
        comp.run("shapes", workspace=workspace, resume=first.parent.name, time_limit="1s")
    (first / SIDECAR).unlink()
    (first / FILE).unlink()
    with pytest.raises(OutOfTime):
        comp.run("shapes", workspace=workspace, resume=first.parent.name, time_limit="1s")


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_changed_byte_is_noticed(workspace: Path, place: float) -> None:
    """Of which torch says nothing where it lies in a tensor."""
    first, _ = folds(workspace)
    content = bytearray((first / FILE).read_bytes())
    content[int(len(content) * place)] ^= 1
    (first / FILE).write_bytes(bytes(content))
    assert "must be whole" in refused(workspace, first).rule


def test_the_state_of_other_training_is_noticed(workspace: Path) -> None:
    first, second = folds(workspace)
    for name in (FILE, SIDECAR):
        shutil.copy(second / name, first / name)
    assert "of another recipe" in refused(workspace, first).value


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sha256": 7}', '{"sha256": []}', "GONE"])
def test_a_damaged_sidecar_proves_nothing(workspace: Path, content: str) -> None:
    first, _ = folds(workspace)
    (first / SIDECAR).write_text(content)
    if content == "GONE":
        (first / SIDECAR).unlink()
    with pytest.raises(InputError) as error:
        comp.run("shapes", workspace=workspace, resume=first.parent.name, time_limit="1s")
    assert first.name in error.value.value


@pytest.mark.parametrize("change", [{"history": 7}, {"net": []}, {"history": [[1]]}, {"epoch": None}])
def test_a_state_of_another_shape_is_one_clear_line(workspace: Path, change: dict[str, object]) -> None:
    first, _ = folds(workspace)
    table = torch.load(first / FILE, weights_only=True)
    torch.save({**{k: v for k, v in table.items() if k != "of"}, **change}, first / FILE)
    with pytest.raises(InputError, match="must be whole"):
        comp.run("shapes", workspace=workspace, resume=first.parent.name, time_limit="1s")


def test_a_save_that_was_cut_off_between_its_two_files_goes_on(workspace: Path) -> None:
    """state.json is written first, and still knows the state.pt before."""
    first, _ = folds(workspace)
    known = json.loads((first / SIDECAR).read_text())["sha256"]
    (first / SIDECAR).write_text(json.dumps({"sha256": ["of the one that never came", known[0]]}))
    with pytest.raises(OutOfTime):
        comp.run("shapes", workspace=workspace, resume=first.parent.name, time_limit="1s")


def test_the_best_epochs_weights_are_those_that_were_saved(tmp_path: Path) -> None:
    sha256 = save_best(tmp_path, {"w": torch.zeros(100)})
    assert torch.equal(load_best(tmp_path, sha256)["w"], torch.zeros(100))
    save_best(tmp_path, {"w": torch.ones(100)})
    with pytest.raises(InputError, match="best epoch's weights"):
        load_best(tmp_path, sha256)
    (tmp_path / "best.pt").write_bytes(b"junk")
    with pytest.raises(InputError, match="best epoch's weights"):
        load_best(tmp_path)
