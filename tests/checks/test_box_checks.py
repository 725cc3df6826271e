"""Checks of rows that are of boxes: planted faults are found, and a clean set is silent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comp.checks.image_scan import scan
from comp.data.images.boxes import BoxSource
from comp.data.images.raw_tree import RawTree
from made import Outcome, run_comp
from made_arrays import write_competition
from made_boxes import BY_COCO, BY_TABLE, make_boxes

OURS = {"box-outside", "shared-photograph", "unreadable-image", "missing-file", "group-across-folds"}


def checked(folder: Path, facts: str = BY_TABLE) -> dict[str, dict[str, Any]]:
    """The findings by check, of the raw folder ``folder/data/spots``."""
    if not (folder / "competitions").exists():
        write_competition(folder, "spots", facts)
    done: Outcome = run_comp(folder, "check", "spots", "--folds", "2", "--json")
    return {one["check"]: one for one in done.json["findings"]}


def change(path: Path, line: int, column: int, cell: str) -> None:
    """Writes a cell of a table of CSV."""
    rows = [row.split(",") for row in path.read_text().splitlines()]
    rows[line][column] = cell
    path.write_text("\n".join(map(",".join, rows)) + "\n")


@pytest.mark.parametrize("facts", [BY_TABLE, BY_COCO])
def test_a_clean_set_is_silent(tmp_path: Path, facts: str) -> None:
    make_boxes(tmp_path / "data" / "spots", 8, 4)
    assert not OURS & set(checked(tmp_path, facts))


@pytest.mark.parametrize("margin", ["0", "0.1", "1.5"])
def test_boxes_that_reach_out_of_their_image(tmp_path: Path, margin: str) -> None:
    raw = tmp_path / "data" / "spots"
    labelled, _ = make_boxes(raw, 8, 4)
    change(raw / "train.csv", 1, 2, "84")  # 12 of 24 columns lie beyond 96
    change(raw / "train.csv", 1, 3, "-6")  # and 6 of 24 rows above: 37.5 % are in it
    change(raw / "test.csv", 1, 3, "74")  # 2 of 24 rows: under a tenth
    found = checked(tmp_path, BY_TABLE.replace("[data]", f"[data]\nbox_margin = {margin}"))["box-outside"]
    assert found["severity"] == "warning"
    assert found["count"] == 1
    assert f"train/{labelled[0].file}#xywh=84,-6,24,24" in found["examples"][0]
    assert found["message"].endswith("with 62%")


def test_fractions_that_reach_out_of_their_image(tmp_path: Path) -> None:
    raw = tmp_path / "data" / "spots"
    make_boxes(raw, 8, 4)
    for name in ("train.csv", "test.csv"):
        lines = [line.split(",") for line in (raw / name).read_text().splitlines()]
        cells = [[*row[:2], *(str(int(v) / 96) for v in row[2:6]), *row[6:]] for row in lines[1:]]
        (raw / name).write_text("\n".join(map(",".join, [lines[0], *cells])) + "\n")
    change(raw / "train.csv", 1, 2, str(84 / 96))
    found = checked(tmp_path, BY_TABLE.replace("[data]", '[data]\nbox_unit = "fractions"'))
    assert found["box-outside"]["message"].endswith("with 50%")


def test_a_box_with_nothing_in_its_image_is_an_error(tmp_path: Path) -> None:
    raw = tmp_path / "data" / "spots"
    make_boxes(raw, 8, 4)
    change(raw / "test.csv", 1, 2, "96")
    found = checked(tmp_path)["unreadable-image"]
    assert found["severity"] == "error"
    assert "nothing of it lies in 96 x 96 pixels" in found["message"]
    assert "the boxes" in found["remedy"]


def test_a_photograph_of_another_size_than_coco_says(tmp_path: Path) -> None:
    raw = tmp_path / "data" / "spots"
    labelled, _ = make_boxes(raw, 8, 4)
    path = raw / "train" / labelled[0].file
    with Image.open(path) as image:
        image.resize((48, 48)).save(path)
    found = checked(tmp_path, BY_COCO)["unreadable-image"]
    assert found["count"] == 3
    assert "drawn on 96 x 96 pixels, the image has 48 x 48" in found["message"]


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    raw = tmp_path / "data" / "spots"
    labelled, _ = make_boxes(raw, 8, 4)
    (raw / "train" / labelled[0].file).unlink()
    found = checked(tmp_path)
    assert found["missing-file"]["count"] == 3
    assert "unreadable-image" not in found


def test_a_box_twice_is_one_image_twice(tmp_path: Path) -> None:
    raw = tmp_path / "data" / "spots"
    make_boxes(raw, 8, 4)
    lines = (raw / "train.csv").read_text().splitlines()
    (raw / "train.csv").write_text("\n".join([*lines, "9999," + lines[1].partition(",")[2]]) + "\n")
    assert checked(tmp_path)["duplicate-path"]["count"] == 2


def test_photographs_with_boxes_in_train_and_test(tmp_path: Path) -> None:
    raw = tmp_path / "data" / "spots"
    _, asked = make_boxes(raw, 8, 4)
    facts = BY_TABLE.replace('"train/{file}"', '"*/{file}"').replace('"test/{file}"', '"*/{file}"')
    change(raw / "test.csv", 1, 1, "p000.png")
    found = checked(tmp_path, facts)["shared-photograph"]
    assert found["severity"] == "warning"
    assert found["count"] == 1
    assert found["examples"][0].startswith("train/p000.png#xywh=")
    assert "of 12 test rows" in found["message"], asked


def test_a_photograph_stays_in_one_fold(tmp_path: Path) -> None:
    raw = tmp_path / "data" / "spots"
    labelled, _ = make_boxes(raw, 8, 4)
    assert not OURS & set(checked(tmp_path))
    kept = json.loads(run_comp(tmp_path, "run", "spots", "--folds", "2", "--json").out)
    lines = (tmp_path / "runs" / kept["run"] / "folds.csv").read_text().splitlines()
    fold = dict(line.split(",")[:2] for line in lines[1:])
    assert all(
        len({fold[one.id] for one in labelled if one.file == file}) == 1
        for file in {one.file for one in labelled}
    )
    torn = tmp_path / "torn.csv"
    torn.write_text("id,fold\n" + "".join(f"{one.id},{n % 2}\n" for n, one in enumerate(labelled)))
    done = run_comp(tmp_path, "check", "spots", "--folds", torn, "--json")
    assert done.code == 1
    (found,) = [one for one in done.json["findings"] if one["check"] == "group-across-folds"]
    assert found["count"] == 8


def test_crops_are_kept_as_decoded_and_told_apart_by_their_shape(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), (9, 9, 9)).save(tmp_path / "a.png")
    source = BoxSource(RawTree(tmp_path))
    paths = ["a.png#xywh=0,0,4,9", "a.png#xywh=0,0,9,4", "a.png#xywh=1,1,4,9"]
    kept: dict[str, tuple[int, ...]] = {}
    found = scan(source, tmp_path, paths, keep=lambda content, pixels: kept.update({content: pixels.shape}))
    files = found.files(paths)
    assert [kept[files[path]] for path in paths] == [(9, 4, 3), (4, 9, 3), (9, 4, 3)]
    assert files[paths[0]] == files[paths[2]] != files[paths[1]]
    assert found[paths[0]].kind == "crop"


def test_a_look_is_remembered_until_the_file_or_the_box_changes(tmp_path: Path) -> None:
    raw, kept = tmp_path / "raw", tmp_path / "kept"
    raw.mkdir()
    Image.new("RGB", (40, 40), (9, 9, 9)).save(raw / "a.png")
    source = BoxSource(RawTree(raw))
    assert scan(source, raw, ["a.png#xywh=0,0,4,9"], kept).decoded == 1
    assert scan(source, raw, ["a.png#xywh=0,0,4,9"], kept).decoded == 0
    wider = scan(source, raw, ["a.png#xywh=0,0,4,9&margin=0.5"], kept)
    assert wider.decoded == 1
    assert (
        wider["a.png#xywh=0,0,4,9&margin=0.5"].width == 9
    )  # 4, and 5 more on the right: half of 9, rounded up
