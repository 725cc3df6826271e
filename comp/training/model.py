"""The network: a timm backbone and a linear classifier, and the weights they start from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from comp.errors import UnknownName, WeightsError
from comp.images.fit import Preprocess
from comp.recipe_parts import ModelPart
from comp.training.weights import StateDict, find_default, read_weights, sidecar_preprocess


class Net(nn.Module):
    """``head(backbone(x))``: logits (B, C) of images (B, 3, H, W)."""

    def __init__(self, backbone: nn.Module, features: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.backbone(x)  # (B, D)
        logits: Tensor = self.head(self.dropout(features))  # (B, C)
        return logits


def require_model(name: str) -> None:
    """UnknownName, with near misses, for a model that timm does not have."""
    if not timm.is_model(name):
        raise UnknownName("timm model", name, timm.list_models(), "`timm.list_models()` has them all")


def build(part: ModelPart, classes: int) -> Net:
    """A network with random weights.

    Raises
    ------
    UnknownName
        For a name that timm does not have, with near misses.
    WeightsError
        If the model does not take ``model.kwargs``.
    """
    require_model(part.name)
    kwargs = dict(part.kwargs)
    if part.size is not None and _takes_img_size(part.name):
        kwargs.setdefault("img_size", part.size)
    try:
        backbone = timm.create_model(part.name, pretrained=False, num_classes=0, **kwargs)
    except (TypeError, AttributeError, ValueError, RuntimeError, AssertionError) as error:
        value = f"{part.name}: {str(error).splitlines()[0]}"
        raise WeightsError(
            "the model must take model.kwargs and model.size", value, "correct the recipe"
        ) from error
    features = int(getattr(backbone, "head_hidden_size", 0) or backbone.num_features)
    return Net(backbone, features, classes, part.head.dropout)


def resolve(
    part: ModelPart, mode: str, weight_folders: list[Path]
) -> tuple[ModelPart, Preprocess, StateDict | None]:
    """The model part with nothing left open, its preprocessing, and the weights to start from (None: random).

    Mean, std, size and interpolation are the recipe's, else those beside the weights, else the model's own.

    Raises
    ------
    WeightsError
        If weights cannot be found, or a path comes without mean and std.
    """
    require_model(part.name)
    known = timm.models.get_pretrained_cfg(part.name)
    own: dict[str, Any] = known.to_dict() if known else {}
    weights: StateDict | None = None
    beside: dict[str, Any] = {}
    source = "none" if mode == "scratch" else part.weights
    if source == "default":
        weights = find_default(part.name, weight_folders)
    elif source != "none":
        weights = read_weights(Path(source).expanduser())
        beside = sidecar_preprocess(Path(source).expanduser())
        if (part.mean or beside.get("mean")) is None or (part.std or beside.get("std")) is None:
            value = f"{source} says nothing of how its images were normalised"
            remedy = "--set model.mean=[…] --set model.std=[…] as it was trained (often [0.485,0.456,0.406] and [0.229,0.224,0.225], or [0.5,0.5,0.5] twice: its source says)"
            raise WeightsError("a weights path needs model.mean and model.std", value, remedy)
    preprocess = Preprocess(
        size=int(part.size or beside.get("size") or own.get("input_size", (3, 224, 224))[-1]),
        mean=_three(part.mean or beside.get("mean") or own.get("mean") or (0.485, 0.456, 0.406)),
        std=_three(part.std or beside.get("std") or own.get("std") or (0.229, 0.224, 0.225)),
        interpolation=str(
            part.interpolation or beside.get("interpolation") or _plain(own.get("interpolation"))
        ),
        fit=part.fit,
        crop_pct=float(part.crop_pct or beside.get("crop_pct") or own.get("crop_pct") or 1.0),
    )
    freeze_bn = part.freeze_bn if part.freeze_bn is not None else mode == "finetune"
    resolved = part.model_copy(
        update={
            "weights": source if source in ("default", "none") else str(Path(source).expanduser().absolute()),
            "size": preprocess.size,
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "interpolation": preprocess.interpolation,
            "crop_pct": preprocess.crop_pct,
            "freeze_bn": freeze_bn,
        }
    )
    return resolved, preprocess, weights


def overrides(part: ModelPart, mode: str) -> list[str]:
    """Where a recipe's mean or std differ from those its weights came with, in words."""
    known: dict[str, Any] = {}
    if mode != "scratch" and part.weights == "default":
        config = timm.models.get_pretrained_cfg(part.name)
        known = config.to_dict() if config else {}
    elif mode != "scratch" and part.weights != "none":
        known = sidecar_preprocess(Path(part.weights).expanduser())
    told = []
    for key, given in (("mean", part.mean), ("std", part.std)):
        own = known.get(key)
        if (
            given is not None
            and own is not None
            and any(abs(a - b) > 1e-3 for a, b in zip(given, own, strict=True))
        ):
            told.append(f"{key} {given} instead of {[round(float(v), 4) for v in own]}")
    return told


def load_into(net: Net, weights: StateDict, name: str) -> None:
    """Loads backbone weights; a classifier of another shape is left out, anything else that does not fit is an error.

    Raises
    ------
    WeightsError
        Naming the first keys that are missing, unknown, or of another shape.
    """
    own = net.backbone.state_dict()
    ours = all(k.startswith(("backbone.", "head.")) for k in weights) and not weights.keys() & own.keys()
    known = timm.models.get_pretrained_cfg(name)
    classifier = known.classifier if known and known.classifier else ("fc", "classifier", "head.fc", "head")
    prefixes = tuple(f"{c}." for c in ((classifier,) if isinstance(classifier, str) else classifier))
    if ours:  # a checkpoint of ours, as ``Net`` names its parts
        prefixes = ("head.",)
    head = {k: v for k, v in weights.items() if k.startswith(prefixes) and k not in own}
    body = {k.removeprefix("backbone.") if ours else k: v for k, v in weights.items() if k not in head}
    missing = [k for k in own if k not in body and not k.endswith("num_batches_tracked")]
    unknown = [k for k in body if k not in own]
    shapes = [
        f"{k} {tuple(body[k].shape)} for {tuple(own[k].shape)}"
        for k in own
        if k in body and body[k].shape != own[k].shape
    ]
    faults = [("missing", missing), ("unknown", unknown), ("other shape", shapes)]
    if any(names for _, names in faults):
        told = "; ".join(f"{len(names)} {kind} ({', '.join(names[:2])}…)" for kind, names in faults if names)
        raise WeightsError(
            f"the weights must fit {name}", told, "name the model they were trained as, with its model.kwargs"
        )
    net.backbone.load_state_dict({k: v.to(own[k].dtype) for k, v in body.items()}, strict=False)
    same = [v for v in head.values() if v.shape == net.head.weight.shape]
    bias = [v for v in head.values() if v.shape == net.head.bias.shape]
    if len(same) == 1 and len(bias) == 1:
        net.head.load_state_dict({"weight": same[0].float(), "bias": bias[0].float()})


def init_head(net: Net, seed: int) -> None:
    """A small random classifier, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    bound = 1.0 / math.sqrt(net.head.in_features)
    with torch.no_grad():
        net.head.weight.uniform_(-bound, bound, generator=generator)
        net.head.bias.zero_()


def freeze_batchnorm(net: nn.Module) -> None:
    """Puts every BatchNorm layer in eval mode, so that its statistics stay as they were loaded."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def normalise(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    """uint8 (B, H, W, 3) to float32 (B, 3, H, W), channels last in memory, on the device of ``pixels``."""
    mean = torch.tensor(preprocess.mean, device=pixels.device) * 255.0
    scale = 1.0 / (torch.tensor(preprocess.std, device=pixels.device) * 255.0)
    return ((pixels.float() - mean) * scale).permute(0, 3, 1, 2)


def _takes_img_size(name: str) -> bool:
    known = timm.models.get_pretrained_cfg(name)
    return bool(known and known.fixed_input_size)


def _three(values: Any) -> tuple[float, float, float]:
    a, b, c = (float(v) for v in values)
    return a, b, c


def _plain(interpolation: str | None) -> str:
    return interpolation if interpolation in ("nearest", "bilinear", "bicubic", "lanczos") else "bicubic"
