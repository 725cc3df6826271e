"""Training transforms: named policies and lists of albumentations, and which of them mirror or turn. The only importer of albumentations."""

from __future__ import annotations

import copy
import os
import re
import warnings
from collections.abc import Callable
from random import Random
from threading import local
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.data.images.preprocess import Extent, Preprocess
from comp.errors import RecipeError, UnknownName

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network on import otherwise
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import albumentations as _albumentations

A: Any = _albumentations

Pixels = NDArray[np.uint8]
Policy = Callable[[int], list[Any]]


def _none(_: int) -> list[Any]:
    return []


def _light(_: int) -> list[Any]:
    """Mirror images, beside the random crop of every named policy but none."""
    return [A.HorizontalFlip(p=0.5)]


def _standard(_: int) -> list[Any]:
    return [
        A.HorizontalFlip(p=0.5),
        A.Affine(scale=(0.85, 1.15), translate_percent=(-0.06, 0.06), rotate=(-12, 12), border_mode=4, p=0.7),
        A.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.03, p=0.5),
    ]


def _crops(size: int) -> list[Any]:
    """Crops of half to all of the image, a little squeezed (Szegedy et al. 2015, with milder bounds), and mirror images."""
    return [
        A.RandomResizedCrop((size, size), scale=(0.5, 1.0), ratio=(0.8, 1.25), area_for_downscale="image"),
        A.HorizontalFlip(p=0.5),
    ]


def _heavy(size: int) -> list[Any]:
    return [
        A.RandomResizedCrop((size, size), scale=(0.35, 1.0), ratio=(0.75, 1.33), area_for_downscale="image"),
        A.HorizontalFlip(p=0.5),
        A.Affine(rotate=(-20, 20), shear=(-8, 8), border_mode=4, p=0.5),
        A.ColorJitter(brightness=0.35, contrast=0.35, saturation=0.35, hue=0.06, p=0.7),
        A.ToGray(p=0.1),
        A.OneOf([A.GaussianBlur((3, 5)), A.GaussNoise((0.02, 0.08))], p=0.2),
        A.CoarseDropout((1, 3), (0.08, 0.25), (0.08, 0.25), p=0.4),
    ]


def _no_colour(_: int) -> list[Any]:
    """Flips, quarter turns and grid distortion: for classes that differ in colour, none of which may change."""
    return [
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        A.RandomRotate90(p=0.75),
        A.GridDistortion(num_steps=5, distort_limit=(-0.25, 0.25), border_mode=4, p=0.5),
    ]


def _trivial(_: int) -> list[Any]:
    """Mirror images, and one operation of any strength an image: TrivialAugment Wide (Mueller & Hutter 2021)."""
    wide = (0.01, 1.99)
    operations = [
        A.NoOp(p=1),
        A.Affine(shear={"x": (-45, 45), "y": (0, 0)}, p=1),
        A.Affine(shear={"x": (0, 0), "y": (-45, 45)}, p=1),
        A.Affine(translate_percent={"x": (-0.14, 0.14), "y": (0, 0)}, p=1),  # 32 of 224 pixels
        A.Affine(translate_percent={"x": (0, 0), "y": (-0.14, 0.14)}, p=1),
        A.Rotate((-135, 135), p=1),
        A.AutoContrast(p=1),
        A.Equalize(p=1),
        A.ColorJitter(wide, (1, 1), (1, 1), (0, 0), p=1),
        A.ColorJitter((1, 1), wide, (1, 1), (0, 0), p=1),
        A.ColorJitter((1, 1), (1, 1), wide, (0, 0), p=1),
        A.Sharpen(alpha=(0.0, 0.99), p=1),
        A.Posterize((2, 8), p=1),
        A.Solarize((0.0, 1.0), p=1),
    ]
    return [A.HorizontalFlip(p=0.5), A.OneOf(operations, p=1)]


POLICIES: dict[str, Policy] = {
    "none": _none,
    "light": _light,
    "standard": _standard,
    "crops": _crops,
    "heavy": _heavy,
    "no-colour": _no_colour,
    "trivial": _trivial,
}
_PYDANTIC = re.compile(r"\d+ validation errors? for InitSchema|\[type=.*|For further information.*")
SIZED = ("RandomResizedCrop", "RandomSizedCrop")  # of these, "size" is the network's unless a list says it


class TrainTransform:
    """What a policy makes of an image before the network trains on it: uint8 (H, W, 3) to uint8.

    Each call is seeded by its sample, so that an image's variant depends on run seed, fold, epoch and sample
    alone: never on the thread or the order of loading. Safe to call from several threads.

    Parameters
    ----------
    transform : str or list
        A policy's name, or albumentations, themselves or as tables of ``name`` and their arguments.
    preprocess : Preprocess

    Raises
    ------
    UnknownName, RecipeError
        For a policy or transform that does not exist, or arguments that it does not take.
    """

    def __init__(self, transform: str | list[Any], preprocess: Preprocess) -> None:
        self.transform = transform
        self.preprocess = preprocess
        self._per_thread = local()
        self.listed = check_transform(
            transform, preprocess.size, preprocess.channels
        )  # mistakes show now, not in a thread

    @property
    def crops(self) -> bool:
        """Whether the policy begins with a crop of its own, resized to what the network reads."""
        return bool(self.listed) and type(self.listed[0]) is A.RandomResizedCrop and self.listed[0].p == 1

    @property
    def extent(self) -> Extent:
        """How much of an image the policy wants: all of it where it crops itself, as torchvision and albumentations
        do; named policies but none get the margin that validation cuts away, and crop at random within it.
        """
        if self.crops and self.preprocess.fit == "crop":
            return "whole"
        return "room" if isinstance(self.transform, str) and self.transform != "none" else "square"

    def changed(self, pixels: Pixels, seed: int) -> Pixels:
        """What the policy makes of an image, as large as the policy leaves it."""
        compose = getattr(self._per_thread, "compose", None)
        if compose is None:
            compose = self._per_thread.compose = A.Compose(copy.deepcopy(self.listed))
        if not compose.transforms:
            return pixels
        # one stream for all: set_random_seed would give each transform the same seed, hence the same draws, and two
        # flips of chance 0.5 would always come together (seen in 2.0.8)
        compose.set_random_state(np.random.default_rng(seed), Random(seed))
        return np.asarray(compose(image=pixels)["image"], dtype=np.uint8)


def check_transform(transform: str | list[Any], size: int = 224, channels: int = 3) -> list[Any]:
    """The albumentations of a policy or list; UnknownName or RecipeError for what cannot be made, and for what changes
    colours where images have other ``channels`` than three.
    """
    if isinstance(transform, str):
        if transform not in POLICIES:
            raise UnknownName("transform policy", transform, POLICIES, "or list albumentations by name")
        listed = POLICIES[transform](size)
        _require_no_colour(listed, channels, f"{transform!r}, ")
        return listed
    made = [_by_name(one, size) if isinstance(one, dict) else copy.deepcopy(one) for one in transform]
    _require_no_colour(made, channels)
    if any(isinstance(one, dict) for one in transform):  # as a recipe says it, from its beginning
        image = np.random.default_rng(0).integers(0, 256, (size, size, channels), np.uint8)
        for one in made:
            image = _tried(one, image)
    return made


def _tried(transform: Any, image: Pixels) -> Pixels:
    """What a transform makes of an image; RecipeError where that is none: after hours of training it would be dear to learn."""
    name = type(transform).__name__
    surely = copy.deepcopy(transform)
    surely.p = 1.0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = A.Compose([surely], seed=0)(image=image)["image"]
    except Exception as error:
        reason = f"{image.shape[0]} x {image.shape[1]} pixels: {' '.join(str(error).split())[:200]}"
        remedy = "correct its arguments, or leave it out"
        raise RecipeError(f"transform {name} must work on the images", reason, remedy) from error
    if not isinstance(made, np.ndarray) or made.dtype != np.uint8 or made.shape[2:] != image.shape[2:]:
        kind = f"{getattr(made, 'dtype', type(made).__name__)} of shape {tuple(getattr(made, 'shape', ()))}"
        remedy = (
            "leave it out: normalising and tensors are made after the policy, by the model's own mean and std"
        )
        channels = "three colours" if image.shape[2] == 3 else f"{image.shape[2]} channels"
        raise RecipeError(f"transform {name} must give uint8 images of {channels}", kind, remedy)
    return made


_COLOURS = frozenset(
    [
        "AutoContrast",
        "ChannelDropout",
        "ChannelShuffle",
        "ChromaticAberration",
        "CLAHE",
        "ColorJitter",
        "Equalize",
        "FancyPCA",
        "FDA",
        "HEStain",
        "HistogramMatching",
        "HueSaturationValue",
        "ISONoise",
        "Illumination",
        "ImageCompression",
        "InvertImg",
        "PhotoMetricDistort",
        "PixelDistributionAdaptation",
        "PlanckianJitter",
        "PlasmaBrightnessContrast",
        "PlasmaShadow",
        "Posterize",
        "RGBShift",
        "RandomFog",
        "RandomGravel",
        "RandomRain",
        "RandomShadow",
        "RandomSnow",
        "RandomSunFlare",
        "RandomToneCurve",
        "RandomGamma",
        "Sharpen",
        "Solarize",
        "Spatter",
        "ToGray",
        "ToRGB",
        "ToSepia",
        "RandomBrightnessContrast",
    ]
)


def _require_no_colour(transforms: Sequence[Any], channels: int, among: str = "") -> None:
    """RecipeError, naming it, for a transform that is of colours where images have none: parts of others too."""
    for one in transforms if channels != 3 else ():
        name = type(one).__name__
        if name in _COLOURS:
            value = f"{among}{name}; the images have {channels} channels"
            remedy = 'transform = "light", "crops" or "no-colour", or list transforms without it'
            raise RecipeError("colours are changed of three channels alone", value, remedy)
        _require_no_colour(getattr(one, "transforms", ()), channels, among)


def _by_name(table: dict[str, Any], size: int) -> Any:
    arguments = {key: _tuples(value) for key, value in table.items() if key != "name"}
    name = table.get("name")
    if name in SIZED:
        arguments.setdefault("size", (size, size))
    kinds = {n: k for n, k in vars(A).items() if isinstance(k, type) and issubclass(k, A.BasicTransform)}
    example = 'transform = [{name = "HorizontalFlip", p = 0.5}]'
    if not isinstance(name, str):
        raise RecipeError("a transform has the name of an albumentation", f"{table}", example)
    if name not in kinds:
        raise UnknownName("transform", name, kinds, example)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # albumentations only warns of an argument that it does not know
            return kinds[name](**arguments)
    except Exception as error:
        reason = " ".join(_PYDANTIC.sub("", str(error)).split())[:200]
        raise RecipeError(
            f"transform {name} must take its arguments", reason, "see albumentations 2.0.8"
        ) from error


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


OFTEN = 0.1  # of the images; a network learns what it sees less often as an exception
_HALF = "turn180"
_QUARTERS = ("turn90", "turn180", "turn270")
_ALL_VIEWS = (*_QUARTERS, "hflip", *(f"{turn}-hflip" for turn in _QUARTERS))
_VIEWS_OF = {
    "HorizontalFlip": ("hflip",),
    "VerticalFlip": ("turn180-hflip",),
    "Transpose": ("turn90-hflip",),
    "RandomRotate90": _QUARTERS,
    "D4": _ALL_VIEWS,
    "SquareSymmetry": _ALL_VIEWS,
}


@dataclass(frozen=True)
class Symmetry:
    """A transform's name, and the views (as in docs/views.md) that it shows beside the image as it is."""

    name: str
    views: tuple[str, ...]


def symmetries(transforms: Sequence[Any]) -> list[Symmetry]:
    """What a list of albumentations mirrors or turns by 45° and more in at least a tenth of the images.

    Parts of OneOf, SomeOf and Sequential are looked into, each with its own chance.
    """
    return list(dict.fromkeys(_among(transforms, 1.0)))


def _among(transforms: Sequence[Any], chance: float) -> Iterator[Symmetry]:
    for one in transforms:
        often = chance * float(one.p)
        parts = [part for part in getattr(one, "transforms", ()) if hasattr(part, "p")]
        if parts:
            yield from _parts(one, parts, often)
        elif often >= OFTEN and (views := _views(one)):
            yield Symmetry(type(one).__name__, views)


def _parts(one: Any, parts: list[Any], chance: float) -> Iterator[Symmetry]:
    """The symmetries of a composition's parts, of which one, ``n``, or all are applied."""
    kind = type(one).__name__
    if kind in ("OneOf", "OneOrOther"):  # the chances of its parts are weights
        chance /= sum(float(part.p) for part in parts) or 1.0
    elif kind in ("SomeOf", "RandomOrder"):
        chance *= min(1.0, float(one.n) / max(1, len(parts)))
    return _among(parts, chance)


def _views(one: Any) -> tuple[str, ...]:
    """The views that one albumentation shows; none where it turns by less than 45°."""
    name = type(one).__name__
    if name in _VIEWS_OF:
        return _VIEWS_OF[name]
    limit = getattr(one, "rotate", None) if hasattr(one, "rotate") else getattr(one, "limit", None)
    if "Rotate" not in name and name not in ("Affine", "RandomAffine"):
        return ()
    if not isinstance(limit, tuple | list) or not all(isinstance(v, int | float) for v in limit):
        return ()
    furthest = max(abs(float(v)) for v in limit)
    if furthest < 45:
        return ()
    return _QUARTERS if furthest >= 135 else ("turn90", "turn270")
