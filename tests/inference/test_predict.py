"""The test path: softmax, and control rows that must come back as they were judged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from comp.data.images.pixel_cache import ImageDataset
from comp.data.images.preprocess import Preprocess
from comp.data.images.source import ArraySource
from comp.data.loading.prefetch import loader_pool
from comp.errors import TrainingFailed
from comp.inference.forward import NotFinite, outputs, softmax
from comp.recipe import Recipe
from made import Outcome, proven_again, run_comp, write_shapes


@given(st.integers(1, 8), st.integers(2, 6), st.integers(0, 99), st.floats(0.01, 300))
def test_softmax_is_torchs_and_survives_large_logits(n: int, classes: int, seed: int, scale: float) -> None:
    logits = (np.random.default_rng(seed).normal(size=(n, classes)) * scale).astype(np.float32)
    probs = softmax(logits)
    assert np.allclose(probs, torch.from_numpy(logits).double().softmax(1).numpy())
    assert np.allclose(probs.sum(1), 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_have_no_probabilities(value: float) -> None:
    logits = np.zeros((3, 2), np.float32)
    logits[1, 0] = value
    with pytest.raises(NotFinite, match="finite numbers") as error:
        softmax(logits)
    assert error.value.value == "row 1 has a NaN or an infinity"


class Divided(nn.Module):
    """A network whose numbers overflow for bright images."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) / (x.mean((1, 2, 3), keepdim=True)[:, :, 0, 0] < 0.9)


def test_an_image_whose_outputs_are_no_numbers_is_named() -> None:
    pixels = np.zeros((70, 8, 8, 3), np.uint8)
    pixels[66] = 255
    fitted = ImageDataset(
        ArraySource({"all": pixels}), [f"all#{n}" for n in range(70)], Preprocess(8, (0.0,) * 3, (1.0,) * 3)
    )
    rows = np.arange(70)
    with loader_pool(1) as pool:
        given = outputs(Divided(), pool, fitted, rows[:66], ["identity"], Recipe(precision="fp32"), "cpu")
        assert given["identity"].shape == (66, 3)
        with pytest.raises(NotFinite, match="finite numbers") as error:
            outputs(
                Divided(), pool, fitted, rows[10:], ["identity", "hflip"], Recipe(precision="bf16"), "cpu"
            )
    assert error.value.value == "all#66, view 'identity', in bf16: NaN or infinity"
    assert "precision=fp32" in error.value.remedy
    assert isinstance(error.value, TrainingFailed), "a fold that has it fails, and not the others"


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
    proven_again(finished[0])
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
    proven_again(finished[0])
    outcome = run_comp(workspace, "predict", "latest", "--out", workspace / "out.csv")
    assert outcome.code in (1, 2)
    assert not (workspace / "out.csv").exists()


@pytest.mark.parametrize("value", [float("nan"), 3e38])
def test_a_checkpoint_whose_numbers_are_none_writes_no_answers(
    workspace: Path, finished: tuple[Path, Outcome], value: float
) -> None:
    fold = finished[0] / "fold-1"
    tensors = load_file(fold / "model.safetensors")
    for name in [name for name in tensors if name.endswith((".bn1.weight", ".bn2.weight"))]:
        tensors[name].fill_(value)
    save_file(tensors, fold / "model.safetensors")
    sidecar = json.loads((fold / "model.json").read_text())
    sidecar["weights_sha256"] = hashlib.sha256((fold / "model.safetensors").read_bytes()).hexdigest()
    (fold / "model.json").write_text(json.dumps(sidecar))
    outcome = run_comp(workspace, "predict", "latest", "--out", workspace / "out.csv")
    assert outcome.code in (1, 2), outcome.err
    assert "Traceback" not in outcome.err
    assert not (workspace / "out.csv").exists()


def test_prediction_needs_no_train_images(workspace: Path, finished: tuple[Path, Outcome]) -> None:
    expected = Path(finished[1].json["submission"]).read_bytes()
    for path in (workspace / "data" / "shapes" / "train").iterdir():
        path.unlink()
    outcome = run_comp(workspace, "predict", "latest", "--out", workspace / "out.csv")
    assert outcome.code == 0, outcome.err
    assert (workspace / "out.csv").read_bytes() == expected
