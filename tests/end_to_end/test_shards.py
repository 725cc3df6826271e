"""Runs on shards of every kind give the bytes of a run on plain files; `comp run DIR` finds out what shards hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made import run_comp
from made_shards import (
    DATA,
    NAMES,
    digits,
    halves,
    sample,
    write_competition,
    write_parquet,
    write_plain,
    write_shards,
    write_tar,
)

pytest.importorskip("pyarrow")
pytest.importorskip("lmdb")
TRAIN, TEST = digits(48), digits(12, 48)
TINY = ("--quick", "--folds", "2", "--set", "mode=scratch", "--set", "model.name=test_resnet")
TINY = (*TINY, "--set", "model.weights=none", "--set", "model.size=32", "--no-report")


IN_ORDER = f"classes = {list(NAMES)}"  # as the parquet files say; names by themselves are sorted


def answers(workspace: Path) -> tuple[bytes, Any]:
    """The CSV of the only run of a workspace, and its test probabilities."""
    (path,) = workspace.glob("submissions/*/*.csv")
    (stored,) = workspace.glob("runs/*/test.npz")
    with np.load(stored) as kept:
        return path.read_bytes(), kept["probs"].tolist()


@pytest.fixture(scope="module")
def on_files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[bytes, Any]]:
    """The answers of a run on plain files, with these lines at the top of its facts."""

    @cache
    def run(top: str) -> tuple[bytes, Any]:
        workspace = tmp_path_factory.mktemp("plain")
        write_plain(workspace / "raw", TRAIN, TEST)
        write_competition(workspace, DATA["plain"], top=top)
        done = run_comp(workspace, "run", "scans", "--data", workspace / "raw", *TINY)
        assert done.code == 0, done.err
        return answers(workspace)

    return run


@pytest.mark.parametrize("kind", ["parquet", "tar", "lmdb"])
def test_a_run_on_shards_gives_the_bytes_of_one_on_files(kind: str, on_files: Any, tmp_path: Path) -> None:
    write_shards(kind, tmp_path / "raw", TRAIN, TEST)
    write_competition(tmp_path, DATA[kind], top="" if kind == "parquet" else IN_ORDER)
    checked = run_comp(tmp_path, "check", "scans", "--data", tmp_path / "raw", "--folds", 2)
    assert checked.code == 0, checked.err
    done = run_comp(tmp_path, "run", "scans", "--data", tmp_path / "raw", *TINY)
    assert done.code == 0, done.err
    assert answers(tmp_path) == on_files(IN_ORDER)
    assert len(answers(tmp_path)[0].splitlines()) == len(TEST) + 1


def run_folder(workspace: Path) -> tuple[bytes, Any]:
    done = run_comp(workspace, "run", workspace / "raw", "--metric", "accuracy", *TINY)
    assert done.code == 0, done.err
    assert ("data.shards = " in done.err) == (not (workspace / "raw/train").is_dir())
    return answers(workspace)


def test_a_bare_folder_of_tars_gives_the_bytes_of_one_of_files(tmp_path: Path) -> None:
    write_shards("tar", tmp_path / "a/raw", TRAIN, TEST)
    write_plain(tmp_path / "b/raw", TRAIN, TEST)
    (csv, probs), (of_files, same) = run_folder(tmp_path / "a"), run_folder(tmp_path / "b")
    assert csv == of_files.replace(b".png", b"")
    assert probs == same


def test_a_bare_folder_of_the_hub_runs(tmp_path: Path) -> None:
    write_shards("parquet", tmp_path / "raw", TRAIN, TEST)
    csv, probs = run_folder(tmp_path)
    assert [line.split(b",")[0].decode() for line in csv.splitlines()[1:]] == [row.id for row in TEST]
    (stored,) = tmp_path.glob("runs/*/test.npz")
    with np.load(stored) as kept:
        assert json.dumps(NAMES)[1:-1] in kept["meta"].tobytes().decode()
    assert len(probs) == len(TEST)


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


def test_the_number_of_a_shard_is_no_name_that_betrays_a_label(tmp_path: Path) -> None:
    """Files of sets sorted by class are numbered by class too, those of the rows to predict from 0 as well."""
    rows = sorted([*TRAIN, *digits(72, 60)], key=lambda row: row.label)
    for n, part in enumerate(halves(rows)):
        write_parquet(tmp_path / f"raw/train/{n:04}.parquet", part)
    write_parquet(tmp_path / "raw/test/0000.parquet", TEST)
    write_competition(tmp_path, 'shards = "train/*.parquet"\ntest_shards = "test/*.parquet"\nid = "id"')
    done = run_comp(tmp_path, "check", "scans", "--data", tmp_path / "raw", "--folds", 2, "--json")
    assert done.code == 0
    assert not [one for one in done.json["findings"] if "name" in one["message"]]


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
