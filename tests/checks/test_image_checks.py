"""Checks of what the images hold: where their severities change, and what they leave alone."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from comp.checks.image_checks import (
    blank_image,
    conflicting_labels,
    exact_duplicate,
    near_duplicate,
    odd_size,
    train_test_duplicate,
    unreadable_image,
)
from gallery import Gallery, clean_gallery, texture


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """48 labelled images, 16 of each class (a0 cat, a1 dog, a2 owl, a3 cat …), and 24 to predict."""
    return clean_gallery(tmp_path / "raw")


# --- unreadable-image -----------------------------------------------------------------------------------------------


def test_every_kind_of_broken_file_is_named_in_train_and_test(gallery: Gallery) -> None:
    whole = (gallery.raw / "train" / "a0.png").read_bytes()
    jpeg = cv2.imencode(".jpg", texture(4))[1].tobytes()
    gallery.replace("train/a3.png", whole[:-30])
    gallery.replace("train/a4.png", jpeg[: len(jpeg) // 2])
    gallery.replace("train/a5.png", b"")
    gallery.replace("test/t3.png", b"<html>404</html>")
    (found,) = unreadable_image(gallery.context())
    assert (found.severity, found.count) == ("error", 4)
    assert set(found.examples) == {"train/a3.png", "train/a4.png", "train/a5.png", "test/t3.png"}


def test_a_missing_file_is_not_called_unreadable(gallery: Gallery) -> None:
    (gallery.raw / "train" / "a3.png").unlink()
    assert unreadable_image(gallery.context()) == []


# --- blank-image ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spread", "blank"), [(0, True), (1, True), (4, False)])
def test_an_image_is_blank_where_its_grey_levels_hardly_differ(
    gallery: Gallery, spread: int, blank: bool
) -> None:
    pixels = np.full((48, 48, 3), 100, np.uint8)
    pixels[::2] += np.uint8(2 * spread)  # a standard deviation of `spread`
    gallery.replace("test/t5.png", pixels)
    found = blank_image(gallery.context())
    assert [f.examples for f in found] == ([("test/t5.png",)] if blank else [])


def test_blank_images_of_several_colours_are_counted_and_no_near_duplicates(gallery: Gallery) -> None:
    for number, colour in ((0, (255, 255, 255)), (1, (0, 0, 0)), (2, (0, 120, 10))):
        gallery.replace(f"train/a{number}.png", np.full((48, 48, 3), colour, np.uint8))
    context = gallery.context()
    (found,) = blank_image(context)
    assert (found.severity, found.count) == ("warning", 3)
    assert near_duplicate(context) == []


# --- odd-size -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "odd"), [(11, 11, True), (13, 13, False), (48, 250, True), (48, 230, False)]
)
def test_a_size_is_odd_far_from_the_median(gallery: Gallery, height: int, width: int, odd: bool) -> None:
    gallery.replace("train/a7.png", cv2.resize(texture(7), (width, height)))
    found = odd_size(gallery.context())
    assert [(f.severity, f.examples) for f in found] == ([("warning", ("train/a7.png",))] if odd else [])


def test_few_images_have_no_usual_size(tmp_path: Path) -> None:
    few = clean_gallery(tmp_path / "raw", per_class=5, tests=4)
    few.replace("train/a7.png", texture(7, side=8))
    assert odd_size(few.context()) == []


def test_a_set_of_all_sizes_has_no_odd_one(gallery: Gallery) -> None:
    for number in range(48):
        gallery.replace(
            f"train/a{number}.png", cv2.resize(texture(number), (40 + 3 * number, 160 - 2 * number))
        )
    assert odd_size(gallery.context()) == []


# --- exact-duplicate ------------------------------------------------------------------------------------------------


def copies(gallery: Gallery, pairs: int) -> set[str]:
    """So many labelled images become equal to another of their class."""
    for number in range(pairs):
        gallery.replace(f"train/a{number + 12}.png", texture(number))
    return {f"train/a{number}.png" for n in range(pairs) for number in (n, n + 12)}


@pytest.mark.parametrize(("pairs", "severity"), [(1, "info"), (2, "info"), (3, "warning"), (8, "warning")])
def test_equal_images_are_information_up_to_a_tenth_of_the_rows(
    gallery: Gallery, pairs: int, severity: str
) -> None:
    rows = copies(gallery, pairs)  # 2 pairs are 4 of 48 rows, 3 are 6
    (found,) = exact_duplicate(gallery.context())
    assert (found.severity, found.count) == (severity, len(rows))
    assert {path for related in found.groups or () for path in related} == rows
    assert all(len(related) == 2 for related in found.groups or ())


@pytest.mark.parametrize(("same", "severity"), [(7, "warning"), (8, "error"), (16, "error")])
def test_one_image_for_half_a_class_is_an_error(gallery: Gallery, same: int, severity: str) -> None:
    for number in range(1, same):
        gallery.replace(f"train/a{3 * number}.png", texture(0))  # cats
    (found,) = exact_duplicate(gallery.context())
    assert (found.severity, found.count) == (severity, same)
    if severity == "error":
        assert "'cat'" in found.message
        assert "collapsed" in found.remedy


def test_a_class_of_three_rows_may_hold_a_image_twice(gallery: Gallery) -> None:
    owls = [s for s in gallery.samples if s.label == "owl"]
    gallery.samples = [s for s in gallery.samples if s not in owls[3:]]
    gallery.replace(owls[1].path, texture(int(owls[0].id[1:])))
    (found,) = exact_duplicate(gallery.context())
    assert found.severity == "info"


def test_equal_pixels_in_other_files_are_equal_and_another_shape_is_not(gallery: Gallery) -> None:
    gallery.add("train/b0.bmp", texture(0), "cat")
    gallery.add("train/b1.tif", texture(1), "dog")
    flat = np.full((20, 30, 3), 9, np.uint8)
    gallery.add("train/b2.png", flat, "dog")
    gallery.add("train/b3.png", flat.transpose(1, 0, 2).copy(), "dog")
    (found,) = exact_duplicate(gallery.context())
    assert {frozenset(related) for related in found.groups or ()} == {
        frozenset({"train/a0.png", "train/b0.bmp"}),
        frozenset({"train/a1.png", "train/b1.tif"}),
    }


def test_equal_test_images_are_nobodys_business(gallery: Gallery) -> None:
    gallery.replace("test/t1.png", texture(100_000))
    context = gallery.context()
    assert exact_duplicate(context) == near_duplicate(context) == train_test_duplicate(context) == []


# --- near-duplicate -------------------------------------------------------------------------------------------------


def test_versions_of_a_image_are_one_group(gallery: Gallery) -> None:
    image = texture(0)
    gallery.add("train/b0.jpg", image, "cat", quality=60)
    gallery.add("train/b1.png", image[:, ::-1], "cat")
    gallery.add("train/b2.png", cv2.resize(image, (96, 96)), "cat")
    gallery.add("train/b3.png", cv2.convertScaleAbs(image, alpha=0.9, beta=10), "cat")
    (found,) = near_duplicate(gallery.context())
    assert (found.severity, found.count) == ("info", 5)
    assert [set(related) for related in found.groups or ()] == [
        {"train/a0.png", "train/b0.jpg", "train/b1.png", "train/b2.png", "train/b3.png"}
    ]


def test_exact_copies_alone_are_told_by_their_own_check(gallery: Gallery) -> None:
    copies(gallery, 2)
    assert near_duplicate(gallery.context()) == []


# --- train-test-duplicate -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("matched", "severity"), [(1, "warning"), (12, "warning"), (13, "error"), (24, "error")]
)
def test_test_images_in_train_are_an_error_above_a_half(
    gallery: Gallery, matched: int, severity: str
) -> None:
    for number in range(matched):
        gallery.replace(f"test/t{number}.png", texture(number)[:, ::-1])
    (found,) = train_test_duplicate(gallery.context())
    assert (found.severity, found.count) == (severity, matched)
    assert set(found.examples) <= {f"test/t{number}.png" for number in range(matched)}
    assert {frozenset(related) for related in found.groups or ()} == {
        frozenset({f"test/t{number}.png", f"train/a{number}.png"}) for number in range(matched)
    }


# --- conflicting-labels ---------------------------------------------------------------------------------------------


def test_one_image_under_two_labels_is_an_error_above_one_per_cent(gallery: Gallery) -> None:
    gallery.replace("train/a1.png", texture(0)[:, ::-1])
    (found,) = conflicting_labels(gallery.context())
    assert (found.severity, found.count) == ("error", 2)
    assert "'cat'" in found.message
    assert "'dog'" in found.message


def test_one_image_under_two_labels_is_a_warning_up_to_one_per_cent(tmp_path: Path) -> None:
    many = clean_gallery(tmp_path / "raw", per_class=67, tests=0, side=24)  # 201 rows
    many.replace("train/a1.png", texture(0, 24))
    (found,) = conflicting_labels(many.context())
    assert (found.severity, found.count) == ("warning", 2)
    assert [set(related) for related in found.groups or ()] == [{"train/a0.png", "train/a1.png"}]


def test_copies_under_one_label_do_not_conflict(gallery: Gallery) -> None:
    copies(gallery, 3)
    assert conflicting_labels(gallery.context()) == []
