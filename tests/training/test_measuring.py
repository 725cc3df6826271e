"""Precision and layout: measured once, remembered, and half precision only where it pays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comp.recipe import load
from comp.training import measuring
from comp.training.device import resolve_device
from comp.training.measuring import FILE, choose, fastest
from comp.training.model import build

ASKED = ["device=cpu", "model=test_resnet", "model.size=32", "mode=scratch", "batch=4", "threads=1"]


def test_half_precision_has_to_pay() -> None:
    full, half = ("fp32", True), ("bf16", True)
    assert fastest([(full, 1.0), (half, 0.95)]) == full
    assert fastest([(full, 1.0), (half, 0.5)]) == half
    assert fastest([(full, 1.0), (("fp32", False), 0.9), (half, 0.89)]) == ("fp32", False)
    assert fastest([(full, float("inf")), (half, 0.5)]) == half


def test_what_is_measured_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = resolve_device(load(None, ASKED))
    net = build(recipe.model, 3)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    chosen = choose(net, recipe, tmp_path)
    assert chosen.precision in ("fp32", "bf16")
    assert chosen.channels_last is not None
    assert all((tensor == before[name]).all() for name, tensor in net.state_dict().items())
    (times,) = json.loads((tmp_path / FILE).read_text()).values()
    assert len(times) in (2, 4)
    assert all(0 < seconds < 60 for seconds in times.values())
    monkeypatch.setattr(measuring, "_step_seconds", None)  # calling it again would fail
    assert choose(net, recipe, tmp_path) == chosen


def test_what_is_given_is_kept_and_costs_nothing(tmp_path: Path) -> None:
    recipe = resolve_device(load(None, [*ASKED, "precision=fp32", "channels_last=false"]))
    assert choose(build(recipe.model, 3), recipe, tmp_path) == recipe
    assert not (tmp_path / FILE).exists()


def test_a_cache_that_cannot_be_written_or_read_does_not_matter(tmp_path: Path) -> None:
    recipe = resolve_device(load(None, [*ASKED, "precision=fp32"]))
    (tmp_path / "file").write_text("")
    assert choose(build(recipe.model, 3), recipe, tmp_path / "file").channels_last is not None
    (tmp_path / FILE).write_text("not json")
    assert choose(build(recipe.model, 3), recipe, tmp_path).channels_last is not None
    (key,) = json.loads((tmp_path / FILE).read_text())
    for damaged in ({}, None, {"fp32": "x"}, {"fp32": -1.0}, {"strange": 1.0}):
        (tmp_path / FILE).write_text(json.dumps({key: damaged}))
        assert choose(build(recipe.model, 3), recipe, tmp_path).channels_last is not None
