"""The competitions on real images: rows, classes, and manifests that do not depend on how files lie."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from comp.data.competitions.competition import find_competition
from comp.data.folds import make_folds
from comp.data.images.decode import load_pixels
from comp.workspace import Workspace

REAL = Path(os.environ.get("COMP_REAL_DATA", ""))
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not os.environ.get("COMP_REAL_DATA"), reason="COMP_REAL_DATA names no folder"),
]


@pytest.mark.parametrize(
    ("slug", "folder", "train", "classes"),
    [
        ("art-classification", "art-classification", 1698, 7),
        ("apple-varieties", "apple-varieties", 212, 5),
        ("caltech-256", "caltech-256", None, 101),
        ("cifar-100", "cifar-100-head", 1117, 100),
    ],
)
def test_rows_and_classes(slug: str, folder: str, train: int | None, classes: int, workspace: Path) -> None:
    one = find_competition(slug, Workspace(workspace))
    raw = REAL / folder
    manifest = one.read(raw)
    assert train is None or len(manifest.train) == train
    assert len(one.label_map(manifest, raw)) == classes
    assert all((raw / path).is_file() for path in manifest.table["path"] if "#" not in path)


def test_cifars_names_and_images_are_real(workspace: Path) -> None:
    cifar = find_competition("cifar-100", Workspace(workspace))
    raw = REAL / "cifar-100-head"
    manifest = cifar.read(raw)
    names = cifar.label_map(manifest, raw).names
    assert names[:3] == ("apple", "aquarium_fish", "baby")
    assert names[-1] == "worm"
    assert len(manifest.test) == 916
    assert manifest.train["label"][0] == "cattle"
    pixels = load_pixels(cifar.source(raw), "train#0")
    assert np.abs(np.diff(pixels.astype(int), axis=0)).mean() < 40, "a photograph, not shuffled channels"


def test_art_in_zips_and_caltech_in_a_tar_give_the_same_manifests(workspace: Path) -> None:
    place = Workspace(workspace)
    art, caltech = (
        find_competition("art-classification", place),
        find_competition("caltech-256", place),
    )
    zips, tar = workspace / "zips", workspace / "tar"
    zips.mkdir()
    tar.mkdir()
    for name in ("train", "test"):
        with zipfile.ZipFile(zips / f"{name}.zip", "w") as packed:
            for path in sorted((REAL / "art-classification" / name).rglob("*.jpg"), reverse=True):
                packed.write(path, path.relative_to(REAL / "art-classification" / name))
    shutil.copy(REAL / "art-classification" / "test_answer_sample_.csv", zips)
    assert art.read(zips).table.equals(art.read(REAL / "art-classification").table)
    with tarfile.open(tar / "256_ObjectCategories.tar", "w") as packed_tar:
        packed_tar.add(REAL / "caltech-256" / "256_ObjectCategories", "256_ObjectCategories")
    one, other = caltech.read(tar), caltech.read(REAL / "caltech-256")
    assert one.table.equals(other.table)
    assert make_folds(one, 3).to_csv() == make_folds(other, 3).to_csv()
