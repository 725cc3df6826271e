"""The test path: softmax, and control rows that must come back as they were judged."""

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

from comp.inference.forward import softmax
from made import Outcome, run_comp, write_shapes


@given(st.integers(1, 8), st.integers(2, 6), st.integers(0, 99), st.floats(0.01, 300))
def test_softmax_is_torchs_and_survives_large_logits(n: int, classes: int, seed: int, scale: float) -> None:
    logits = (np.random.default_rng(seed).normal(size=(n, classes)) * scale).astype(np.float32)
    probs = softmax(logits)
    assert np.allclose(probs, torch.from_numpy(logits).double().softmax(1).numpy())
    assert np.allclose(probs.sum(1), 1)


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
