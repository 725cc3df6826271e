"""What follows the moves of a policy, for whole batches: affine maps, colours, cut-outs, mixup, cutmix and erasing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comp.data.augment import color, geometry
from comp.data.augment.color import each
from comp.data.augment.geometry import Draws, between, counter_uniforms
from comp.data.augment.policies import A
from comp.data.device_memory import upload
from comp.recipe import RegularizeConfig

ERASED_AREA = (0.02, 1 / 3)
ERASED_ASPECT = (0.3, 3.3)


def mix(
    x: Tensor, y: Tensor, classes: int, part: RegularizeConfig, rng: np.random.Generator, mixes: bool = True
) -> tuple[Tensor, Tensor]:
    """A batch as the network is to learn it: rectangles erased, then images mixed by twos.

    Mixup is the weighted mean of two images and of their targets (Zhang et al. 2018); cutmix puts a rectangle
    of one image into the other and weighs the targets by area (Yun et al. 2019); where both are on, each batch
    draws one. An erased rectangle takes the mean colour (Zhong et al. 2020). Everything random comes from ``rng``.

    Parameters
    ----------
    x : float tensor (B, 3, H, W)
        Normalised images, so that 0 is the mean colour.
    y : int64 tensor (B,), or float (B, D) where a row has no single class
    mixes : bool
        False past ``mix_until``: erasing only.

    Returns
    -------
    (Tensor, Tensor)
        Images (B, 3, H, W), and targets as they came, or float (B, C) where the batch was mixed.
    """
    if part.erasing:
        x = _erase(x, part.erasing, rng)
    wanted = [name for name, alpha in (("mixup", part.mixup), ("cutmix", part.cutmix)) if alpha > 0]
    if not wanted or not mixes or rng.random() >= part.mix_share:
        return x, y
    kind = wanted[int(rng.integers(len(wanted)))]
    alpha = part.mixup if kind == "mixup" else part.cutmix
    share = float(rng.beta(alpha, alpha))  # of the image that stays
    partner = upload(torch.from_numpy(rng.permutation(len(x))), x.device)
    if kind == "mixup":
        x = torch.lerp(x[partner], x, share)
    else:
        x, share = _paste(x, partner, share, rng)
    hot = y if y.is_floating_point() else torch.nn.functional.one_hot(y, classes).float()  # (B, C)
    return x, hot * share + hot[partner] * (1 - share)


def _paste(x: Tensor, partner: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Every image with one rectangle of its partner, and the share of the area that stayed its own."""
    height, width = x.shape[2:]
    side = np.sqrt(1 - share)
    half_h, half_w = height * side / 2, width * side / 2
    cy, cx = rng.uniform(0, height), rng.uniform(0, width)
    top, bottom = (int(np.clip(round(v), 0, height)) for v in (cy - half_h, cy + half_h))
    left, right = (int(np.clip(round(v), 0, width)) for v in (cx - half_w, cx + half_w))
    x = x.clone()
    x[:, :, top:bottom, left:right] = x[partner][:, :, top:bottom, left:right]
    return x, 1 - (bottom - top) * (right - left) / (height * width)


def _erase(x: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    height, width = x.shape[2:]
    edges: list[tuple[int, ...]] = []
    for n in np.flatnonzero(rng.random(len(x)) < share):
        area = rng.uniform(*ERASED_AREA) * height * width
        aspect = np.exp(rng.uniform(*np.log(ERASED_ASPECT)))
        h, w = min(height, round(np.sqrt(area * aspect))), min(width, round(np.sqrt(area / aspect)))
        top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        edges.append((int(n), top, left, top + h, left + w))
    return (erased_at_once if x.device.type == "cuda" else erased_one_by_one)(x.clone(), edges)


def erased_one_by_one(x: Tensor, edges: list[tuple[int, ...]]) -> Tensor:
    """Images (B, 3, H, W) with rectangles of 0, changed in place: image, top, left, bottom and right of each. A CPU then
    writes no other pixels.
    """
    for n, top, left, bottom, right in edges:
        x[n, :, top:bottom, left:right] = 0
    return x


def erased_at_once(x: Tensor, edges: list[tuple[int, ...]]) -> Tensor:
    """The same for a GPU, which takes as long for one rectangle as for all of a batch; one an image at most."""
    every = np.zeros((len(x), 4), np.int64)
    for n, *sides in edges:
        every[n] = sides
    top, left, bottom, right = upload(torch.from_numpy(every), x.device).reshape(-1, 4, 1, 1, 1).unbind(1)
    down = torch.arange(x.shape[2], device=x.device)[:, None]
    across = torch.arange(x.shape[3], device=x.device)
    inside = (down >= top) & (down < bottom) & (across >= left) & (across < right)  # (B, 1, H, W)
    return x.masked_fill_(inside, 0.0)


Pixels = NDArray[np.uint8]
Parameters = NDArray[np.float32]


@dataclass(frozen=True)
class Op:
    """A transform of small images.

    ``drawn`` makes parameters (R, ``width``) of ``count`` numbers in 0 … 1 a row. ``one`` changes an image uint8
    (S, S, 3) by its parameters, without writing into it; ``batch`` images, float (B, 3, S, S) of whole numbers
    0 … 255, by theirs (B, ``width``), which lie on the CPU.
    """

    count: int
    width: int
    drawn: Callable[[Draws], NDArray[Any]]
    one: Callable[[Pixels, list[float]], Pixels]
    batch: Callable[[Tensor, Tensor], Tensor]


class BatchOps:
    """What is left of a list of albumentations after its moves (``Lattice``), in two ways: an image at a time by OpenCV,
    for a CPU, or a batch at a time by torch, for a GPU.

    ``taken`` says how many of ``transforms`` could be, from the first one on. Each row's parameters come from the same
    distributions as albumentations', and follow from seed and row alone. OpenCV's way is the one that albumentations
    takes itself; torch's rounds after each step too, and differs from it by a level here and there.

    Parameters
    ----------
    transforms : sequence of albumentations
    size : int
        S, the side of the images, pixels.
    """

    def __init__(self, transforms: Sequence[Any], size: int) -> None:
        self._ops: list[Op] = []
        for transform in transforms:
            op = op_of(transform, size)
            if op is None:
                break
            self._ops.append(op)
        self.taken = len(self._ops)

    def drawn(self, seed: int, rows: NDArray[np.int64]) -> Parameters:
        """The parameters (R, P) of these rows (R,) in the variant of ``seed``."""
        draws, place = counter_uniforms(seed, rows, max(1, sum(op.count for op in self._ops))), 0
        found = [np.empty((len(rows), 0), np.float32)]
        for op in self._ops:
            found.append(op.drawn(draws[:, place : place + op.count]).astype(np.float32))
            place += op.count
        return np.concatenate(found, 1)

    def one(self, image: Pixels, given: list[float]) -> Pixels:
        """An image uint8 (S, S, 3) as its P parameters change it: a new one, or itself as it was."""
        place = 0
        for op in self._ops:
            image = op.one(image, given[place : place + op.width])
            place += op.width
        return image

    def batch(self, images: Tensor, parameters: Parameters) -> Tensor:
        """Images uint8 (B, S, S, 3) as parameters (B, P) change them, uint8 (B, S, S, 3) on the same device."""
        x, given, place = images.permute(0, 3, 1, 2).float().contiguous(), torch.from_numpy(parameters), 0
        for op in self._ops:
            x = op.batch(x, given[:, place : place + op.width])
            place += op.width
        return x.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def op_of(transform: Any, size: int) -> Op | None:
    """How a transform changes images (S, S, 3); None for one that only albumentations can do."""
    kind = type(transform)
    if kind is A.HorizontalFlip or kind is A.VerticalFlip:
        code, axis = (1, 3) if kind is A.HorizontalFlip else (0, 2)
        return _or_not(transform, lambda image: cv2.flip(image, code), lambda x: x.flip(axis))
    if kind is A.ToGray and transform.method == "weighted_average" and transform.num_output_channels == 3:
        return _or_not(transform, color.grey_of_one, color.grey)
    if kind is A.ColorJitter:
        drawn = partial(color.jitters, transform)
        return Op(color.COUNT, color.WIDTH, drawn, color.jittered, color.batch_jittered)
    if kind is A.Affine and size > 1 and geometry.is_plain(transform):
        drawn = partial(geometry.places, transform, size)
        ways = geometry.of_one(transform, size), geometry.of_batch(transform, size)
        return Op(geometry.COUNT, geometry.WIDTH, drawn, *ways)
    if kind is A.CoarseDropout and not isinstance(transform.fill, str) and _fit(transform, size):
        return _cut_outs(transform, size)
    return None


def _or_not(transform: Any, one: Callable[[Pixels], Any], batch: Callable[[Tensor], Tensor]) -> Op:
    """A transform without numbers of its own, which is carried out or not."""
    p = float(transform.p)
    return Op(
        1,
        1,
        lambda u: u < p,
        lambda image, on: np.asarray(one(image), dtype=np.uint8) if on[0] else image,
        lambda x, on: torch.where(each(on, x) > 0, batch(x), x),
    )


def _cut_outs(transform: Any, size: int) -> Op:
    """CoarseDropout: rectangles of one colour."""
    most = int(transform.num_holes_range[1])
    fill = np.broadcast_to(np.asarray(transform.fill, np.uint8).ravel(), 3)

    def one(image: Pixels, edges: list[float]) -> Pixels:
        made = image.copy()
        for n in range(0, 4 * most, 4):
            top, left, bottom, right = (int(v) for v in edges[n : n + 4])
            if bottom > top:
                made[top:bottom, left:right] = fill
        return made

    def batch(x: Tensor, given: Tensor) -> Tensor:
        places = torch.arange(size, device=x.device)
        edges = upload(given.reshape(-1, most, 4, 1), x.device)
        inside = (places >= edges[:, :, :2]) & (places < edges[:, :, 2:])  # (B, most, 2, S)
        cut = (inside[:, :, 0, :, None] & inside[:, :, 1, None, :]).any(1, keepdim=True)  # (B, 1, S, S)
        return torch.cat([x[:, n : n + 1].masked_fill(cut, float(fill[n])) for n in range(3)], 1)

    return Op(2 + 4 * most, 4 * most, partial(_holes, transform, size), one, batch)


def _fit(transform: Any, size: int) -> bool:
    """Whether holes of all lengths lie in an image: where not, albumentations raises, and is to say so."""
    high, wide = transform.hole_height_range, transform.hole_width_range
    if high[1] >= 1:
        return all(int(side[0]) <= int(min(side[1], size)) for side in (high, wide))
    return bool(wide[1] <= 1)


def _holes(transform: Any, size: int, u: Draws) -> NDArray[np.float64]:
    """Of draws (R, 2 + 4 N) top, left, bottom and right of N holes (R, 4 N), all 0 of those that are not made."""
    least, most = (int(n) for n in transform.num_holes_range)
    sides = transform.hole_height_range, transform.hole_width_range
    in_pixels = sides[0][1] >= 1  # albumentations asks the heights alone

    def length(bounds: Any, v: NDArray[np.float64]) -> NDArray[np.float64]:
        if not in_pixels:
            return np.asarray(np.floor(size * between(bounds, v)), dtype=np.float64)
        low, high = int(bounds[0]), int(min(bounds[1], size))
        return np.asarray(low + np.floor(v * (high - low + 1)), dtype=np.float64)

    holes = np.where(u[:, 0] < float(transform.p), least + np.floor(u[:, 1] * (most - least + 1)), 0)
    v = u[:, 2:].reshape(len(u), most, 4)
    lengths = np.stack([length(bounds, v[..., n]) for n, bounds in enumerate(sides)], -1)  # (R, N, 2)
    first = np.floor(v[..., 2:] * (size - lengths + 1))
    edges = np.concatenate([first, first + lengths], -1)
    made = np.arange(most)[None, :, None] < holes[:, None, None]
    return np.where(made, edges, 0).reshape(len(u), most * 4)
