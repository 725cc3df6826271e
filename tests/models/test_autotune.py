"""Precision, layout and threads: measured once, remembered, and half precision only where it pays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from comp.models import autotune
from comp.models.autotune import FILE, autotune_precision, fastest
from comp.models.net import build
from comp.models.runtime import resolve_device
from comp.recipe import load

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
    chosen = autotune_precision(net, recipe, tmp_path)
    assert chosen.precision in ("fp32", "bf16")
    assert chosen.channels_last is not None
    assert all((tensor == before[name]).all() for name, tensor in net.state_dict().items())
    (times,) = json.loads((tmp_path / FILE).read_text()).values()
    assert len(times) in (2, 4)
    assert all(0 < seconds < 60 for seconds in times.values())
    monkeypatch.setattr(autotune, "step_seconds", None)  # calling it again would fail
    assert autotune_precision(net, recipe, tmp_path) == chosen


def test_what_is_given_is_kept_and_costs_nothing(tmp_path: Path) -> None:
    recipe = resolve_device(load(None, [*ASKED, "precision=fp32", "channels_last=false"]))
    assert autotune_precision(build(recipe.model, 3), recipe, tmp_path) == recipe
    assert not (tmp_path / FILE).exists()


def test_a_cache_that_cannot_be_written_or_read_does_not_matter(tmp_path: Path) -> None:
    recipe = resolve_device(load(None, [*ASKED, "precision=fp32"]))
    (tmp_path / "file").write_text("")
    assert autotune_precision(build(recipe.model, 3), recipe, tmp_path / "file").channels_last is not None
    (tmp_path / FILE).write_text("not json")
    assert autotune_precision(build(recipe.model, 3), recipe, tmp_path).channels_last is not None
    (key,) = json.loads((tmp_path / FILE).read_text())
    for damaged in (
        {},
        None,
        {"fp32": "x"},
        {"fp32": -1.0},
        {"strange": 1.0},
        {"fp32": 10**400},
        {"fp32": float("inf"), "fp32 channels last": float("inf")},
    ):
        (tmp_path / FILE).write_text(json.dumps({key: damaged}))
        assert autotune_precision(build(recipe.model, 3), recipe, tmp_path).channels_last is not None


PINNED = [*ASKED[:-1], "precision=fp32", "channels_last=false", "threads=8"]


def timed(monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float]) -> list[int]:
    """Steps take ``seconds`` by threads from now on; the list that comes back says what was measured."""
    asked: list[int] = []

    def step_seconds(net: Any, recipe: Any, choice: Any, threads: int) -> float:
        asked.append(threads)
        return seconds[threads]

    monkeypatch.setattr(autotune, "step_seconds", step_seconds)
    return asked


@pytest.mark.parametrize(
    ("seconds", "measured", "best"),
    [
        ({8: 0.04, 4: 0.03, 2: 0.02}, [8, 4, 2], 2),  # no fewer: as many load images
        ({8: 0.04, 4: 0.02, 2: 0.03}, [8, 4, 2], 4),
        ({8: 0.04, 4: 0.05}, [8, 4], 8),
        ({8: 0.04, 4: 0.039, 2: 0.041}, [8, 4, 2], 8),  # not worth it
        ({8: 0.5}, [8], 8),  # a long step: never asked
    ],
)
def test_short_steps_run_on_fewer_threads_where_that_is_faster(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: dict[int, float],
    measured: list[int],
    best: int,
) -> None:
    recipe = resolve_device(load(None, PINNED))
    net = build(recipe.model, 3)
    asked = timed(monkeypatch, seconds)
    for _ in range(2):  # the second time from what is remembered
        assert autotune_precision(net, recipe, tmp_path, threads_open=True).threads == best
    assert asked == measured
    assert autotune_precision(net, recipe, tmp_path).threads == 8, "asked for: kept"


def test_threads_are_measured_on_as_many_and_left_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autotune, "QUICK", 60.0)  # however busy the machine is
    recipe = resolve_device(load(None, [*PINNED[:-1], "threads=2"]))
    before = torch.get_num_threads()
    assert autotune_precision(build(recipe.model, 3), recipe, tmp_path, threads_open=True).threads in (1, 2)
    assert torch.get_num_threads() == before
    (times,) = json.loads((tmp_path / FILE).read_text()).values()
    assert list(times) == ["2 threads", "1 thread"]


def test_a_probe_keeps_all_threads(tmp_path: Path) -> None:
    recipe = resolve_device(load(None, [*PINNED[:-1], "mode=probe", "model.weights=none", "threads=2"]))
    assert autotune_precision(build(recipe.model, 3), recipe, tmp_path, threads_open=True).threads == 2
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("whole", ["[" * 100_000, '{"\\ud800": {"fp32": 1.0}}', None])
def test_a_damaged_file_of_times_is_made_anew(tmp_path: Path, whole: str | None) -> None:
    recipe = resolve_device(load(None, [*ASKED, "precision=fp32"]))
    (tmp_path / FILE).mkdir() if whole is None else (tmp_path / FILE).write_text(whole)
    assert autotune_precision(build(recipe.model, 3), recipe, tmp_path).channels_last is not None
    if whole is not None:
        assert len(json.loads((tmp_path / FILE).read_text())) == 1


@pytest.mark.parametrize(
    "damaged",
    [
        {"100000 threads": 1e-4},
        {"64 threads": 1e-4},
        {"1\u0663 threads": 1e-4},
        {"9" * 5000 + " threads": 1e-4},
    ],
)
def test_threads_that_were_never_tried_are_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: dict[str, float]
) -> None:
    recipe = resolve_device(load(None, PINNED))
    net = build(recipe.model, 3)
    timed(monkeypatch, {8: 0.5})
    autotune_precision(net, recipe, tmp_path, threads_open=True)
    (key,) = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({key: {"8 threads": 0.05, **damaged}}))
    assert autotune_precision(net, recipe, tmp_path, threads_open=True).threads == 8
