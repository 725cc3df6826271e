"""Batched crops, flips and turns are albumentations' own: the same pixels for the same parameters, the same draws."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from comp.data.augment.geometry import GeometricOps, apply_grid, counter_uniforms, flat_places, is_black
from comp.data.augment.policies import A, TrainTransform
from comp.data.images.preprocess import Preprocess
from comp.data.loading.prefetch import loader_pool
from comp.data.loading.train_loader import Augmenter, TrainLoader

SIDE = 12
IMAGE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
POLICIES: dict[str, list[Any]] = {
    "flips": [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.3)],
    "turns": [A.RandomRotate90(p=0.8), A.HorizontalFlip(p=0.5)],
    "cifar": [
        A.Pad(padding=2, border_mode=cv2.BORDER_REFLECT_101),
        A.RandomCrop(SIDE, SIDE),
        A.HorizontalFlip(p=0.5),
    ],
    "black": [
        A.Pad(padding=2, border_mode=cv2.BORDER_CONSTANT),
        A.RandomCrop(SIDE, SIDE),
        A.RandomRotate90(p=1),
    ],
}


def squares(count: int, side: int = SIDE) -> np.ndarray:
    return np.full((count, 2), side)


def by_albumentations(policy: list[Any], count: int) -> dict[bytes, int]:
    one = TrainTransform(policy, Preprocess(SIDE, (0.5,) * 3, (0.5,) * 3))
    found: dict[bytes, int] = {}
    for seed in range(count):
        key = np.ascontiguousarray(one.changed(IMAGE, seed)).tobytes()
        found[key] = found.get(key, 0) + 1
    return found


@pytest.mark.parametrize("name", POLICIES)
def test_both_draw_the_same_images_as_often(name: str) -> None:
    policy, count = POLICIES[name], 4000
    lattice = GeometricOps(policy, SIDE, room=False)
    assert lattice.taken == len(policy)
    windows = lattice.windows(7, np.arange(count), squares(count))
    ours: dict[bytes, int] = {}
    for n in range(count):
        key = np.ascontiguousarray(apply_grid(IMAGE, windows, n)).tobytes()
        ours[key] = ours.get(key, 0) + 1
    theirs = by_albumentations(policy, count)
    rare = {key for key in {*ours, *theirs} if ours.get(key, 0) + theirs.get(key, 0) < 10}
    assert set(ours) - rare == set(theirs) - rare
    keys = sorted(set(ours) - rare)
    table = np.array([[counts.get(key, 0) for key in keys] for counts in (ours, theirs)])
    assert stats.chi2_contingency(table).pvalue > 1e-4


@pytest.mark.parametrize("area", [None, "image"])
@pytest.mark.parametrize(
    "shape", [(50, 50), (30, 64), (400, 17)], ids=["square", "wide", "always in the middle"]
)
def test_resized_crops_are_drawn_and_resized_as_theirs(area: str | None, shape: tuple[int, int]) -> None:
    transform = A.RandomResizedCrop((20, 20), scale=(0.2, 1.0), ratio=(0.6, 1.7), area_for_downscale=area)
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    lattice = GeometricOps([transform], 20, room=False)
    windows = lattice.windows(3, np.arange(3000), np.tile(shape, (3000, 1)))
    assert windows.crop is not None
    top, left, height, width = windows.crop.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= shape[0]).all()
    assert (left + width <= shape[1]).all()
    transform.set_random_seed(0)
    theirs = []
    for _ in range(3000):
        x0, y0, x1, y1 = transform.get_params_dependent_on_data({"shape": image.shape}, {})["crop_coords"]
        theirs.append((y0, x0, y1 - y0, x1 - x0))
    for own, other in zip((top, left, height, width), np.array(theirs).T, strict=True):
        assert stats.ks_2samp(own, other).pvalue > 1e-4
    for n in range(20):
        y, x, h, w = windows.crop[n]
        expected = transform.apply(image, crop_coords=(x, y, x + w, y + h))
        assert (apply_grid(image, windows, n) == expected).all()


@pytest.mark.parametrize(
    "also", [[], [A.HorizontalFlip(), A.VerticalFlip()], [A.RandomRotate90(), A.HorizontalFlip()]]
)
def test_into_a_batch_comes_what_is_shown(also: list[Any]) -> None:
    lattice = GeometricOps([A.RandomResizedCrop((20, 20), scale=(0.3, 1.0)), *also], 20, room=False)
    image = np.random.default_rng(1).integers(0, 256, (20, 31, 3), np.uint8)
    windows = lattice.windows(3, np.arange(200), np.tile((20, 31), (200, 1)))
    assert any(windows.quick)
    for n in range(200):
        out = np.zeros((20, 20, 3), np.uint8)
        found = apply_grid(image, windows, n, out)
        assert (found == apply_grid(image, windows, n)).all()
        assert (found is out) == (windows.quick[n] is not None)


@given(st.integers(0, 2**31), st.lists(st.integers(0, 10**6), min_size=1, max_size=20), st.integers(1, 30))
def test_a_rows_numbers_are_its_own(seed: int, rows: list[int], count: int) -> None:
    together = counter_uniforms(seed, np.array(rows), count)
    assert ((together >= 0) & (together < 1)).all()
    for n, row in enumerate(rows):
        assert (counter_uniforms(seed, np.array([row]), count)[0] == together[n]).all()


def test_the_numbers_are_even_and_do_not_hang_together() -> None:
    found = counter_uniforms(5, np.arange(20000), 4)
    assert all(stats.kstest(column, "uniform").pvalue > 1e-4 for column in found.T)
    assert np.abs(np.corrcoef(found.T) - np.eye(4)).max() < 0.03
    assert abs(np.corrcoef(found[:-1, 0], found[1:, 0])[0, 1]) < 0.03
    assert abs(np.corrcoef(found[:, 0], counter_uniforms(6, np.arange(20000), 1)[:, 0])[0, 1]) < 0.03


def test_what_does_more_than_move_pixels_is_left_to_albumentations() -> None:
    listed = [A.HorizontalFlip(p=0.5), A.ColorJitter(p=0.5), A.VerticalFlip(p=0.5)]
    assert GeometricOps(listed, SIDE, room=False).taken == 1
    for one in (
        A.RandomCrop(4, 4),
        A.RandomCrop(SIDE, SIDE, p=0.5),
        A.Pad(2, fill=9),
        A.Pad([1, 2]),
        A.Affine(),
    ):
        assert GeometricOps([one], SIDE, room=False).taken == 0
    sized = [A.RandomResizedCrop((SIDE + 2, SIDE + 2)), A.HorizontalFlip()]
    assert GeometricOps(sized, SIDE, room=False).is_empty


class Stack:
    def __init__(self, count: int, side: int) -> None:
        self.pixels = np.random.default_rng(2).integers(0, 256, (count, side, side, 3), np.uint8)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.pixels[row]

    def shapes(self, rows: np.ndarray) -> np.ndarray | None:
        return squares(len(rows), self.pixels.shape[1])


class Unknown(Stack):
    def shapes(self, rows: np.ndarray) -> None:
        return None


LISTED = [
    {"name": "Pad", "padding": 4, "border_mode": 4},
    {"name": "RandomCrop", "height": 16, "width": 16},
    {"name": "HorizontalFlip", "p": 0.5},
    {"name": "RandomRotate90", "p": 0.5},
]
DARK = [{**LISTED[0], "border_mode": 0}, *LISTED[1:]]


PADDED = [LISTED[0], LISTED[2]]  # larger than the network reads: shrunk to it
COLOURED = [*LISTED, {"name": "ColorJitter", "p": 0.8}, {"name": "CoarseDropout"}]
PADDED_GREY = [*PADDED, {"name": "ToGray"}]
CROPPED = [{"name": "RandomResizedCrop"}, {"name": "ColorJitter"}]


@pytest.mark.parametrize(
    "transform",
    ["none", "light", "no-colour", "crops", "standard", LISTED, DARK, PADDED, COLOURED, PADDED_GREY, CROPPED],
)
@pytest.mark.parametrize("threads", [1, 4])
def test_every_way_of_feeding_gives_the_same_pixels(
    transform: Any, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comp.data.loading.train_loader._DRAWN_AHEAD", 16)
    preprocess = Preprocess(16, (0.5,) * 3, (0.5,) * 3, crop_pct=0.8)
    made = TrainTransform(transform, preprocess)
    side = 20 if made.extent == "room" else 16
    images, unknown = Stack(30, side), Unknown(30, side)
    variants = Augmenter(made, seed=3, k=1)
    order = np.random.default_rng(0).permutation(30)
    with loader_pool(threads) as pool:
        feed = TrainLoader(images, 30, variants, pool, "cpu")
        gathered = ("none", "light", "standard", LISTED, DARK, COLOURED)
        assert (feed._stack is not None) == (transform in gathered)
        batches = list(feed.epoch(order, 8, 2))
        ways = []
        for same_images in (images, unknown):
            feed = TrainLoader(same_images, 30, variants, pool, "cpu")
            feed._stack = None
            ways.append(list(feed.epoch(order, 8, 2)))
    assert [len(rows) for rows, _ in batches] == [8, 8, 8, 6]
    for (rows, all_seen), *others in zip(batches, *ways, strict=True):
        assert all((rows == same).all() and torch.equal(all_seen, other) for same, other in others)
        for row, seen in zip(rows, all_seen, strict=True):
            assert (variants.one(images[row], int(row), 2) == seen.numpy()).all()


class Mixed(dict[int, np.ndarray]):
    """Images of many shapes; ``seen`` says whether their shapes are known."""

    seen = True

    def shapes(self, rows: np.ndarray) -> np.ndarray | None:
        return np.array([self[row].shape[:2] for row in rows.tolist()]) if self.seen else None


@pytest.mark.parametrize("size", [16, 24], ids=["to what the network reads", "to a size of its own"])
def test_images_of_many_shapes_do_not_depend_on_what_they_are_drawn_with(size: int) -> None:
    listed = [
        {"name": "RandomResizedCrop", "size": [size, size], "scale": [0.3, 1.0]},
        {"name": "RandomCrop", "height": 16, "width": 16},
        {"name": "HorizontalFlip"},
    ]
    variants = Augmenter(TrainTransform(listed, Preprocess(16, (0.5,) * 3, (0.5,) * 3)), seed=3, k=1)
    rng = np.random.default_rng(4)
    images = Mixed({n: rng.integers(0, 256, (30 + n, 60 - 2 * n, 3), np.uint8) for n in range(20)})
    order = rng.permutation(20)
    for images.seen in (True, False):
        with loader_pool(2) as pool:
            made = list(TrainLoader(images, 20, variants, pool, "cpu").epoch(order, 8, 2))
        for rows, all_seen in made:
            for row, seen in zip(rows.tolist(), all_seen, strict=True):
                assert (variants.one(images[row], row, 2) == seen.numpy()).all()


def test_epochs_rows_and_folds_differ() -> None:
    preprocess = Preprocess(16, (0.5,) * 3, (0.5,) * 3)
    made = TrainTransform(LISTED, preprocess)
    image = Stack(1, 16)[0]
    seen = {
        Augmenter(made, seed, k).one(image, row, epoch).tobytes()
        for seed in (0, 1)
        for k in (0, 1)
        for row in (0, 1)
        for epoch in (0, 1)
    }
    assert len(seen) >= 15


@pytest.mark.parametrize("name", ["turns", "black"])
def test_flat_places_are_the_image_row_by_row(name: str) -> None:
    windows = GeometricOps(POLICIES[name], SIDE, room=False).windows(1, np.arange(50), squares(50))
    a, b = flat_places(windows, SIDE)
    index, black = a[:, :, None] + b[:, None, :], is_black(windows)
    assert (black is None) == (name == "turns")
    for n in range(50):
        found = IMAGE.reshape(-1, 3)[index[n]]
        if black is not None:
            found = np.where(black[n][..., None], 0, found)
        assert (found == apply_grid(IMAGE, windows, n)).all()
