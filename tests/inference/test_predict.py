"""The test path: the views, their mean after softmax, and control rows that must come back as they were judged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from comp.inference.forward import mean_of_views, softmax
from comp.inference.views import VIEW_FUNCTIONS, view
from comp.recipe import VIEW_SETS, VIEWS
from made import Outcome, run_comp, write_shapes


@given(st.integers(1, 8), st.integers(2, 6), st.integers(0, 99), st.floats(0.01, 300))
def test_softmax_is_torchs_and_survives_large_logits(n: int, classes: int, seed: int, scale: float) -> None:
    logits = (np.random.default_rng(seed).normal(size=(n, classes)) * scale).astype(np.float32)
    probs = softmax(logits)
    assert np.allclose(probs, torch.from_numpy(logits).double().softmax(1).numpy())
    assert np.allclose(probs.sum(1), 1)


def test_views_are_averaged_after_softmax() -> None:
    by_view = {"identity": softmax(np.float32([[9, 0, 0]])), "hflip": softmax(np.float32([[0, 1, 0]]))}
    mean = mean_of_views(by_view)
    assert np.allclose(mean, (by_view["identity"] + by_view["hflip"]) / 2)
    assert not np.allclose(mean, softmax(np.float32([[4.5, 0.5, 0]])))


def test_every_view_of_a_recipe_exists_and_keeps_the_shape() -> None:
    assert set(VIEWS) == set(VIEW_FUNCTIONS)
    assert {name for names in VIEW_SETS.values() for name in names} <= set(VIEWS)
    images = torch.randn(2, 3, 5, 5)
    assert all(view(name, images).shape == images.shape for name in VIEWS)
    assert torch.equal(view("identity", images), images)
    assert torch.equal(view("hflip", images)[..., 0], images[..., -1])
    assert all(set(names) <= set(VIEWS) and len(set(names)) == len(names) for names in VIEW_SETS.values())


def test_views_move_pictures_as_they_say() -> None:
    image = torch.zeros(1, 3, 32, 32)
    image[:, :, 8, 12] = 1
    assert view("shift-down", image)[0, 0, 10, 12] == 1
    assert view("shift-up", image)[0, 0, 6, 12] == 1
    assert view("shift-left", image)[0, 0, 8, 10] == 1
    assert view("shift-right", image)[0, 0, 8, 14] == 1
    assert view("shift-right-hflip", image)[0, 0, 8, 31 - 12 + 2] == 1
    assert torch.equal(view("turn90", view("turn270", image)), image)
    assert torch.equal(view("turn180", image), image.flip(2, 3))
    square = torch.zeros(1, 3, 64, 64)
    square[:, :, 16:48, 16:48] = 1
    assert view("zoom-in", square).sum() > 1.2 * square.sum()
    assert view("zoom-out", square).sum() < 0.85 * square.sum()
    flat = torch.full((1, 3, 64, 64), 0.7)
    assert all(torch.allclose(view(name, flat), flat, atol=1e-5) for name in VIEWS), "no edges are made up"


@pytest.fixture
def finished(workspace: Path) -> tuple[Path, Outcome]:
    """A finished run of shapes: its folder and what it said."""
    write_shapes(workspace)
    outcome = run_comp(workspace, "run", "shapes", "--folds", 2, "--json")
    assert outcome.code == 0, outcome.err
    return workspace / "runs" / outcome.json["run"], outcome


def other_mean(sidecar: dict[str, Any]) -> None:
    sidecar["preprocess"]["mean"] = [0.1, 0.9, 0.1]


def other_size(sidecar: dict[str, Any]) -> None:
    sidecar["preprocess"]["size"] = 64


def other_fit(sidecar: dict[str, Any]) -> None:
    sidecar["preprocess"].update(fit="crop", crop_pct=0.5)


@pytest.mark.parametrize("tamper", [other_mean, other_size, other_fit])
def test_another_preprocessing_than_the_checkpoint_was_judged_with_is_refused(
    workspace: Path, finished: tuple[Path, Outcome], tamper: Callable[[dict[str, Any]], None]
) -> None:
    path = finished[0] / "fold-1" / "model.json"
    sidecar = json.loads(path.read_text())
    tamper(sidecar)
    path.write_text(json.dumps(sidecar))
    outcome = run_comp(workspace, "predict", "latest", "--out", workspace / "out.csv")
    assert outcome.code == 1, outcome.err
    assert "control-rows" in outcome.err
    assert not (workspace / "out.csv").exists()


def test_checkpoints_with_different_label_maps_are_refused(
    workspace: Path, finished: tuple[Path, Outcome]
) -> None:
    path = finished[0] / "fold-1" / "model.json"
    sidecar = json.loads(path.read_text())
    sidecar["classes"] = sidecar["classes"][::-1]
    path.write_text(json.dumps(sidecar))
    outcome = run_comp(workspace, "predict", "latest", "--out", workspace / "out.csv")
    assert outcome.code in (1, 2)
    assert not (workspace / "out.csv").exists()


def test_prediction_needs_no_train_images(workspace: Path, finished: tuple[Path, Outcome]) -> None:
    expected = Path(finished[1].json["submission"]).read_bytes()
    for path in (workspace / "data" / "shapes" / "train").iterdir():
        path.unlink()
    outcome = run_comp(workspace, "predict", "latest", "--out", workspace / "out.csv")
    assert outcome.code == 0, outcome.err
    assert (workspace / "out.csv").read_bytes() == expected
