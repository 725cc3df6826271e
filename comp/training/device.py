"""The device, the precision and the threads of a run, through accelerate."""

from __future__ import annotations

import os
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from comp.errors import InputError
from comp.recipe import Recipe
from comp.training.memory import keep_memory

MOST_THREADS = 256  # that a recipe takes
_MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def resolve_device(recipe: Recipe) -> Recipe:
    """The recipe with device and threads (all cores) filled in for this machine; what is measured is so later.

    Raises
    ------
    InputError
        If the device that was asked for is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    device = recipe.device
    if device == "auto":
        device = "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    if not there[device]:
        has = ", ".join(name for name, yes in there.items() if yes)
        raise InputError(
            "the device must be there",
            f"no {device} here; there is {has}",
            "`comp doctor` says more; --set device=auto",
        )
    if recipe.precision == "fp16" and device == "cpu":
        raise InputError("fp16 needs a GPU", "device is cpu", "--set precision=bf16 or fp32")
    threads = recipe.threads or min(usable_cores(), MOST_THREADS)
    return recipe.model_copy(update={"device": device, "threads": threads})


def accelerator(recipe: Recipe) -> Any:
    """An accelerate ``Accelerator`` for a resolved recipe; sets torch's threads and determinism."""
    torch.set_num_threads(recipe.threads or usable_cores())
    if recipe.device == "cpu":
        keep_memory()
    deterministic = recipe.deterministic and recipe.device == "cuda"
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    if recipe.device == "cuda":
        torch.backends.cudnn.benchmark = not deterministic
        torch.set_float32_matmul_precision("high" if not deterministic else "highest")
    # accelerate keeps its first settings for the whole process; a second run may want others
    for state in (AcceleratorState, GradientState, PartialState):
        state._shared_state.clear()
    return Accelerator(cpu=recipe.device == "cpu", mixed_precision=_MIXED[recipe.precision])


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
