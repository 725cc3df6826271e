"""Weights fit, or say in one line why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from comp.errors import InputError, UnknownName, WeightsError
from comp.images.fit import Preprocess
from comp.recipe_parts import ModelPart
from comp.training.loading import load_into
from comp.training.model import Net, build, init_head, resolve
from comp.training.weights import StateDict, find_default, read_weights

TINY = ModelPart(name="test_resnet")
NORMAL = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}


def tiny_weights(classes: int = 1000, seed: int = 3) -> StateDict:
    torch.manual_seed(seed)
    return dict(timm.create_model("test_resnet", num_classes=classes).state_dict())


def fresh(classes: int) -> Net:
    net = build(TINY, classes)
    init_head(net, 0)
    return net


def test_the_classifier_is_replaced_when_the_class_count_differs() -> None:
    net, weights = fresh(7), tiny_weights()
    head = net.head.weight.detach().clone()
    load_into(net, weights, TINY)
    assert torch.equal(net.head.weight, head)
    assert net.head.weight.shape[0] == 7
    own = net.backbone.state_dict()
    assert all(torch.equal(own[k], v) for k, v in weights.items() if not k.startswith("fc."))


def test_the_classifier_is_kept_when_it_fits() -> None:
    net, weights = fresh(7), tiny_weights(classes=7)
    load_into(net, weights, TINY)
    assert torch.equal(net.head.weight, weights["fc.weight"])
    assert torch.equal(net.head.bias, weights["fc.bias"])


def broken(kind: str) -> StateDict:
    weights = tiny_weights()
    first = next(k for k in weights if k.endswith("conv1.weight"))
    if kind == "missing":
        del weights[first]
    elif kind == "unknown":
        weights["stray.weight"] = torch.zeros(3)
    else:
        weights[first] = torch.zeros(1, 2, 3, 3)
    return weights


@pytest.mark.parametrize("kind", ["missing", "unknown", "other shape"])
def test_keys_that_do_not_fit_are_a_loud_error(kind: str) -> None:
    with pytest.raises(WeightsError, match="must fit test_resnet") as error:
        load_into(fresh(7), broken(kind), TINY)
    assert f"1 {kind}" in error.value.value


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(WeightsError, match="must fit test_resnet"):
        load_into(fresh(7), dict(timm.create_model("test_vit").state_dict()), TINY)


@pytest.mark.parametrize("wrap", [dict, lambda w: {"state_dict": w}, lambda w: {"model": w, "epoch": 3}])
def test_torch_files_are_read_in_their_usual_wrappings(tmp_path: Path, wrap: Any) -> None:
    weights = tiny_weights()
    torch.save(wrap({f"module.{k}": v for k, v in weights.items()}), tmp_path / "w.pth")
    read = read_weights(tmp_path / "w.pth")
    assert set(read) == set(weights)
    assert all(torch.equal(read[k], v) for k, v in weights.items())


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(tiny_weights(), tmp_path / "w.safetensors")
    assert set(read_weights(tmp_path / "w.safetensors")) == set(tiny_weights())


class Harmful:
    """Stands for a pickle that would run code."""


def test_files_that_hold_no_tensors_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("not weights")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "no_tensors.pth")
    torch.save(Harmful(), tmp_path / "pickle.pth")
    for name in ("text.pth", "empty.safetensors", "list.pth", "no_tensors.pth", "pickle.pth", "gone.pth"):
        with pytest.raises(WeightsError) as error:
            read_weights(tmp_path / name)
        assert name in error.value.value
        assert "\n" not in str(error.value)
        assert "weights_only" not in str(error.value), "torch's way out runs what the file holds"


def weights_file(folder: Path, **beside: Any) -> str:
    save_file(tiny_weights(), folder / "w.safetensors")
    if beside:
        (folder / "w.json").write_text(json.dumps(beside))
    return str(folder / "w.safetensors")


def test_a_path_needs_mean_and_std_in_the_recipe_or_beside_the_file(tmp_path: Path) -> None:
    path = weights_file(tmp_path)
    with pytest.raises(WeightsError, match=r"needs model\.mean and model\.std"):
        resolve(TINY.model_copy(update={"weights": path}), "finetune", [])
    with pytest.raises(WeightsError, match=r"needs model\.mean and model\.std"):
        resolve(TINY.model_copy(update={"weights": path, "mean": [0.5] * 3}), "finetune", [])
    part, preprocess, weights = resolve(TINY.model_copy(update={"weights": path, **NORMAL}), "finetune", [])
    assert (preprocess.mean, preprocess.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert weights is not None
    assert part.freeze_bn is True
    weights_file(tmp_path, **NORMAL, size=48, interpolation="bicubic")
    part, preprocess, _ = resolve(TINY.model_copy(update={"weights": path}), "probe", [])
    assert preprocess == Preprocess(48, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic", "crop", 0.95)
    assert (part.size, part.mean, part.interpolation) == (48, [0.1, 0.2, 0.3], "bicubic")


@pytest.mark.parametrize(
    "beside",
    [{"mean": [0.5], "std": [0.5] * 3}, {"mean": "half", "std": [0.5] * 3}, {**NORMAL, "size": "big"}],
)
def test_a_faulty_file_beside_the_weights_is_a_clear_error(tmp_path: Path, beside: dict[str, Any]) -> None:
    path = weights_file(tmp_path, **beside)
    with pytest.raises(InputError, match=r"w\.json has 1 mistake"):
        resolve(TINY.model_copy(update={"weights": path}), "finetune", [])


def test_preprocessing_is_the_models_own_unless_the_recipe_says_otherwise() -> None:
    _, own, weights = resolve(TINY, "scratch", [])
    assert own == Preprocess(160, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear", "crop", 0.95)
    assert weights is None
    _, said, _ = resolve(
        TINY.model_copy(update={"size": 64, "mean": [0.1, 0.1, 0.1], "crop_pct": 1.0}), "scratch", []
    )
    assert (said.size, said.mean, said.std, said.crop_pct) == (64, (0.1, 0.1, 0.1), (0.5, 0.5, 0.5), 1.0)


def test_default_weights_are_found_by_their_timm_tag(tmp_path: Path) -> None:
    save_file(tiny_weights(), tmp_path / "test_resnet.r160_in1k.safetensors")
    found = find_default("test_resnet", [tmp_path / "nowhere", tmp_path])
    assert torch.equal(found["fc.weight"], tiny_weights()["fc.weight"])


def test_an_unreachable_hub_is_a_clear_error_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def offline(*args: Any, **kwargs: Any) -> Any:
        raise OSError("cannot reach the hub\nlong story")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(WeightsError) as error:
        find_default("test_resnet", [tmp_path])
    assert "test_resnet.r160_in1k must be downloaded once" in error.value.rule
    assert error.value.value in (
        "cannot reach the hub",  # where the hub answers, what timm said, its first line
        "huggingface.co cannot be reached from here, and they are not in its cache",
    )
    assert "weights/" in error.value.remedy
    assert "--set model.weights=PATH" in error.value.remedy


def test_a_model_without_default_weights_says_so() -> None:
    trained = {name.partition(".")[0] for name in timm.list_pretrained()}
    untrained = next(name for name in timm.list_models() if name not in trained)
    with pytest.raises(WeightsError, match=f"timm has none for {untrained}"):
        find_default(untrained, [])


def test_unknown_models_and_arguments_are_named() -> None:
    with pytest.raises(UnknownName, match="test_resnet"):
        build(ModelPart(name="test_resnt"), 3)
    with pytest.raises(UnknownName, match="did you mean"):
        resolve(ModelPart(name="efficientnet_bo"), "scratch", [])
    with pytest.raises(WeightsError, match=r"model\.kwargs"):
        build(ModelPart(name="test_resnet", kwargs={"colour": "red"}), 3)
