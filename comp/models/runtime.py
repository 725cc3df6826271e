"""The device, the precision and the threads of a run, through accelerate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from comp import events
from comp.data.device_memory import keep_memory
from comp.errors import InputError
from comp.recipe import Recipe, as_one

MOST_THREADS = 256  # that a recipe takes
_MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def resolve_device(recipe: Recipe) -> Recipe:
    """The recipe with device and threads (all cores) filled in for this machine; what is measured is so later.

    Raises
    ------
    InputError
        If the device that was asked for is not there.
    """
    there = _there()
    device = _best(there) if recipe.device == "auto" else recipe.device
    if not there[device]:
        has = ", ".join(name for name, yes in there.items() if yes)
        raise InputError(
            "the device must be there",
            f"no {device} here; there is {has}",
            '`comp doctor` says more; `overrides=["device=auto"]`',
        )
    if recipe.precision == "fp16" and device == "cpu":
        raise InputError("fp16 needs a GPU", "device is cpu", '`overrides=["precision=bf16"]` or fp32')
    threads = recipe.threads or min(usable_cores(), MOST_THREADS)
    return recipe.model_copy(update={"device": device, "threads": threads})


def on_this_machine(recipe: Recipe) -> Recipe:
    """The recipe of a run as this machine can go on with it: what was chosen where the run began is a fact of it, no order.

    A device that is not here is replaced by the best that is, and with it the number of threads; a half precision that the
    device here does not compute in by fp32. What is replaced is said. A run of a version that neither compiled nor asked
    whether to fold norms goes on as it began.
    """
    there, lines = _there(), dict[str, None]()
    each = []
    for one in recipe.each:
        changes: dict[str, Any] = {}
        device: str = one.device
        if device != "auto" and not there[device]:
            device = _best(there)
            changes = {"device": device, "threads": None}
            lines[f"no {one.device} here: goes on with {device}"] = None
        other = device != one.device or device == "cuda"  # the same name may stand for another GPU
        if other and "auto" not in (device, one.precision) and not computes(one.precision, device):
            changes["precision"] = "fp32"
            lines[f"{device} does not compute in {one.precision} here: fp32 instead"] = None
        if device != "auto":
            moved = device != one.device
            changes["compile"] = bool(one.compile) and not moved
            changes["fold_norms"] = one.fold_norms is not False or moved
        each.append(one.model_copy(update=changes))
    for line in lines:
        events.log(f"  {line}")
    return as_one(each)


def computes(precision: str, device: str) -> bool:
    """Whether a device of this machine computes in a precision by itself; what it only emulates would take many times as
    long as fp32.
    """
    if precision == "fp32":
        return True
    if device == "cuda":
        return precision == "fp16" or torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and precision == "bf16" and _cpu_has_bf16()


def _cpu_has_bf16() -> bool:
    ask = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(ask()) if ask is not None else False


def set_flags(recipe: Recipe) -> None:
    """Sets torch's flags for the device of a resolved recipe: determinism, TF32, and how a GPU's kernels are chosen."""
    deterministic = recipe.deterministic and recipe.device == "cuda"
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    fast = recipe.device == "cuda" and not deterministic
    torch.backends.cudnn.benchmark = fast
    torch.set_float32_matmul_precision("high" if fast else "highest")


def accelerator(recipe: Recipe) -> Any:
    """An accelerate ``Accelerator`` for a resolved recipe; sets torch's threads and flags."""
    torch.set_num_threads(recipe.threads or usable_cores())
    if recipe.device == "cpu":
        keep_memory()
    set_flags(recipe)
    # accelerate keeps its first settings for the whole process; a second run may want others
    for state in (AcceleratorState, GradientState, PartialState):
        state._shared_state.clear()
    return Accelerator(cpu=recipe.device == "cpu", mixed_precision=_MIXED[recipe.precision])


def wait_for(device: Any) -> None:
    """Waits until a GPU has done what was asked of it: what is timed before has only been asked."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _there() -> dict[str, bool]:
    return {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}


def _best(there: dict[str, bool]) -> str:
    return next(name for name in ("cuda", "mps", "cpu") if there[name])


LITTLE = 1 << 20  # numbers; from about here on a second thread is worth its waking (docs/benchmarks.md)


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Torch's operations inside run on ``count`` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_thread(numbers: int, device: torch.device) -> Iterator[None]:
    """Operations on about so many numbers run on the calling thread alone where these are few, and on a CPU: to wake a
    sleeping thread takes longer (20 to 60 µs an operation) than to do its work.
    """
    with on_threads(1) if device.type == "cpu" and numbers <= LITTLE else nullcontext():
        yield


@contextmanager
def exact(on: bool = True) -> Iterator[None]:
    """Convolutions and matrix products in fp32 inside keep all 24 bits of what they multiply; without ``on`` as they were.

    NVIDIA's GPUs from Ampere on round what a convolution multiplies to 11 bits (TF32) unless they are told not to: rows
    that are compared with those of another device would come back some thousandths away. On a CPU nothing changes.
    """
    if not on:
        yield
        return
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)
