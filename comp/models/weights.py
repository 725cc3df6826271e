"""Where weights come from: a file, a folder of downloaded ones, or timm's hub."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from comp import events
from comp.config import validate
from comp.errors import WeightsError
from comp.files import read_json
from comp.models.timm_alone import timm
from comp.recipe import ModelConfig

StateDict = dict[str, Tensor]
HUB = "huggingface.co"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model")  # where trainers keep a network, timm's order
_WRAPPERS = ("_orig_mod.", "module.", "_orig_mod.")  # of torch.compile and of parallel training
PREPROCESS_KEYS = ("mean", "std", "size", "interpolation", "crop_pct")


def read_weights(path: Path) -> StateDict:
    """Tensors of a .safetensors or torch file, on the CPU; torch files are read with ``weights_only=True``.

    Of a trainer's file that holds a network and its moving average the average is read, as timm does it.

    Raises
    ------
    WeightsError
        If the file is missing, larger than memory, or holds anything but sound tensors (see ``require_usable``).
    """
    _require_readable(path)
    try:
        if path.suffix == ".safetensors":
            loaded: Any = dict(load_file(path))
        else:
            with torch.serialization.safe_globals(
                [argparse.Namespace]
            ):  # timm's trainer keeps its arguments beside
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if (
            "weights_only" in reason
        ):  # torch's own text tells to switch it off, which runs whatever the file holds
            reason = "it holds objects beside tensors, or is damaged"
        raise WeightsError(
            "model.weights must be a file of tensors", f"{path}: {reason[:200]}", "save it as .safetensors"
        ) from error
    tensors = _state_dict(loaded, path)
    for wrapper in _WRAPPERS:
        tensors = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}
    require_usable(tensors, str(path))
    return tensors


def _require_readable(path: Path) -> None:
    """WeightsError for what is no file, or more than this machine's memory holds."""
    remedy = 'check the path, or use "default" or "none"'
    try:
        if path.is_file():
            _require_room(path)
            return
        there = "is no regular file" if path.exists() else "is not there"
        if path.is_dir():
            there = "is a folder"
            files = sorted(one for one in path.iterdir() if one.suffix in SUFFIXES)
            remedy = f"name a file of it, {files[0]}" if files else "name a file"
    except OSError as error:
        there = f"cannot be read: {error.strerror}"
    raise WeightsError("model.weights must be a file", f"{str(path)[:300]} {there}", remedy)


def _require_room(path: Path) -> None:
    """WeightsError for a file of more bytes than this machine's memory, as far as the system says how many those are."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return
    size, memory = path.stat().st_size, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        value = f"{path} has {size / 2**30:,.0f} GiB, this machine {memory / 2**30:,.0f}"
        raise WeightsError("model.weights must fit into memory", value, "is it the right file?")


def _state_dict(loaded: Any, path: Path) -> StateDict:
    """The tensors by name in what torch read, also where a trainer's file holds them among other things."""
    while isinstance(loaded, dict) and (inner := [key for key in _KEYS if isinstance(loaded.get(key), dict)]):
        if len(inner) > 1:
            events.log(f"  {path.name} holds {' and '.join(inner)}: {inner[0]} is read")
        loaded = loaded[inner[0]]
    if isinstance(loaded, dict) and loaded and all(_is_named_tensor(pair) for pair in loaded.items()):
        return loaded
    holds = f"a {type(loaded).__name__}"
    if isinstance(loaded, dict):
        holds += f" of {', '.join(repr(key) for key in list(loaded)[:5])}" if loaded else " of nothing"
    raise WeightsError(
        "model.weights must be a state dict", f"{path} holds {holds}"[:400], "save model.state_dict()"
    )


def _is_named_tensor(pair: tuple[Any, Any]) -> bool:
    return isinstance(pair[0], str) and isinstance(pair[1], Tensor)


def sidecar_preprocess(path: Path) -> dict[str, Any]:
    """What a JSON beside the weights (``x.safetensors.json`` or ``x.json``) says of mean, std, size, interpolation."""
    for beside in (path.with_name(path.name + ".json"), path.with_suffix(".json")):
        if beside.is_file():
            table = read_json(beside)
            if isinstance(table, dict) and isinstance(table.get("preprocess"), dict):
                table = table["preprocess"]  # a checkpoint of ours
            known = (
                {key: table[key] for key in PREPROCESS_KEYS if key in table}
                if isinstance(table, dict)
                else {}
            )
            validate(ModelConfig, known, str(beside))  # a mistake is told as one in a recipe
            return known
    return {}


@contextmanager
def _without_waiting() -> Iterator[None]:
    """Where the hub cannot be reached, its client looks only in its cache, instead of retrying for minutes."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@cache
def _reachable() -> bool:
    """Whether the hub answers; taken on trust behind a mirror or a proxy."""
    if any(
        os.environ.get(name)
        for name in ("HF_ENDPOINT", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")
    ):
        return True
    try:
        socket.create_connection((HUB, 443), timeout=5).close()
    except OSError:
        return False
    return True


def find_default(name: str, folders: list[Path]) -> StateDict:
    """timm's own weights of a model: from a folder where they lie by timm tag, else from the hub.

    Raises
    ------
    WeightsError
        If timm has none, or the hub cannot be reached.
    """
    known = timm.models.get_pretrained_cfg(name)
    if known is None or not (known.hf_hub_id or known.url or known.file):
        raise WeightsError(
            "the model must have default weights",
            f"timm has none for {name}",
            '`overrides=["mode=scratch"]`, or model.weights=PATH',
        )
    full = f"{timm.models.get_arch_name(name)}.{known.tag}" if known.tag else name
    for folder in folders:
        for suffix in SUFFIXES:
            if (folder / f"{full}{suffix}").is_file():
                return read_weights(folder / f"{full}{suffix}")
    try:
        with _without_waiting():
            tensors = dict(timm.create_model(name, pretrained=True).state_dict())
    except Exception as error:
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        if not _reachable():
            reason = f"{HUB} cannot be reached from here, and they are not in its cache"
        remedy = (
            f"put {full}.safetensors into weights/ of the workspace or COMP_WEIGHTS, "
            'name a file with `overrides=["model.weights=PATH"]`, or `overrides=["mode=scratch"]`'
        )
        raise WeightsError(f"the weights {full} must be downloaded once", reason, remedy) from error
    require_usable(tensors, full)
    return tensors


def require_usable(tensors: StateDict, source: str) -> None:
    """WeightsError naming the first tensor, of backbone or classifier, that no network can use.

    A NaN, an infinity (also of a float64 that float32 cannot hold), a variance below zero, complex numbers, floats of
    8 bits (their scales lie elsewhere), and tensors that are sparse, quantized or without content.
    """
    for name, tensor in tensors.items():
        fault = _fault(name, tensor)
        if fault:
            remedy = "get the file again, or choose others; a run that wrote them diverged"
            raise WeightsError("weights must be finite numbers", f"{source}: {name} {fault}", remedy)


def _fault(name: str, tensor: Tensor) -> str:
    """What makes a tensor of weights useless, in words; empty for a sound one."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        return "is sparse, quantized or empty"
    if tensor.is_complex():
        return "is complex"
    if not tensor.is_floating_point():
        return ""
    if tensor.dtype.itemsize < 2:
        return f"is {str(tensor.dtype).removeprefix('torch.')}: its scales are not read"
    values = tensor.float()
    if not bool(torch.isfinite(values.sum())):  # quick, and sure wherever it is finite
        bad = int(values.numel() - torch.isfinite(values).sum())
        if bad:
            return f"has {bad:,} NaN or infinite values of {values.numel():,}"
    if name.endswith("running_var") and bool((values < 0).any()):
        return "is a variance and has values below zero"
    return ""
