"""A stack of small images gives what their windows show."""

from __future__ import annotations

import numpy as np
import pytest

from comp.data.augment.geometry import GeometricOps, apply_grid
from comp.data.augment.policies import A
from comp.data.loading.prefetch import loader_pool
from comp.data.loading.resident import BUDGET, PackedImages

SIDE = 12
IMAGES = np.random.default_rng(0).integers(0, 256, (300, SIDE, SIDE, 3), np.uint8)
POLICIES = {
    "as they are": [],
    "moved": [A.HorizontalFlip(p=0.5), A.RandomRotate90(p=0.7)],
    "with black borders": [A.Pad(3), A.RandomCrop(SIDE, SIDE), A.VerticalFlip(p=0.5)],
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("of", ["all", "those of the epochs"])
def test_a_stack_gives_what_windows_show(policy: str, of: str) -> None:
    rows = np.random.default_rng(1).permutation(300)[:50]
    windows = GeometricOps(POLICIES[policy], SIDE, room=False).windows(7, rows, np.full((50, 2), SIDE))
    with loader_pool(2) as pool:
        packed = np.arange(len(IMAGES)) if of == "all" else np.sort(rows)
        stack = PackedImages(IMAGES.__getitem__, packed, SIDE, pool)
    places = stack.places(rows, windows)
    assert (places.black is not None) == (policy == "with black borders")
    expected = np.stack([apply_grid(IMAGES[row], windows, n) for n, row in enumerate(rows)])
    assert (stack.taken(places).numpy() == expected).all()
    assert (stack.taken(places[10:13]).numpy() == expected[10:13]).all()
    out = np.full((50, SIDE, SIDE, 3), 9, np.uint8)
    stack.take(places[3:20], out[3:20])
    assert (out[3:20] == expected[3:20]).all()
    assert (out[:3] == 9).all()
    assert (out[20:] == 9).all()


def test_a_row_that_was_not_packed_is_no_other_row() -> None:
    with loader_pool(1) as pool:
        stack = PackedImages(IMAGES.__getitem__, np.array([3, 7]), SIDE, pool)
    windows = GeometricOps([], SIDE, room=False).windows(7, np.array([5]), np.full((1, 2), SIDE))
    with pytest.raises(IndexError, match="row 5 was not loaded"):
        stack.places(np.array([5]), windows)


def test_only_so_many_images_are_stacked() -> None:
    most = BUDGET // (4 * 32 * 32)
    assert PackedImages.fits(most, 32)
    assert not PackedImages.fits(most + 1, 32)
    assert not PackedImages.fits(0, 32)
    assert BUDGET // 4 <= 2**31, "places are int32"
