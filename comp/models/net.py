"""The network: a backbone by name (our small ones, a competition's models.py, timm) and a linear classifier."""

from __future__ import annotations

import hashlib
import importlib.util
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from comp.data.device_memory import is_out_of_memory
from comp.data.images.preprocess import Preprocess
from comp.data.side_features import SideEncoder
from comp.errors import CompError, InputError, RecipeError, UnknownName, WeightsError
from comp.files import sha256_of
from comp.models.metric_layers import CosineHead, set_gem
from comp.models.runtime import one_thread
from comp.models.small_nets import SMALL_NETS
from comp.models.timm_alone import timm
from comp.models.weights import StateDict, find_default, read_weights, sidecar_preprocess
from comp.recipe import HeadConfig, ModelConfig

_OWN: dict[str, Callable[..., nn.Module]] = {}  # of the competition at hand, and of no other
_loaded: OwnModels | None = None  # where they are from


def load_models(path: Path) -> None:
    """Registers what a competition's models.py defines in ``MODELS``, a table of names and functions.

    A function takes ``model.kwargs`` (and ``in_chans`` where images have other channels than three) and returns a
    backbone: a module from (B, 3, H, W) to (B, D) with D as its ``num_features``. Those of the competition that was loaded before are forgotten, also where there is no file.

    Raises
    ------
    InputError
        If the file cannot be imported, has no such table, or takes the name of a model of comp or timm.
    """
    global _loaded
    _OWN.clear()
    _loaded = None
    if not path.is_file():
        return
    read = OwnModels(path.absolute(), sha256_of(path))
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
    _loaded = read


@dataclass(frozen=True)
class OwnModels:
    """A competition's models.py as a plan was made with it: ``path``, and the SHA-256 of the file."""

    path: Path
    sha256: str

    def load(self) -> None:
        """Registers its models in this process where they are not those that it has.

        Raises
        ------
        InputError
            If the file is another by now, or is gone.
        """
        if self != _loaded:
            if not self.path.is_file() or sha256_of(self.path) != self.sha256:
                value = f"{self.path} has changed since training was planned"
                raise InputError(
                    "models.py stays as it is while a run trains", value, "put it back as it was"
                )
            load_models(self.path)


def own_models(name: str) -> OwnModels | None:
    """The models.py that the model of that name is from; None where it is comp's or timm's."""
    return _loaded if name in _OWN else None


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
    """Lets a backbone look at small images: first convolution 3x3 and stride 1, no pooling after it. In place.

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
        value = f"{name} cuts images into patches"
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


# arguments of timm.create_model that model.kwargs cannot have
_OURS = ("num_classes", "pretrained", "checkpoint_path", "features_only")


class Net(nn.Module):
    """``head(backbone(x))``: logits (B, C) of images (B, 3, H, W).

    ``new_stem`` names the first convolution's weight where ``model.stem`` gave it another size, ``new_pool`` the parameter of
    a pooling that ``model.pool`` put in. With ``side`` the head reads
    what stands beside an image, too: ``head([backbone(x), side])``, numbers (B, F) as that encoder gives them; where they
    are not given (a time is measured, or a heat map drawn) all are 0, which is the mean.
    """

    def __init__(
        self,
        backbone: nn.Module,
        features: int,
        classes: int,
        head: HeadConfig,
        side: SideEncoder | None = None,
    ) -> None:
        super().__init__()
        self.side = side
        features += side.width if side is not None else 0
        self.backbone = backbone
        self.dropout = nn.Dropout(head.dropout)
        self.head: nn.Linear | CosineHead | nn.Sequential = _classifier(
            head.hidden or features, classes, head
        )
        if head.hidden is not None:
            last, inner = self.head, nn.Linear(features, head.hidden)
            # an embedding may point in any direction: a ReLU would keep angles below a right one
            between = nn.ReLU() if head.scale is None else nn.Identity()
            self.head = nn.Sequential(inner, between, nn.Dropout(head.dropout), last)
        self.new_stem: str | None = None
        self.new_pool: str | None = None

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        features = self.backbone(x)  # (B, D)
        if self.side is not None:
            if beside is None:
                beside = torch.zeros(len(features), self.side.width, device=features.device)
            features = torch.cat([features.float(), beside], dim=1)  # (B, D + F)
        dtype = next(self.head.parameters()).dtype
        with torch.autocast(x.device.type, enabled=False):  # as predict does; logits want all their digits
            logits: Tensor = self.head(self.dropout(features.to(dtype)))  # (B, C)
        return logits


def _classifier(features: int, classes: int, head: HeadConfig) -> nn.Linear | CosineHead:
    """The last layer: by angles where the head has a scale."""
    if head.scale is None:
        return nn.Linear(features, classes)
    return CosineHead(features, classes, head.scale, head.centres or 1)


def build(part: ModelConfig, classes: int, side: SideEncoder | None = None) -> Net:
    """A network with random weights; with ``side`` one that reads what stands beside images, too.

    Raises
    ------
    UnknownName
        For a name that nobody has, with near misses.
    WeightsError
        If the model does not take ``model.kwargs``.
    """
    require_model(part.name)
    _require_arguments(part)
    try:
        backbone, features = create(part.name, **arguments_of(part))
    except CompError:
        raise
    except Exception as error:  # whatever timm does with arguments that it does not expect
        reason = (str(error) or type(error).__name__).splitlines()[0]
        value = f"{part.name}: {reason[:200]}"
        raise WeightsError(
            "the model must take model.kwargs and model.size", value, "correct the recipe"
        ) from error
    stem = small_stem(backbone, part.name) if part.stem == "small" else None
    pool = set_gem(backbone, part.name) if part.pool == "gem" else None
    net = Net(backbone, features, classes, part.head, side)
    net.new_stem, net.new_pool = stem, pool
    return net


def _require_arguments(part: ModelConfig) -> None:
    """WeightsError for arguments of a timm model that would change what it is here: a backbone for images of three
    channels, whose weights model.weights names.
    """
    if is_own(part.name):
        return
    taken = [key for key in part.kwargs if key in _OURS or (key == "in_chans" and part.kwargs[key] != 3)]
    if taken:
        value = f"model.kwargs.{taken[0]} = {part.kwargs[taken[0]]!r}"
        raise WeightsError(
            "model.kwargs says nothing of channels, classes and weights: [images] states channels where they are not "
            "three, classes are the competition's",
            value,
            "drop it; model.weights names weights",
        )


def arguments_of(part: ModelConfig) -> dict[str, Any]:
    """What the backbone is created with: ``model.kwargs``, the size of its input where the model has but one, and as
    ``in_chans`` the number of channels where that is not three.
    """
    kwargs = dict(part.kwargs)
    if part.channels != 3:
        kwargs["in_chans"] = part.channels
    if part.size is not None and not is_own(part.name) and config_of(part.name).get("fixed_input_size"):
        kwargs.setdefault("img_size", part.size)
    return kwargs


def require_forward(net: Net, part: ModelConfig, classes: int, at: int | None = None) -> None:
    """WeightsError for a network that cannot read images of its size: a stem, a size or a models.py that does not fit.

    Two made images (2, N, S, S) go through it once, in eval mode, on the CPU; ``at`` is S where not the model's own.
    """
    size = at or part.size or 224
    try:
        with torch.inference_mode():
            shape = tuple(net.eval()(torch.zeros(2, part.channels, size, size)).shape)
    except Exception as error:
        if is_out_of_memory(error):
            return  # on this device; training has its own way with that
        reason = (str(error) or type(error).__name__).splitlines()[0]
        value = f"{part.name} at {size} pixels: {reason}"
        raise WeightsError(
            "the model must read images of model.size", value, "another model.size, stem or model"
        ) from error
    if shape != (2, classes):
        raise WeightsError(
            "a backbone gives one row an image", f"{part.name} gave {shape}", "correct models.py"
        )


def resolve(
    part: ModelConfig, mode: str, weight_folders: list[Path], channels: int | None = None
) -> tuple[ModelConfig, Preprocess, StateDict | None]:
    """The model part with nothing left open, its preprocessing, and the weights to start from (None: random).

    Mean, std, size and interpolation are the recipe's, else those beside the weights, else the model's own. The network
    reads ``channels``; where that is not said as many as the recipe has means, or three.

    Raises
    ------
    WeightsError
        If weights cannot be found, or a path comes without mean and std.
    """
    require_model(part.name)
    own, channels = config_of(part.name), channels or part.channels
    weights: StateDict | None = None
    beside: dict[str, Any] = {}
    source = "none" if mode == "scratch" else part.weights
    if source == "default" and is_own(part.name):
        value = f"{part.name} has none to download"
        remedy = 'mode = "scratch", or model.weights = a path'
        raise WeightsError("pretrained weights must exist", value, remedy)
    if source == "default":
        weights = find_default(part.name, weight_folders)
    elif source != "none":
        weights = read_weights(Path(source).expanduser())
        beside = sidecar_preprocess(Path(source).expanduser())
        if (part.mean or beside.get("mean")) is None or (part.std or beside.get("std")) is None:
            value = f"{source} says nothing of how its images were normalised"
            remedy = '`overrides=["model.mean=[…]", "model.std=[…]"]` as it was trained (often [0.485,0.456,0.406] and [0.229,0.224,0.225], or [0.5,0.5,0.5] twice: its source says)'
            raise WeightsError("a weights path needs model.mean and model.std", value, remedy)
    preprocess = Preprocess(
        size=int(part.size or beside.get("size") or own.get("input_size", (3, 224, 224))[-1]),
        mean=_of_channels(
            part, "mean", beside.get("mean") or own.get("mean") or (0.485, 0.456, 0.406), channels
        ),
        std=_of_channels(part, "std", beside.get("std") or own.get("std") or (0.229, 0.224, 0.225), channels),
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


def overrides(part: ModelConfig, mode: str) -> list[str]:
    """Where a recipe's mean or std differ from those its weights came with, in words."""
    known: dict[str, Any] = {}
    if mode != "scratch" and part.weights == "default":
        known = config_of(part.name)
    elif mode != "scratch" and part.weights != "none":
        known = sidecar_preprocess(Path(part.weights).expanduser())
    return differences(part, known)


def differences(part: ModelConfig, known: dict[str, Any]) -> list[str]:
    """Where a recipe's mean or std differ from those that are ``known`` of its weights, in words."""
    told = []
    for key, given in (("mean", part.mean), ("std", part.std)):
        own = known.get(key)
        if (
            given is not None
            and own is not None
            and len(given) == len(own)
            and any(abs(a - b) > 1e-3 for a, b in zip(given, own, strict=True))
        ):
            told.append(f"{key} {given} instead of {[round(float(v), 4) for v in own]}")
    return told


def init_head(net: Net, seed: int) -> None:
    """A small random classifier, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    for layer in net.head.modules():
        if isinstance(layer, nn.Linear):
            bound = 1.0 / math.sqrt(layer.in_features)
            with torch.no_grad():
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.zero_()
        elif isinstance(layer, CosineHead):
            layer.begin(generator)


def freeze_batchnorm(net: nn.Module) -> None:
    """Puts every BatchNorm layer in eval mode, so that its statistics stay as they were loaded."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def normalise(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    """uint8 (B, H, W, N) to float32 (B, N, H, W), channels last in memory, on the device of ``pixels``."""
    batch, height, width, channels = pixels.shape
    scale, shift = _line(preprocess.mean, preprocess.std, width, pixels.device)
    # two passes, each as wide as the batch: waking other threads for an image costs more than its pixels while
    # loaders hold the cores
    with one_thread(pixels.numel(), pixels.device):
        made = pixels.reshape(batch, height, width * channels).float()
        torch.addcmul(shift, made, scale, out=made)
    return made.view(batch, height, width, channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _line(
    mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """What values 0 … 255 are multiplied by, and what is added, for a line of pixels, both (W * N,): three numbers at a
    time would keep the vector units waiting.
    """
    wide = torch.tensor(std, device=device)
    scale = 1.0 / (wide * 255.0)
    shift = -torch.tensor(mean, device=device) / wide
    return scale.repeat(width), shift.repeat(width)


def _of_channels(part: ModelConfig, key: str, known: Any, channels: int) -> tuple[float, ...]:
    """The mean or std of each channel: the recipe's, or what is ``known`` of the weights; of other channels than three the
    mean of those three for each, since no weights state others.

    Raises
    ------
    WeightsError
        If the recipe has another number of them.
    """
    given = getattr(part, key)
    if given is not None and len(given) != channels:
        value = f"model.{key} has {len(given)} values, the images have {channels} channels"
        raise WeightsError(
            "mean and std have a value a channel", value, "correct the recipe, or leave it out"
        )
    values = tuple(float(v) for v in given or known)
    return values if len(values) == channels else (sum(values) / len(values),) * channels


def _plain(interpolation: str | None) -> str:
    return interpolation if interpolation in ("nearest", "bilinear", "bicubic", "lanczos") else "bicubic"
