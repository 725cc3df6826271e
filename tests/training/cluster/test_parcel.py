"""What travels arrives as it was sent, or not at all; a fold's folder is whole at every moment."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.errors import InputError
from comp.files import write_bytes
from comp.training.cluster import parcel as parcels
from comp.training.cluster.parcel import UNDER_WAY, Parcel, finished_fold, fold_under_way, unpack
from comp.training.train_fold import is_finished

NAMES = st.text("ab./é", min_size=1, max_size=6)


def state(folder: Path, content: bytes, earlier: tuple[bytes, ...] = ()) -> None:
    """A saved state with the sidecar that proves it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state.pt").write_bytes(content)
    known = [hashlib.sha256(one).hexdigest() for one in (content, *earlier)]
    (folder / "state.json").write_text(json.dumps({"sha256": known}))


@given(st.dictionaries(NAMES, st.binary(max_size=20), min_size=1, max_size=4), st.data())
def test_a_changed_byte_or_name_is_refused(files: dict[str, bytes], data: st.DataObject) -> None:
    sent = Parcel.of(files)
    name = data.draw(st.sampled_from(sorted(files)))
    changed = {**files, name: files[name] + b"x"}
    renamed = {(n + "a" if n == name else n): content for n, content in files.items()}
    for other in (changed, renamed):
        if other != files:
            with pytest.raises(InputError, match="arrive as they were sent"):
                replace(sent, files=other).opened("node 1")


@pytest.mark.parametrize("name", ["../result.json", "/etc/passwd", "a/../../b", "..\\b"])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="stay in their fold's folder"):
        Parcel.of({name: b""}).opened("node 1")


def test_a_finished_fold_arrives_whole_and_nothing_is_left_to_go_on_from(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    (there / "control").mkdir(parents=True)
    for name in ("result.json", "oof.npz", "control/00.image"):
        (there / name).write_bytes(name.encode())
    state(here, b"half way")
    sent = finished_fold(there)
    unpack(sent.opened("node 1"), here)
    assert {p.relative_to(here).as_posix() for p in here.rglob("*") if p.is_file()} == set(sent.files)
    assert (here / "control/00.image").read_bytes() == b"control/00.image"
    assert is_finished(here)


def test_the_result_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    monkeypatch.setattr(parcels, "write_bytes", lambda path, content: written.append(path.name))
    unpack({"result.json": b"", "a": b"", "z": b""}, tmp_path)
    assert written == ["a", "z", "result.json"]


def test_a_state_that_is_being_written_is_not_sent(tmp_path: Path) -> None:
    assert fold_under_way(tmp_path / "nowhere") is None
    state(tmp_path, b"one")
    (tmp_path / "history.csv").write_text("epoch\n1\n")
    found = fold_under_way(tmp_path)
    assert found is not None
    assert set(found.files) == {"state.pt", "state.json", "history.csv"}
    (tmp_path / "state.pt").write_bytes(b"two, and its sidecar is not there yet")
    assert fold_under_way(tmp_path) is None


@pytest.mark.parametrize("dies_after", range(4))
def test_whenever_the_driver_dies_the_state_on_its_disk_is_proven(
    tmp_path: Path, dies_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state before, or the one that came: never one that its sidecar does not know."""
    there, here = tmp_path / "there", tmp_path / "here"
    state(here, b"first")
    state(there, b"third", earlier=(b"second",))
    sent = fold_under_way(there)
    assert sent is not None
    writes = []

    def dying(path: Path, content: bytes) -> None:
        if len(writes) == dies_after:
            raise KeyboardInterrupt
        writes.append(path.name)
        write_bytes(path, content)

    monkeypatch.setattr(parcels, "write_bytes", dying)
    monkeypatch.setattr(parcels, "write_json", lambda path, value: dying(path, json.dumps(value).encode()))
    try:
        unpack(sent.files, here)
    except KeyboardInterrupt:
        assert dies_after < 3
    kept = fold_under_way(here)
    assert kept is not None
    assert kept.files["state.pt"] == (b"third" if dies_after >= 2 else b"first")


def test_what_goes_on_is_all_that_training_keeps() -> None:
    """A file that training goes on from and that does not travel would make a lost fold come to other bytes."""
    from comp.runs import contents

    left = set(contents._NOT_OF_A_RESULT) - {"result.json", "test.npz"}
    assert left <= set(UNDER_WAY)
