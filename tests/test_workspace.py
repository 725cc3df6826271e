"""The workspace: where it is, and files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from comp.errors import InputError
from comp.files import atomic, make_folder, read_json, require_output, write_bytes, write_json, write_text
from comp.workspace import Workspace


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


def limited(place: Path, kilobytes: int, program: str) -> subprocess.CompletedProcess[str]:
    """A Python program in a process whose files cannot be larger than so many kilobytes."""
    command = f"ulimit -f {kilobytes}; exec {sys.executable} -c '{program}'"
    return subprocess.run(["bash", "-c", command], cwd=place, capture_output=True, text=True, check=False)


def test_a_file_over_the_limit_is_a_clear_error(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "before")
    program = """
import pathlib
from comp.errors import InputError
from comp.files import write_bytes
try:
    write_bytes(pathlib.Path("a"), bytes(10_000))
except InputError as error:
    print(error)
"""
    done = limited(tmp_path, 4, program)
    assert done.returncode == 0, done.stderr
    assert "the place must be writable · a: File too large · raise the limit" in done.stdout
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "before")]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (errno.EIO, "check the disk"),
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "another `workspace`"),
        (errno.ESTALE, "another `workspace`"),
    ],
)
def test_whatever_a_disk_says_while_a_file_is_written_is_a_clear_error(
    tmp_path: Path, code: int, told: str
) -> None:
    with pytest.raises(InputError, match="must be writable") as error, atomic(tmp_path / "a"):
        raise OSError(code, os.strerror(code))
    assert (os.strerror(code) in error.value.value, told in error.value.remedy) == (True, True)


def test_an_error_of_another_file_is_not_blamed_on_the_one_that_is_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"), atomic(tmp_path / "a") as part:
        part.write_bytes((tmp_path / "nowhere").read_bytes())


def special_files(place: Path) -> dict[str, tuple[Path, str]]:
    """What is no plain file, by its kind, and the word for it."""
    (place / "folder").mkdir()
    os.mkfifo(place / "pipe")
    os.mknod(place / "socket", stat.S_IFSOCK | 0o600)
    (place / "loop").symlink_to(place / "loop")
    (place / "null").symlink_to("/dev/null")
    (place / "out").symlink_to("/dev/stdout")
    found = {
        "folder": (place / "folder", "a folder"),
        "pipe": (place / "pipe", "a pipe"),
        "socket": (place / "socket", "a socket"),
        "loop": (place / "loop", "Too many levels"),
        "device": (Path("/dev/null"), "a device"),
        "link to a device": (place / "null", "a device"),
        "stdout": (Path("/dev/stdout"), "an open file"),
        "link to stdout": (place / "out", "an open file"),
        "descriptor": (Path("/dev/fd/1"), "an open file"),
        "letters": (place / ("o" * 300), "File name too long"),
        "room for the temporary name": (place / ("o" * 247 + ".csv"), "File name too long"),
        "path": (place / ("o/" * 3000 + "o"), "File name too long"),
        "NUL": (place / "a\0b", "null byte"),
        "below a file": (place / "plain" / "x", "Not a directory"),
    }
    (place / "plain").write_text("")
    return found


def test_only_a_plain_file_is_an_output(tmp_path: Path) -> None:
    found = special_files(tmp_path)
    modes = {name: path.lstat().st_mode for name, (path, _) in found.items() if os.path.lexists(path)}
    listed = sorted(tmp_path.iterdir())
    for name, (path, told) in found.items():
        for attempt in (require_output, partial(write_text, text="x")):
            with pytest.raises(InputError) as error:
                attempt(path)
            assert told in str(error.value), name
            assert len(str(error.value)) < 1500, name
    assert {name: found[name][0].lstat().st_mode for name in modes} == modes, "none is replaced"
    assert sorted(tmp_path.iterdir()) == listed


def test_a_device_node_of_any_name_stays_one(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "mynull", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")
    with pytest.raises(InputError, match="a device"):
        write_text(tmp_path / "mynull", "x")
    assert stat.S_ISCHR((tmp_path / "mynull").stat().st_mode)


def test_a_link_stays_a_link_to_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(Path("far") / "real.csv")
    (tmp_path / "new.csv").symlink_to(Path("far") / "not-yet.csv")
    for name in ("link.csv", "new.csv"):
        write_text(tmp_path / name, "new")
        assert (tmp_path / name).is_symlink()
    assert {p.name: p.read_text() for p in (tmp_path / "far").iterdir()} == {
        "real.csv": "new",
        "not-yet.csv": "new",
    }


def test_an_output_that_can_be_written_leaves_nothing_when_it_is_judged(tmp_path: Path) -> None:
    assert require_output(None) is None
    assert require_output(tmp_path / "new" / "deep" / "a.csv") == tmp_path / "new" / "deep" / "a.csv"
    assert list(tmp_path.iterdir()) == []


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
