"""A raw folder that was named is remembered, said, and never quietly swapped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from made import run_comp


@pytest.fixture
def elsewhere(workspace: Path, shapes: Path) -> Path:
    """The raw folder of ``shapes``, moved away from data/shapes."""
    target = workspace / "elsewhere"
    shutil.move(shapes, target)
    return target


def test_the_folder_that_was_named_is_used_again_and_said(workspace: Path, elsewhere: Path) -> None:
    assert run_comp(workspace, "check", "shapes", "--folds", 3).code == 2
    first = run_comp(workspace, "check", "shapes", "--folds", 3, "--data", elsewhere, "--json")
    assert first.code == 0
    assert "as named before" not in first.err
    again = run_comp(workspace, "check", "shapes", "--folds", 3, "--json")
    assert again.code == 0
    assert "elsewhere, as named before" in again.err
    assert again.json["stats"] == first.json["stats"]
    listed = {row["slug"]: row["data"] for row in run_comp(workspace, "list", "--json").json}
    assert listed["shapes"]
    assert json.loads((workspace / ".comp" / "data.json").read_text()) == {"shapes": "elsewhere"}


def test_a_remembered_folder_that_is_gone_is_refused(workspace: Path, elsewhere: Path) -> None:
    assert run_comp(workspace, "data", "shapes", "--data", elsewhere).code == 0
    shutil.move(elsewhere, workspace / "data" / "shapes")
    refused = run_comp(workspace, "check", "shapes", "--folds", 3, "--json")
    assert refused.code == 2
    assert str(elsewhere) in refused.json["error"]["value"]
    assert "--data DIR" in refused.json["error"]["remedy"]
    named = run_comp(workspace, "check", "shapes", "--folds", 3, "--data", workspace / "data" / "shapes")
    assert named.code == 0
    assert run_comp(workspace, "check", "shapes", "--folds", 3).code == 0  # the usual folder ends the memory
    assert json.loads((workspace / ".comp" / "data.json").read_text()) == {}


def test_a_folder_that_is_not_complete_is_not_remembered(workspace: Path, shapes: Path) -> None:
    (workspace / "empty").mkdir()
    assert run_comp(workspace, "check", "shapes", "--data", workspace / "empty").code == 2
    again = run_comp(workspace, "check", "shapes", "--folds", 3)
    assert again.code == 0
    assert "as named before" not in again.err


def test_a_sample_is_not_preferred_to_real_data(workspace: Path, shapes: Path) -> None:
    sample = workspace / "sample"
    shutil.copytree(shapes, sample)
    (sample / ".comp-sample").write_text("made up\n")
    assert run_comp(workspace, "check", "shapes", "--folds", 3, "--data", sample).code == 0
    assert "sample, as named before" not in run_comp(workspace, "check", "shapes", "--folds", 3).err
    shutil.rmtree(shapes)
    assert "sample, as named before" in run_comp(workspace, "check", "shapes", "--folds", 3).err


@pytest.mark.parametrize("command", [("data",), ("check",), ("show",), ("run", "--quick")], ids=" ".join)
def test_a_competition_without_raw_data_takes_no_folder(workspace: Path, command: tuple[str, ...]) -> None:
    verb, *more = command
    refused = run_comp(workspace, verb, "digits", *more, "--data", "/nope", "--json")
    assert refused.code == 2
    assert "digits needs no raw folder" in refused.json["error"]["value"]
    assert not (workspace / ".comp" / "data.json").exists()


def test_what_commands_remember_lies_under_one_folder(workspace: Path, shapes: Path) -> None:
    assert run_comp(workspace, "check", "shapes", "--folds", 3).code == 0
    assert list((workspace / ".comp" / "fingerprints").glob("shapes-*/*.npz"))
    assert {path.name for path in workspace.iterdir()} == {".comp", "competitions", "data", "folds"}
