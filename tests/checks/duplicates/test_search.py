"""Planted copies are found under every promised change, and sets that look alike stay apart."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from comp.checks.duplicates.candidates import FINGERPRINT_BYTES, orient, perceptual
from comp.checks.duplicates.search import TURNS, clusters, near_duplicate_pairs

Image = NDArray[np.uint8]
SCENES = 60


def scene(seed: int, height: int = 150, width: int = 180) -> Image:
    """A made image with shapes, edges and texture at several scales."""
    rng = np.random.default_rng(seed)
    canvas = cv2.resize(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8), (width, height))
    for _ in range(18):
        colour = [int(c) for c in rng.integers(0, 256, 3)]
        at = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(4, 40)), int(rng.integers(4, 40)))
        if rng.integers(2):
            cv2.ellipse(canvas, at, axes, float(rng.integers(180)), 0, 360, colour, -1)
        else:
            cv2.rectangle(canvas, at, (at[0] + axes[0], at[1] + axes[1]), colour, -1)
    grain = cv2.resize(rng.normal(0, 14, (height // 3, width // 3)), (width, height))
    return np.clip(canvas + grain[..., None], 0, 255).astype(np.uint8)


def prints(images: list[Image]) -> NDArray[np.uint8]:
    return np.stack([perceptual(np.ascontiguousarray(image)) for image in images])


def encoded(image: Image, suffix: str, *options: int) -> Image:
    return cv2.imdecode(cv2.imencode(suffix, image, list(options))[1], cv2.IMREAD_COLOR)


def scaled(image: Image, factor: float) -> Image:
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def captioned(image: Image) -> Image:
    return cv2.putText(image.copy(), "sample", (20, 130), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2)


CHANGES: dict[str, Callable[[Image], Image]] = {
    "jpeg 30": lambda i: encoded(i, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 30),
    "webp 30": lambda i: encoded(i, ".webp", cv2.IMWRITE_WEBP_QUALITY, 30),
    "png": lambda i: encoded(i, ".png"),
    "quarter size": lambda i: scaled(i, 0.25),
    "double size": lambda i: cv2.resize(i, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
    "mirror": lambda i: i[:, ::-1],
    "upside down": lambda i: i[::-1],
    "turn right": lambda i: np.rot90(i, -1),
    "turn left": lambda i: np.rot90(i),
    "crop one side": lambda i: i[:, 18:],
    "crop two sides": lambda i: i[15:, 18:],
    "crop every side": lambda i: i[15:-15, 18:-18],
    "brighter": lambda i: np.clip(i * 1.25, 0, 255).astype(np.uint8),
    "darker": lambda i: (i * 0.75).astype(np.uint8),
    "contrast": lambda i: np.clip((i - 128.0) * 0.75 + 128, 0, 255).astype(np.uint8),
    "blur": lambda i: cv2.GaussianBlur(i, (0, 0), 1.2),
    "grey": lambda i: cv2.merge([cv2.cvtColor(i, cv2.COLOR_RGB2GRAY)] * 3),
    "border": lambda i: cv2.copyMakeBorder(i, 6, 6, 6, 6, cv2.BORDER_CONSTANT, value=(0, 0, 0)),
    "text": captioned,
    "mirror, crop, jpeg": lambda i: encoded(
        np.ascontiguousarray(i[8:, 5:-9][:, ::-1]), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 60
    ),
}


@pytest.fixture(scope="module")
def base() -> list[Image]:
    return [scene(seed) for seed in range(SCENES)]


@pytest.mark.parametrize("name", CHANGES)
def test_planted_copies_are_found_and_nothing_else(name: str, base: list[Image]) -> None:
    copied = list(range(0, SCENES, 5))
    found = near_duplicate_pairs(prints(base + [CHANGES[name](base[row]) for row in copied]))
    planted = {(row, SCENES + k) for k, row in enumerate(copied)}
    got = set(map(tuple, found.pairs.tolist()))
    assert not got - planted
    assert len(got) >= len(planted) - 1


def test_clean_images_have_no_pairs(base: list[Image]) -> None:
    assert len(near_duplicate_pairs(prints(base)).pairs) == 0


@pytest.mark.parametrize("turn", range(8))
def test_the_turn_is_told_as_seen_from_the_left_one(turn: int, base: list[Image]) -> None:
    square = cv2.resize(base[3], (160, 160))
    turned = np.stack(
        [orient(square[None, :, :, c], np.array([turn], np.uint8))[0] for c in range(3)], axis=2
    )
    for images in ([turned, square], [square, turned]):
        found = near_duplicate_pairs(prints(images))
        assert found.pairs.tolist() == [[0, 1]]
        left, right = images
        name = TURNS[found.turn[0]]
        back = np.stack([orient(right[None, :, :, c], found.turn)[0] for c in range(3)], axis=2)
        assert np.abs(back.astype(int) - left).mean() < 2, name


def test_identical_images_meet_even_when_plain(base: list[Image]) -> None:
    plain = np.full((40, 40, 3), 200, np.uint8)
    found = near_duplicate_pairs(prints([plain, base[0], plain, plain + 1]))
    assert found.pairs.tolist() == [[0, 2]]
    assert found.score.tolist() == [1.0]


def test_scans_of_digits_are_not_copies() -> None:
    from sklearn.datasets import load_digits

    scans = [
        cv2.merge([np.clip(scan * 16, 0, 255).astype(np.uint8)] * 3) for scan in load_digits().images[:500]
    ]
    for side in (8, 28):
        images = [cv2.resize(scan, (side, side), interpolation=cv2.INTER_CUBIC) for scan in scans]
        found = near_duplicate_pairs(prints(images))
        assert sum(map(len, clusters(len(images), found.pairs))) <= 0.005 * len(images)


def test_a_copy_is_found_among_scans_of_digits() -> None:
    from sklearn.datasets import load_digits

    scans = [
        cv2.merge([np.clip(scan * 16, 0, 255).astype(np.uint8)] * 3) for scan in load_digits().images[:300]
    ]
    found = near_duplicate_pairs(
        prints([*scans, *(np.ascontiguousarray(scan[:, ::-1]) for scan in scans[:5])])
    )
    assert {(k, 300 + k) for k in range(5)} <= set(map(tuple, found.pairs.tolist()))


def test_smooth_gradients_are_not_copies() -> None:
    ramps = [
        np.add.outer(np.linspace(0, a, 64), np.linspace(0, b, 64)) for a in (40, 90, 120) for b in (60, 100)
    ]
    noise = np.random.default_rng(0).normal(0, 1.5, (len(ramps), 64, 64))
    images = [
        cv2.merge([np.clip(r + n, 0, 255).astype(np.uint8)] * 3) for r, n in zip(ramps, noise, strict=True)
    ]
    assert len(near_duplicate_pairs(prints(images)).pairs) == 0


def drawing(shape: str, side: int, rng: np.random.Generator, ground: Image) -> Image:
    """One outline, anywhere and of any size, on a ground (side, side, 3)."""
    canvas = ground.copy()
    radius = int(rng.integers(side // 8, int(side * 0.42)))
    x, y = (int(at) for at in rng.integers(side // 3, side - side // 3, 2))
    wide, white = max(1, side // 24), (255, 255, 255)
    if shape == "ring":
        return cv2.circle(canvas, (x, y), radius, white, wide)
    if shape == "disc":
        return cv2.circle(canvas, (x, y), radius, white, -1)
    if shape == "square":
        return cv2.rectangle(canvas, (x - radius, y - radius), (x + radius, y + radius), white, wide)
    corners = np.array([[x, y - radius], [x - radius, y + radius], [x + radius, y + radius]], np.int32)
    return cv2.polylines(canvas, [corners], True, white, wide)


def noise(side: int, rng: np.random.Generator, spread: float) -> Image:
    return np.clip(rng.normal(128, spread, (side, side, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("side", [64, 96, 128, 256])
@pytest.mark.parametrize("spread", [10, 25, 50])
@pytest.mark.parametrize("shape", ["ring", "disc", "triangle"])
def test_outlines_alike_on_different_noise_are_not_copies(shape: str, side: int, spread: float) -> None:
    rng = np.random.default_rng(side)
    drawn = [drawing(shape, side, rng, noise(side, rng, spread)) for _ in range(12)]
    assert len(near_duplicate_pairs(prints(drawn)).pairs) == 0


@pytest.mark.parametrize("spread", [10, 25])
def test_copies_of_outlines_on_noise_are_found(spread: float) -> None:
    rng = np.random.default_rng(0)
    drawn = [drawing("ring", 128, rng, noise(128, rng, spread)) for _ in range(12)]
    copies = [
        encoded(drawn[0], ".jpg", cv2.IMWRITE_JPEG_QUALITY, 60),
        drawn[1][:, ::-1],
        np.rot90(drawn[2]),
        scaled(drawn[3], 0.5),
        np.clip(drawn[4] * 1.2, 0, 255).astype(np.uint8),
        drawn[5][6:, 6:],
    ]
    found = near_duplicate_pairs(prints(drawn + copies)).pairs.tolist()
    assert found == [[row, 12 + row] for row in range(6)]


def test_drawings_from_small_to_large_are_no_crops_of_one() -> None:
    plain = np.full((128, 128, 3), 30, np.uint8)
    rings = [cv2.circle(plain.copy(), (64, 64), radius, (255, 255, 255), 5) for radius in range(10, 34, 3)]
    assert len(near_duplicate_pairs(prints(rings)).pairs) == 0


def test_crops_of_one_drawing_are_found() -> None:
    plain = np.full((128, 128, 3), 30, np.uint8)
    ring = cv2.circle(plain.copy(), (64, 60), 36, (255, 255, 255), 5)
    crops = [ring, ring[8:, :], ring[:, :-10], ring[6:-6, 6:-6][:, ::-1]]
    assert clusters(4, near_duplicate_pairs(prints(crops)).pairs) == [[0, 1, 2, 3]]


def test_many_copies_of_one_image_are_one_cluster(base: list[Image]) -> None:
    rng = np.random.default_rng(0)
    copies = []
    for _ in range(40):
        left, top = rng.integers(0, 10, 2)
        copy = base[0][top : 150 - rng.integers(1, 10), left : 180 - rng.integers(1, 10)]
        copies.append(encoded(np.ascontiguousarray(copy[:, :: rng.choice([-1, 1])]), ".jpg"))
    found = near_duplicate_pairs(prints(base + copies))
    assert clusters(SCENES + 40, found.pairs) == [[0, *range(SCENES, SCENES + 40)]]


def test_the_answer_does_not_depend_on_the_number_of_workers(base: list[Image]) -> None:
    fingerprints = prints(base + [image[:, ::-1] for image in base])
    one, four = (near_duplicate_pairs(fingerprints, workers=workers) for workers in (1, 4))
    assert all(np.array_equal(a, b) for a, b in zip(one, four, strict=True))


def test_cells_find_what_one_comparison_finds(monkeypatch: pytest.MonkeyPatch, base: list[Image]) -> None:
    from comp.checks.duplicates import cells

    fingerprints = prints(base + [image[5:, ::-1] for image in base])
    whole = near_duplicate_pairs(fingerprints)
    monkeypatch.setattr(cells, "_LEAF", 100)
    found = near_duplicate_pairs(fingerprints)
    assert len(set(map(tuple, found.pairs.tolist())) & set(map(tuple, whole.pairs.tolist()))) >= 0.97 * SCENES


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_images(count: int, base: list[Image]) -> None:
    fingerprints = np.zeros((0, FINGERPRINT_BYTES), np.uint8) if not count else prints(base[:count])
    assert near_duplicate_pairs(fingerprints).pairs.shape == (0, 2)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((3, 5), np.uint8),
        np.zeros((3, FINGERPRINT_BYTES), np.float32),
        np.zeros(FINGERPRINT_BYTES, np.uint8),
    ],
)
def test_other_arrays_are_refused(bad: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="fingerprints must be"):
        near_duplicate_pairs(bad)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
def test_clusters_are_the_connected_parts(pairs: list[tuple[int, int]]) -> None:
    ends = np.array([pair for pair in pairs if pair[0] != pair[1]], np.int64).reshape(-1, 2)
    groups = clusters(20, ends)
    owner = {row: k for k, group in enumerate(groups) for row in group}
    assert groups == sorted(sorted(group) for group in groups)
    assert len(owner) == sum(map(len, groups))
    assert set(owner) == set(ends.ravel().tolist())
    assert all(owner[a] == owner[b] for a, b in ends.tolist())


def test_clusters_refuse_rows_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="rows 0 to 2"):
        clusters(3, np.array([[0, 3]]))


@pytest.mark.real
def test_real_photos() -> None:
    folder = os.environ.get("COMP_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("COMP_REAL_DATA names no folder")
    paths = sorted(Path(folder).rglob("*.jpg"))[:600]
    if len(paths) < 100:
        pytest.skip("COMP_REAL_DATA has too few photos")
    images = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
    rows = range(0, len(images), 10)
    copies = [
        encoded(np.ascontiguousarray(images[row][:, ::-1]), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 50)
        for row in rows
    ]
    got = set(map(tuple, near_duplicate_pairs(prints(images + copies)).pairs.tolist()))
    assert sum((row, len(images) + k) in got for k, row in enumerate(rows)) >= 0.97 * len(rows)
