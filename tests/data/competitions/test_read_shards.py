"""Rows and images of shards: parquet files, tars of samples, LMDBs, by the facts; and what is refused in one line."""

from __future__ import annotations

import json
import os
import pickle
import re
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comp.data.competitions.competition import Competition, find_competition
from comp.data.competitions.sample import write_sample
from comp.data.images import parquet_shard
from comp.errors import CompError, ImageError, InputError
from comp.workspace import Workspace
from made import run_comp
from made_shards import (
    DATA,
    NAMES,
    Row,
    digits,
    png,
    sample,
    write_competition,
    write_lmdb,
    write_parquet,
    write_plain,
    write_shards,
    write_table,
    write_tar,
)

pytest.importorskip("pyarrow")
pytest.importorskip("lmdb")
KINDS = ("parquet", "tar", "lmdb")
TRAIN, TEST = digits(24), digits(6, 24)


def competition(workspace: Path, data: str, top: str = "") -> Competition:
    write_competition(workspace, data, top=top)
    return find_competition("scans", Workspace(workspace))


def rows(found: Competition, raw: Path) -> list[tuple[str, ...]]:
    table = found.read(raw).table
    return list(table[["id", "split", "label"]].itertuples(index=False, name=None))


def refused(found: Competition, raw: Path) -> str:
    with pytest.raises(InputError) as error:
        found.read(raw)
    assert "\n" not in str(error.value)
    return str(error.value)


EXPECTED = [(row.id, "train", NAMES[row.label]) for row in TRAIN] + [(row.id, "test", "") for row in TEST]


@pytest.mark.parametrize("kind", [*KINDS, "plain"])
def test_rows_and_images_are_those_of_plain_files(kind: str, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    if kind == "plain":
        write_plain(raw, TRAIN, TEST)
    else:
        write_shards(kind, raw, TRAIN, TEST)
    found = competition(tmp_path, DATA[kind])
    assert found.missing(raw) == []
    assert rows(found, raw) == EXPECTED
    manifest = found.read(raw)
    source = pickle.loads(pickle.dumps(found.source(raw)))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(source.load, manifest.table["path"])) == [row.png for row in [*TRAIN, *TEST]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_is_not_there_is_an_image_error(kind: str, tmp_path: Path) -> None:
    write_shards(kind, tmp_path / "raw", TRAIN, TEST)
    found = competition(tmp_path, DATA[kind])
    source: Any = found.source(tmp_path / "raw")
    path = str(found.read(tmp_path / "raw").table["path"][0])
    shard = source.file_of(path).removesuffix("/data.mdb")
    for absent in (
        f"{shard}#99",
        f"{shard}#-1",
        f"{shard}/nothing.png",
        f"{shard}/",
        "elsewhere/x.png",
        "../x.png",
    ):
        assert not source.has(absent)
        with pytest.raises(ImageError, match=r"complete|begin"):
            source.load(absent)
    assert source.has(path)


def test_class_names_of_the_hub_are_the_label_map_in_their_order(tmp_path: Path) -> None:
    write_shards("parquet", tmp_path / "raw", TRAIN, TEST)
    found = competition(tmp_path, DATA["parquet"])
    assert (
        found.label_map(found.read(tmp_path / "raw"), tmp_path / "raw").names == NAMES
    )  # not as text sorts them


def test_numbers_without_class_names_are_the_labels(tmp_path: Path) -> None:
    write_parquet(tmp_path / "raw/data/train-0.parquet", TRAIN, names=None)
    found = competition(tmp_path, 'shards = "data/train-0.parquet"')
    assert [label for _, _, label in rows(found, tmp_path / "raw")] == [str(row.label) for row in TRAIN]


def test_shards_stand_in_natural_order(tmp_path: Path) -> None:
    for n in (10, 2, 1):
        write_parquet(tmp_path / f"raw/s{n}.parquet", TRAIN[n : n + 1])
    found = competition(tmp_path, 'shards = "s*.parquet"')
    assert [i for i, _, _ in rows(found, tmp_path / "raw")] == [TRAIN[n].id for n in (1, 2, 10)]
    assert (
        "3 images of 3 shards in natural order, s1.parquet … s10.parquet"
        in found.read(tmp_path / "raw").notes[0]
    )


def test_without_ids_a_row_is_called_by_its_shard_and_place(tmp_path: Path) -> None:
    write_parquet(tmp_path / "raw/data/train-0.parquet", TRAIN)
    found = competition(tmp_path, 'shards = "data/train-0.parquet"\nid = "key"')
    assert [i for i, _, _ in rows(found, tmp_path / "raw")][:2] == ["data/train-0/0", "data/train-0/1"]
    by_path = competition(tmp_path, 'shards = "data/train-0.parquet"\nid = "image.path"')
    assert [i for i, _, _ in rows(by_path, tmp_path / "raw")][:1] == [f"{TRAIN[0].id}.png"]


def test_position_pairs_the_template_with_rows_as_they_lie(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_shards("parquet", raw, TRAIN, TEST)
    (raw / "sub.csv").write_text("id,label\n" + "".join(f"{n},zero\n" for n in range(len(TEST))))
    data = 'shards = "data/train-*.parquet"\ntest_shards = "data/test-*.parquet"'
    found = competition(tmp_path, data, 'pairs = "position"')
    text = (tmp_path / "competitions/scans/competition.toml").read_text().replace('"made"', '"sub.csv"')
    (tmp_path / "competitions/scans/competition.toml").write_text(text)
    found = find_competition("scans", Workspace(tmp_path))
    test = found.read(raw).test
    assert list(test["id"]) == [str(n) for n in range(len(TEST))]
    source: Any = found.source(raw)
    assert [source.load(path) for path in test["path"]] == [row.png for row in TEST]


def test_a_table_beside_shards_names_samples_with_or_without_suffix(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_tar(raw / "all.tar", [part for row in TRAIN for part in sample(row, labelled=False)])
    write_table(raw / "train.csv", [row._replace(id=f"{row.id}.png") for row in reversed(TRAIN)])
    found = competition(tmp_path, 'table = "train.csv"\nshards = "all.tar"')
    assert rows(found, raw) == [(f"{row.id}.png", "train", NAMES[row.label]) for row in reversed(TRAIN)]
    write_table(raw / "train.csv", [*TRAIN, Row("nobody", 0, b"")])
    assert "all.tar has no key 'nobody'" in refused(found, raw)


def test_lists_of_class_names_are_several_labels(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    told = {"info": {"features": {"tags": {"feature": {"names": ["a", "b", "c"], "_type": "ClassLabel"}}}}}
    table = pa.table(
        {"id": ["x", "y", "z"], "image": [row.png for row in TRAIN[:3]], "tags": [[0, 2], [1], []]}
    ).replace_schema_metadata({"huggingface": json.dumps(told)})
    (tmp_path / "raw").mkdir()
    pq.write_table(table, tmp_path / "raw/t.parquet")
    found = competition(tmp_path, 'shards = "t.parquet"\nlabels = "tags"', 'task = "multi-label"')
    assert [label for _, _, label in rows(found, tmp_path / "raw")] == ["a|c", "b", ""]


def test_a_json_beside_an_image_has_columns(tmp_path: Path) -> None:
    members = [
        part
        for row in TRAIN
        for part in (
            (
                f"a/{row.id}.json",
                f'{{"label": {{"name": "{NAMES[row.label]}"}}, "who": "p{row.label}"}}'.encode(),
            ),
            (f"a/{row.id}.png", row.png),
            (f"a/{row.id}.seg.png", row.png),
        )
    ]
    write_tar(tmp_path / "raw/t.tar", [*members, ("README", b"hello"), ("._a", b"litter")])
    data = 'shards = "t.tar"\nlabel = "json.label.name"\ngroup = "json.who"'
    assert "both of 'a/" in refused(competition(tmp_path, data), tmp_path / "raw")
    found = competition(tmp_path, data + '\nimage = "png"')
    manifest = found.read(tmp_path / "raw")
    assert list(manifest.table["label"]) == [NAMES[row.label] for row in TRAIN]
    assert list(manifest.table["group"]) == [f"p{row.label}" for row in TRAIN]
    assert manifest.table["id"][0] == f"a/{TRAIN[0].id}"
    assert any("t.tar/README is left out" in note for note in manifest.notes)


def test_members_of_a_sample_may_lie_apart(tmp_path: Path) -> None:
    images = [part for row in TRAIN for part in sample(row) if part[0].endswith("png")]
    labels = [part for row in reversed(TRAIN) for part in sample(row) if part[0].endswith("cls")]
    write_tar(tmp_path / "raw/t.tar", [*images, *labels])
    found = competition(tmp_path, 'shards = "t.tar"')
    assert rows(found, tmp_path / "raw") == EXPECTED[: len(TRAIN)]


def test_images_of_shards_that_no_row_names_are_told(tmp_path: Path) -> None:
    write_shards("tar", tmp_path / "raw", TRAIN, TEST)
    write_table(tmp_path / "raw/test.csv", TEST[1:], labelled=False)
    found = competition(tmp_path, DATA["tar"] + '\ntest_table = "test.csv"').read(tmp_path / "raw")
    assert list(found.test["id"]) == [row.id for row in TEST[1:]]
    assert "1 of the images of test-*.tar have no row, and are not read" in found.notes


@pytest.mark.parametrize("kind", KINDS)
def test_a_made_up_sample_lies_in_shards_and_reads_back(kind: str, tmp_path: Path) -> None:
    found = competition(tmp_path, DATA[kind])
    write_sample(found, tmp_path / "raw")
    manifest = found.read(tmp_path / "raw")
    assert len(manifest.train) == 36
    assert len(manifest.test) == 30
    assert set(manifest.train["label"]) == {"ash", "birch", "cedar"}
    source: Any = found.source(tmp_path / "raw")
    assert len({source.load(path) for path in manifest.table["path"]}) == 66


def test_only_some_row_groups_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "raw/t.parquet", TRAIN, group=4)
    kept = parquet_shard.RowGroups(1)
    monkeypatch.setattr(parquet_shard, "_GROUPS", kept)
    source: Any = competition(tmp_path, 'shards = "t.parquet"').source(tmp_path / "raw")
    reads: list[object] = []
    get = kept.get

    def counted(key: object, read: Callable[[], Any]) -> Any:
        return get(key, lambda: (reads.append(key), read())[1])

    monkeypatch.setattr(kept, "get", counted)
    for n, row in enumerate(TRAIN):
        assert source.load(f"t.parquet#{n}") == row.png
    assert len(reads) == 6  # one after the other, a row group is read once
    assert len(kept._kept) == 1
    with ThreadPoolExecutor(8) as pool:
        again = list(pool.map(source.load, [f"t.parquet#{n}" for n in range(24)] * 20))
    assert again == [row.png for row in TRAIN] * 20


# ---- what is refused


def parquet_with(raw: Path, second: Callable[[Path], None]) -> None:
    write_parquet(raw / "data/train-00000-of-00002.parquet", TRAIN[:12])
    second(raw / "data/train-00001-of-00002.parquet")


def _null(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path.with_name("train-00000-of-00002.parquet"))
    images = [
        {"bytes": None, "path": "x.png"} if n == 3 else one
        for n, one in enumerate(table["image"].to_pylist())
    ]
    cells = pa.array(images, table.schema.field("image").type)
    pq.write_table(table.set_column(1, table.schema.field("image"), cells), path)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (lambda path: write_parquet(path, TRAIN[12:], names=NAMES[::-1]), "the same class names"),
        (lambda path: write_parquet(path, TRAIN[12:], names=None), "the same class names"),
        (lambda path: write_parquet(path, TRAIN[12:], more=[1] * 12), "the same columns"),
        (lambda path: write_parquet(path, TRAIN[12:], labels=False), "the same columns"),
        (
            lambda path: write_parquet(path, [TRAIN[12]._replace(label=4)]),
            r"label is 4, and there are 4 class names",
        ),
        (lambda path: write_parquet(path, [TRAIN[12]._replace(label=-1)]), r"label is -1"),
        (lambda path: write_parquet(path, [TRAIN[12]._replace(label=None)]), "has no label"),  # type: ignore[arg-type]
        (_null, r"train-00001-of-00002.parquet#3: image.bytes is null"),
        (lambda path: path.write_bytes(b"PAR1 and no more PAR1"), "a parquet shard must be readable"),
        (lambda path: path.write_bytes(b""), "a parquet shard must be readable"),
        (lambda path: None, r"are 1 of 2"),
    ],
)
def test_parquet_shards_that_are_refused(second: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    parquet_with(tmp_path / "raw", second)
    assert re.search(
        said, refused(competition(tmp_path, 'shards = "data/train-*.parquet"\nid = "id"'), tmp_path / "raw")
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ('shards = "data/train-*.parquet"\nid = "name"', "id = 'name': data/train-*.parquet has no 'name'"),
        ('shards = "data/train-*.parquet"\nlabel = "labels"', "did you mean 'label'?"),
        ('shards = "data/train-*.parquet"\ngroup = "who"', "group = 'who'"),
        ('shards = "data/train-*.parquet"\nimage = "img"', "has no 'img'"),
        ('shards = "data/train-*.parquet"\nimage = "label"', "'label' is int64"),
        ('shards = "data/*.parquet"\ntest_shards = "data/test-*.parquet"', "is of data/*.parquet and of"),
        ('shards = "*"', "finds"),
        ('shards = "nothing-*.tar"', "nothing-*.tar"),
    ],
)
def test_facts_that_do_not_fit_the_shards(data: str, said: str, tmp_path: Path) -> None:
    write_shards("parquet", tmp_path / "raw", TRAIN, TEST)
    (tmp_path / "raw/notes.md").write_text("hello")
    assert said in refused(competition(tmp_path, data), tmp_path / "raw")


PARTS = [part for row in TRAIN for part in sample(row)]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([*PARTS, ("x.cls", b"one")], "'x' has x.cls"),
        ([*PARTS, ("x.png", TRAIN[0].png)], "x.png has no cls"),
        ([*PARTS, ("x.png", TRAIN[0].png), ("x.jpg", TRAIN[0].png)], "both of 'x'"),
        ([*PARTS, PARTS[0]], "more than once"),
        ([*PARTS, ("x.png", TRAIN[0].png), ("x.cls", b"\xff\xfe")], "text in UTF-8"),
        ([*PARTS, ("../x.png", TRAIN[0].png)], "leaves the folder"),
    ],
)
def test_tars_that_are_refused(members: list[tuple[str, bytes]], said: str, tmp_path: Path) -> None:
    write_tar(tmp_path / "raw/t.tar", members)
    assert said in refused(competition(tmp_path, 'shards = "t.tar"'), tmp_path / "raw")


def test_a_tar_that_is_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "raw/t.tar", PARTS)
    path = tmp_path / "raw/t.tar"
    whole = path.read_bytes()
    found = competition(tmp_path, 'shards = "t.tar"')
    with tarfile.open(path) as opened:
        ends = [info.offset for info in opened]
    for length in [*ends[1:], ends[5] + 100, ends[5] + 512, ends[5] + 600]:
        path.write_bytes(whole[:length])
        assert "readable and whole" in refused(found, tmp_path / "raw")
    path.write_bytes(whole + whole)
    assert "several tars in one file?" in refused(found, tmp_path / "raw")
    path.write_bytes(whole[: ends[4]] + b"x" * 512 + whole[ends[4] + 512 :])
    assert "readable and whole" in refused(found, tmp_path / "raw")
    path.write_bytes(b"")
    assert "readable and whole" in refused(found, tmp_path / "raw")


def test_a_key_in_two_tars_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "raw/t-0.tar", PARTS)
    write_tar(tmp_path / "raw/t-1.tar", PARTS[-2:])
    said = refused(competition(tmp_path, 'shards = "t-*.tar"'), tmp_path / "raw")
    assert f"both have the key '{TRAIN[-1].id}'" in said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (pickle.dumps([1]), "a pickle, which is never read"),
        (b"nothing", "no image file"),
        (b"", "no image file"),
    ],
)
def test_a_value_of_an_lmdb_that_is_no_image_is_refused(value: bytes, said: str, tmp_path: Path) -> None:
    write_shards("parquet", tmp_path / "raw", TRAIN, TEST)
    write_lmdb(tmp_path / "raw/t.lmdb", {"__len__": b"1", "a": value, "b": TRAIN[0].png})
    found = competition(tmp_path, 'shards = "data/train-*.parquet"\ntest_shards = "t.lmdb"')
    assert [i for i, split, _ in rows(found, tmp_path / "raw") if split == "test"] == ["a", "b"]
    with pytest.raises(ImageError, match=said):
        found.source(tmp_path / "raw").load("t.lmdb/a")


def test_a_key_of_an_lmdb_that_is_no_text_is_refused(tmp_path: Path) -> None:
    write_shards("parquet", tmp_path / "raw", TRAIN, TEST)
    write_lmdb(tmp_path / "raw/t.lmdb", {"a\n": TRAIN[0].png})
    found = competition(tmp_path, 'shards = "data/train-*.parquet"\ntest_shards = "t.lmdb"')
    assert "printable text" in refused(found, tmp_path / "raw")


def test_an_lmdb_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_shards("lmdb", raw, TRAIN, TEST)
    place = raw / "images.lmdb/data.mdb"
    found = competition(tmp_path, DATA["lmdb"])
    whole = place.read_bytes()
    for length in (len(whole) - 4096, 8192, 100, 0):
        place.write_bytes(whole[:length])
        assert "an LMDB shard must be readable" in refused(found, raw)
    place.write_bytes(whole)
    assert rows(found, raw) == EXPECTED


def test_an_lmdb_is_read_in_a_forked_process(tmp_path: Path) -> None:
    write_shards("lmdb", tmp_path / "raw", TRAIN, TEST)
    source: Any = competition(tmp_path, DATA["lmdb"]).source(tmp_path / "raw")
    path = f"images.lmdb/{TRAIN[0].id}"
    assert source.load(path) == TRAIN[0].png
    child = os.fork()
    if child == 0:
        os._exit(0 if source.load(path) == TRAIN[0].png else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert source.load(path) == TRAIN[0].png


@pytest.mark.parametrize("kind", ["parquet", "lmdb"])
def test_a_missing_package_is_named(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(kind, tmp_path / "raw", TRAIN, TEST)
    found = competition(tmp_path, DATA[kind])
    for name in ("pyarrow", "pyarrow.parquet", "lmdb"):
        monkeypatch.setitem(sys.modules, name, None)
    assert 'pip install "imgcomp[shards]"' in refused(found, tmp_path / "raw")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ('shards = "t-*.tar"\nimages = "train/*.jpg"', "in shards or in files"),
        ('images = "train/*.jpg"\ntest_shards = "t-*.tar"', "test_shards goes with shards"),
        ('images = "train/*.jpg"\nimage = "png"', "image goes with shards"),
        ('shards = "../t-*.tar"', "stays in it"),
    ],
)
def test_facts_that_contradict(data: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(CompError, match=said.replace("(", r"\(")):
        competition(tmp_path, data)


def test_a_shard_that_changes_is_noticed(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_shards("tar", raw, TRAIN, TEST)
    write_competition(tmp_path, DATA["tar"])
    source: Any = find_competition("scans", Workspace(tmp_path)).source(raw)
    path = f"train-000000.tar/{TRAIN[0].id}.png"
    assert source.load(path) == TRAIN[0].png
    first = run_comp(tmp_path, "check", "scans", "--data", raw, "--folds", 2, "--json")
    assert first.json["status"] == "pass", first.out
    other = png(np.full((8, 8), 200, np.uint8))
    changed = [TRAIN[0]._replace(png=other), *TRAIN[1:12]]
    write_tar(raw / "train-000000.tar", [part for row in changed for part in sample(row)])
    with pytest.raises(ImageError, match="has changed since"):
        source.load(path)
    again = run_comp(tmp_path, "check", "scans", "--data", raw, "--folds", 2, "--json").json
    assert any(one["check"] == "blank-image" and path in one["examples"] for one in again["findings"]), again
