"""Boxes of the tables of [data], and what is said against those that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from comp.data.competitions.competition import Competition
from comp.data.competitions.data_facts import DataFacts
from comp.data.competitions.facts import CompetitionConfig
from comp.data.competitions.row_boxes import RowBoxes, joined_boxes, with_tiles
from comp.data.csv_table import Table, parse_table
from comp.data.images.boxes import BoxSource, split_box
from comp.data.manifest import Manifest, Sample
from comp.errors import InputError
from comp.files import parse_toml
from made_boxes import BY_COCO, BY_TABLE, make_boxes


def fragments(text: str, **keys: Any) -> list[str]:
    """The boxes of a table of CSV by keys of [data]."""
    table = parse_table(text.encode(), "train.csv")
    data = DataFacts(table="train.csv", id="id", images="{id}.jpg", **keys)

    def column(of: Table, name: str, key: str) -> list[str]:
        return of.column(name)

    return RowBoxes(data, column).fragments(table, table.column("id"))


FOUR = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("cells", "keys", "wanted"),
    [
        ("10,20,30,40", {}, "#xywh=10,20,30,40&margin=0.1"),
        ("10,20,40,60", {"box_format": "xyxy", "box_margin": 0}, "#xywh=10,20,30,40"),
        ("25,40,30,40", {"box_format": "cxcywh", "box_margin": 0}, "#xywh=10,20,30,40"),
        (
            "0.25,0.5,0.5,0.25",
            {"box_unit": "fractions", "box_margin": 0.5},
            "#xywh=percent:25,50,50,25&margin=0.5",
        ),
        (
            "0.5,0.5,0.5,1",
            {"box_unit": "fractions", "box_format": "cxcywh", "box_margin": 0},
            "#xywh=percent:25,0,50,100",
        ),
        ("-1.5,0,1e2,7", {"box_margin": 0}, "#xywh=-1.5,0,100,7"),
    ],
)
def test_formats_and_units(cells: str, keys: dict[str, Any], wanted: str) -> None:
    assert fragments(f"id,a,b,c,d\nx,{cells}\n", box=FOUR, **keys) == [wanted]


@pytest.mark.parametrize(
    "cell", ['"[10, 20, 30, 40]"', "10 20 30 40", "10|20|30|40", '"(10,20,30,40)"', "10;20;30;40"]
)
def test_one_column_with_four_numbers(cell: str) -> None:
    assert fragments(f"id,bbox\nx,{cell}\n", box="bbox", box_margin=0) == ["#xywh=10,20,30,40"]


@pytest.mark.parametrize(
    ("cells", "keys"),
    [
        ("nan,1,2,3", {}),
        ("inf,1,2,3", {}),
        (",1,2,3", {}),
        ("left,1,2,3", {}),
        ("10,20,0,5", {}),
        ("10,20,5,-5", {}),
        ("10,20,5,25", {"box_format": "xyxy"}),
        ("10,20,30,20", {"box_format": "xyxy"}),
    ],
)
def test_what_is_no_box_is_refused_with_table_row_and_value(cells: str, keys: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="a box is four finite numbers") as refused:
        fragments(f"id,a,b,c,d\nu,10,20,30,40\nx,{cells}\ny,{cells}\n", box=FOUR, **keys)
    assert f"train.csv, row 3, 'x': a, b, c, d = {cells.replace(',', ', ')}" in refused.value.value
    assert "(and 1 more rows)" in refused.value.value


def test_one_column_with_another_number_of_numbers_is_refused() -> None:
    with pytest.raises(InputError, match="a box is four finite numbers"):
        fragments('id,bbox\nx,"[1, 2, 3]"\n', box="bbox")


def test_units_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match='box_unit = "fractions"'):
        fragments("id,a,b,c,d\nx,0.1,0.2,0.3,0.4\n", box=FOUR)
    with pytest.raises(InputError, match='box_unit = "pixels"'):
        fragments("id,a,b,c,d\nx,10,20,30,40\n", box=FOUR, box_unit="fractions")


def test_the_size_that_a_box_was_drawn_on() -> None:
    text = "id,a,b,c,d,w,h\nx,1,2,3,4,640,480\n"
    assert fragments(text, box=FOUR, box_of=["w", "h"], box_margin=0) == ["#xywh=1,2,3,4&of=640x480"]
    with pytest.raises(InputError, match="whole numbers above zero"):
        fragments(text.replace("480", "0"), box=FOUR, box_of=["w", "h"])


def test_rows_to_predict_have_one_box_each() -> None:
    ids, paths = ["7.jpg", "8"], ["t/7.jpg", "t/8.jpg"]
    assert joined_boxes(ids, paths, ["8", "7"], ["#b", "#a"], "test.csv") == ["t/7.jpg#a", "t/8.jpg#b"]
    with pytest.raises(InputError, match="a row to predict has one box"):
        joined_boxes(ids, paths, ["7"], ["#a"], "test.csv")
    with pytest.raises(InputError, match="'8' has #b, #c"):
        joined_boxes(ids, paths, ["7", "8", "8"], ["#a", "#b", "#c"], "test.csv")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"table": "t.csv", "box": ["a", "b"]}, "four columns, or one"),
        ({"table": "t.csv", "box": ["a", "b", "c", "a"]}, "twice"),
        ({"table": "t.csv", "box_view": "both"}, "add `box`"),
        ({"table": "t.csv", "box_margin": 0.2}, "add `box`"),
        ({"images": "t/*.jpg", "box": "a"}, "add `table`"),
        ({"shards": "t.tar", "table": "t.csv", "box": "a"}, "unpack the shards"),
        ({"table": "t.csv", "box": "a", "box_view": "both", "features": ["x"]}, "features"),
        ({"table": "t.csv", "box": "a", "box_view": "both", "row": "r"}, "drop row"),
        ({"table": "t.csv", "box": "a", "box_margin": -1}, "box_margin"),
        ({"table": "t.csv", "box": "a", "box_of": ["w", "h"], "box_unit": "fractions"}, "box_of"),
        ({"test_coco": "t.json"}, "add `coco`"),
        ({"coco": "t.json", "table": "t.csv"}, "drop table"),
        ({"coco": "t.json", "box": "x"}, "drop box"),
        ({"coco": "t.json", "box_format": "xyxy"}, "drop box_format"),
        ({"coco": "t.json", "test_coco": "u.json", "test_table": "u.csv"}, "drop test_table"),
    ],
)
def test_keys_that_contradict_each_other(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        DataFacts(**keys)


def test_coco_stands_for_its_table_and_can_be_read_again() -> None:
    facts = DataFacts(coco="a.json", test_coco="b.json")
    assert (facts.table, facts.test_table) == ("a.json", "b.json")
    assert (facts.id, facts.label, facts.box) == ("annotation_id", "category_name", ("bbox",))
    assert DataFacts(**facts.model_dump()) == facts
    assert DataFacts(table="a.csv") == DataFacts(**DataFacts(table="a.csv").model_dump())


@pytest.mark.parametrize("more", [{"pairs": "position"}, {"images": {"columns": ["x"], "range": [0, 1]}}])
def test_facts_that_go_without_boxes(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="boxes"):
        CompetitionConfig(slug="a", title="a", data={"table": "t.csv", "box": "b"}, **more)


def competition(
    folder: Path, text: str, change: Callable[[dict[str, Any]], Any] | None = None
) -> Competition:
    table = {"slug": "spots", "title": "spots", **parse_toml(text)}
    if change:
        change(table["data"])
    return Competition(folder, CompetitionConfig(**table))


def test_the_table_and_coco_give_the_same_rows(tmp_path: Path) -> None:
    labelled, asked = make_boxes(tmp_path / "raw", 4, 2)
    by_table = competition(tmp_path, BY_TABLE).read(tmp_path / "raw")
    by_coco = competition(tmp_path, BY_COCO).read(tmp_path / "raw")
    for one in (by_table, by_coco):
        assert list(one.train["id"]) == [spot.id for spot in labelled]
        assert list(one.train["label"]) == [spot.shape for spot in labelled]
        assert list(one.test["id"]) == [spot.id for spot in asked]
    paths = [f"train/{s.file}#xywh={s.box[0]},{s.box[1]},24,24&margin=0.1" for s in labelled]
    assert list(by_table.train["path"]) == paths
    assert list(by_coco.train["path"]) == [f"{path}&of=96x96" for path in paths]
    assert isinstance(competition(tmp_path, BY_COCO).source(tmp_path / "raw"), BoxSource)


def test_boxes_that_share_an_id_are_named_after_both(tmp_path: Path) -> None:
    make_boxes(tmp_path / "raw", 4, 2)
    found = competition(tmp_path, BY_TABLE, lambda data: data.update(id="file", box_margin=0))
    template = (tmp_path / "raw" / "sample_submission.csv").read_text().splitlines()[:2]
    (tmp_path / "raw" / "test.csv").write_text("file,x,y,w,h\nq000.png,1,2,30,40\n")
    (tmp_path / "raw" / "sample_submission.csv").write_text(f"{template[0]}\nq000.png,bar\n")
    manifest = found.read(tmp_path / "raw")
    first = manifest.train.iloc[0]
    assert first["id"] == f"p000.png{first['path'].removeprefix('train/p000.png')}"
    assert manifest.train["id"].is_unique
    assert list(manifest.test["path"]) == ["test/q000.png#xywh=1,2,30,40"]
    assert any("share their id" in note for note in manifest.notes)


def test_several_boxes_of_one_answer(tmp_path: Path) -> None:
    _, asked = make_boxes(tmp_path / "raw", 4, 2)
    lines = (tmp_path / "raw" / "train.csv").read_text().splitlines()
    one_label = [lines[0], *(f"{line.rpartition(',')[0]},bar" for line in lines[1:])]
    (tmp_path / "raw" / "train.csv").write_text("\n".join(one_label) + "\n")
    (tmp_path / "raw" / "sample_submission.csv").write_text("id,shape\nq000.png,bar\nq001.png,bar\n")
    found = competition(tmp_path, BY_TABLE, lambda data: data.update(row="file"))
    manifest = found.read(tmp_path / "raw")
    assert list(manifest.train["id"]) == ["p000.png", "p001.png", "p002.png", "p003.png"]
    assert list(manifest.test["id"]) == ["q000.png", "q001.png"]
    boxes = [f"test/{s.file}#xywh={s.box[0]},{s.box[1]},24,24&margin=0.1" for s in asked]
    assert "\n".join(manifest.test["images"]).split("\n") == boxes


def test_an_adapter_that_reads_rows_and_boxes_of_facts(tmp_path: Path) -> None:
    make_boxes(tmp_path / "raw", 4, 2)
    (tmp_path / "adapter.py").write_text("def read(raw):\n    raise NotImplementedError\n")
    with pytest.raises(InputError, match=r"boxes are read by \[data\] alone"):
        competition(tmp_path, BY_TABLE).read(tmp_path / "raw")


def test_crop_and_whole_image_are_two_images_of_a_row(tmp_path: Path) -> None:
    labelled, _ = make_boxes(tmp_path / "raw", 4, 2, rows=1)
    both = competition(tmp_path, BY_TABLE, lambda data: data.update(box_view="both"))
    manifest: Manifest = both.read(tmp_path / "raw")
    assert list(manifest.train["id"]) == [spot.id for spot in labelled]
    crop, whole = manifest.train["images"].iloc[0].split("\n")
    assert crop == f"{whole}#xywh={labelled[0].box[0]},{labelled[0].box[1]},24,24&margin=0.1"
    assert whole == "train/p000.png"
    make_boxes(tmp_path / "raw", 4, 2)
    with pytest.raises(InputError, match="one box an image"):
        both.read(tmp_path / "raw")


def test_rows_to_predict_without_boxes_are_refused(tmp_path: Path) -> None:
    make_boxes(tmp_path / "raw", 4, 2)
    path = tmp_path / "raw" / "test.csv"
    path.write_text("\n".join(",".join(line.split(",")[:2]) for line in path.read_text().splitlines()))
    with pytest.raises(InputError, match=r"box = 'x': test\.csv has no 'x'"):
        competition(tmp_path, BY_TABLE).read(tmp_path / "raw")
    alone = competition(tmp_path, BY_COCO, lambda data: data.pop("test_coco"))
    with pytest.raises(InputError, match="rows to predict have their boxes"):
        alone.read(tmp_path / "raw")
    (tmp_path / "raw" / "sample_submission.csv").unlink()
    text = BY_COCO.partition("[template]")[0]
    for more in ({"test_images": "test/*.png"}, {"row": "file_name", "test_images": "test/*.png"}):
        unasked = competition(
            tmp_path, text, lambda data, more=more: (data.pop("test_coco"), data.update(more))
        )
        with pytest.raises(InputError, match="rows to predict have their boxes"):
            unasked.read(tmp_path / "raw")


def test_the_template_may_have_the_boxes(tmp_path: Path) -> None:
    make_boxes(tmp_path / "raw", 4, 2)
    (tmp_path / "raw" / "test.csv").unlink()
    (tmp_path / "raw" / "sample_submission.csv").write_text("id,shape,x,y,w,h\nq001,bar,1,2,30,40\n")

    def change(data: dict[str, Any]) -> None:
        data.pop("test_table")
        data["test_images"] = "test/{id}.png"

    manifest = competition(tmp_path, BY_TABLE, change).read(tmp_path / "raw")
    assert list(manifest.test["path"]) == ["test/q001.png#xywh=1,2,30,40&margin=0.1"]


def test_boxes_of_coco_and_rows_to_predict_of_a_table(tmp_path: Path) -> None:
    _, asked = make_boxes(tmp_path / "raw", 4, 2)

    def change(data: dict[str, Any]) -> None:
        data.pop("test_coco")
        data |= {"test_table": "test.csv", "test_box": ["x", "y", "w", "h"], "images": "train/{file_name}"}
        data["test_images"] = "test/{file}"

    manifest = competition(tmp_path, BY_COCO, change).read(tmp_path / "raw")
    assert list(manifest.test["id"]) == [spot.id for spot in asked]
    first = asked[0]
    assert (
        manifest.test["path"]
        .iloc[0]
        .startswith(f"test/{first.file}#xywh={first.box[0]},{first.box[1]},24,24")
    )


Change = Callable[[dict[str, Any]], Any]
FAULTS: list[tuple[Change, str]] = [
    (lambda d: d["annotations"][3].update(iscrowd=1), "not of a crowd"),
    (lambda d: d["images"][1].pop("file_name"), "has a file_name"),
    (lambda d: d["annotations"].append(d["annotations"][0]), "one annotation's"),
    (lambda d: d["images"].append(d["images"][0]), "one image's"),
    (lambda d: d["images"].append({**d["images"][0], "id": 99}), "file_name of its own"),
    (lambda d: d["categories"].append(d["categories"][0]), "one category's"),
    (lambda d: d["annotations"][3].update(image_id=999), "an image of its file"),
    (lambda d: d["annotations"][3].update(category_id=999), "a category of its file"),
    (lambda d: d["annotations"][3].pop("category_id"), "a category of its file"),
    (lambda d: d["annotations"][3].pop("bbox"), "bbox of four numbers"),
    (lambda d: d["annotations"][3].update(bbox=[1, 2, 3]), "bbox of four numbers"),
    (lambda d: d["annotations"][3].update(bbox=[1, 2, 3, float("nan")]), "bbox of four numbers"),
    (lambda d: d["annotations"][3].update(bbox=[1, 2, 0, 3]), "train.json, annotation 4"),
    (lambda d: d["annotations"][3].pop("id"), "has an id"),
    (lambda d: d.pop("images"), "no list of images"),
    (lambda d: d.update(annotations={}), "no list of annotations"),
    (lambda d: d.update(annotations=[]), "no annotations"),
]


@pytest.mark.parametrize(("fault", "told"), FAULTS, ids=[told for _, told in FAULTS])
def test_faults_of_a_coco_file_are_said_in_a_line(tmp_path: Path, fault: Change, told: str) -> None:
    raw = tmp_path / "raw"
    make_boxes(raw, 4, 2)
    document = json.loads((raw / "train.json").read_text())
    fault(document)
    (raw / "train.json").write_text(json.dumps(document))
    with pytest.raises(InputError) as refused:
        competition(tmp_path, BY_COCO).read(raw)
    assert told in f"{refused.value.rule} {refused.value.value}"
    assert "\n" not in refused.value.value


def test_images_without_an_annotation_are_told(tmp_path: Path) -> None:
    make_boxes(tmp_path / "raw", 4, 2)
    document = json.loads((tmp_path / "raw" / "train.json").read_text())
    document["annotations"] = document["annotations"][3:]
    (tmp_path / "raw" / "train.json").write_text(json.dumps(document))
    manifest = competition(tmp_path, BY_COCO).read(tmp_path / "raw")
    assert len(manifest.train) == 9
    assert "1 images of train.json have no annotation: no row is of them" in manifest.notes


def test_a_json_that_is_no_coco(tmp_path: Path) -> None:
    make_boxes(tmp_path / "raw", 4, 2)
    for text, told in (("[1, 2]", "no list of images"), ('{"images": [', "readable")):
        (tmp_path / "raw" / "train.json").write_text(text)
        with pytest.raises(InputError, match=told):
            competition(tmp_path, BY_COCO).read(tmp_path / "raw")


@given(st.integers(1, 8), st.integers(1, 8), st.floats(0, 0.5))
def test_tiles_are_of_one_size_and_cover_the_image(down: int, across: int, overlap: float) -> None:
    images = with_tiles([Sample("a", "a.png", "train", "x")], (down, across), overlap)
    assert {(one.row, one.label, one.id == one.path) for one in images} == {("a", "x", True)}
    boxes = [box for one in images if (box := split_box(one.path)[1])]
    assert len(boxes) == down * across == len({one.path for one in images})
    for first, length, count in (("left", "width", across), ("top", "height", down)):
        starts = sorted({round(getattr(box, first), 5) for box in boxes})
        (size,) = {getattr(box, length) for box in boxes}
        assert len(starts) == count
        assert (starts[0], starts[-1] + size) == pytest.approx((0, 100), abs=1e-4)
        assert np.diff(starts) == pytest.approx(np.full(count - 1, size * (1 - overlap)), abs=1e-4)
