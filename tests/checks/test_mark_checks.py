"""Marks in images that tell the label: kinds of marks that are found, and what is in images anyhow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import comp.checks.mark_checks
from comp.checks.context import CheckContext, Finding, ResultCache
from comp.checks.image_scan import scan
from comp.checks.mark_checks import pixel_shortcut
from comp.data.images.source import ArraySource
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest, Sample
from gallery import CLASSES, Gallery, clean_gallery

Plant = Callable[[np.ndarray, int], None]
SIDES = ((150, 190), (120, 120), (170, 130))
GREYS = (20, 120, 230)
HUES = ((200, 30, 30), (30, 200, 30), (30, 30, 200))


def scene(seed: int, size: tuple[int, int] | None = None) -> np.ndarray:
    """An image uint8 (H, W, 3) of content at every scale, of one of three sizes."""
    rng = np.random.default_rng(seed)
    height, width = size or SIDES[seed % len(SIDES)]
    layers = [
        cv2.resize(
            rng.normal(0, 1, (cells, cells, 3)) * 90 / np.sqrt(cells),
            (width, height),
            interpolation=cv2.INTER_CUBIC,
        )
        for cells in (3, 7, 16, 40)
    ]
    return np.clip(rng.uniform(60, 200, 3) + 1.6 * np.sum(layers, axis=0), 0, 255).astype(np.uint8)


def context_of(
    images: list[np.ndarray], labels: list[str], tests: list[np.ndarray] | None = None, **columns: list[str]
) -> CheckContext:
    """What the check sees of images and their labels, without files."""
    every = [*images, *(tests or [])]
    source = ArraySource({f"i{n}": image[None] for n, image in enumerate(every)})
    groups = columns.get("group", [""] * len(images))
    rows = [Sample(f"r{n}", f"i{n}#0", "train", label, groups[n], "") for n, label in enumerate(labels)] + [
        Sample(f"t{n}", f"i{len(images) + n}#0", "test", "", "", "") for n in range(len(tests or []))
    ]
    manifest = Manifest.from_samples(rows)
    seen = scan(source, Path("."), [row.path for row in rows])
    base = clean_base()
    dataset = replace(base.dataset, manifest=manifest, labels=LabelMap(tuple(sorted(set(labels)))))
    return replace(base, dataset=dataset, images=seen, memory=ResultCache())


def clean_base() -> CheckContext:
    global _BASE
    if _BASE is None:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            _BASE = clean_gallery(Path(folder) / "raw", per_class=3, tests=1).context()
    return _BASE


_BASE: CheckContext | None = None


def found_with(plant: Plant, rows: int = 90, seed: int = 0, in_tests: bool = True) -> list[Finding]:
    """What is said of scenes of three classes that a mark was planted in by class."""
    images = [scene(1000 * seed + n) for n in range(rows)]
    tests = [scene(500_000 + n) for n in range(30)]
    classes = [n // 3 % 3 for n in range(rows)]
    for image, c in zip(images, classes, strict=True):
        plant(image, c)
    for n, image in enumerate(tests):
        if in_tests:
            plant(image, n // 3 % 3)
    return pixel_shortcut(context_of(images, [CLASSES[c] for c in classes], tests))


def corner_grey(image: np.ndarray, c: int) -> None:
    image[:8, :8] = GREYS[c]


def small_colour_at_the_bottom_right(image: np.ndarray, c: int) -> None:
    image[-4:, -4:] = HUES[c]


def away_from_the_corner(image: np.ndarray, c: int) -> None:
    image[-18:-8, 6:16] = GREYS[c]


def large_at_the_top_right(image: np.ndarray, c: int) -> None:
    image[:24, -24:] = HUES[c]


def one_pixel(image: np.ndarray, c: int) -> None:
    image[0, 0] = GREYS[c]


def border_of_one_pixel(image: np.ndarray, c: int) -> None:
    image[[0, -1]] = HUES[c]
    image[:, [0, -1]] = HUES[c]


def border_of_three_pixels(image: np.ndarray, c: int) -> None:
    for side in (np.s_[:3], np.s_[-3:], np.s_[:, :3], np.s_[:, -3:]):
        image[side] = GREYS[c]


def dot(image: np.ndarray, c: int) -> None:
    cv2.circle(image, (image.shape[1] - 7, 7), 3, HUES[c], -1)


def patch_in_the_middle(image: np.ndarray, c: int) -> None:
    y, x = (side // 2 for side in image.shape[:2])
    image[y - 6 : y + 6, x - 6 : x + 6] = GREYS[c]


def date_on_owls(image: np.ndarray, c: int) -> None:
    if c == 2:
        cv2.putText(image, "2014-03-01", (4, image.shape[0] - 5), 0, 0.4, (255, 160, 30), 1)


def watermark_on_owls(image: np.ndarray, c: int) -> None:
    if c == 2:
        words = image.copy()
        cv2.putText(words, "stock", (image.shape[1] - 46, image.shape[0] - 8), 0, 0.5, (255, 255, 255), 1)
        image[:] = (0.5 * words + 0.5 * image).astype(np.uint8)


def on_two_of_three_owls(image: np.ndarray, c: int) -> None:
    if c == 2 and image[20, 20].sum() % 3:
        image[-8:, :8] = (255, 0, 0)


@pytest.mark.parametrize(
    ("plant", "region"),
    [
        (corner_grey, "the 8 x 8 pixels at the top left corner"),
        (small_colour_at_the_bottom_right, "the 4 x 4 pixels at the bottom right corner"),
        (away_from_the_corner, "the bottom"),
        (large_at_the_top_right, "% from the top"),
        (one_pixel, "top left corner"),
        (border_of_one_pixel, "the border: the outer line of pixels along all sides"),
        (border_of_three_pixels, "the border: the outer 3 lines of pixels along all sides"),
        (dot, "from the right"),
        (patch_in_the_middle, "pixels in the middle"),
    ],
)
def test_a_mark_that_tells_all_classes_is_found(plant: Plant, region: str) -> None:
    (found,) = found_with(plant)
    assert (found.check, found.severity) == ("pixel-shortcut", "warning")
    assert region in found.message
    assert "balanced accuracy" in found.message
    assert "0.33 by chance" in found.message
    assert "test images" not in found.message
    assert found.count >= 50
    assert found.examples


@pytest.mark.parametrize("plant", [date_on_owls, watermark_on_owls, on_two_of_three_owls])
def test_a_mark_of_one_class_is_found(plant: Plant) -> None:
    (found,) = found_with(plant, rows=120)
    assert "class 'owl'" in found.message
    assert all(int(row[1:]) // 3 % 3 == 2 for row in found.examples)


@pytest.mark.parametrize("plant", [corner_grey, date_on_owls])
def test_a_mark_that_test_images_lack_is_said_to_be_so(plant: Plant) -> None:
    (found,) = found_with(plant, rows=120, in_tests=False)
    assert "of the test images: what a model learns from it fails there" in found.message


@pytest.mark.parametrize("seed", range(3))
def test_scenes_without_a_mark_are_passed(seed: int) -> None:
    assert found_with(lambda image, c: None, rows=60 + 30 * seed, seed=seed) == []


@pytest.mark.parametrize(
    "plant",
    [
        lambda image, c: np.copyto(image, image // 2 + 40 * c),  # light and dark all over
        lambda image, c: image[: image.shape[0] // 2].__setitem__(slice(None), GREYS[c]),  # a sky
    ],
)
def test_what_tells_the_label_all_over_the_image_is_content(plant: Plant) -> None:
    assert found_with(plant) == []


def test_a_mark_that_has_nothing_to_do_with_the_label_is_passed() -> None:
    drawn = np.random.default_rng(0)

    def plant(image: np.ndarray, c: int) -> None:
        image[:8, :8] = GREYS[drawn.integers(3)]

    assert found_with(plant) == []


def test_a_mark_that_only_tells_the_group_is_passed() -> None:
    """Rows of one group share a mark, and lie in one fold: no held-out row has a mark that was seen with its label."""
    images = [scene(n) for n in range(90)]
    for n, image in enumerate(images):
        image[:8, :8] = np.random.default_rng(n // 3).integers(0, 256, 3)
    labels = [CLASSES[n // 3 % 3] for n in range(90)]
    assert pixel_shortcut(context_of(images, labels, group=[f"g{n // 3}" for n in range(90)])) == []


def test_names_and_order_change_nothing() -> None:
    images = [scene(n) for n in range(60)]
    labels = [CLASSES[n // 3 % 3] for n in range(60)]
    for image, label in zip(images, labels, strict=True):
        corner_grey(image, CLASSES.index(label))
    order = np.random.default_rng(1).permutation(60)
    first = pixel_shortcut(context_of(images, labels))
    again = pixel_shortcut(context_of([images[n] for n in order], [labels[n] for n in order]))
    assert [f.message for f in first] == [f.message for f in again]
    assert len(first) == 1


def test_digits_of_8_by_8_pixels_are_passed_but_for_a_pixel_in_a_corner() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.repeat((digits.images[:400] * 15.9).astype(np.uint8)[..., None], 3, axis=3)
    labels = [str(n) for n in digits.target[:400]]
    assert pixel_shortcut(context_of(list(pixels), labels)) == []
    marked = pixels.copy()
    marked[:, -1, 0] = digits.target[:400, None] * 25
    (found,) = pixel_shortcut(context_of(list(marked), labels))
    assert "the last pixel at the bottom left corner" in found.message


def test_what_was_found_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery: Gallery = clean_gallery(tmp_path / "raw")
    first = pixel_shortcut(gallery.context())
    monkeypatch.setattr(comp.checks.mark_checks, "find_mark", None)
    assert pixel_shortcut(gallery.context()) == first == []
