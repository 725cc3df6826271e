"""When memory ends, the batch is computed in parts, and the run ends all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import comp
from comp.data.device_memory import is_out_of_memory
from comp.errors import TrainingFailed
from comp.recipe import load
from made import TINY_RECIPE

REAL = torch.nn.functional.conv2d


def short_of_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Torch's convolutions refuse batches over ``most`` rows as the CUDA allocator does; sizes that passed are noted."""
    passed: list[int] = []

    def conv2d(self: Any, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        if len(x) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        passed.append(len(x))
        return REAL_FORWARD(self, x, *rest)

    monkeypatch.setattr(torch.nn.Conv2d, "_conv_forward", conv2d)
    return passed


REAL_FORWARD = torch.nn.Conv2d._conv_forward


def test_what_the_end_of_memory_looks_like() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
    )
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_a_batch_that_does_not_fit_ends_in_a_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    passed = short_of_memory(monkeypatch, 9)
    recipe = tmp_path / "r.toml"
    recipe.write_text(TINY_RECIPE.replace("batch = 8", "batch = 32"))
    result = comp.run("digits", 2, workspace=tmp_path, recipe=recipe, quick=True)
    told = capsys.readouterr().err
    assert max(passed) <= 9
    assert result.submission.is_file()
    assert told.count("out of memory") == 2, "32 to 16 to 8 rows, in the first fold only"
    assert load(result.folder / "recipe.toml").accumulate == 4


def test_parts_give_the_same_gradients(tmp_path: Path) -> None:
    scores = []
    for parts in (1, 4):
        recipe = tmp_path / f"{parts}.toml"
        text = TINY_RECIPE.replace("batch = 8", f"batch = 32\naccumulate = {parts}")
        recipe.write_text(text.replace("[model]", "[model]\nfreeze_bn = true"))
        result = comp.run("digits", 2, workspace=tmp_path, recipe=recipe, quick=True)
        scores.append(torch.tensor(comp.data.predictions.Predictions.load(result.folder / "oof.npz").probs))
    assert torch.allclose(*scores, atol=1e-3)


def test_a_row_that_does_not_fit_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(TINY_RECIPE)
    short_of_memory(monkeypatch, 0)
    with pytest.raises(TrainingFailed, match="fit into memory"):
        comp.run("digits", 2, workspace=tmp_path, recipe=recipe, quick=True)
