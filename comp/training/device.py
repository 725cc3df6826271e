"""The device, the precision and the threads of a run, through accelerate."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from functools import cache
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from comp.errors import InputError
from comp.recipe import Recipe

_MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def resolve_device(recipe: Recipe) -> Recipe:
    """The recipe with device, precision and threads filled in for this machine.

    "auto" precision is bf16 where a CUDA device has it, fp16 on older ones, else fp32.

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
    precision = recipe.precision
    if precision == "auto":
        precision = ("bf16" if torch.cuda.is_bf16_supported() else "fp16") if device == "cuda" else "fp32"
    if precision == "fp16" and device == "cpu":
        raise InputError("fp16 needs a GPU", "device is cpu", "--set precision=bf16 or fp32")
    threads = recipe.threads or usable_cores()
    return recipe.model_copy(update={"device": device, "precision": precision, "threads": threads})


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


def release_memory() -> None:
    """Gives the memory that ``keep_memory`` held back to the system: between folds, so that it cannot pile up."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@cache
def keep_memory() -> None:
    """Tells glibc to keep the memory that tensors free, instead of giving it back to the system after every layer.

    A CPU training step frees and takes the same large blocks again and again; with glibc's defaults the system
    zeroes fresh pages for each of them, 40 % of the time of a MobileNetV2 step (docs/benchmarks.md). Elsewhere
    (macOS, musl) nothing happens.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    m_trim_threshold, m_mmap_max = -1, -4
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
