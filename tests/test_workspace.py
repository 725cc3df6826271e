"""The workspace: where it is, and files that are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from comp.errors import InputError
from comp.workspace import Workspace, atomic, make_folder, read_json, write_bytes, write_json, write_text


def test_the_workspace_is_the_given_one_then_the_environments_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("given", "environment", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert Workspace.find().root == tmp_path / "here"
    monkeypatch.setenv("COMP_WORKSPACE", str(tmp_path / "environment"))
    assert Workspace.find().root == tmp_path / "environment"
    assert Workspace.find(tmp_path / "given").root == tmp_path / "given"
    with pytest.raises(InputError, match="must be a folder"):
        Workspace.find(tmp_path / "nowhere")


def test_weights_are_looked_for_in_the_environments_folders_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_WEIGHTS", "/a:/b")
    assert Workspace(tmp_path).weight_folders() == [Path("/a"), Path("/b"), tmp_path / "weights"]


def test_a_failed_write_leaves_nothing_and_spares_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"

    def write_half(stop: BaseException) -> None:
        with atomic(path) as part:
            part.write_text("half")
            raise stop

    with pytest.raises(KeyboardInterrupt):
        write_half(KeyboardInterrupt())
    assert list(path.parent.iterdir()) == []
    write_text(path, "whole")
    with pytest.raises(ValueError, match="stop"):
        write_half(ValueError("stop"))
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]
    assert path.read_text() == "whole"


def test_text_keeps_its_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "t", "a\r\nb\n")
    assert (tmp_path / "t").read_bytes() == b"a\r\nb\n"


@pytest.mark.parametrize(
    "write", [lambda p: make_folder(p / "below"), lambda p: write_bytes(p / "below" / "x", b"1")]
)
def test_a_place_below_a_file_is_a_clear_error(tmp_path: Path, write: object) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="must be writable"):
        write(tmp_path / "file")  # type: ignore[operator]


def test_json_comes_back_or_says_what_is_wrong(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"이름": [1, 2.5, None]})
    assert read_json(tmp_path / "a.json") == {"이름": [1, 2.5, None]}
    (tmp_path / "b.json").write_text("{half")
    with pytest.raises(InputError, match="must be JSON"):
        read_json(tmp_path / "b.json")
    with pytest.raises(InputError, match="missing"):
        read_json(tmp_path / "c.json")


def test_what_is_no_number_is_null_in_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"scores": [0.5, float("nan")], "most": (float("inf"),)})
    assert read_json(tmp_path / "a.json") == {"scores": [0.5, None], "most": [None]}
    assert "NaN" not in (tmp_path / "a.json").read_text()
