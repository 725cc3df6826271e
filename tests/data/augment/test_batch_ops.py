"""Batched affine maps, colours and cut-outs are albumentations' own: the same pixels for the same parameters, the same draws."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from comp.data.augment.batch_ops import BatchOps, Op, op_of
from comp.data.augment.color import hue_steps
from comp.data.augment.geometry import counter_uniforms, inverted
from comp.data.augment.policies import A, TrainTransform
from comp.data.images.pixel_cache import ImageDataset
from comp.data.images.preprocess import Preprocess
from comp.data.images.source import ArraySource
from comp.data.loading.prefetch import loader_pool
from comp.data.loading.train_loader import Augmenter, TrainLoader

SIDE = 24
_RNG = np.random.default_rng(0)
SMOOTH = cv2.resize(_RNG.integers(0, 256, (5, 5, 3), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
IMAGES = {
    "noise": _RNG.integers(0, 256, (SIDE, SIDE, 3), np.uint8),
    "smooth": SMOOTH,
    "grey": np.repeat(SMOOTH[:, :, :1], 3, 2),
    "black": np.zeros((SIDE, SIDE, 3), np.uint8),
}
WIDE = {"brightness": (0.2, 1.9), "contrast": (0.2, 1.9), "saturation": (0.0, 2.0), "hue": (-0.5, 0.5)}
AFFINE = {"scale": (0.7, 1.3), "translate_percent": (-0.2, 0.2), "rotate": (-40, 40), "shear": (-15, 15)}
HOLES: dict[str, dict[str, Any]] = {
    "shares": {"num_holes_range": (1, 3), "hole_height_range": (0.1, 0.4), "hole_width_range": (0.2, 0.3)},
    "pixels": {"num_holes_range": (2, 2), "hole_height_range": (1, 9), "hole_width_range": (3, 40)},
    "colour": {"fill": (255, 7, 0)},
}


def op(transform: Any) -> Op:
    found = op_of(transform, SIDE)
    assert found is not None
    return found


def by_opencv(transform: Any, image: np.ndarray, parameters: Any) -> np.ndarray:
    before = image.copy()
    made = op(transform).one(image, np.asarray(parameters, np.float32).ravel().tolist())
    assert (image == before).all()
    return made.astype(int)


def by_torch(transform: Any, image: np.ndarray, parameters: Any) -> np.ndarray:
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    given = torch.tensor(np.asarray(parameters, np.float32)).reshape(1, -1)
    return op(transform).batch(x, given)[0].permute(1, 2, 0).numpy().astype(int)


WAYS = [by_opencv, by_torch]
Way = Callable[[Any, np.ndarray, Any], np.ndarray]


def off_by(own: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return np.abs(own - theirs.astype(int))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("alone", [*WIDE, "all"])
def test_colours_are_theirs(image: str, alone: str, way: Way) -> None:
    ranges = {
        name: WIDE[name] if alone in (name, "all") else ((0, 0) if name == "hue" else (1, 1)) for name in WIDE
    }
    transform = A.ColorJitter(**ranges, p=1)
    transform.set_random_seed(1)
    off = []
    for _ in range(60):
        drawn = transform.get_params()
        given = [
            *(drawn[name] for name in list(WIDE)[:3]),
            hue_steps(np.array(drawn["hue"])),
            *drawn["order"],
        ]
        own = way(transform, IMAGES[image], given)
        off.append(off_by(own, transform.apply(IMAGES[image], **drawn)))
    # OpenCV itself rounds hues up or down by its vector width; a level lost on the way can be a step of hue, two degrees
    assert np.max(off) <= (1 if alone != "all" else 20)
    assert np.mean(off) < (
        0.01 if way is by_opencv else 0.5
    )  # parameters are floats, albumentations' are doubles


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("border", [cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101])
@pytest.mark.parametrize("image", ["noise", "smooth"])
def test_affine_maps_are_theirs(border: int, image: str, way: Way) -> None:
    transform = A.Affine(**AFFINE, border_mode=border, p=1)
    transform.set_random_seed(1)
    middle, off = np.full(2, (SIDE - 1) / 2), []
    for _ in range(60):
        matrix = transform.get_params_dependent_on_data({"shape": (SIDE, SIDE, 3)}, {})["matrix"]
        expected = transform.apply(IMAGES[image], matrix=matrix, output_shape=(SIDE, SIDE))
        m = matrix[:2, :2]
        shift = matrix[:2, 2] - middle + m @ middle
        off.append(off_by(way(transform, IMAGES[image], inverted(m.reshape(1, 4), shift[None])[0]), expected))
    assert np.max(off) <= (
        1 if way is by_opencv else 10
    )  # OpenCV 4 rounds places to a 32nd of a pixel, OpenCV 5 does not
    assert np.mean(off) < 0.5


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", HOLES)
def test_cut_outs_are_theirs(kind: str, way: Way) -> None:
    transform = A.CoarseDropout(**HOLES[kind], p=1)
    transform.set_random_seed(3)
    for _ in range(30):
        drawn = transform.get_params_dependent_on_data({"shape": (SIDE, SIDE, 3)}, {})
        holes = np.zeros((transform.num_holes_range[1], 4))
        holes[: len(drawn["holes"])] = drawn["holes"][:, [1, 0, 3, 2]]
        assert (way(transform, IMAGES["noise"], holes) == transform.apply(IMAGES["noise"], **drawn)).all()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("transform", [A.ToGray(p=1), A.HorizontalFlip(p=1), A.VerticalFlip(p=1)])
def test_grey_and_mirrored_are_theirs_and_others_stay(transform: Any, way: Way) -> None:
    assert (way(transform, IMAGES["noise"], [1]) == transform.apply(IMAGES["noise"])).all()
    assert (way(transform, IMAGES["noise"], [0]) == IMAGES["noise"]).all()


def matrices(transform: Any, count: int) -> np.ndarray:
    found = []
    for _ in range(count):
        m = transform.get_params_dependent_on_data({"shape": (SIDE, SIDE, 3)}, {})["matrix"]
        middle = np.full(2, (SIDE - 1) / 2)
        shift = m[:2, 2] - middle + m[:2, :2] @ middle
        found.append(inverted(m[:2, :2].reshape(1, 4), shift[None])[0])
    return np.array(found)


@pytest.mark.parametrize(
    "also",
    [
        {},
        {"keep_ratio": True},
        {"scale": {"x": (0.5, 0.6), "y": (1.2, 2.0)}},
        {"translate_percent": None, "translate_px": {"x": (-3, 4), "y": (0, 2)}},
        {"shear": {"x": (-20, 5), "y": (0, 0)}, "rotate": (100, 190)},
    ],
)
def test_affine_maps_are_drawn_as_theirs(also: dict[str, Any]) -> None:
    transform = A.Affine(**{**AFFINE, **also}, p=1)
    transform.set_random_seed(0)
    own = op(transform).drawn(counter_uniforms(4, np.arange(3000), 8))
    for mine, other in zip(own.T, matrices(transform, 3000).T, strict=True):
        assert stats.ks_2samp(mine, other).pvalue > 1e-4


def test_colours_are_drawn_as_theirs() -> None:
    transform = A.ColorJitter(**WIDE, p=1)
    transform.set_random_seed(0)
    own = op(transform).drawn(counter_uniforms(4, np.arange(3000), 6))
    theirs = [transform.get_params() for _ in range(3000)]
    for n, name in enumerate(WIDE):
        told = np.array([drawn[name] for drawn in theirs])
        told = hue_steps(told) if name == "hue" else told
        assert stats.ks_2samp(own[:, n], told).pvalue > 1e-4
    digits = np.array([1000, 100, 10, 1])
    orders = own[:, 4:] @ digits, np.array([drawn["order"] for drawn in theirs]) @ digits
    kinds = sorted(set(orders[0]) | set(orders[1]))
    assert len(kinds) == 24
    table = np.array([[(found == kind).sum() for kind in kinds] for found in orders])
    assert stats.chi2_contingency(table).pvalue > 1e-4


@pytest.mark.parametrize("kind", HOLES)
def test_cut_outs_are_drawn_as_theirs(kind: str) -> None:
    transform = A.CoarseDropout(**HOLES[kind], p=1)
    transform.set_random_seed(0)
    most = transform.num_holes_range[1]
    own = op(transform).drawn(counter_uniforms(4, np.arange(3000), 2 + 4 * most)).reshape(3000, most, 4)
    theirs = np.zeros((3000, most, 4))
    for n in range(3000):
        holes = transform.get_params_dependent_on_data({"shape": (SIDE, SIDE, 3)}, {})["holes"]
        theirs[n, : len(holes)] = holes[:, [1, 0, 3, 2]]
    real = [(found[..., 2] > found[..., 0]).sum(1) for found in (own, theirs)]
    assert stats.ks_2samp(*real).pvalue > 1e-4
    measures: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda h: h[..., 2] - h[..., 0],
        lambda h: h[..., 3] - h[..., 1],
        lambda h: h[..., 0],
        lambda h: h[..., 1],
    ]
    for measure in measures:
        assert stats.ks_2samp(measure(own)[:, 0], measure(theirs)[:, 0]).pvalue > 1e-4


@pytest.mark.parametrize(
    "policy", ["standard", [{"name": "Affine", "rotate": (-90, 90), "p": 0.4}, {"name": "ToGray", "p": 0.3}]]
)
def test_whole_policies_show_the_same_images_as_often(policy: Any) -> None:
    preprocess = Preprocess(16, (0.5,) * 3, (0.5,) * 3, crop_pct=0.8)
    transform = TrainTransform(policy, preprocess)
    variants = Augmenter(transform, 0, 0)
    assert variants.after is not None
    side, count = variants.side, 1500
    image = np.ascontiguousarray(IMAGES["smooth"][:side, :side])
    rows = np.arange(count)
    own = np.empty((count, 16, 16, 3), np.uint8)
    variants.show([image] * count, rows, 0, variants.windows(rows, 0, np.full((count, 2), side)), 0, own)
    named = TrainTransform([A.RandomCrop(16, 16), *transform.listed] if side > 16 else policy, preprocess)
    theirs = np.stack([named.changed(image, seed) for seed in range(count)])
    found = [
        np.concatenate([p.mean((1, 2)), p.std((1, 2)), p[:, 0, 3], p[:, 8, 8]], 1) for p in (own, theirs)
    ]
    for mine, other in zip(found[0].T, found[1].T, strict=True):
        assert stats.ks_2samp(mine, other).pvalue > 1e-4


EVERYTHING = [
    A.Affine(**AFFINE, p=0.6),
    A.HorizontalFlip(p=0.5),
    A.ColorJitter(p=0.8),
    A.ToGray(p=0.2),
    A.CoarseDropout(p=0.5),
    A.VerticalFlip(p=0.5),
]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 10**6), min_size=1, max_size=12), st.data())
def test_a_image_does_not_depend_on_those_beside_it(seed: int, rows: list[int], data: st.DataObject) -> None:
    batched = BatchOps(EVERYTHING, SIDE)
    assert batched.taken == len(EVERYTHING)
    every = np.array(rows)
    images = torch.from_numpy(
        np.random.default_rng(seed).integers(0, 256, (len(rows), SIDE, SIDE, 3), np.uint8)
    )
    together = batched.batch(images, batched.drawn(seed, every))
    assert together.dtype == torch.uint8
    n = data.draw(st.integers(0, len(rows) - 1))
    own = batched.drawn(seed, every[n : n + 1])
    assert torch.equal(batched.batch(images[n : n + 1], own)[0], together[n])
    by_itself = batched.one(images[n].numpy(), own[0].tolist()).astype(int)
    assert np.mean(np.abs(by_itself - together[n].numpy())) < 1


def test_what_it_cannot_is_left_to_albumentations() -> None:
    for one in (
        A.GaussianBlur(),
        A.ToGray(method="max"),
        A.Affine(fill=9),
        A.Affine(border_mode=cv2.BORDER_WRAP),
        A.Affine(interpolation=cv2.INTER_CUBIC),
        A.Affine(fit_output=True),
        A.Affine(balanced_scale=True),
        A.CoarseDropout(fill="random"),
        A.CoarseDropout(hole_height_range=(30, 40), hole_width_range=(1, 2)),
        A.CoarseDropout(hole_height_range=(0.1, 0.2), hole_width_range=(2, 4)),
    ):
        assert BatchOps([A.HorizontalFlip(), one, A.HorizontalFlip()], SIDE).taken == 1
    assert BatchOps([A.Affine()], 1).taken == 0


@pytest.mark.parametrize(
    "policy", ["standard", [{"name": "Affine", "rotate": (-90, 90)}, {"name": "ToGray"}]]
)
def test_a_gpus_way_through_a_feed_shows_what_threads_show(policy: Any) -> None:
    preprocess = Preprocess(16, (0.5,) * 3, (0.5,) * 3, crop_pct=0.8)
    variants = Augmenter(TrainTransform(policy, preprocess), 3, 1)
    stack = np.stack([np.roll(SMOOTH[: variants.side, : variants.side], n, 1) for n in range(30)])
    source = ArraySource({"a": stack})
    pixels = ImageDataset(source, [f"a#{n}" for n in range(30)], preprocess, variants.transform.extent)
    order = np.random.default_rng(0).permutation(30)
    with loader_pool(2) as pool:
        by_threads = TrainLoader(pixels, 30, variants, pool, "cpu")
        gathered = TrainLoader(pixels, 30, variants, pool, "cpu", on_gpu=True)
        pairs = list(zip(by_threads.epoch(order, 8, 2), gathered.epoch(order, 8, 2), strict=True))
    assert sum(len(rows) for (rows, _), _ in pairs) == 30
    for (rows, one), (same, other) in pairs:
        assert (rows == same).all()
        assert one.shape == other.shape
        assert (one.int() - other.int()).abs().float().mean() < 0.5


@pytest.mark.parametrize("hue", [-0.3, -0.1, -0.05, 0.1, 0.25])
@pytest.mark.parametrize("way", WAYS)
def test_a_hue_that_is_always_the_same_is_theirs(way: Way, hue: float) -> None:
    transform = A.ColorJitter((1, 1), (1, 1), (1, 1), (hue, hue), p=1)
    own = way(transform, IMAGES["noise"], op(transform).drawn(counter_uniforms(1, np.arange(1), 6))[0])
    theirs = transform.apply(IMAGES["noise"], 1, 1, 1, hue, [0, 1, 2, 3])
    assert np.max(off_by(own, theirs)) <= 1


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_a_chance_is_kept(p: float) -> None:
    for transform in (A.CoarseDropout(p=p), A.ColorJitter(p=p), A.Affine(rotate=(5, 9), p=p), A.ToGray(p=p)):
        batched = BatchOps([transform], SIDE)
        parameters = batched.drawn(0, np.arange(1000))
        changed = [
            (batched.one(IMAGES["noise"], one) != IMAGES["noise"]).any() for one in parameters.tolist()
        ]
        assert stats.binomtest(int(np.sum(changed)), 1000, p).pvalue > 1e-4


def test_epoch_fold_and_seed_change_what_follows_the_moves() -> None:
    transform = TrainTransform("standard", Preprocess(16, (0.5,) * 3, (0.5,) * 3, crop_pct=0.8))
    rows, shapes = np.arange(5), np.full((5, 2), 20)
    drawn = [
        Augmenter(transform, seed, k).windows(rows, epoch, shapes).after
        for seed, k, epoch in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))
    ]
    assert all(one is not None for one in drawn)
    assert len({one.tobytes() for one in drawn if one is not None}) == 4


def test_threads_take_turns_where_steps_are_short_and_share_crops() -> None:
    preprocess = Preprocess(32, (0.5,) * 3, (0.5,) * 3)
    colours = [{"name": "ColorJitter"}]
    short = Augmenter(TrainTransform(colours, preprocess), 0, 0)
    crops = Augmenter(TrainTransform([{"name": "RandomResizedCrop"}, *colours], preprocess), 0, 0)
    assert not isinstance(short._turn, nullcontext)
    assert isinstance(crops._turn, nullcontext)
