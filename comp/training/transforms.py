"""Training transforms: named policies and lists of albumentations, on uint8 pictures. The only importer of albumentations."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from threading import local
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.errors import RecipeError, UnknownName
from comp.images.fit import Preprocess, fit

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network on import otherwise
import albumentations as A

Pixels = NDArray[np.uint8]
Policy = Callable[[], list[Any]]


def _none() -> list[Any]:
    return []


def _light() -> list[Any]:
    """Mirror images, beside the random crop of every named policy but none."""
    return [A.HorizontalFlip(p=0.5)]


def _standard() -> list[Any]:
    return [
        A.HorizontalFlip(p=0.5),
        A.Affine(scale=(0.85, 1.15), translate_percent=(-0.06, 0.06), rotate=(-12, 12), border_mode=4, p=0.7),
        A.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.03, p=0.5),
    ]


POLICIES: dict[str, Policy] = {"none": _none, "light": _light, "standard": _standard}


class TrainTransform:
    """A fitted picture to what the network trains on: uint8 (H, W, 3) to uint8 (S, S, 3).

    Each call is seeded by its sample, so that a picture's variant depends on run seed, fold, epoch and sample
    alone: never on the thread or the order of loading. Safe to call from several threads.

    Parameters
    ----------
    transform : str or list of tables
        A policy's name, or albumentations by ``name`` with their arguments.
    preprocess : Preprocess

    Raises
    ------
    UnknownName, RecipeError
        For a policy or transform that does not exist, or arguments that it does not take.
    """

    def __init__(self, transform: str | list[dict[str, Any]], preprocess: Preprocess) -> None:
        self.transform = transform
        self.preprocess = preprocess
        self._per_thread = local()
        check_transform(transform)  # mistakes show now, not in a thread

    @property
    def room(self) -> bool:
        """Whether pictures come with the margin that validation cuts away: named policies crop at random within it."""
        return isinstance(self.transform, str) and self.transform != "none"

    def __call__(self, pixels: Pixels, seed: int) -> Pixels:
        size = self.preprocess.size
        if pixels.shape[0] > size:
            top, left = np.random.default_rng(seed).integers(0, pixels.shape[0] - size + 1, 2)
            pixels = pixels[top : top + size, left : left + size]
        compose = getattr(self._per_thread, "compose", None)
        if compose is None:
            compose = self._per_thread.compose = A.Compose(check_transform(self.transform))
        if not compose.transforms:
            return pixels
        compose.set_random_seed(seed)
        changed = np.asarray(compose(image=pixels)["image"], dtype=np.uint8)
        return changed if changed.shape == pixels.shape else fit(changed, self.preprocess)


def check_transform(transform: str | list[dict[str, Any]]) -> list[Any]:
    """The albumentations of a policy or list; UnknownName or RecipeError for what cannot be made."""
    if isinstance(transform, str):
        if transform not in POLICIES:
            raise UnknownName("transform policy", transform, POLICIES, "or list albumentations by name")
        return POLICIES[transform]()
    return [_by_name(table) for table in transform]


def _by_name(table: dict[str, Any]) -> Any:
    arguments = {key: _tuples(value) for key, value in table.items() if key != "name"}
    name = table.get("name")
    kinds = {n: k for n, k in vars(A).items() if isinstance(k, type) and issubclass(k, A.BasicTransform)}
    if not isinstance(name, str) or name not in kinds:
        raise UnknownName("transform", str(name), kinds, 'transform = [{name = "HorizontalFlip", p = 0.5}]')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # albumentations only warns of an argument that it does not know
            return kinds[name](**arguments)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise RecipeError(
            f"transform {name} must take its arguments", reason, "see albumentations 2.0.8"
        ) from error


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
