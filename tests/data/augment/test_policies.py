"""Training transforms: an image's variant follows its seed, never the thread or the order of loading."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import pytest

from comp.data.augment.policies import POLICIES, A, TrainTransform
from comp.data.images.preprocess import Preprocess
from comp.data.loading.train_loader import Augmenter
from comp.errors import RecipeError, UnknownName
from made import draw

PREPROCESS = Preprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGES = [draw("cross", n, 32) for n in range(24)]
LISTED: list[dict[str, Any]] = [
    {"name": "Affine", "scale": [0.8, 1.2], "rotate": [-15, 15], "p": 1.0},
    {"name": "GaussNoise", "p": 0.5},
    {"name": "CoarseDropout", "p": 0.5},
]


@pytest.mark.parametrize("transform", [*POLICIES, LISTED], ids=[*POLICIES, "listed"])
def test_the_same_seed_gives_the_same_pixels_in_any_thread_and_order(
    transform: str | list[dict[str, Any]],
) -> None:
    alone = TrainTransform(transform, PREPROCESS)
    expected = [alone.changed(image, seed) for seed, image in enumerate(IMAGES)]
    shared = TrainTransform(transform, PREPROCESS)
    order = np.random.default_rng(1).permutation(np.repeat(np.arange(24), 4))
    with ThreadPoolExecutor(4) as pool:
        for n, found in zip(order, pool.map(lambda n: shared.changed(IMAGES[n], int(n)), order), strict=True):
            assert (found.shape, found.dtype) == ((32, 32, 3), np.uint8)
            assert (found == expected[n]).all()


def test_other_seeds_give_other_variants() -> None:
    transform = TrainTransform(LISTED, PREPROCESS)
    assert len({transform.changed(IMAGES[0], seed).tobytes() for seed in range(10)}) > 5


def test_each_transform_of_a_list_draws_for_itself() -> None:
    listed = [{"name": "HorizontalFlip", "p": 0.5}, {"name": "VerticalFlip", "p": 0.5}]
    nested = [{"name": "HorizontalFlip", "p": 0.5}, A.OneOf([A.VerticalFlip(p=1), A.NoOp(p=1)], p=1)]
    for policy in (listed, nested):
        transform = TrainTransform(policy, PREPROCESS)
        variants = [transform.changed(IMAGES[0], seed).tobytes() for seed in range(400)]
        counts = sorted(variants.count(one) for one in set(variants))
        assert len(counts) == 4
        assert counts[0] > 60


def test_none_changes_nothing_and_no_transform_changes_its_input() -> None:
    before = IMAGES[0].copy()
    assert (TrainTransform("none", PREPROCESS).changed(IMAGES[0], 3) == before).all()
    for seed in range(5):
        TrainTransform(LISTED, PREPROCESS).changed(IMAGES[0], seed)
    assert (IMAGES[0] == before).all()


def test_light_is_the_image_or_its_mirror_image() -> None:
    transform = TrainTransform("light", PREPROCESS)
    variants = {transform.changed(IMAGES[0], seed).tobytes() for seed in range(20)}
    assert variants == {IMAGES[0].tobytes(), IMAGES[0][:, ::-1].tobytes()}


def test_a_transform_that_changes_the_size_is_fitted_again() -> None:
    transform = TrainTransform([{"name": "CenterCrop", "height": 20, "width": 16}], PREPROCESS)
    assert Augmenter(transform, 0, 0).one(IMAGES[0], 0, 0).shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("transform", "kind", "told"),
    [
        ("lite", UnknownName, "did you mean light"),
        ([{"name": "HorizontalFlp"}], UnknownName, "HorizontalFlip"),
        ([{"p": 0.5}], RecipeError, "has the name"),
        ([{"name": "HorizontalFlip", "q": 0.5}], RecipeError, "HorizontalFlip must take its arguments"),
        ([{"name": "HorizontalFlip", "p": 1.5}], RecipeError, "HorizontalFlip must take its arguments"),
        ([{"name": "Normalize", "p": 0.1}], RecipeError, "Normalize must give uint8"),
        ([{"name": "ToFloat"}], RecipeError, "ToFloat must give uint8"),
        ([{"name": "ToTensorV2"}], RecipeError, "ToTensorV2 must give uint8"),
        ([{"name": "ToGray", "num_output_channels": 1}], RecipeError, "ToGray must give uint8"),
        ([{"name": "RandomCrop", "height": 900, "width": 900}], RecipeError, "RandomCrop must work"),
    ],
    ids=lambda value: None if isinstance(value, type) else str(value)[:40],
)
def test_mistakes_show_before_training(transform: Any, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind) as error:
        TrainTransform(transform, PREPROCESS)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("transform", "extent"),
    [
        ("none", "square"),
        ("light", "room"),
        ("standard", "room"),
        ("crops", "whole"),
        ("heavy", "whole"),
        ([{"name": "HorizontalFlip"}], "square"),
        ([{"name": "RandomResizedCrop"}], "whole"),
        ([{"name": "RandomResizedCrop", "p": 0.5}], "square"),
    ],
)
def test_policies_crop_at_random_within_the_margin_or_the_whole_image(
    transform: str | list[dict[str, Any]], extent: str
) -> None:
    preprocess = Preprocess(size=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop_pct=0.5)
    one = TrainTransform(transform, preprocess)
    assert one.extent == extent
    shape = {"square": (16, 16, 3), "room": (32, 32, 3), "whole": (40, 70, 3)}[extent]
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    variants = Augmenter(one, 0, 0)
    found = [variants.one(image, row, 0) for row in range(12)]
    assert {made.shape for made in found} == {(16, 16, 3)}
    if extent != "square":
        assert len({made.tobytes() for made in found}) > 6


@pytest.mark.parametrize("fitted", ["squash", "pad"])
def test_images_that_are_not_cut_to_squares_are_fitted_before_a_crop(
    fitted: Literal["squash", "pad"],
) -> None:
    preprocess = Preprocess(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), fit=fitted)
    assert TrainTransform("crops", preprocess).extent == "room"


def test_a_resized_crop_in_a_list_has_the_networks_size_unless_it_says_one() -> None:
    assert TrainTransform([{"name": "RandomResizedCrop"}], PREPROCESS).listed[0].size == (32, 32)
    own = [{"name": "RandomResizedCrop", "size": [20, 24]}]
    assert TrainTransform(own, PREPROCESS).listed[0].size == (20, 24)
    assert Augmenter(TrainTransform(own, PREPROCESS), 0, 0).one(IMAGES[0], 0, 0).shape == (32, 32, 3)
