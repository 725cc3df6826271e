"""Weights fit, or say in one line why not."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from comp.data.images.preprocess import Preprocess
from comp.errors import InputError, UnknownName, WeightsError
from comp.models.load_weights import load_into
from comp.models.net import Net, build, init_head, resolve
from comp.models.weights import StateDict, find_default, read_weights, require_usable
from comp.recipe import ModelConfig

TINY = ModelConfig(name="test_resnet")
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
    assert '`overrides=["model.weights=PATH"]`' in error.value.remedy


def test_a_model_without_default_weights_says_so() -> None:
    trained = {name.partition(".")[0] for name in timm.list_pretrained()}
    untrained = next(name for name in timm.list_models() if name not in trained)
    with pytest.raises(WeightsError, match=f"timm has none for {untrained}"):
        find_default(untrained, [])


def test_unknown_models_and_arguments_are_named() -> None:
    with pytest.raises(UnknownName, match="test_resnet"):
        build(ModelConfig(name="test_resnt"), 3)
    with pytest.raises(UnknownName, match="did you mean"):
        resolve(ModelConfig(name="efficientnet_bo"), "scratch", [])
    with pytest.raises(WeightsError, match=r"model\.kwargs"):
        build(ModelConfig(name="test_resnet", kwargs={"colour": "red"}), 3)


NAN, INFINITE = float("nan"), float("inf")


def with_value(key: str, value: float, dtype: torch.dtype = torch.float32) -> StateDict:
    """Weights of ``dtype`` in which the last value of the first tensor that ends with ``key`` is another."""
    weights = {k: v.to(dtype) if v.is_floating_point() else v for k, v in tiny_weights().items()}
    name = next(k for k in weights if k.endswith(key))
    changed = weights[name].clone()
    changed.view(-1)[-1] = value
    return {**weights, name: changed}


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (with_value("conv1.weight", NAN), "conv1.weight has 1 NaN or infinite values of "),
        (with_value("conv1.weight", -INFINITE), "conv1.weight has 1 NaN"),
        (with_value("conv1.weight", NAN, torch.float16), "conv1.weight has 1 NaN"),
        (with_value("conv1.weight", INFINITE, torch.bfloat16), "conv1.weight has 1 NaN"),
        (with_value("conv1.weight", 1e300, torch.float64), "conv1.weight has 1 NaN"),
        (with_value("running_mean", NAN), "running_mean has 1 NaN"),
        (with_value("running_var", INFINITE), "running_var has 1 NaN"),
        (with_value("running_var", -1e-9), "running_var is a variance and has values below zero"),
        (with_value("fc.weight", NAN), "fc.weight has 1 NaN"),
        (with_value("fc.bias", NAN), "fc.bias has 1 NaN"),
        (
            {**tiny_weights(), "fc.bias": torch.zeros(1000, dtype=torch.float8_e4m3fn)},
            "fc.bias is float8_e4m3fn",
        ),
        ({**tiny_weights(), "fc.bias": torch.zeros(1000, dtype=torch.complex64)}, "fc.bias is complex"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tensors_that_no_network_can_use_are_named(
    weights: StateDict, told: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"w.{suffix}"
    save_file(weights, path) if suffix == "safetensors" else torch.save(weights, path)
    with pytest.raises(WeightsError, match="finite numbers") as error:
        read_weights(path)
    assert told in error.value.value
    assert str(path) in error.value.value


def test_large_numbers_whose_sum_is_none_are_sound(tmp_path: Path) -> None:
    weights = {**tiny_weights(), "fc.bias": torch.full((1000,), 1e38)}
    save_file(weights, tmp_path / "w.safetensors")
    assert read_weights(tmp_path / "w.safetensors").keys() == weights.keys()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_other_sizes_are_read(dtype: torch.dtype, tmp_path: Path) -> None:
    weights = with_value("running_var", 0.0, dtype)  # a dead channel has no variance
    save_file(weights, tmp_path / "w.safetensors")
    net = fresh(7)
    load_into(net, read_weights(tmp_path / "w.safetensors"), TINY)
    own = net.backbone.state_dict()
    assert all(torch.equal(own[k], v.to(own[k].dtype)) for k, v in weights.items() if not k.startswith("fc."))


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool])
def test_whole_numbers_are_no_weights(dtype: torch.dtype) -> None:
    weights = tiny_weights()
    first = next(k for k in weights if k.endswith("conv1.weight"))
    weights[first] = torch.zeros_like(weights[first], dtype=dtype)
    with pytest.raises(WeightsError, match="1 no fractions") as error:
        load_into(fresh(7), weights, TINY)
    assert f"{first} {dtype}" in error.value.value


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(9).to_sparse(),
        torch.zeros(9, device="meta"),
    ],
    ids=["sparse", "empty"],
)
def test_tensors_without_plain_numbers_are_refused(tensor: torch.Tensor) -> None:
    with pytest.raises(WeightsError, match="finite numbers") as error:
        require_usable({"fc.bias": tensor}, "a file")
    assert "a file: fc.bias is sparse, quantized or empty" in error.value.value


def test_half_of_the_tensors_are_not_enough() -> None:
    weights = tiny_weights()
    half = dict(list(weights.items())[: len(weights) // 2])
    for some in (half, {}, {"fc.weight": weights["fc.weight"], "fc.bias": weights["fc.bias"]}):
        with pytest.raises(WeightsError, match=r"\d+ missing"):
            load_into(fresh(7), some, TINY)


def test_places_that_are_no_file_of_weights(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(WeightsError, match="must be a file") as error:
        read_weights(tmp_path / "folder")
    assert "is a folder" in error.value.value
    save_file(tiny_weights(), tmp_path / "folder" / "model.safetensors")
    with pytest.raises(WeightsError) as error:
        read_weights(tmp_path / "folder")
    assert "model.safetensors" in error.value.remedy
    os.mkfifo(tmp_path / "pipe.pth")
    for path in (tmp_path / "pipe.pth", Path("/dev/null"), tmp_path / ("n" * 5000), tmp_path / "a\0b"):
        with pytest.raises(WeightsError, match="must be a file"):
            read_weights(path)


@contextlib.contextmanager
def zeros(path: Path, size: int) -> Iterator[Path]:
    """A file of zeros that take no room on the disk; it goes again, before anybody reads all that lies around."""
    with path.open("wb") as file:
        file.truncate(size)
    try:
        yield path
    finally:
        path.unlink()


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "bin"])
@pytest.mark.parametrize("size", [1, 30 << 30])
def test_files_of_zeros(suffix: str, size: int, tmp_path: Path) -> None:
    with zeros(tmp_path / f"w.{suffix}", size) as path, pytest.raises(WeightsError, match="weights must"):
        read_weights(path)


def test_a_file_larger_than_memory_is_not_read(tmp_path: Path) -> None:
    with (
        zeros(tmp_path / "w.safetensors", 1 << 42) as path,
        pytest.raises(WeightsError, match="fit into memory") as error,
    ):
        read_weights(path)
    assert "4,096 GiB" in error.value.value


def test_headers_that_lie(tmp_path: Path) -> None:
    save_file(tiny_weights(), tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    for content in (
        (1 << 62).to_bytes(8, "little") + whole[8:],
        whole[:8] + b"[" + whole[9:],
        whole.replace(b'"F32"', b'"F99"', 1),
        whole[:-4],
        whole + b"1234",
    ):
        (tmp_path / "w.safetensors").write_bytes(content)
        with pytest.raises(WeightsError, match="must be a file of tensors"):
            read_weights(tmp_path / "w.safetensors")


def test_a_trainers_file_with_a_moving_average_gives_the_average(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last, average = tiny_weights(seed=1), tiny_weights(seed=2)
    args = argparse.Namespace(lr=0.1)
    for key, beside in (("state_dict_ema", "state_dict"), ("model_ema", "model")):
        torch.save({"epoch": 3, "args": args, beside: last, key: average}, tmp_path / "w.pth")
        read = read_weights(tmp_path / "w.pth")
        assert torch.equal(read["fc.weight"], average["fc.weight"])
        assert f"w.pth holds {key} and {beside}: {key} is read" in capsys.readouterr().err


@pytest.mark.parametrize("first", ["model.", "net.backbone.", "_orig_mod.module.", "module._orig_mod."])
def test_names_that_trainers_lay_around_a_network(first: str, tmp_path: Path) -> None:
    weights = tiny_weights()
    torch.save({f"{first}{k}": v for k, v in weights.items()}, tmp_path / "w.pth")
    net = fresh(7)
    load_into(net, read_weights(tmp_path / "w.pth"), TINY)
    own = net.backbone.state_dict()
    assert all(torch.equal(own[k], v) for k, v in weights.items() if not k.startswith("fc."))


def test_files_of_other_things_say_what_they_hold(tmp_path: Path) -> None:
    for content, told in (
        ({"teacher": {"a": torch.zeros(1)}, "epoch": 3}, "holds a dict of 'teacher', 'epoch'"),
        ({1: torch.zeros(1)}, "holds a dict of 1"),
        ({}, "holds a dict of nothing"),
        (torch.zeros(3), "holds a Tensor"),
    ):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(WeightsError, match="must be a state dict") as error:
            read_weights(tmp_path / "w.pth")
        assert told in error.value.value
