"""Views: moves that lose no pixel, squares that are what their names say, means that do not depend on order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import comp
from comp.data.images.pixel_cache import ImageDataset
from comp.data.images.preprocess import Preprocess, fit
from comp.data.images.source import ArraySource
from comp.data.labels import LabelMap
from comp.data.loading.prefetch import loader_pool
from comp.data.predictions import mean_of_views
from comp.errors import WeightsError
from comp.inference.forward import (
    large_size,
    large_sizes,
    outputs,
    require_larger,
    sets_to_try,
    softmax,
    squares_of,
    view,
)
from comp.models.net import build
from comp.recipe import ModelConfig, Recipe, load
from comp.views import VIEW_SETS, VIEWS, WIDE, scale_of, square_of

D4 = VIEW_SETS["d4"]
PREPROCESS = Preprocess(28, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), crop_pct=0.875)


def seen(name: str, square: torch.Tensor) -> torch.Tensor:
    """A view of images that are their own square."""
    return view(name, square, square.shape[2])


@given(st.integers(1, 9), st.sampled_from(D4))
def test_flips_and_turns_lose_no_pixel(side: int, name: str) -> None:
    image = torch.arange(side * side).reshape(1, 1, side, side)
    moved = seen(name, image)
    assert moved.shape == image.shape
    assert sorted(moved.flatten().tolist()) == list(range(side * side))
    assert any(torch.equal(seen(other, moved), image) for other in D4), "and one of them brings it back"


def test_two_of_d4_after_each_other_are_one_of_d4() -> None:
    image = torch.arange(25).reshape(1, 1, 5, 5)
    every = {name: seen(name, image) for name in D4}
    assert len({tuple(moved.flatten().tolist()) for moved in every.values()}) == 8
    for first in every.values():
        found = [[n for n in D4 if torch.equal(seen(second, first), every[n])] for second in D4]
        assert sorted(names[0] for names in found) == sorted(D4), "each once: a group"


def test_a_vertical_flip_goes_by_either_name() -> None:
    assert load(None, ['tta=["identity", "vflip"]']).tta == ["identity", "turn180-hflip"]
    assert load(None, ["tta=vflip"]).tta == ["turn180-hflip"]
    image = torch.arange(9).reshape(1, 1, 3, 3)
    assert torch.equal(seen("turn180-hflip", image), image.flip(2))


@pytest.mark.parametrize("name", VIEWS)
def test_every_view_gives_the_network_the_square_it_reads(name: str) -> None:
    squares = squares_of([name], PREPROCESS)
    (square,) = squares.values()
    images = torch.full((2, 3, square.size, square.size), 0.7)
    shown = view(name, images, PREPROCESS.size)
    assert shown.shape == (2, 3, *2 * [large_size(28, scale_of(name))])
    assert torch.allclose(shown, torch.full_like(shown, 0.7), atol=1e-5), "no edges are made up"
    mirrored = f"{name}-hflip"
    if mirrored in VIEWS:
        images = torch.randn(1, 3, square.size, square.size)
        assert torch.equal(view(mirrored, images, 28), view(name, images.flip(-1), 28))


def test_a_view_that_does_not_exist_is_refused() -> None:
    for name in ("identity-hflip", "turn45"):
        with pytest.raises(ValueError, match="no view"):
            view(name, torch.zeros(1, 3, 4, 4), 4)


def test_views_move_images_as_they_say() -> None:
    image = torch.zeros(1, 3, 32, 32)
    image[:, :, 8, 12] = 1
    assert seen("shift-down", image)[0, 0, 10, 12] == 1
    assert seen("shift-up", image)[0, 0, 6, 12] == 1
    assert seen("shift-left", image)[0, 0, 8, 10] == 1
    assert seen("shift-right", image)[0, 0, 8, 14] == 1
    assert seen("shift-right-hflip", image)[0, 0, 8, 31 - 12 + 2] == 1
    assert torch.equal(seen("turn90", seen("turn270", image)), image)
    square = torch.zeros(1, 3, 64, 64)
    square[:, :, 16:48, 16:48] = 1
    assert seen("zoom-in", square).sum() > 1.2 * square.sum()
    assert seen("zoom-out", square).sum() < 0.85 * square.sum()
    wide = torch.arange(32 * 32).reshape(1, 1, 32, 32)
    corners = [view(name, wide, 28) for name in VIEW_SETS["five-crops"]]
    assert [crop[0, 0, 0, 0].item() for crop in corners] == [0, 4, 4 * 32, 4 * 33, 2 * 33]
    assert corners[3][0, 0, -1, -1] == 32 * 32 - 1


@given(st.sampled_from(["crop", "squash", "pad"]), st.integers(20, 90), st.integers(20, 90))
def test_the_middle_crop_is_the_image_of_a_model_that_cuts_an_eighth_away(
    how: str, height: int, width: int
) -> None:
    own = replace(PREPROCESS, fit=how)
    wide = squares_of(["crop-centre"], own)[WIDE]
    assert (wide.size, wide.crop_pct) == (32, 1.0)
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    square = torch.from_numpy(fit(image, wide)).permute(2, 0, 1)[None]
    middle = view("crop-centre", square, 28)[0].permute(1, 2, 0).numpy()
    if how == "crop" and height == width:
        assert np.array_equal(middle, fit(image, own))
    assert middle.shape == (28, 28, 3)


@given(st.integers(8, 700))
def test_larger_sizes_are_even_and_close_to_what_they_say(size: int) -> None:
    step = 16 if size >= 128 else 4
    for name in ("large", "larger"):
        found = large_size(size, scale_of(name))
        assert found % step == 0
        assert abs(found - size * scale_of(name)) <= step / 2
    assert large_sizes(D4, size) == []
    assert large_sizes(["large", "large-hflip"], 224) == [256]
    assert square_of("larger-hflip") == "larger"


def test_a_image_is_decoded_once_for_all_its_views() -> None:
    class Counting(ArraySource):
        def load(self, path: str) -> np.ndarray:
            loaded.append(path)
            return super().load(path)

    loaded: list[str] = []
    images = np.random.default_rng(1).integers(0, 255, (5, 40, 40, 3), dtype=np.uint8)
    net = build(ModelConfig(name="test_resnet"), 3).eval()
    recipe = Recipe(precision="fp32", device="cpu")

    def answers(views: list[str]) -> dict[str, np.ndarray]:
        pixels = ImageDataset(Counting({"a": images}), [f"a#{n}" for n in range(5)], PREPROCESS, budget=0)
        with loader_pool(2) as pool:
            return outputs(net, pool, pixels, np.arange(5), views, recipe, "cpu")

    together = answers(list(VIEWS))
    assert sorted(loaded) == [f"a#{n}" for n in range(5)]
    for name in ("identity", "crop-top-left", "larger-hflip"):
        assert np.allclose(together[name], answers([name])[name], atol=1e-6), (
            "views do not disturb each other"
        )


def probabilities(seed: int, views: int, rows: int, classes: int, scale: float) -> dict[str, np.ndarray]:
    logits = np.random.default_rng(seed).normal(size=(views, rows, classes)) * scale
    return {f"view {n}": softmax(one) for n, one in enumerate(logits)}


def averaged(by_view: dict[str, np.ndarray], how: str = "arithmetic") -> np.ndarray:
    classes = next(iter(by_view.values())).shape[1]
    return mean_of_views(by_view, how, LabelMap([f"class {n}" for n in range(classes)]))


@given(
    st.integers(0, 999),
    st.integers(1, 6),
    st.integers(2, 5),
    st.sampled_from([0.1, 3.0, 300.0, 3000.0]),
    st.sampled_from(["arithmetic", "geometric"]),
    st.randoms(use_true_random=False),
)
def test_means_of_views_sum_to_one_whatever_the_order(
    seed: int, views: int, classes: int, scale: float, how: str, random: object
) -> None:
    by_view = probabilities(seed, views, 7, classes, scale)
    mean = averaged(by_view, how)
    assert np.isfinite(mean).all()
    assert np.allclose(mean.sum(axis=1), 1.0, atol=1e-12)
    names = list(by_view)
    random.shuffle(names)  # type: ignore[attr-defined]
    assert np.array_equal(mean, averaged({name: by_view[name] for name in names}, how)), "bit for bit"
    if views == 1:
        assert np.allclose(mean, by_view["view 0"], atol=1e-9)


@given(arrays(np.float64, (4, 3, 2), elements=st.sampled_from([0.0, 1.0])))
def test_exact_zeros_make_no_nan_of_a_geometric_mean(certain: np.ndarray) -> None:
    certain[..., 1] = 1.0 - certain[..., 0]
    mean = averaged({str(n): one for n, one in enumerate(certain)}, "geometric")
    assert np.isfinite(mean).all()
    assert np.allclose(mean.sum(axis=1), 1.0)
    most = certain.mean(axis=0)
    assert (mean[most[:, 0] > 0.5, 0] > 0.5).all(), "the majority of certain views wins"


@pytest.mark.parametrize("how", ["arithmetic", "geometric"])
@pytest.mark.parametrize("seen", [[-5.0, -1.0, 0.5], [0.2, 0.2, 0.2], [0.5, 0.5, float("nan")]])
def test_logits_cannot_be_averaged(how: str, seen: list[float]) -> None:
    """-5 x -1 = 5: as factors, two views that are against a class would make it the answer."""
    with pytest.raises(ValueError, match="as probabilities"):
        averaged({"identity": np.array([seen]), "hflip": np.array([[0.2, 0.3, 0.5]])}, how)


def test_views_are_averaged_after_softmax() -> None:
    by_view = {"identity": softmax(np.float32([[9, 0, 0]])), "hflip": softmax(np.float32([[0, 1, 0]]))}
    mean = averaged(by_view)
    assert np.allclose(mean, (by_view["identity"] + by_view["hflip"]) / 2)
    assert not np.allclose(mean, softmax(np.float32([[4.5, 0.5, 0]])))
    products = np.sqrt(by_view["identity"] * by_view["hflip"])
    assert np.allclose(averaged(by_view, "geometric"), products / products.sum())


def test_a_network_of_one_size_takes_no_larger_images() -> None:
    part = ModelConfig(name="test_vit", size=160, kwargs={"dynamic_img_size": False})
    net = build(part, 3)
    with pytest.raises(WeightsError, match="'larger-hflip' needs a network that reads images of any size"):
        require_larger(net, part, 3, ["identity", "larger-hflip"])
    assert set(sets_to_try(net, part, 3, ["auto"])) == set(VIEW_SETS) - {"large", "larger", "scales"}
    assert list(sets_to_try(net, part, 3, ["auto", "larger", "d4"])) == ["none", "d4"]
    free = ModelConfig(name="test_resnet", size=160)
    assert set(sets_to_try(build(free, 3), free, 3, ["auto"])) == set(VIEW_SETS)


def test_sets_name_views_that_exist_each_once() -> None:
    for names in VIEW_SETS.values():
        assert set(names) <= set(VIEWS)
        assert len(set(names)) == len(names)
    assert len(VIEW_SETS["five-crops"]) == 5
    assert len(VIEW_SETS["ten-crops"]) == 10
    assert len(set(VIEWS)) == len(VIEWS)


@pytest.mark.parametrize("how", ["arithmetic", "geometric"])
def test_crops_and_scales_go_the_whole_way(workspace: Path, shapes: Path, how: str) -> None:
    views = ["identity", *VIEW_SETS["five-crops"], "larger"]
    asked = [f"tta={views!r}".replace("'", '"'), f"tta_mean={how}"]
    found = comp.run("shapes", 2, workspace=workspace, overrides=asked)
    assert load(found.folder / "recipe.toml").tta_mean == how
    before = found.submission.read_bytes()
    assert comp.predict(found.run, workspace=workspace)[0].read_bytes() == before


def test_a_larger_view_that_cannot_be_read_is_refused_before_a_run_begins(
    workspace: Path, shapes: Path
) -> None:
    fixed = ["model.name=test_vit", "model.size=160", "model.kwargs.dynamic_img_size=false"]
    with pytest.raises(WeightsError, match="needs a network that reads images of any size"):
        comp.run("shapes", 2, workspace=workspace, overrides=["tta=large", *fixed])
    assert not (workspace / "runs").exists()
