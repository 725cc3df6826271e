"""Runs on shards of every kind give the bytes of a run on plain files; `comp run DIR` finds out what shards hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from made import run_comp
from made_shards import DATA, digits, sample, write_competition, write_plain, write_shards, write_tar

pytest.importorskip("pyarrow")
pytest.importorskip("lmdb")
TRAIN, TEST = digits(48), digits(12, 48)
TINY = ("--quick", "--folds", "2", "--set", "mode=scratch", "--set", "model.name=test_resnet")
TINY = (*TINY, "--set", "model.weights=none", "--set", "model.size=32", "--no-report")


def submission(workspace: Path) -> bytes:
    (path,) = workspace.glob("submissions/*/*.csv")
    return path.read_bytes()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The submission of a run on plain files."""
    workspace = tmp_path_factory.mktemp("plain")
    write_plain(workspace / "raw", TRAIN, TEST)
    write_competition(workspace, DATA["plain"])
    done = run_comp(workspace, "run", "scans", "--data", workspace / "raw", *TINY)
    assert done.code == 0, done.err
    return submission(workspace)


@pytest.mark.parametrize("kind", ["parquet", "tar", "lmdb"])
def test_a_run_on_shards_gives_the_bytes_of_one_on_files(kind: str, expected: bytes, tmp_path: Path) -> None:
    write_shards(kind, tmp_path / "raw", TRAIN, TEST)
    write_competition(tmp_path, DATA[kind])
    checked = run_comp(tmp_path, "check", "scans", "--data", tmp_path / "raw", "--folds", 2)
    assert checked.code == 0, checked.err
    done = run_comp(tmp_path, "run", "scans", "--data", tmp_path / "raw", *TINY)
    assert done.code == 0, done.err
    assert submission(tmp_path) == expected
    assert len(expected.splitlines()) == len(TEST) + 1


@pytest.mark.parametrize("kind", ["parquet", "tar"])
def test_a_bare_folder_of_shards_runs(kind: str, expected: bytes, tmp_path: Path) -> None:
    write_shards(kind, tmp_path / "raw", TRAIN, TEST)
    done = run_comp(tmp_path, "run", tmp_path / "raw", "--metric", "accuracy", *TINY)
    assert done.code == 0, done.err
    assert submission(tmp_path) == expected
    assert "data.shards = " in done.err + done.out


def test_copies_and_damage_in_shards_are_found(tmp_path: Path) -> None:
    rows = [*TRAIN, TRAIN[0]._replace(id="copy")]
    members = [part for row in rows for part in sample(row)]
    members += [("broken.png", TRAIN[1].png[:60]), ("broken.cls", b"one")]
    write_tar(tmp_path / "raw/train-000000.tar", members)
    write_tar(tmp_path / "raw/test-000000.tar", [part for row in TEST for part in sample(row, False)])
    write_competition(tmp_path, DATA["tar"])
    done = run_comp(tmp_path, "check", "scans", "--data", tmp_path / "raw", "--folds", 2, "--json")
    found = {one["check"]: one for one in done.json["findings"]}
    assert done.code == 1
    assert found["unreadable-image"]["examples"] == ["train-000000.tar/broken.png"]
    assert "missing-file" not in found
    assert [f"train-000000.tar/{TRAIN[0].id}.png", "train-000000.tar/copy.png"] in found["exact-duplicate"][
        "groups"
    ]


def test_a_broken_shard_ends_a_run_in_one_line(tmp_path: Path) -> None:
    write_shards("tar", tmp_path / "raw", TRAIN, TEST)
    path = tmp_path / "raw/train-000001.tar"
    path.write_bytes(path.read_bytes()[:-12000])
    write_competition(tmp_path, DATA["tar"])
    done = run_comp(tmp_path, "run", "scans", "--data", tmp_path / "raw", *TINY)
    assert done.code == 2
    assert "an archive must be readable and whole" in done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.glob("submissions/*/*.csv"))
