"""Networks by name: shapes, the order of layers, stems, and a competition's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from comp.errors import InputError, RecipeError, UnknownName, WeightsError
from comp.models.net import build, init_head, load_models, require_forward, require_model, resolve
from comp.recipe import HeadConfig, ModelConfig
from comp.training.optim import layer_groups, open_layers

SMALL = {"cifar_resnet18": {"width": 8}, "resnet9": {"width": 8}, "wide_resnet": {"depth": 10, "width": 1}}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [8, 32, 33])
def test_small_networks(name: str, size: int) -> None:
    net = build(ModelConfig(name=name, kwargs=SMALL[name], size=size), 5)
    logits = net(torch.randn(3, 3, size, size))
    assert logits.shape == (3, 5)
    logits.sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    grouped = [name for group in layer_groups(net.backbone) for name in group]
    assert sorted(grouped) == sorted(name for name, _ in net.backbone.named_parameters())


def test_depth_that_no_wide_network_has() -> None:
    with pytest.raises(WeightsError, match="must take"):
        build(ModelConfig(name="wide_resnet", kwargs={"depth": 11}), 2)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("test_vit", {"patch_size": 0}),  # ZeroDivisionError
        ("test_vit", {"num_heads": 5}),  # AssertionError, sometimes without a word
        ("vit_tiny_r_s16_p8_224", {"img_size": 33}),  # AssertionError without a word
        ("test_resnet", {"layers": 3}),
        ("test_resnet", {"act_layer": "nothing"}),
        ("test_resnet", {"colour": "red"}),
    ],
)
def test_arguments_that_no_model_takes(name: str, kwargs: dict[str, object]) -> None:
    with pytest.raises(WeightsError, match=r"must take model\.kwargs") as error:
        build(ModelConfig(name=name, kwargs=kwargs), 2)
    assert error.value.value.startswith(f"{name}: ")


@pytest.mark.parametrize(
    "argument",
    [
        {"in_chans": 1},
        {"num_classes": 7},
        {"pretrained": True},
        {"checkpoint_path": "w.pth"},
        {"features_only": True},
    ],
)
def test_arguments_that_are_not_for_model_kwargs(argument: dict[str, object]) -> None:
    with pytest.raises(WeightsError, match="says nothing of channels, classes and weights"):
        build(ModelConfig(name="test_resnet", kwargs=argument), 2)
    build(ModelConfig(name="test_resnet", kwargs={"in_chans": 3}), 2)


def test_small_networks_have_no_weights_to_download() -> None:
    with pytest.raises(WeightsError, match="must exist"):
        resolve(ModelConfig(name="resnet9"), "finetune", [])
    part, preprocess, weights = resolve(ModelConfig(name="resnet9"), "scratch", [])
    assert (part.size, preprocess.size, weights) == (32, 32, None)


@pytest.mark.parametrize(
    ("name", "new"), [("resnet18", "conv1.weight"), ("test_resnet", None), ("mobilenetv2_050", None)]
)
def test_a_small_stem_keeps_more_places(name: str, new: str | None) -> None:
    own, small = (build(ModelConfig(name=name, stem=stem), 2) for stem in ("own", "small"))
    assert small.new_stem == new
    places = []
    for net in (own, small):
        seen: list[torch.Size] = []
        last = [m for m in net.backbone.modules() if isinstance(m, torch.nn.Conv2d)][-1]
        hook = last.register_forward_hook(lambda module, x, y, seen=seen: seen.append(y.shape))
        net.eval()(torch.randn(1, 3, 64, 64))
        hook.remove()
        places.append(seen[0][-1])
    assert places[1] >= 2 * places[0]


def test_patches_have_no_small_stem() -> None:
    with pytest.raises(RecipeError, match="needs a convolution"):
        build(ModelConfig(name="vit_tiny_patch16_224", stem="small"), 2)


def test_a_hidden_layer() -> None:
    net = build(ModelConfig(name="test_resnet", head=HeadConfig(hidden=7, dropout=0.5)), 3)
    init_head(net, 1)
    before = [p.clone() for p in net.head.parameters()]
    init_head(net, 1)
    assert all(torch.equal(a, b) for a, b in zip(before, net.head.parameters(), strict=True))
    assert [tuple(p.shape) for p in before] == [(7, net.head[0].in_features), (7,), (3, 7), (3,)]


def test_the_last_blocks_alone_are_trained() -> None:
    net = build(ModelConfig(name="resnet18"), 2)
    open_layers(net, 1)
    trained = [name for name, p in net.backbone.named_parameters() if p.requires_grad]
    assert trained
    assert all(name.startswith("layer4.1.") for name in trained)
    open_layers(net, "head")
    assert not any(p.requires_grad for p in net.backbone.parameters())
    with pytest.raises(RecipeError, match="some of the backbone's blocks"):
        open_layers(net, 99)


MODELS = """
from torch import nn

class Own(nn.Module):
    num_features = 4
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
    def forward(self, x):
        return self.conv(x).mean((2, 3))

MODELS = {"own_net_of_the_tests": Own}
"""


def test_models_of_a_competition(tmp_path: Path) -> None:
    path = tmp_path / "models.py"
    load_models(path)  # nothing there, nothing happens
    path.write_text(MODELS)
    with pytest.raises(UnknownName, match="model"):
        require_model("own_net_of_the_tests")
    load_models(path)
    load_models(path)
    assert build(ModelConfig(name="own_net_of_the_tests"), 3)(torch.randn(2, 3, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("1 / 0", "importable"),
        ("MODELS = 3", "registers"),
        ("MODELS = {'resnet18': dict}", "its own"),
        ("MODELS = {'resnet9': dict}", "its own"),
        ("MODELS = {3: dict}", "registers"),
        ("import sys; sys.exit(1)", "importable"),
    ],
)
def test_bad_models(text: str, rule: str, tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(text)
    with pytest.raises(InputError, match=rule):
        load_models(tmp_path / "models.py")


def test_models_are_of_one_competition_at_a_time(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "models.py").write_text(MODELS)
        load_models(tmp_path / name / "models.py")
        require_model("own_net_of_the_tests")
    load_models(tmp_path / "none" / "models.py")
    with pytest.raises(UnknownName):
        require_model("own_net_of_the_tests")


def test_a_function_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text("MODELS = {'own_net_of_the_tests': lambda: {}['x']}")
    load_models(tmp_path / "models.py")
    with pytest.raises(RecipeError, match="gives a backbone") as error:
        build(ModelConfig(name="own_net_of_the_tests"), 2)
    assert "KeyError" in error.value.value


@pytest.mark.parametrize(
    ("forward", "told"),
    [("self.conv(x)", "at 16 pixels"), ("x.mean((2, 3))", "at 16 pixels"), ("1 / 0", "division by zero")],
)
def test_a_forward_that_does_not_fit_is_told(forward: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(MODELS.replace("self.conv(x).mean((2, 3))", forward))
    load_models(tmp_path / "models.py")
    part = ModelConfig(name="own_net_of_the_tests", size=16)
    with pytest.raises(WeightsError, match="images of") as error:
        require_forward(build(part, 2), part, 2)
    assert told in error.value.value


def test_a_size_that_a_model_cannot_read_is_told() -> None:
    part = ModelConfig(name="inception_v3", size=32)
    with pytest.raises(WeightsError, match="images of"):
        require_forward(build(part, 2), part, 2)
