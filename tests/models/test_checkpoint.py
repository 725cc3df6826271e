"""Checkpoints carry everything that prediction needs, and are refused when they are not whole."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from comp.data.images.preprocess import Preprocess
from comp.data.labels import LabelMap
from comp.data.task import Task
from comp.errors import CompError, WeightsError
from comp.models.checkpoint import (
    Sidecar,
    load_checkpoint,
    read_sidecar,
    read_tensors,
    save_checkpoint,
    save_tensors,
)
from comp.models.net import Net, build
from comp.recipe import ModelConfig

PART = ModelConfig(name="test_resnet", kwargs={"drop_path_rate": 0.1}, size=32, head={"dropout": 0.3})
PREPROCESS = Preprocess(32, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), "bicubic", "pad", 0.9)
LABELS = LabelMap(("개", "cat", "eel"))


def save(folder: Path, seed: int = 0) -> tuple[Net, Sidecar]:
    torch.manual_seed(seed)
    net = build(PART, len(LABELS)).eval()
    sidecar = save_checkpoint(
        folder,
        net,
        slug="shapes",
        fold=seed,
        model=PART,
        labels=LABELS,
        preprocess=PREPROCESS,
        precision="fp32",
        train_sha256="abc",
    )
    return net, sidecar


def test_a_checkpoint_comes_back_with_all_it_knows(tmp_path: Path) -> None:
    net, sidecar = save(tmp_path / "0")
    back, read = load_checkpoint(tmp_path / "0")
    assert read == sidecar
    assert (read.labels, read.preprocess, read.model, read.fold) == (LABELS, PREPROCESS, PART, 0)
    x = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(net(x), back(x))
    assert not back.training


def test_only_checkpoints_with_one_backbone_share_its_hash(tmp_path: Path) -> None:
    net, first = save(tmp_path / "0")
    torch.nn.init.normal_(net.head.weight)
    again = save_checkpoint(
        tmp_path / "1",
        net,
        slug="s",
        fold=1,
        model=PART,
        labels=LABELS,
        preprocess=PREPROCESS,
        precision="fp32",
        train_sha256="",
    )
    _, other = save(tmp_path / "2", seed=2)
    assert again.backbone_sha256 == first.backbone_sha256
    assert again.weights_sha256 != first.weights_sha256
    assert other.backbone_sha256 != first.backbone_sha256


def test_a_swapped_sidecar_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "0", 0)
    save(tmp_path / "1", 1)
    shutil.copy(tmp_path / "1" / "model.json", tmp_path / "0" / "model.json")
    with pytest.raises(WeightsError, match="belong together"):
        load_checkpoint(tmp_path / "0")


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_torn_file_is_refused(tmp_path: Path, keep: int) -> None:
    save(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="belong together"):
        load_checkpoint(tmp_path)


def test_missing_tensors_are_refused(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="needs its tensors"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_a_faulty_sidecar_is_refused(tmp_path: Path, content: str) -> None:
    save(tmp_path)
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(CompError):
        load_checkpoint(tmp_path)


def test_a_sidecar_that_lacks_a_fact_is_refused(tmp_path: Path) -> None:
    save(tmp_path)
    whole = json.loads((tmp_path / "model.json").read_text())
    for key in set(whole) - {"versions", "device", "noise"}:  # older ones lack the last two
        (tmp_path / "model.json").write_text(json.dumps({k: v for k, v in whole.items() if k != key}))
        with pytest.raises(WeightsError, match="needs its sidecar"):
            read_sidecar(tmp_path)
    (tmp_path / "model.json").write_text(
        json.dumps({**whole, "preprocess": {**whole["preprocess"], "mean": [0.5]}})
    )
    with pytest.raises(WeightsError, match="needs its sidecar"):
        read_sidecar(tmp_path)


def rewrite(folder: Path, content: bytes) -> None:
    """Other tensors, of which the sidecar says that they belong to it."""
    (folder / "model.safetensors").write_bytes(content)
    sidecar = json.loads((folder / "model.json").read_text())
    sidecar["weights_sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "model.json").write_text(json.dumps(sidecar))


@pytest.mark.parametrize("key", ["backbone.bn1.weight", "backbone.bn1.running_var", "head.bias"])
def test_a_checkpoint_of_no_numbers_is_refused(tmp_path: Path, key: str) -> None:
    net, _ = save(tmp_path)
    tensors = {k: v.clone() for k, v in net.state_dict().items()}
    key = next(k for k in tensors if k.endswith(key.partition(".")[2]))
    tensors[key].fill_(float("nan"))
    rewrite(tmp_path, safetensors.torch.save(tensors))
    with pytest.raises(WeightsError, match="finite numbers") as error:
        read_tensors(tmp_path)
    assert f"model.safetensors: {key} has" in error.value.value


def test_tensors_of_another_network_are_refused(tmp_path: Path) -> None:
    save(tmp_path)
    rewrite(tmp_path, safetensors.torch.save({"head.weight": torch.zeros(3, 4)}))
    with pytest.raises(WeightsError, match="must fit test_resnet"):
        load_checkpoint(tmp_path)
    rewrite(tmp_path, b"no tensors")
    with pytest.raises(WeightsError, match="needs its tensors"):
        load_checkpoint(tmp_path)


def test_a_layer_under_two_names_is_saved_under_both(tmp_path: Path) -> None:
    part = ModelConfig(name="coat_tiny", size=64)  # its blocks share their position encodings
    net = build(part, 3).eval()
    save_checkpoint(
        tmp_path,
        net,
        slug="s",
        fold=0,
        model=part,
        labels=LABELS,
        preprocess=PREPROCESS,
        precision="fp32",
        train_sha256="",
    )
    back, _ = load_checkpoint(tmp_path)
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(net(x), back(x))


@pytest.mark.parametrize(
    "labels",
    [
        LabelMap(("a", "b", "c"), Task("multi-label")),
        LabelMap(("0", "1", "2"), Task("ordinal")),
        LabelMap(("x", "y"), Task("regression", (0.0, -1.5), (10.0, 2.5))),
    ],
    ids=lambda labels: labels.task.name,
)
def test_a_checkpoint_keeps_its_task(labels: LabelMap, tmp_path: Path) -> None:
    net = build(PART, labels.width).eval()
    facts = {"model": PART, "preprocess": PREPROCESS, "precision": "fp32", "train_sha256": "abc"}
    save_checkpoint(tmp_path, net, slug="shapes", fold=0, labels=labels, **facts)
    back, sidecar = load_checkpoint(tmp_path)
    assert sidecar.labels == labels
    assert sidecar.labels.task == labels.task
    with torch.inference_mode():
        assert back(torch.randn(2, 3, 32, 32)).shape == (2, labels.width)


def test_a_sidecar_that_says_no_task_is_of_a_single_label(tmp_path: Path) -> None:
    save(tmp_path)
    assert "task" not in json.loads((tmp_path / "model.json").read_text())
    assert read_sidecar(tmp_path).labels.task.is_single_label


def test_a_sidecar_of_an_unknown_task_is_refused(tmp_path: Path) -> None:
    save(tmp_path)
    path = tmp_path / "model.json"
    for task in ("multi-label", {"name": "several", "low": [], "high": []}, {"name": "ordinal"}):
        table = json.loads(path.read_text())
        path.write_text(json.dumps({**table, "task": task}))
        with pytest.raises(CompError):
            read_sidecar(tmp_path)


class Interrupted(FileIO):
    """A file during whose ``at``-th write somebody presses Ctrl-C."""

    at = 0
    writes = 0

    def write(self, content: Any) -> int:
        Interrupted.writes += 1
        if Interrupted.writes == Interrupted.at:
            signal.raise_signal(signal.SIGINT)
        return super().write(content)


@pytest.mark.parametrize("at", [1, 4, 9, 40])
def test_ctrl_c_while_tensors_are_written_is_ctrl_c(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comp.models.checkpoint.FileIO", Interrupted)
    monkeypatch.setattr(Interrupted, "at", at)
    monkeypatch.setattr(Interrupted, "writes", 0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            save_tensors(tmp_path / "state.pt", {"weights": [torch.zeros(9) for _ in range(30)]})
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert Interrupted.writes >= at
    assert not list(tmp_path.iterdir()), "nothing half written"
