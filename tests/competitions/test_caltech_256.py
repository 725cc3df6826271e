"""Caltech-256: number order, clutter, odd image kinds, and a hold-out that stays where it is."""

from __future__ import annotations

import os
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comp.data.competitions.competition import Competition, sound_competitions
from comp.data.folds import make_folds
from comp.data.images.decode import load_pixels
from comp.workspace import Workspace

Find = Callable[[str], Competition]
FOLDER = "256_ObjectCategories"


@pytest.fixture
def raw(samples: Callable[[str], Path], tmp_path: Path) -> Path:
    """A sample of one's own."""
    shutil.copytree(samples("caltech-256"), tmp_path / "caltech")
    return tmp_path / "caltech"


def test_classes_are_in_number_order_without_clutter(raw: Path, competition: Find) -> None:
    caltech = competition("caltech-256")
    (raw / FOLDER / "003.cross").rename(
        raw / FOLDER / "3.cross"
    )  # without leading zeros text order would be another
    manifest = caltech.read(raw)
    names = caltech.label_map(manifest, raw).names
    assert names == ("001.ring", "002.bar", "3.cross", "010.square", "011.frame", "101.disc")
    assert "20 images of clutter left out" in manifest.notes


def test_clutter_is_a_class_where_an_overlay_asks_for_it(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "competitions" / "clutter"
    folder.mkdir(parents=True)
    (folder / "competition.toml").write_text(
        'extends = "caltech-256"\nslug = "with-clutter"\noptions.clutter = true\n'
    )
    found = sound_competitions(Workspace(tmp_path))
    manifest = found["with-clutter"].read(raw)
    assert found["with-clutter"].label_map(manifest, raw).names[-1] == "257.clutter"
    assert len(manifest) == 140
    assert len(found["caltech-256"].read(raw)) == 120
    answers = found["with-clutter"].adapter.answers(raw)
    assert set(answers) == set(manifest.test["id"])
    assert "257.clutter" in answers.values()


def test_the_tar_reads_as_the_folder_does(raw: Path, tmp_path: Path, competition: Find) -> None:
    packed = tmp_path / "packed"
    packed.mkdir()
    with tarfile.open(packed / f"{FOLDER}.tar", "w") as tar:
        tar.add(raw / FOLDER, FOLDER)
    caltech = competition("caltech-256")
    assert caltech.missing(packed) == []
    one, other = caltech.read(raw), caltech.read(packed)
    assert one.table.equals(other.table)
    assert caltech.adapter.answers(raw) == caltech.adapter.answers(packed)
    for path in one.table["path"][::7]:
        assert np.array_equal(
            load_pixels(caltech.source(raw), path), load_pixels(caltech.source(packed), path)
        )


def test_neither_copying_order_nor_another_folder_name_moves_anything(
    raw: Path, tmp_path: Path, competition: Find
) -> None:
    caltech = competition("caltech-256")
    before = caltech.read(raw)
    files = [path for path in raw.rglob("*") if path.is_file()]
    random.Random(3).shuffle(files)
    copy = tmp_path / "Another Name"
    for path in files:
        to = copy / path.relative_to(raw)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)
        os.utime(to, (1, 1))
    after = caltech.read(copy)
    assert after.table.equals(before.table)
    assert make_folds(after, 3).to_csv() == make_folds(before, 3).to_csv()


def test_the_hold_out_does_not_move_when_files_come_or_go(raw: Path, competition: Find) -> None:
    caltech = competition("caltech-256")
    before = set(caltech.read(raw).test["id"])
    gone = sorted((raw / FOLDER / "101.disc").iterdir())[:5]
    for path in gone:
        path.unlink()
    Image.new("RGB", (40, 40), (7, 8, 9)).save(raw / FOLDER / "001.ring" / "001_9999.jpg")
    after = set(caltech.read(raw).test["id"])
    assert after - {"001.ring/001_9999.jpg"} == before - {f"101.disc/{path.name}" for path in gone}


def test_copies_of_one_file_stay_on_one_side(raw: Path, competition: Find) -> None:
    folder = raw / FOLDER / "002.bar"
    for path in list(folder.iterdir()):
        shutil.copyfile(path, folder / f"copy_{path.name}")
    table = competition("caltech-256").read(raw).table.set_index("id")["split"]
    for name in [i for i in table.index if "/copy_" in i]:
        assert table[name] == table[name.replace("copy_", "")]


def test_about_a_fifth_is_held_out_and_its_labels_are_the_folders(raw: Path, competition: Find) -> None:
    caltech = competition("caltech-256")
    manifest = caltech.read(raw)
    assert 0.1 < len(manifest.test) / len(manifest) < 0.3
    answers = caltech.adapter.answers(raw)
    assert set(answers) == set(manifest.test["id"])
    assert all(label == i.split("/")[0] for i, label in answers.items())


def test_an_empty_class_folder_is_named_by_the_checks(raw: Path, competition: Find) -> None:
    (raw / FOLDER / "012.empty").mkdir()
    caltech = competition("caltech-256")
    assert "012.empty" in caltech.label_map(caltech.read(raw), raw).names


def test_grey_cmyk_palette_and_turned_images_are_read_as_people_see_them(
    raw: Path, competition: Find
) -> None:
    caltech = competition("caltech-256")
    source = caltech.source(raw)
    folder = raw / FOLDER / "001.ring"
    for name, mode in (("001_0001.jpg", "L"), ("001_0002.jpg", "CMYK"), ("001_0003.png", "P")):
        with Image.open(folder / name) as image:
            assert image.mode == mode
    grey = load_pixels(source, f"{FOLDER}/001.ring/001_0001.jpg")
    assert grey.shape == (64, 72, 3)
    assert (grey[..., 0] == grey[..., 1]).all()
    turned = load_pixels(source, f"{FOLDER}/001.ring/001_0004.jpg")
    assert turned.shape == (72, 64, 3), "EXIF orientation 6 lies on its side"
    with Image.open(folder / "001_0004.jpg") as lying:
        assert np.array_equal(turned, np.rot90(np.asarray(lying), -1))


@pytest.mark.parametrize(("mode", "colour"), [("CMYK", (0, 255, 255, 0)), ("P", 1)])
def test_red_stays_red(mode: str, colour: object, raw: Path, competition: Find) -> None:
    image = Image.new(mode, (32, 32), colour)  # type: ignore[arg-type]
    if mode == "P":
        image.putpalette([0, 0, 0, 255, 0, 0])
    name = "red.png" if mode == "P" else "red.jpg"
    image.save(raw / FOLDER / "001.ring" / name)
    pixels = load_pixels(competition("caltech-256").source(raw), f"{FOLDER}/001.ring/{name}")
    assert pixels[..., 0].min() > 240
    assert pixels[..., 1:].max() < 15
