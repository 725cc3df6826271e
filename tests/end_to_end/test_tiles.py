"""Images cut into tiles: each is an image of its row, and what shows nothing is no copy of anything."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from made import run_comp
from made_arrays import write_competition
from made_boxes import draw_in_a_tile

FACTS = """metric = "accuracy"
classes = "discover"
[template]
file = "sample.csv"
kind = "label"
id = "id"
target = "shape"
[data]
table = "train.csv"
id = "id"
label = "shape"
images = "train/{id}"
test_images = "test/{id}"
tiles = [2, 2]
"""


def make(raw: Path) -> dict[str, str]:
    """The truth of the rows to predict."""
    rng = np.random.default_rng(3)
    train = draw_in_a_tile(raw / "train", [f"a{n:02}.png" for n in range(60)], rng)
    test = draw_in_a_tile(raw / "test", [f"b{n:02}.png" for n in range(24)], rng)
    rows = "".join(f"{name},{shape}\n" for name, shape in train.items())
    (raw / "train.csv").write_text(f"id,shape\n{rows}")
    (raw / "sample.csv").write_text("id,shape\n" + "".join(f"{name},bar\n" for name in reversed(test)))
    return test


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_row_of_tiles_from_the_raw_folder_to_a_csv(tmp_path: Path) -> None:
    write_competition(tmp_path, "tiled", FACTS)
    truth = make(tmp_path / "data" / "tiled")
    done = run_comp(tmp_path, "run", "tiled", "--folds", "3", "--json")
    assert done.code == 0, done.err
    run = tmp_path / "runs" / done.json["run"]
    images = [row for row in table(run / "manifest.csv") if row["split"] == "train"]
    assert len(images) == 4 * 60
    assert len({row["row"] for row in images}) == 60
    assert [row["path"].partition("#")[2] for row in images[:4]] == [
        f"xywh=percent:{left},{top},50,50" for top in (0, 50) for left in (0, 50)
    ]
    oof = table(run / "oof.csv")
    assert len(oof) == 60
    right = sum(row["answer"] == row["label"] for row in oof) / 60
    assert done.json["oof"]["score"] == pytest.approx(right, abs=1e-12)
    (path,) = (tmp_path / "submissions" / "tiled").glob("*.csv")
    given = {row["id"]: row["shape"] for row in table(path)}
    assert list(given) == list(reversed(truth))
    assert sum(given[one] == truth[one] for one in truth) / len(truth) > 0.9
    assert right > 0.9
    again = run_comp(tmp_path, "predict", "latest", "--out", tmp_path / "again.csv")
    assert again.code == 0, again.err
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()


def test_white_tiles_are_no_copies_and_white_rows_are_told(tmp_path: Path) -> None:
    write_competition(tmp_path, "tiled", FACTS)
    raw = tmp_path / "data" / "tiled"
    make(raw)
    done = run_comp(tmp_path, "check", "tiled", "--json")
    assert (done.code, done.json["findings"]) == (0, []), done.err
    (raw / "train" / "a07.png").write_bytes(_white(raw))
    found = run_comp(tmp_path, "check", "tiled", "--json").json["findings"]
    told = {one["check"]: one["examples"] for one in found}
    assert set(told) == {"blank-image", "stale-folds"}, "the folds were of the image that it was"
    assert {path.partition("#")[0] for path in told["blank-image"]} == {"train/a07.png"}


def _white(raw: Path) -> bytes:
    from PIL import Image

    Image.new("RGB", (96, 96), "white").save(raw / "white.png")
    content = (raw / "white.png").read_bytes()
    (raw / "white.png").unlink()
    return content


def test_a_run_predicts_with_the_tiles_that_it_began_with(tmp_path: Path) -> None:
    write_competition(tmp_path, "tiled", FACTS)
    make(tmp_path / "data" / "tiled")
    assert run_comp(tmp_path, "run", "tiled", "--folds", "2", "--quick").code == 0
    facts = tmp_path / "competitions" / "tiled" / "competition.toml"
    facts.write_text(facts.read_text().replace("[2, 2]", "[3, 2]"))
    told = run_comp(tmp_path, "predict", "latest", "--out", tmp_path / "again.csv")
    assert (told.code, (tmp_path / "again.csv").exists()) == (1, False), told.err
    assert "began with tiles = [2, 2]" in told.err
    assert "has tiles = [3, 2]" in told.err


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ("tiles = [2]", "tiles is rows and columns"),
        ("tiles = [1, 1]", "tiles is rows and columns"),
        ("tiles = [2, 0]", "tiles is rows and columns"),
        ("tiles = [9, 9]", "2 to 64 tiles"),
        ("tile_overlap = 0.2", "add `tiles`"),
        ("tiles = [2, 2]\ntile_overlap = 0.9", "less than or equal to 0.5"),
        ('tiles = [2, 2]\nbox = ["a", "b", "c", "d"]', "drop box, or tiles"),
        ('tiles = [2, 2]\nfeatures = ["age"]', "drop features, or tiles"),
    ],
)
def test_what_is_no_tiles_is_refused(tmp_path: Path, facts: str, told: str) -> None:
    write_competition(tmp_path, "tiled", FACTS.replace("tiles = [2, 2]", facts))
    make(tmp_path / "data" / "tiled")
    done = run_comp(tmp_path, "check", "tiled")
    assert done.code == 2
    assert told in done.err
