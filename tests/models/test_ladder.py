"""The ladder of backbones says what timm says; each family is probed and fine-tuned; what is at hand is seen."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from timm.models import get_pretrained_cfg
from torch.utils.flop_counter import FlopCounterMode

import comp
from comp.errors import InputError
from comp.models.ladder import DEVICES, Backbone, allowed, ladder, weights_at_hand
from made import run_comp, write_shapes

# The smallest member of each family, and the pixels that it is tried with.
SMALLEST = {
    "convnext": ("convnext_atto", 32),
    "dinov2": ("vit_small_patch14_dinov2", 56),
    "dinov3": ("vit_small_patch16_dinov3", 32),
    "efficientnet": ("tf_efficientnet_lite0", 32),
    "eva02": ("eva02_tiny_patch14_224", 56),
    "hgnetv2": ("hgnetv2_b0", 32),
    "metaformer": ("caformer_s18", 32),
    "mobilenetv1": ("mobilenetv1_100", 32),
    "mobilenetv2": ("mobilenetv2_035", 32),
    "mobilenetv4": ("mobilenetv4_conv_small", 32),
    "resnet": ("resnet10t", 32),
    "siglip": ("vit_base_patch16_siglip_224", 32),
    "swin": ("swin_tiny_patch4_window7_224", 64),
    "vit": ("vit_tiny_patch16_224", 32),
}


@pytest.mark.parametrize("one", ladder(), ids=lambda one: one.name)
def test_timm_has_each_of_them_under_the_licence_that_is_told(one: Backbone) -> None:
    known = get_pretrained_cfg(one.name)
    assert known is not None
    assert known.hf_hub_id
    assert known.license == one.licence
    assert one.open is (one.licence in ("apache-2.0", "mit"))


def test_the_cheapest_come_first_and_each_once() -> None:
    names = [one.name for one in ladder()]
    assert len(set(names)) == len(names)
    assert [one.gmacs for one in ladder()] == sorted(one.gmacs for one in ladder())
    assert {one.family for one in ladder()} == set(SMALLEST)


def test_licences_that_a_winner_may_not_publish_are_left_out_unless_asked_for() -> None:
    assert all(one.open for one in allowed())
    assert allowed("any") == list(ladder())
    assert {one.licence for one in allowed("dinov3-license")} == {"dinov3-license"}
    with pytest.raises(InputError, match="unknown licence"):
        allowed("gpl")


def test_a_device_has_what_smaller_ones_have() -> None:
    sizes = [len(allowed("any", device)) for device in DEVICES]
    assert 0 < sizes[0] < sizes[1] < sizes[2] == len(ladder())
    assert all(one.device == "cpu" for one in allowed(device="cpu"))


def test_weights_in_a_folder_are_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    name = "tf_efficientnet_lite0.in1k"
    assert weights_at_hand(name, [tmp_path / "absent"]) is None
    (tmp_path / f"{name}.safetensors").touch()
    assert weights_at_hand(name, [tmp_path / "absent", tmp_path]) == str(tmp_path / f"{name}.safetensors")


def test_models_prints_the_table(tmp_path: Path) -> None:
    rows = comp.list_models(device="cpu", workspace=tmp_path)
    assert [row.name for row in rows] == [one.name for one in allowed(device="cpu")]
    done = run_comp(tmp_path, "models", "--device", "cpu", "--json")
    assert done.json == [row.as_json() for row in rows]
    assert repr(rows[0]) == f"ModelRow({rows[0].name!r}, gmacs={rows[0].gmacs}, weights=None)"
    with pytest.raises(InputError, match="unknown `device`"):
        comp.list_models(device="tpu")


@pytest.mark.slow
@pytest.mark.parametrize("one", ladder(), ids=lambda one: one.name)
def test_costs_are_what_torch_counts(one: Backbone) -> None:
    settled = (
        {"img_size": one.size} if one.family in ("dinov2", "dinov3", "eva02", "siglip", "swin", "vit") else {}
    )
    with torch.device("meta"):
        net = timm.create_model(one.name, num_classes=0, **settled).eval().requires_grad_(False)
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            net(torch.empty(1, 3, one.size, one.size))
    assert counter.get_total_flops() / 2e9 == pytest.approx(one.gmacs, rel=0.01, abs=0.006)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(one.params, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["probe", "finetune"])
@pytest.mark.parametrize("family", sorted(SMALLEST))
def test_every_family_is_probed_and_fine_tuned(family: str, mode: str, tmp_path: Path) -> None:
    write_shapes(tmp_path)
    name, size = SMALLEST[family]
    keys = {"model.name": name, "model.size": size, "model.weights": "none", "mode": mode, "epochs": 1}
    done = comp.run("shapes", 2, workspace=tmp_path, overrides=keys, report=False)
    assert done.folds == [0, 1]
    assert done.submission.is_file()
    assert 0 <= done.score <= 1
