"""Where weights come from: a file, a folder of downloaded ones, or timm's hub."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor

from comp.competition import validate
from comp.errors import WeightsError
from comp.recipe_parts import ModelPart
from comp.workspace import read_json

StateDict = dict[str, Tensor]
HUB = "huggingface.co"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
PREPROCESS_KEYS = ("mean", "std", "size", "interpolation", "crop_pct")


def read_weights(path: Path) -> StateDict:
    """Tensors of a .safetensors or torch file, on the CPU; torch files are read with ``weights_only=True``.

    Raises
    ------
    WeightsError
        If the file is missing or holds no tensors.
    """
    if not path.is_file():
        raise WeightsError(
            "model.weights must be a file",
            f"{path} is not there",
            'check the path, or use "default" or "none"',
        )
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if (
            "weights_only" in reason
        ):  # torch's own text tells to switch it off, which runs whatever the file holds
            reason = "it holds objects beside tensors, or is damaged"
        raise WeightsError(
            "model.weights must be a file of tensors", f"{path}: {reason[:200]}", "save it as .safetensors"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise WeightsError(
            "model.weights must be a state dict",
            f"{path} holds a {type(loaded).__name__}",
            "save model.state_dict()",
        )
    return {k.removeprefix("module."): v for k, v in loaded.items()}


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
            validate(ModelPart, known, str(beside))  # a mistake is told as one in a recipe
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
            "--set mode=scratch, or model.weights=PATH",
        )
    full = f"{timm.models.get_arch_name(name)}.{known.tag}" if known.tag else name
    for folder in folders:
        for suffix in SUFFIXES:
            if (folder / f"{full}{suffix}").is_file():
                return read_weights(folder / f"{full}{suffix}")
    try:
        with _without_waiting():
            return dict(timm.create_model(name, pretrained=True).state_dict())
    except Exception as error:
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        if not _reachable():
            reason = f"{HUB} cannot be reached from here, and they are not in its cache"
        remedy = (
            f"put {full}.safetensors into weights/ of the workspace or COMP_WEIGHTS, "
            "name a file with --set model.weights=PATH, or --set mode=scratch"
        )
        raise WeightsError(f"the weights {full} must be downloaded once", reason, remedy) from error
