"""Devices and precisions that are not there are refused before anything is trained."""

from __future__ import annotations

import pytest
import torch

from comp.errors import InputError
from comp.models.runtime import resolve_device
from comp.recipe import derive_seed, load


def test_what_is_left_open_is_filled_in() -> None:
    recipe = resolve_device(load(None, ["device=cpu"]))
    assert (recipe.device, recipe.precision) == ("cpu", "auto"), "the precision is measured"
    assert recipe.threads is not None
    assert recipe.threads >= 1
    assert resolve_device(recipe) == recipe


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="no cuda here; there is cpu"):
        resolve_device(load(None, ["device=cuda"]))


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        resolve_device(load(None, ["device=cpu", "precision=fp16"]))


def test_seeds_are_told_apart_by_every_part_and_fit_31_bits() -> None:
    seeds = [
        derive_seed(0, "a", 1),
        derive_seed(0, "a", 2),
        derive_seed(0, "b", 1),
        derive_seed(1, "a", 1),
        derive_seed(0, "a1", ""),
        derive_seed(0, "a", "1", ""),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert derive_seed(7, "order", 3, 4) == derive_seed(7, "order", 3, 4)
