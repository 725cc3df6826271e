"""The manifest: its reading, its natural order, its fingerprint."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.images.raw_tree import is_ignored, natural_key
from comp.data.manifest import Manifest, Sample
from comp.errors import InputError


@given(st.lists(st.integers(0, 10**6), unique=True, max_size=20), st.sampled_from(["", "img", "사진-"]))
def test_natural_order_is_the_order_of_numbers(numbers: list[int], prefix: str) -> None:
    names = [f"{prefix}{n}.jpg" for n in numbers]
    assert sorted(names, key=natural_key) == [f"{prefix}{n}.jpg" for n in sorted(numbers)]


@given(st.lists(st.text(max_size=8), max_size=10))
def test_any_names_can_be_put_in_order(names: list[str]) -> None:
    once = sorted(names, key=natural_key)
    backwards = list(reversed(names))
    assert sorted(backwards, key=natural_key) == once


def test_text_order_is_not_natural_order() -> None:
    assert sorted(["1.jpg", "2.jpg", "10.jpg"]) == ["1.jpg", "10.jpg", "2.jpg"]
    assert sorted(["1.jpg", "10.jpg", "2.jpg"], key=natural_key) == ["1.jpg", "2.jpg", "10.jpg"]


ROWS = [
    Sample("a", "a.png", "train", "x"),
    Sample("b", "b.png", "train", "y", "g"),
    Sample("t", "t.png", "test"),
]


def test_the_fingerprint_follows_ids_labels_and_kin_of_its_split_alone() -> None:
    first = Manifest.from_samples(ROWS)
    assert Manifest.from_samples(reversed(ROWS)).fingerprint("train") == first.fingerprint("train")
    for changed in (
        ROWS[0]._replace(label="y"),
        ROWS[0]._replace(id="c"),
        ROWS[0]._replace(group="g"),
        ROWS[0]._replace(parent="b"),
    ):
        other = Manifest.from_samples([changed, *ROWS[1:]])
        assert other.fingerprint("train") != first.fingerprint("train")
        assert other.fingerprint("test") == first.fingerprint("test")


def test_a_manifest_survives_its_csv(tmp_path: Path) -> None:
    rows = [*ROWS, Sample("NA", "007, 8.png", "extra", "null", "", "1e5")]
    manifest = Manifest.from_samples(rows)
    (tmp_path / "m.csv").write_text(manifest.to_csv(), encoding="utf-8")
    back = Manifest.read_csv(tmp_path / "m.csv")
    assert [Sample(*row) for row in back.table.itertuples(index=False)] == rows


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("id,path,label\na,b,c\n", "lacks split"),
        ("id,path,split,label\na,b,valid,c\n", "row 2, split 'valid': split is train, extra or test"),
        ("", "a table needs a header"),
        ("id,id,path,split,label\nx,a,b,test,\n", "m.csv has 'id' more than once"),
        ("id,path,split,label,label\na,b,train,c,d\n", "m.csv has 'label' more than once"),
        ("id,path,split,label,group,group \na,b,train,c,d,e\n", "m.csv has 'group' more than once"),
    ],
)
def test_a_faulty_manifest_file_is_refused(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "m.csv").write_text(content)
    with pytest.raises(InputError) as error:
        Manifest.read_csv(tmp_path / "m.csv")
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        (".DS_Store", True),
        ("train/Thumbs.db", True),
        ("__MACOSX/train/a.jpg", True),
        ("train/._a.jpg", True),
        ("train/a.jpg", False),
    ],
)
def test_litter_of_operating_systems_is_known(path: str, ignored: bool) -> None:
    assert is_ignored(path) is ignored
