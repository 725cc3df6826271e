"""timm's own weights of every family of models load into ours, and give timm's own features and logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from comp.data.images.preprocess import Preprocess
from comp.data.labels import LabelMap
from comp.errors import WeightsError
from comp.models.batchnorm_fusion import fuse_frozen_batchnorm
from comp.models.checkpoint import load_checkpoint, save_checkpoint
from comp.models.load_weights import load_into
from comp.models.net import Net, build, config_of, freeze_batchnorm, init_head, require_forward
from comp.models.weights import StateDict, read_weights
from comp.recipe import ModelConfig, OptimizerConfig, Recipe
from comp.training.optim import make_optimizer, open_layers

CLASSES = 5
# one of each way that timm's models end: a layer called fc, head, head.fc, classifier or last_linear, a norm or a hidden
# layer before it, two of them on the same or on different features, one for each stage
ENDS = (
    "test_resnet",
    "test_vit",
    "test_convnext",
    "test_efficientnet",
    "legacy_seresnet18",
    "mobilenetv3_small_050",
    "levit_128s",
    "repvit_m1",
    "efficientvit_m0",
    "shvit_s1",
    "iformer_t",
    "deit_tiny_distilled_patch16_224",
    "efficientvim_m1",
)
# whether a classifier is one linear layer of the features, and can be kept
KEPT = {
    "test_resnet": True,
    "test_convnext": True,
    "mobilenetv3_small_050": True,
    "levit_128s": False,
    "shvit_s1": False,
    "deit_tiny_distilled_patch16_224": False,
    "efficientvim_m1": False,
}


def side(name: str) -> int:
    """The pixels that a model is tried with: few, where it reads any size."""
    known = config_of(name)
    usual = int(known.get("input_size", (3, 224, 224))[-1])
    least = int((known.get("min_input_size") or (3, 1, 1))[-1])
    return usual if known.get("fixed_input_size") else min(usual, max(128, least))


def timms(name: str, classes: int = 1000) -> nn.Module:
    """timm's model with random weights; norms are unlike fresh ones, which change nothing."""
    torch.manual_seed(0)
    net: nn.Module = timm.create_model(name, num_classes=classes).eval()
    for key, buffer in net.named_buffers():
        if key.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif key.endswith("running_var"):
            buffer.uniform_(0.8, 1.2)
    for parameter in net.parameters():
        if parameter.ndim <= 1:
            parameter.data += torch.randn_like(parameter) * 0.05
    return net


def images(name: str) -> Tensor:
    return torch.randn(2, 3, side(name), side(name), generator=torch.Generator().manual_seed(1))


def started(name: str, weights: StateDict, classes: int = CLASSES) -> tuple[Net, ModelConfig]:
    """Our network of a model, in eval mode, with these weights."""
    part = ModelConfig(name=name, size=side(name))
    net = build(part, classes).eval()
    init_head(net, 0)
    load_into(net, weights, part)
    return net, part


def near(one: Tensor, other: Tensor) -> bool:
    return bool(one.shape == other.shape and (one - other).abs().max() <= 1e-5 * other.abs().max())


def loads_as_timms(name: str, folder: Path) -> None:
    """A file of timm's own 1000 classes gives timm's own features before the classifier, also after BatchNorm was folded
    and after a checkpoint was saved and loaded.
    """
    whole, x = timms(name), images(name)
    torch.save(whole.state_dict(), folder / "w.pth")
    net, part = started(name, read_weights(folder / "w.pth"))
    require_forward(net, part, CLASSES)
    with torch.inference_mode():
        features = whole.forward_head(whole.forward_features(x), pre_logits=True)  # type: ignore[operator]
        assert near(net.backbone(x), features)
        logits = net(x)
    save_checkpoint(
        folder,
        net,
        slug="made",
        fold=0,
        model=part,
        labels=LabelMap([str(n) for n in range(CLASSES)]),
        preprocess=Preprocess(side(name), (0.5,) * 3, (0.5,) * 3),
        precision="fp32",
        train_sha256="",
    )
    back, _ = load_checkpoint(folder)
    with torch.inference_mode():
        assert torch.equal(back(x), logits)
    with (
        torch.inference_mode()
    ):  # in double: some networks with random weights turn a last digit into a hundredth
        exact = back.double()(x.double())
    fuse_frozen_batchnorm(back.float(), side(name))
    with torch.inference_mode():
        assert near(back.double()(x.double()), exact)


@pytest.mark.parametrize("name", ENDS)
def test_the_weights_of_every_kind_of_classifier(name: str, tmp_path: Path) -> None:
    loads_as_timms(name, tmp_path)


@pytest.mark.parametrize("name", ["levit_128s", "repvit_m1"])
def test_models_with_two_heads_are_trained_like_any_other(name: str) -> None:
    net, _ = started(name, dict(timms(name).state_dict()))
    recipe = Recipe(mode="finetune", optimizer=OptimizerConfig(layer_decay=0.7))
    open_layers(net, 1)
    assert any(p.requires_grad for p in net.backbone.parameters())
    open_layers(net, "all")
    optimizer = make_optimizer(net, recipe)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in net.parameters()}
    net.train()
    freeze_batchnorm(net)
    fuse_frozen_batchnorm(net, side(name))
    logits = net(images(name))
    assert logits.shape == (2, CLASSES)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("name", KEPT)
def test_a_classifier_of_the_same_classes_is_kept_whole_or_not_at_all(name: str) -> None:
    whole, x = timms(name, CLASSES), images(name)
    fresh = build(ModelConfig(name=name, size=side(name)), CLASSES)
    init_head(fresh, 0)
    net, _ = started(name, dict(whole.state_dict()))
    if KEPT[name]:
        with torch.inference_mode():
            assert near(net(x), whole(x))
    else:
        assert torch.equal(net.head.weight, fresh.head.weight), "half a classifier is no start"


@pytest.mark.parametrize("lost", ["head.bn.weight", "head_dist.linear.weight", "head.linear.weight"])
def test_a_part_of_a_classifier_may_be_missing(lost: str) -> None:
    weights = dict(timms("levit_128s").state_dict())
    del weights[lost]
    net, _ = started("levit_128s", weights)
    assert net.head.weight.shape[0] == CLASSES
    assert torch.isfinite(net(images("levit_128s"))).all()


@pytest.mark.parametrize("stray", ["head.bn2.weight", "head_disk.linear.weight", "stem.conv9.weight"])
def test_what_no_classifier_of_timm_has_is_still_unknown(stray: str) -> None:
    weights = {**timms("levit_128s").state_dict(), stray: torch.zeros(3)}
    with pytest.raises(WeightsError, match=f"1 unknown .{stray}"):
        started("levit_128s", weights)


def test_a_layer_before_the_classifier_cannot_be_missing() -> None:
    weights = dict(timms("mobilenetv3_small_050").state_dict())
    del weights["conv_head.weight"]
    with pytest.raises(WeightsError, match=r"1 missing .conv_head\.weight"):
        started("mobilenetv3_small_050", weights)


def test_names_of_other_versions_are_read_as_timm_reads_them() -> None:
    name = "swin_tiny_patch4_window7_224"
    weights = dict(timms(name).state_dict())
    old = {
        **weights,
        "layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49, dtype=torch.int64),
    }
    net, _ = started(name, old)
    body = net.backbone.state_dict()
    assert all(torch.equal(body[key], tensor) for key, tensor in weights.items() if key in body)


def test_position_tables_of_another_size_are_resampled_as_timm_does_it() -> None:
    whole = timms("test_vit")
    part = ModelConfig(name="test_vit", size=96)
    net = build(part, CLASSES).eval()
    load_into(net, dict(whole.state_dict()), part)
    theirs = timm.create_model("test_vit", img_size=96, num_classes=0).eval()
    from timm.models.vision_transformer import checkpoint_filter_fn

    theirs.load_state_dict(checkpoint_filter_fn(dict(whole.state_dict()), theirs), strict=False)
    x = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        assert near(net.backbone(x), theirs(x))


def test_a_layer_of_another_size_is_another_model() -> None:
    weights = dict(timms("vit_tiny_patch16_224").state_dict())  # timm's reader would resample its patches
    part = ModelConfig(name="vit_tiny_patch16_224", size=224, kwargs={"patch_size": 32})
    with pytest.raises(WeightsError, match="other shape"):
        load_into(build(part, CLASSES), weights, part)


def test_tables_that_cannot_be_resampled_name_the_size() -> None:
    weights = dict(timms("convit_tiny").state_dict())
    part = ModelConfig(name="convit_tiny", size=96)
    with pytest.raises(WeightsError, match="1 other shape") as error:
        load_into(build(part, CLASSES), weights, part)
    assert "model.size" in error.value.remedy


MOST = 60_000_000  # parameters of the models that are tried
# families whose smallest model is larger
LARGE = {
    "beit",
    "deepseek_vit",
    "gemma4_vit",
    "mobilenetv5",
    "naflexvit",
    "nasnet",
    "pnasnet",
    "qwen3_vit",
    "vgg",
    "vision_transformer_sam",
}


def smallest(module: str) -> tuple[str, int]:
    """The model of a family with the fewest parameters, and how many those are."""
    sizes: dict[str, int] = {}
    for name in timm.list_models(module=module):
        with torch.device("meta"):
            sizes[name] = sum(p.numel() for p in timm.create_model(name).parameters())
    name = min(sizes, key=lambda one: sizes[one])
    return name, sizes[name]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:timm")
@pytest.mark.parametrize("module", timm.list_modules())
def test_every_family_of_timm(module: str, tmp_path: Path) -> None:
    name, parameters = smallest(module)
    if parameters > MOST:
        assert module in LARGE, f"{name} is new and large: try it by hand"
        pytest.skip(f"{name} has {parameters / 1e6:.0f} million parameters")
    loads_as_timms(name, tmp_path)
