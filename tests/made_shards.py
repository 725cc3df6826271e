"""Digits as plain files and as shards of each kind: the same images under the same ids, in the same order."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

NAMES = ("zero", "one", "two", "three")


class Row(NamedTuple):
    """A row of a set: its id, the index of its class, and the PNG of its image."""

    id: str
    label: int
    png: bytes


def digits(count: int, skip: int = 0) -> list[Row]:
    """So many scans of the first four digits, 8 × 8 pixels each."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    chosen = np.flatnonzero(bunch.target < len(NAMES))[skip : skip + count]
    return [
        Row(f"d{place:04}", int(bunch.target[place]), png(np.uint8(bunch.images[place] * 15)))
        for place in chosen
    ]


def png(grey: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(grey).convert("RGB").save(content, "PNG")
    return content.getvalue()


def halves(rows: Sequence[Row]) -> list[Sequence[Row]]:
    return [rows[: len(rows) // 2], rows[len(rows) // 2 :]]


def write_plain(raw: Path, train: Sequence[Row], test: Sequence[Row]) -> None:
    for split, rows in (("train", train), ("test", test)):
        (raw / split).mkdir(parents=True)
        for row in rows:
            (raw / split / f"{row.id}.png").write_bytes(row.png)
    write_table(raw / "train.csv", train)
    write_table(raw / "test.csv", test, labelled=False)


def write_table(path: Path, rows: Sequence[Row], labelled: bool = True) -> None:
    lines = [f"{row.id},{NAMES[row.label]}" if labelled else row.id for row in rows]
    path.write_text("\n".join(["id,label" if labelled else "id", *lines]) + "\n")


def write_parquet(
    path: Path,
    rows: Sequence[Row],
    labels: bool = True,
    names: Sequence[str] | None = NAMES,
    group: int = 7,
    **columns: Sequence[Any],
) -> None:
    """A shard as the Hugging Face hub has it: ``image`` {bytes, path}, ``label`` with its class names, ``id``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells: dict[str, Any] = {
        "id": pa.array([row.id for row in rows], pa.string()),
        "image": pa.array(
            [{"bytes": row.png, "path": f"{row.id}.png"} for row in rows],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        ),
    }
    features: dict[str, Any] = {"id": {"dtype": "string", "_type": "Value"}, "image": {"_type": "Image"}}
    if labels:
        cells["label"] = pa.array([row.label for row in rows], pa.int64())
        features["label"] = {"names": list(names or ()), "_type": "ClassLabel"}
    cells |= {name: pa.array(values) for name, values in columns.items()}
    table = pa.table(cells)
    if names is not None:
        told = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": told})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as opened:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))


def sample(row: Row, labelled: bool = True) -> list[tuple[str, bytes]]:
    """The members of a sample as webdataset writes them."""
    label = [(f"{row.id}.cls", NAMES[row.label].encode())] if labelled else []
    return [(f"{row.id}.png", row.png), *label]


def write_lmdb(path: Path, values: Mapping[str, bytes]) -> None:
    import lmdb

    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.suffix != ".mdb"
    with (
        lmdb.open(str(path), map_size=32 << 20, subdir=folder) as opened,
        opened.begin(write=True) as writing,
    ):
        for key, value in values.items():
            writing.put(key.encode(), value)


def write_shards(kind: str, raw: Path, train: Sequence[Row], test: Sequence[Row]) -> None:
    """A raw folder of shards of a kind; an LMDB has its labels in a table beside it."""
    raw.mkdir(parents=True, exist_ok=True)
    for n, rows in enumerate(halves(train)):
        if kind == "parquet":
            write_parquet(raw / "data" / f"train-{n:05}-of-00002.parquet", rows)
        elif kind == "tar":
            write_tar(raw / f"train-{n:06}.tar", [part for row in rows for part in sample(row)])
    if kind == "parquet":
        write_parquet(raw / "data" / "test-00000-of-00001.parquet", test)
    elif kind == "tar":
        write_tar(raw / "test-000000.tar", [part for row in test for part in sample(row, labelled=False)])
    else:
        write_table(raw / "train.csv", train)
        write_table(raw / "test.csv", test, labelled=False)
        write_lmdb(raw / "images.lmdb", {row.id: row.png for row in [*train, *test]})


DATA = {
    "plain": 'table = "train.csv"\ntest_table = "test.csv"\nimages = "train/{id}.png"\ntest_images = "test/{id}.png"',
    "parquet": 'shards = "data/train-*.parquet"\ntest_shards = "data/test-*.parquet"\nid = "id"',
    "tar": 'shards = "train-*.tar"\ntest_shards = "test-*.tar"',
    "lmdb": 'table = "train.csv"\ntest_table = "test.csv"\nshards = "images.lmdb"',
}


def write_competition(workspace: Path, data: str, slug: str = "scans", top: str = "") -> None:
    """The competition.toml of a workspace, with this [data]."""
    folder = workspace / "competitions" / slug.replace("-", "_")
    folder.mkdir(parents=True, exist_ok=True)
    template = '[template]\nfile = "made"\nid = "id"\ntarget = "label"\nkind = "label"\n'
    text = f'slug = "{slug}"\ntitle = "Scans"\n{top}\n[data]\n{data}\n{template}'
    (folder / "competition.toml").write_text(text)
