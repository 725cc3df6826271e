"""Features of mirrored and negative images are those of the image, in another order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from comp.checks.duplicates.local_features import (
    FEATURES,
    LEAST_SIDE,
    VARIANTS,
    local_features,
)
from gallery import detailed

Image = NDArray[np.uint8]


def met(image: Image, changed: Image, variant: int) -> float:
    """The share of the changed image's features that the image has too, read in a variant's order."""
    here, there = local_features(image), local_features(changed)
    like = there.descriptors[:, VARIANTS[variant]].astype(float) @ here.descriptors.T.astype(float) / 255**2
    return float((like.max(axis=1) > 0.9).mean())


@pytest.mark.parametrize(
    ("variant", "change"),
    [
        (0, lambda image: image),
        (1, lambda image: image[:, ::-1]),
        (1, lambda image: image[::-1]),
        (2, lambda image: 255 - image),
        (3, lambda image: 255 - image[:, ::-1]),
    ],
)
def test_each_variant_reads_its_change(variant: int, change: Callable[[Image], Image]) -> None:
    image = detailed(3)
    shares = [met(image, np.ascontiguousarray(change(image)), other) for other in range(4)]
    assert shares[variant] > 0.7
    assert max(share for other, share in enumerate(shares) if other != variant) < 0.5


def test_orders_are_permutations_that_undo_themselves() -> None:
    for order in VARIANTS:
        assert np.array_equal(order[order], np.arange(128))


def test_small_and_blank_images_have_none() -> None:
    assert len(local_features(detailed(1, LEAST_SIDE - 1)).points) == 0
    assert len(local_features(np.full((100, 100, 3), 120, np.uint8)).points) == 0
    assert local_features(np.zeros((1, 1, 3), np.uint8)).grey.shape == (1, 1)


def test_features_are_spread_and_no_more_than_asked_for() -> None:
    image = np.concatenate([detailed(1, 200), np.full((200, 200, 3), 90, np.uint8)], axis=1)
    features = local_features(image)
    assert 0 < len(features.points) <= FEATURES
    assert features.descriptors.shape == (len(features.points), 128)
    assert max(features.grey.shape) == 160
    assert len(local_features(image, 20).points) == 20
    again = local_features(image)
    assert np.array_equal(again.points, features.points)
    assert np.array_equal(again.descriptors, features.descriptors)
