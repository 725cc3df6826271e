"""The page of findings: it stands alone, shows the images of every group, and is whole whatever the names are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from comp.checks.context import downgrade_allowed
from comp.checks.runner import CheckResult, run_data_checks
from comp.report.findings_html import MOST_GROUPS, MOST_IMAGES, render
from gallery import Gallery, clean_gallery, texture
from html_page import Page


def page_of(gallery: Gallery, allow: dict[str, str] | None = None) -> tuple[str, Page]:
    context = gallery.context()
    text = render(
        CheckResult(
            context,
            None,
            downgrade_allowed(run_data_checks(context), allow or {}),
            allow or {},
        )
    )
    return text, Page(text)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return clean_gallery(tmp_path / "raw", per_class=4, tests=4)


def test_clean_data_makes_a_short_page(gallery: Gallery) -> None:
    text, page = page_of(gallery)
    assert "Nothing was found" in text
    assert "12 train, 4 test, 3 classes" in text
    assert (page.images, page.sections, page.links) == ([], [], [])


def test_the_images_of_a_group_stand_side_by_side(gallery: Gallery) -> None:
    gallery.replace("train/a3.png", texture(0)[:, ::-1])
    gallery.replace("test/t1.png", texture(2))
    _, page = page_of(gallery)
    assert page.sections == ["warning", "info"]
    assert [text for text in page.captions if "/" in text] == [
        "train/a2.png",
        "test/t1.png",
        "train/a0.png",
        "train/a3.png",
    ]
    assert [text for text in page.captions if "/" not in text] == [
        "owl",
        "test",
        "exact copy",
        "cat",
        "cat",
        "structure agrees to 1.000",
    ]
    shown, mirrored = page.images[2], page.images[3]
    assert max(shown.shape) == 160
    want = cv2.resize(texture(0), (160, 160), interpolation=cv2.INTER_NEAREST).astype(int)
    assert np.abs(shown.astype(int) - want).mean() < 12, "the image, in its own colours"
    assert np.abs(mirrored[:, ::-1].astype(int) - want).mean() < 12


def test_examples_of_other_findings_are_shown_and_broken_files_explained(gallery: Gallery) -> None:
    gallery.replace("train/a3.png", b"broken")
    gallery.replace("train/a4.png", np.full((48, 48, 3), 7, np.uint8))
    text, page = page_of(gallery)
    assert len(page.images) == 1
    assert "not an image" in text
    assert {"train/a3.png", "train/a4.png"} <= set(page.captions)


def test_long_groups_and_many_groups_are_cut_and_say_so(gallery: Gallery) -> None:
    for number in range(11):
        gallery.add(f"train/b{number}.png", texture(0), "cat")
    text, page = page_of(gallery)
    assert len(page.images) == MOST_IMAGES
    assert f"and {12 - MOST_IMAGES} more" in text


def test_many_groups_are_cut_and_say_so(tmp_path: Path) -> None:
    many = Gallery(tmp_path / "raw")
    for number in range(MOST_GROUPS + 3):
        for twin in "ab":
            many.add(f"train/{number}{twin}.png", texture(number, 24), "cat")
    many.samples = [s._replace(label=("cat", "dog", "owl")[n // 2 % 3]) for n, s in enumerate(many.samples)]
    text, page = page_of(many)
    assert len(page.images) == 2 * MOST_GROUPS
    assert "and 3 more" in text


@pytest.mark.parametrize("label", ["<script>alert(3)</script>", '"><img src=x onerror=alert(4)>'])
def test_labels_are_text_and_never_markup(gallery: Gallery, label: str) -> None:
    gallery.add("train/b0.png", texture(0), label)
    text, page = page_of(gallery)
    assert page.scripts == 1, "that of the page itself"
    assert "<img src=x" not in text
    assert label in page.captions


def test_names_and_reasons_are_text_and_never_markup(gallery: Gallery) -> None:
    name = "<img src=x onerror=alert(1)>&amp;'\"사과"
    gallery.add(f"train/{name}.png", texture(0), "<b>cat</b>")
    text, page = page_of(gallery, {"unknown-label": "<script>alert(2)</script>"})
    assert page.scripts == 1, "that of the page itself"
    assert "<img src=x" not in text
    assert "".join(page.captions).count(name) == 2  # among exact copies, and among conflicting labels
    assert "&lt;script&gt;alert(2)" in text


def test_images_of_one_pixel_and_of_great_size_are_shown(gallery: Gallery) -> None:
    gallery.replace("train/a3.png", np.full((1, 1, 3), 7, np.uint8))
    gallery.replace("train/a4.png", np.full((1, 900, 3), 7, np.uint8))
    _, page = page_of(gallery)
    assert sorted(image.shape[:2] for image in page.images) == [(1, 160), (160, 160)]
