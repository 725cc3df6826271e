"""Backbones by name: our own small ones, those of a competition's models.py, and timm's."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from comp.errors import InputError, RecipeError, UnknownName
from comp.models.small_nets import SMALL_NETS

_OWN: dict[str, Callable[..., nn.Module]] = {}  # of the competition at hand, and of no other


def load_models(path: Path) -> None:
    """Registers what a competition's models.py defines in ``MODELS``, a table of names and functions.

    A function takes ``model.kwargs`` and returns a backbone: a module from (B, 3, H, W) to (B, D) with D as its
    ``num_features``. Those of the competition that was loaded before are forgotten, also where there is no file.

    Raises
    ------
    InputError
        If the file cannot be imported, has no such table, or takes the name of a model of comp or timm.
    """
    _OWN.clear()
    if not path.is_file():
        return
    spec = importlib.util.spec_from_file_location(f"comp_models_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        value = f"{path}: {type(error).__name__}: {error}"
        raise InputError("models.py must be importable", value, "correct it") from error
    models = getattr(module, "MODELS", None)
    if not isinstance(models, dict) or not all(isinstance(n, str) and callable(m) for n, m in models.items()):
        value = f"{path} has no table MODELS of names and functions"
        raise InputError("models.py registers its models", value, 'MODELS = {"my_net": my_net}')
    taken = [name for name in models if name in SMALL_NETS or timm.is_model(name)]
    if taken:
        value = f"{taken[0]!r} in {path} is already a model of comp or timm"
        raise InputError("a model's name must be its own", value, "rename it")
    _OWN.update(models)


def models_sha256(path: Path, names: Iterable[str]) -> str | None:
    """SHA-256 of the models.py that was loaded, where one of these models is from it; None where none is."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if set(names) & set(_OWN) else None


def require_model(name: str) -> None:
    """UnknownName, with near misses, for a model that nobody has."""
    if not is_own(name) and not timm.is_model(name):
        known = [*SMALL_NETS, *_OWN, *timm.list_models()]
        raise UnknownName("model", name, known, "`timm.list_models()` and docs/recipe.md name them")


def is_own(name: str) -> bool:
    """Whether a name is one of ours or of a competition, which have no weights to download."""
    return name in SMALL_NETS or name in _OWN


def config_of(name: str) -> dict[str, Any]:
    """What timm knows of a model's weights and preprocessing; of our own that they read 32 pixels as they are."""
    if is_own(name):
        return {"input_size": (3, 32, 32), "interpolation": "bilinear", "crop_pct": 1.0}
    known = timm.models.get_pretrained_cfg(name)
    return known.to_dict() if known else {}


def create(name: str, **kwargs: Any) -> tuple[nn.Module, int]:
    """A backbone with random weights, and the number of features it gives."""
    require_model(name)
    if not is_own(name):
        made: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, **kwargs)
        return made, int(getattr(made, "head_hidden_size", 0) or made.num_features)  # type: ignore[arg-type]
    if name in SMALL_NETS:
        small = SMALL_NETS[name](**kwargs)  # type: ignore[operator]
        return small, small.num_features
    try:
        own: Any = _OWN[name](**kwargs)
    except Exception as error:
        value = f"{name} raised {type(error).__name__}: {error}"
        raise RecipeError("a function of models.py gives a backbone", value, "correct it") from error
    features = getattr(own, "num_features", None)
    if not isinstance(own, nn.Module) or not isinstance(features, int):
        value = f"{name} gave {type(own).__name__} with num_features = {features!r}"
        raise RecipeError("a backbone is a module with num_features", value, "correct models.py")
    return own, features


def classifier_names(name: str, backbone: Iterable[str], **kwargs: Any) -> set[str]:
    """The tensors of timm's classifier of a model: what it has with classes beyond the ``backbone``'s names.

    timm's own facts name its linear layers alone, and not the norm or the hidden layer before them.
    """
    with torch.device("meta"):  # names and shapes without numbers
        whole = timm.create_model(name, pretrained=False, num_classes=2, **kwargs)
    return set(whole.state_dict()) - set(backbone)


def small_stem(backbone: nn.Module, name: str) -> str | None:
    """Lets a backbone look at small pictures: first convolution 3x3 and stride 1, no pooling after it. In place.

    Returns
    -------
    str or None
        The weight of the first convolution where its size changed, so that no pretrained one fits.

    Raises
    ------
    RecipeError
        If the backbone does not begin with a convolution that overlaps.
    """
    place, first = next(
        ((where, module) for where, module in backbone.named_modules() if isinstance(module, nn.Conv2d)),
        ("", None),
    )
    if first is None or first.kernel_size[0] == first.stride[0] > 1:
        value = f"{name} cuts pictures into patches"
        raise RecipeError('model.stem = "small" needs a convolution to change', value, "choose another model")
    if isinstance(getattr(backbone, "maxpool", None), nn.Module):
        backbone.maxpool = nn.Identity()
    if first.kernel_size == (3, 3) or first.kernel_size == (1, 1):
        first.stride = (1, 1)
        return None
    new = nn.Conv2d(first.in_channels, first.out_channels, 3, 1, 1, bias=first.bias is not None)
    parent, _, leaf = place.rpartition(".")
    setattr(backbone.get_submodule(parent), leaf, new)
    return f"{place}.weight"
