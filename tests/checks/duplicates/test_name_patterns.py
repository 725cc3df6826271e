"""Names of copies give their parent; ordinary names give none; links want evidence."""

from __future__ import annotations

import unicodedata

import pytest

from comp.checks.fold_checks import name_parents, parent_name

UUID = "a1b2c3d4-1234-4abc-9def-0123456789ab"
OTHER = "a1b2c3d4-1234-4abc-9def-0123456789ac"
HASH = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("name", "parent"),
    [
        (f"dog_original_pic_005.jpg_{UUID}.jpg", "pic_005"),
        (f"train_original_0001.JPG_{UUID}.JPEG", "0001"),
        (f"0001_jpg.rf.{HASH}.jpg", "0001"),
        (f"my.photo_png.rf.{HASH}.jpg", "my.photo"),
        ("pic_005_aug_3.jpg", "pic_005"),
        ("pic_005-aug3.png", "pic_005"),
        ("copy_2_of_pic_005.jpg", "pic_005"),
        ("pic_005 copy.jpg", "pic_005"),
        ("pic_005 copy 3.jpg", "pic_005"),
        ("pic_005 (1).jpg", "pic_005"),
        ("pic_005 - Copy.jpg", "pic_005"),
        ("pic_005 - Copy (2).jpg", "pic_005"),
        ("pic_005_flip.jpg", "pic_005"),
        ("pic_005_hflip_2.png", "pic_005"),
        ("pic_005_rot90.jpg", "pic_005"),
        ("flipped_pic_005.jpg", "pic_005"),
        ("pic_005_flip_aug_2.jpg", "pic_005"),
        ("train/dog/pic_005_aug_3.jpg", "pic_005"),
    ],
)
def test_a_copy_names_its_parent(name: str, parent: str) -> None:
    assert parent_name(name) == parent


@pytest.mark.parametrize(
    "name",
    [
        "pic_005.jpg",
        "0001.jpg",
        "IMG_20190101.jpg",
        "001_0003.jpg",
        "IMG_20190101_123456.jpg",
        "DSC00012.JPG",
        "photo-1.png",
        "04j2ax7xbO.jpg",
        "copy.jpg",
        "flip.jpg",
        "rot90.jpg",
        "horse_12.jpg",
        "crop_circle.jpg",
        "august_5.jpg",
        "aug.jpg",
        "aug_0_1234.jpg",
        "gray_wolf_12.jpg",
        "mirror_001.jpg",
        "flip_flop_12.jpg",
        "bird_aug_2019.jpg",
        "photo-15-aug-2019.jpg",
        "15 Aug 2019.jpg",
        "mushroom_crop.jpg",
        "rice_crop_2.jpg",
        f"{UUID}.jpg",
        "IMG-20190101-WA0001.jpg",
        "n01440764_10026.JPEG",
        "",
        ".jpg",
        "a/b/",
    ],
)
def test_an_ordinary_name_says_nothing(name: str) -> None:
    assert parent_name(name) is None


def test_a_copy_is_linked_to_a_parent_that_is_there() -> None:
    child = f"t/dog/dog_original_pic_005.jpg_{UUID}.jpg"
    assert name_parents(["t/dog/pic_005.jpg", child, "t/dog/pic_006.jpg"]) == {child: "t/dog/pic_005.jpg"}


def test_a_single_claim_without_parent_is_not_believed() -> None:
    assert name_parents([f"0001_jpg.rf.{HASH}.jpg", "0002.jpg"]) == {}


def test_siblings_stand_for_an_absent_parent() -> None:
    first, second = f"0001_jpg.rf.{HASH}.jpg", f"0001_jpg.rf.{HASH[:-1]}0.jpg"
    assert name_parents([first, second]) == {first: second}


def test_a_parent_of_the_same_name_in_another_class_is_not_taken() -> None:
    names = ["a/001.jpg", "b/001.jpg", "a/001_flip.jpg", "c/001_flip.jpg"]
    assert name_parents(names) == {"a/001_flip.jpg": "a/001.jpg"}


def test_numbered_files_are_not_siblings() -> None:
    assert name_parents([f"cat ({k}).jpg" for k in range(30)] + ["cat.jpg"]) == {}
    assert name_parents([f"horse_aug_{k}.jpg" for k in range(30)]) == {}


def test_decomposed_names_meet_composed_ones() -> None:
    parent, child = unicodedata.normalize("NFD", "é1.jpg"), "é1_flip.jpg"
    assert name_parents([parent, child]) == {child: parent}
