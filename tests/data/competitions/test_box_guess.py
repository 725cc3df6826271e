"""What a raw folder says of boxes: proposed where they tell rows apart, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comp.data.competitions.from_folder.guess import propose
from made import run_comp
from made_boxes import make_boxes


def proposed(raw: Path) -> dict[str, Any]:
    """[data] of a folder."""
    return dict(propose(raw).table()["data"])


def test_columns_of_boxes(tmp_path: Path) -> None:
    make_boxes(tmp_path, 8, 4)
    for name in ("train.json", "test.json"):
        (tmp_path / name).unlink()
    data = proposed(tmp_path)
    assert data["box"] == ["x", "y", "w", "h"]
    assert data["box_format"] == "xywh"
    assert "box_unit" not in data
    assert data["images"] == "train/{file}"
    for name in ("train.csv", "test.csv"):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text.replace("x,y,w,h", "xmin,ymin,xmax,ymax", 1))
    assert proposed(tmp_path)["box_format"] == "xyxy"


def test_fractions_are_seen(tmp_path: Path) -> None:
    make_boxes(tmp_path, 8, 4)
    for name in ("train.json", "test.json"):
        (tmp_path / name).unlink()
    for name in ("train.csv", "test.csv"):
        head, *lines = (tmp_path / name).read_text().splitlines()
        rows = [line.split(",") for line in lines]
        cells = [[*row[:2], *(str(int(v) / 96) for v in row[2:6]), *row[6:]] for row in rows]
        (tmp_path / name).write_text("\n".join([head, *map(",".join, cells)]) + "\n")
    assert proposed(tmp_path)["box_unit"] == "fractions"


def test_coco_with_and_without_a_template(tmp_path: Path) -> None:
    make_boxes(tmp_path, 8, 4)
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).unlink()
    assert proposed(tmp_path) == {"coco": "train.json", "test_coco": "test.json"}
    (tmp_path / "sample_submission.csv").unlink()
    assert proposed(tmp_path) == {"coco": "train.json", "test_coco": "test.json"}


def test_categories_by_number_where_the_template_has_numbers(tmp_path: Path) -> None:
    _, asked = make_boxes(tmp_path, 8, 4)
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).unlink()
    rows = "".join(f"{one.id},{11 + n % 3}\n" for n, one in enumerate(asked))
    (tmp_path / "sample_submission.csv").write_text(f"id,category_id\n{rows}")
    data = proposed(tmp_path)
    assert data["coco"] == "train.json"
    assert data["label"] == "category_id"


def test_no_boxes_are_proposed_where_rows_are_of_whole_images(tmp_path: Path) -> None:
    make_boxes(tmp_path / "one", 8, 4, rows=1)
    for name in ("train.json", "test.json"):
        (tmp_path / "one" / name).unlink()
    assert "box" not in proposed(tmp_path / "one")


def test_no_boxes_are_proposed_where_rows_to_predict_have_none(tmp_path: Path) -> None:
    make_boxes(tmp_path, 8, 4)
    for name in ("train.json", "test.json"):
        (tmp_path / name).unlink()
    path = tmp_path / "test.csv"
    path.write_text("".join(",".join(line.split(",")[:2]) + "\n" for line in path.read_text().splitlines()))
    assert "box" not in proposed(tmp_path)


def test_a_new_competition_reads_its_folder_and_speaks_of_no_sample(tmp_path: Path) -> None:
    make_boxes(tmp_path / "raw", 8, 4)
    for name in ("train.csv", "test.csv"):
        (tmp_path / "raw" / name).unlink()
    made = run_comp(tmp_path, "new", "spots", "--from", tmp_path / "raw", "--metric", "accuracy")
    assert made.code == 0, made.err
    folder = tmp_path / "competitions" / "spots"
    assert 'coco = "train.json"' in (folder / "competition.toml").read_text()
    assert "--sample" not in (folder / "README.md").read_text()
    looked = run_comp(tmp_path, "check", "spots", "--data", tmp_path / "raw", "--folds", "2")
    assert looked.code == 0, looked.err
    drawn = run_comp(tmp_path, "data", "spots", "--sample", "--data", tmp_path / "sample")
    assert drawn.code == 2
    assert "[data] box" in drawn.err
