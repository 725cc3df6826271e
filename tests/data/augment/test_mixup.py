"""Mixing: targets follow pixels, and everything random follows its generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from comp.data.augment.batch_ops import mix
from comp.recipe import RegularizeConfig

B, C, S = 6, 4, 16
Y = torch.tensor([0, 1, 2, 3, 0, 1])


def levels() -> torch.Tensor:
    """Images (B, 3, S, S), each of one value, so that pixels tell how much of whom is in them."""
    return torch.arange(1.0, B + 1)[:, None, None, None].expand(B, 3, S, S).contiguous()


@given(st.integers(0, 999), st.sampled_from(["mixup", "cutmix"]), st.floats(0.1, 4))
def test_targets_say_what_is_in_the_images(seed: int, kind: str, alpha: float) -> None:
    x, y = mix(levels(), Y, C, RegularizeConfig(**{kind: alpha}), np.random.default_rng(seed))
    assert y.shape == (B, C)
    assert torch.allclose(y.sum(1), torch.ones(B))
    for n in range(B):
        values, counts = x[n, 0].unique(return_counts=True)
        if kind == "cutmix" and len(values) == 2:
            own = float(counts[values == n + 1].sum()) / (S * S)
            other = int(values[values != n + 1][0]) - 1
            expected = torch.zeros(C)
            expected[Y[n]] += own
            expected[Y[other]] += 1 - own
            assert torch.allclose(y[n], expected, atol=1e-5)
        if kind == "mixup":
            assert len(values) == 1


def test_off_means_untouched() -> None:
    x = levels()
    for part, mixes in ((RegularizeConfig(), True), (RegularizeConfig(mixup=1.0), False)):
        same, y = mix(x, Y, C, part, np.random.default_rng(0), mixes)
        assert same is x
        assert y is Y
    never = mix(x, Y, C, RegularizeConfig(mixup=1.0, mix_share=0.0), np.random.default_rng(0))
    assert never[1] is Y


def test_the_same_generator_mixes_the_same() -> None:
    part = RegularizeConfig(mixup=0.4, cutmix=1.0, erasing=0.5)
    one, other = (mix(levels(), Y, C, part, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
    assert not torch.equal(one[0], mix(levels(), Y, C, part, np.random.default_rng(6))[0])


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_erasing_takes_a_rectangle_of_its_share_of_the_images(share: float) -> None:
    x = torch.ones(400, 3, S, S)
    erased, y = mix(
        x, torch.zeros(400, dtype=torch.int64), C, RegularizeConfig(erasing=share), np.random.default_rng(1)
    )
    assert y.ndim == 1
    hit = (erased == 0).flatten(1).any(1)
    assert abs(float(hit.float().mean()) - share) < 0.08
    area = (erased[hit] == 0)[:, 0].flatten(1).float().mean(1)
    assert float(area.min()) > 0
    assert float(area.max()) <= 0.4
    assert (x == 1).all(), "the batch that came in is not changed"
