"""The forward pass over rows and views of test-time augmentation: the one path for validation, OOF and test predictions; and
that of a backbone alone, with a classifier on what it gave.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.special
import torch
from numpy.typing import NDArray
from torch import nn

from comp.data.device_memory import is_out_of_memory, make_room
from comp.data.images.pixel_cache import ImageDataset
from comp.data.images.preprocess import Preprocess
from comp.data.images.source import ImageSource
from comp.data.labels import LabelMap
from comp.data.loading.prefetch import batches, loader_pool
from comp.data.predictions import kept_as
from comp.errors import TrainingFailed, WeightsError
from comp.models.batchnorm_fusion import fuse_frozen_batchnorm
from comp.models.checkpoint import Noise, Sidecar
from comp.models.net import Net, normalise, require_forward
from comp.models.runtime import accelerator as make_accelerator
from comp.models.runtime import exact
from comp.recipe import ModelConfig, Recipe
from comp.task_scores import row_blocks
from comp.views import OWN, VIEWS, WIDE, ZOOM, scale_of, sets_among, square_of

if TYPE_CHECKING:
    from torch import Tensor

    from comp.data.loading.resident import Resident

_SETTING = threading.Lock()


def squares_of(views: Sequence[str], preprocess: Preprocess) -> dict[str, Preprocess]:
    """The squares that some views need, each as the preprocessing that fits an image to it."""
    names = dict.fromkeys(square_of(view) for view in views)
    scales = {square_of(view): scale_of(view) for view in views}
    return {name: _fitted(name, preprocess, scales[name]) for name in names}


def large_size(size: int, scale: float) -> int:
    """The pixels that a network of ``size`` reads at ``scale``: a multiple of 16 from 128 on, of 4 below."""
    step = 16 if size >= 128 else 4
    return int(size * scale / step + 0.5) * step if scale != 1.0 else size


def large_sizes(views: Sequence[str], size: int) -> list[int]:
    """The sizes beside its own that some views make a network of ``size`` read."""
    return sorted({large_size(size, scale_of(view)) for view in views} - {size})


def view(name: str, square: Tensor, size: int) -> Tensor:
    """One view of a batch, from the square that it needs.

    Parameters
    ----------
    name : str
        One of VIEWS.
    square : Tensor (B, 3, T, T)
        What ``square_of(name)`` names; T is ``size`` for most.
    size : int
        S, what the network reads.

    Returns
    -------
    Tensor (B, 3, S, S); (B, 3, T, T) for the larger views
    """
    if name not in VIEWS:
        raise ValueError(f"no view is called {name!r}")
    return VIEWS[name](square, size)


def _fitted(square: str, preprocess: Preprocess, scale: float) -> Preprocess:
    if square == WIDE:
        return replace(preprocess, size=round(preprocess.size * ZOOM), crop_pct=1.0)
    return replace(preprocess, size=large_size(preprocess.size, scale if square != OWN else 1.0))


def require_larger(net: Net, part: ModelConfig, classes: int, views: Sequence[str]) -> None:
    """WeightsError, naming the view, for a network that cannot read the larger images that some views feed it."""
    size = part.size or 224
    reads = {large_size(size, scale_of(view)): view for view in views}
    for larger in large_sizes(views, size):
        try:
            require_forward(net, part, classes, larger)
        except WeightsError as error:
            rule = f"the view {reads[larger]!r} needs a network that reads images of any size"
            raise WeightsError(rule, error.value, "take it out of tta") from error


def sets_to_try(net: Net, part: ModelConfig, classes: int, tta: list[str]) -> dict[str, list[str]]:
    """The sets of views that ``tta`` lets be chosen among, by name, as far as this network can be fed them."""
    found = {}
    for name, views in sets_among(tta).items():
        try:
            require_larger(net, part, classes, views)
        except WeightsError:
            continue
        found[name] = views
    return found


Probs = NDArray[np.float64]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
BATCH = 64  # rows at once on a CPU
GPU_BATCH = 256  # at most on a GPU, which takes as long for few as for many
FLIGHT = 64 << 20  # bytes of images that a GPU gets at once
_ROOM = "end what else uses the memory, or another device, or a smaller model.size or model.name"


class NotFinite(TrainingFailed):
    """A network gave a NaN or an infinity for an image, of which no answer can be made."""


def outputs(
    net: nn.Module,
    pool: ThreadPoolExecutor,
    pixels: ImageDataset,
    rows: NDArray[np.int64],
    views: list[str],
    recipe: Recipe,
    device: Any,
    advance: Callable[[int], None] = lambda n: None,
    *,
    tf32: bool = False,
    at_once: int | None = None,
    there: Resident | None = None,
) -> dict[str, NDArray[np.float32]]:
    """What the network gives for rows (R,) under each view: float32 (R, D), by view name.

    The network must be in eval mode and on ``device``. Each image is decoded once for all views. Only with ``tf32`` may
    a GPU round to it: what is compared with another device's outputs must not be. ``at_once`` rows go through together
    where that is not left to the device. ``there`` holds the rows' squares where the network is, for views that need no
    others than the identity.

    Raises
    ------
    NotFinite
        Naming the first image and view for which it gives a NaN or an infinity.
    """
    found: dict[str, NDArray[np.float32]] = {}
    done = 0
    half, on_gpu = _DTYPES.get(recipe.precision), torch.device(device).type == "cuda"
    squares, channels = squares_of(views, pixels.preprocess), pixels.preprocess.channels
    numbers = sum(one.size**2 for one in squares.values())

    def fill(part: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        for n, row in enumerate(part):
            fitted = pixels.squares(int(row), list(squares.values()))
            np.concatenate([one.reshape(-1, channels) for one in fitted], out=out[n])

    def keep(copied: _Copied) -> None:
        nonlocal done  # they come in the order of the rows
        there = copied.ready()
        paths = [pixels.paths[row] for row in rows[done : done + len(there[views[0]])]]
        for name, values in there.items():
            _require_finite(values, paths, name, recipe.precision)
            given = values.numpy()
            if name not in found:
                found[name] = np.empty((len(rows), *given.shape[1:]), given.dtype)
            found[name][done : done + len(given)] = given
        done += len(paths)

    see = partial(_seen, net, squares, views, pixels.preprocess, torch.device(device))
    batch = at_once or rows_at_once(device, numbers)
    room, waiting = _Room(batch), deque[_Copied]()
    with (
        torch.inference_mode(),
        exact(not tf32),
        torch.autocast(torch.device(device).type, dtype=half, enabled=half is not None),
    ):
        for part, flat in _batches(there, pool, rows, batch, (numbers, channels), fill, on_gpu):
            waiting += _fitting(see, flat, room)
            while len(waiting) > on_gpu:  # a GPU's copies are waited for once it has the next batch
                keep(waiting.popleft())
            advance(len(part))
        for copied in waiting:
            keep(copied)
    return found or {name: np.zeros((0, 0), np.float32) for name in views}


def _batches(
    there: Resident | None,
    pool: ThreadPoolExecutor,
    rows: NDArray[np.int64],
    batch: int,
    shape: tuple[int, int],
    fill: Callable[[NDArray[np.int64], NDArray[np.uint8]], None],
    pinned: bool,
) -> Iterator[tuple[NDArray[np.int64], torch.Tensor]]:
    """``batches`` of squares (P, 3), taken from where they lie, as long as they do."""
    done = 0
    while there is not None and there.pixels is not None and done < len(rows):
        part = rows[done : done + batch]
        yield part, there.whole(part).view(len(part), *shape)
        done += len(part)
    yield from batches(pool, rows[done:], batch, shape, fill, pinned=pinned)


def rows_at_once(device: Any, pixels: int) -> int:
    """How many rows of so many pixels each go through a network together, where memory suffices."""
    if torch.device(device).type != "cuda":
        return BATCH
    return min(GPU_BATCH, max(BATCH, FLIGHT // (3 * pixels)))


def _seen(
    net: nn.Module,
    squares: dict[str, Preprocess],
    views: list[str],
    preprocess: Preprocess,
    device: torch.device,
    flat: torch.Tensor,
) -> _Copied:
    """The network's outputs of a batch under each view, on their way back; ``flat`` uint8 (B, P, 3) are the pixels of its
    squares, one behind the other.
    """
    seen: dict[str, torch.Tensor] = {}
    apart = torch.split(flat.to(device, non_blocking=True), [one.size**2 for one in squares.values()], dim=1)
    for (square, one), images in zip(squares.items(), apart, strict=True):
        x = normalise(images.reshape(-1, one.size, one.size, one.channels), preprocess)  # (B, 3, T, T)
        for name in views:
            if square_of(name) == square:
                seen[name] = net(view(name, x, preprocess.size)).float()
    return _Copied.of(seen)


@dataclass
class _Copied:
    """Outputs of a batch by view, on their way into the machine's memory."""

    names: list[str]
    outputs: list[torch.Tensor] | torch.Tensor  # of a GPU (V, B, D): one copy for all views
    event: Any = None

    @classmethod
    def of(cls, seen: dict[str, torch.Tensor]) -> _Copied:
        device = next(iter(seen.values())).device
        if device.type != "cuda":
            return cls(list(seen), [values.cpu() for values in seen.values()])
        host = torch.stack(list(seen.values())).to("cpu", non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(device))
        return cls(list(seen), host, event)

    def ready(self) -> dict[str, torch.Tensor]:
        """The outputs (B, D) by view, once they are there; pinned memory is given back."""
        if self.event is None:
            return dict(zip(self.names, self.outputs, strict=True))
        self.event.synchronize()
        return dict(zip(self.names, self.outputs.clone(), strict=True))  # type: ignore[union-attr]


def _require_finite(given: torch.Tensor, paths: list[str], view: str, precision: str) -> None:
    """NotFinite where what a network gave (B, D) for images has a NaN or an infinity."""
    finite = torch.isfinite(given).flatten(1).all(1)
    if not bool(finite.all()):
        value = f"{paths[int(finite.int().argmin())]}, view {view!r}, in {precision}: NaN or infinity"
        raise NotFinite("a network's outputs must be finite numbers", value, _remedy(precision))


def _remedy(precision: str) -> str:
    if precision != "fp32":
        return '`overrides=["precision=fp32"]`, which holds larger numbers'
    return "other weights, or a lower optimizer.lr; model.mean and model.std must be those of the weights"


def facts_of_features(
    recipe: Recipe, model: ModelConfig, preprocess: Preprocess, backbone_sha256: str
) -> dict[str, Any]:
    """What decides a backbone's outputs beside the images, for keeping them."""
    device = torch.cuda.get_device_name() if recipe.device == "cuda" else f"{recipe.device} {recipe.threads}"
    return {
        "backbone": backbone_sha256,
        "model": [model.name, model.stem, model.kwargs],
        "preprocess": preprocess.as_json(),
        "precision": recipe.precision,
        "channels_last": recipe.channels_last,
        "device": device,
        "torch": torch.__version__,
        **({"batch": GPU_BATCH, "tf32": False} if recipe.device == "cuda" else {"batch": BATCH}),
    }


@dataclass
class _Room:
    """How many rows memory was seen to hold at once."""

    rows: int


def _fitting(see: Callable[[torch.Tensor], _Copied], flat: torch.Tensor, room: _Room) -> list[_Copied]:
    """What ``see`` gives for a batch (B, P, 3), in parts where memory does not suffice for it at once."""
    done, found = 0, list[_Copied]()
    while done < len(flat):
        part = flat[done : done + room.rows]
        try:
            found.append(see(part))
            done += len(part)
            continue
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        make_room()  # here nothing holds what the attempt had made
        if len(part) < 2:
            raise TrainingFailed("a row must fit into memory", "one row does not, not even alone", _ROOM)
        room.rows = len(part) // 2
    return found


def probabilities(
    net: nn.Module,
    pool: ThreadPoolExecutor,
    pixels: ImageDataset,
    rows: NDArray[np.int64],
    views: list[str],
    recipe: Recipe,
    device: Any,
    advance: Callable[[int], None] = lambda n: None,
    *,
    labels: LabelMap,
    tf32: bool = False,
    at_once: int | None = None,
    there: Resident | None = None,
) -> dict[str, Probs]:
    """Predictions float64 (R, D) of rows, by view, as the task has them; as ``outputs`` has the logits."""
    side = net.side if isinstance(net, Net) else None
    read = net.backbone if isinstance(net, Net) and side is not None else net
    given = outputs(
        read, pool, pixels, rows, views, recipe, device, advance, tf32=tf32, at_once=at_once, there=there
    )
    if isinstance(net, Net) and side is not None:
        beside = side.beside(pixels.source, [pixels.paths[row] for row in rows])
        given = {name: _classified(net, joined(values, beside)) for name, values in given.items()}
    return {name: activated(given.pop(name), labels) for name in list(given)}


def joined(features: NDArray[np.float32], beside: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Features (N, D) of images with what stands beside them (N, F), as the classifier reads both."""
    return features if beside is None else np.concatenate([features, beside], axis=1)


def _classified(net: Net, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (N, C) of joined features by a network's classifier, where that lies."""
    device = next(net.head.parameters()).device
    with torch.inference_mode(), exact():
        return np.asarray(net.head(torch.from_numpy(features).to(device)).float().cpu().numpy())


def activated(logits: NDArray[np.floating[Any]], labels: LabelMap) -> Probs:
    """Predictions (N, D) of logits (N, D): a softmax for a single label, else the sigmoid on the scale of each column."""
    if labels.task.is_single_label:
        return softmax(logits)
    _require_numbers(logits)
    return labels.unscaled(scipy.special.expit(logits.astype(np.float64)))


def softmax(logits: NDArray[np.floating[Any]]) -> Probs:
    """Probabilities of logits (N, C), worked out in float64, of many rows and classes kept as float32 (see
    ``predictions.kept_as``); NotFinite for logits that are no finite numbers.
    """
    _require_numbers(logits)
    probs = np.empty(logits.shape, kept_as(logits.size, single_label=True))
    for here in row_blocks(logits.shape):
        probs[here] = scipy.special.softmax(logits[here].astype(np.float64), axis=1)
    return probs


def _require_numbers(logits: NDArray[np.floating[Any]]) -> None:
    if not np.isfinite(logits).all():
        row = int(np.isfinite(logits).all(axis=1).argmin())
        raise NotFinite(
            "logits must be finite numbers", f"row {row} has a NaN or an infinity", _remedy("fp32")
        )


def judged_again(
    net: nn.Module,
    pool: ThreadPoolExecutor,
    pixels: ImageDataset,
    rows: NDArray[np.int64],
    oof: Probs,
    recipe: Recipe,
    device: Any,
    labels: LabelMap,
) -> tuple[Noise, Probs | None]:
    """The noise of some rows (n,) that were judged ``oof`` (n, D) among others, and what they are in fp32 (n, D) where the
    recipe's precision is a half. Noise is in parts of each column's span.

    They go through the network once more by themselves, by twos, and where they were judged in half precision in fp32.
    """

    def again(in_: Recipe, at_once: int | None = None) -> Probs:
        alone = probabilities(
            net, pool, pixels, rows, ["identity"], in_, device, labels=labels, at_once=at_once
        )
        return alone["identity"]

    def apart(one: Probs, other: Probs) -> float:
        return float((np.abs(one - other) / labels.span).max(initial=0.0))

    precision = recipe.precision
    noise: Noise = {precision: {"again": apart(again(recipe), oof), "by_twos": apart(again(recipe, 2), oof)}}
    if precision == "fp32":
        return noise, None
    full = recipe.model_copy(update={"precision": "fp32"})
    exact = again(full)
    noise[precision]["in_fp32"] = apart(exact, oof)
    noise["fp32"] = {"again": apart(again(full), exact), "by_twos": apart(again(full, 2), exact)}
    return noise, exact


def backbone_outputs(
    net: Net,
    sidecar: Sidecar,
    source: ImageSource,
    paths: list[str],
    views: list[str],
    recipe: Recipe,
    advance: Callable[[int], None],
    number: int | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Backbone outputs (N, D) by view, in the recipe's precision; ``number`` is that of the GPU, where there are several."""
    with _SETTING:  # it sets what the whole process computes by
        accelerator = make_accelerator(recipe)
    device = accelerator.device if number is None else torch.device("cuda", number)
    pixels = ImageDataset(source, paths, sidecar.preprocess, budget=0)
    backbone = net.backbone
    if recipe.channels_last:
        backbone = backbone.to(memory_format=torch.channels_last)
    own = sidecar.preprocess
    fuse_frozen_batchnorm(backbone, own.size, own.channels)  # as it was judged: in half precision that shows
    backbone = backbone.to(device)
    current = nullcontext() if number is None else torch.cuda.device(device)
    with loader_pool(recipe.threads or 1) as pool, current:
        return outputs(backbone, pool, pixels, np.arange(len(paths)), views, recipe, device, advance)


def apply_classifier(head: torch.nn.Module, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (N, C) of features (N, D) by a classifier."""
    if not isinstance(head, torch.nn.Linear):
        with torch.inference_mode():
            return np.asarray(head.cpu().eval()(torch.from_numpy(features)).numpy(), dtype=np.float32)
    weight, bias = head.weight.detach().cpu().numpy(), head.bias.detach().cpu().numpy()
    return np.asarray(features @ weight.T + bias, dtype=np.float32)
