"""What each epoch shows of each row, and how it reaches the steps: filled by threads ahead, or gathered on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comp.data.augment.batch_ops import BatchOps
from comp.data.augment.geometry import GeometricOps, SamplingGrid, apply_grid
from comp.data.augment.policies import Pixels, TrainTransform
from comp.data.device_memory import is_out_of_memory, make_room
from comp.data.images.preprocess import fit, room_side
from comp.data.loading.prefetch import Fill, in_batches, prefetch
from comp.data.loading.resident import GatherIndex, PackedImages, Resident, room_on
from comp.recipe import derive_seed

SMALL = 64  # pixels: up to here colours and affine maps too are drawn for whole batches on every device


class Images(Protocol):
    """Images by row, uint8: of the extent that the policy wants; (L, L, 3) of one side L, unless it wants all of them."""

    def __getitem__(self, row: int) -> Pixels: ...

    def shapes(self, rows: Rows) -> NDArray[np.int64] | None:
        """Heights and widths (R, 2) of the images of ``rows``; None where finding them out would mean decoding."""
        ...


class Augmenter:
    """The variants of a fold's rows: each follows from run seed, fold, epoch and row alone.

    What the policy begins with and only moves pixels is drawn for a whole batch (``GeometricOps``), and of images up to 64
    pixels, for a GPU of any size, what follows it (``BatchOps``); what neither can do runs through albumentations, an image
    at a time, seeded by its row. Which of these three does what depends on the policy, the size and the kind of device
    alone, so that the draws of a run above 64 pixels are others on a GPU than on a CPU. Safe for several threads.

    Parameters
    ----------
    transform : TrainTransform
    seed, k : int
        The run's seed and the fold.
    device : torch device
        That trains.
    """

    def __init__(self, transform: TrainTransform, seed: int, k: int, device: Any = "cpu") -> None:
        self.transform = transform
        self.size = transform.preprocess.size
        self._seed, self._k = seed, k
        listed, preprocess = transform.listed, transform.preprocess
        # the side of images before the policy, unless it crops from whole ones
        self.side = room_side(preprocess) if transform.extent == "room" else self.size
        self.lattice = GeometricOps(listed, self.size, self.side > self.size and not transform.crops)
        rest = listed[self.lattice.taken :]
        self.after: BatchOps | None = None
        self.channels = preprocess.channels
        batched = self.channels == 3 and (self.size <= SMALL or torch.device(device).type == "cuda")
        if rest and batched and self.moved_side == self.size:
            after = BatchOps(rest, self.size)
            self.after = after if after.taken == len(rest) else None
        self.rest = TrainTransform(rest if self.after is None else [], preprocess)
        # OpenCV takes a microsecond for a step of a small image: threads would mostly wait for Python's lock. A crop of a
        # whole image takes longer, and threads share that
        alone = self.after is not None and self.size <= SMALL and not transform.crops
        self._turn = Lock() if alone else nullcontext()
        self.in_batches = not self.rest.listed  # nothing is left for albumentations

    @property
    def moved_side(self) -> int:
        """The side of images after the policy's moves, pixels."""
        shapes = np.full((1, 2), self.side)
        return int(self.lattice.windows(0, np.zeros(1, np.int64), shapes).first.shape[1])

    def windows(self, rows: Rows, epoch: int, shapes: NDArray[np.int64]) -> SamplingGrid:
        """What the rows (R,) show of images of these heights and widths (R, 2), and what ``after`` does to it; all but
        the rest of the policy.
        """
        found = self.moves(rows, epoch, shapes)
        return found if self.after is None else replace(found, after=self.parameters(rows, epoch))

    def moves(self, rows: Rows, epoch: int, shapes: NDArray[np.int64]) -> SamplingGrid:
        """``windows`` without what ``after`` does."""
        return self.lattice.windows(derive_seed(self._seed, "transform", self._k, epoch), rows, shapes)

    def parameters(self, rows: Rows, epoch: int) -> NDArray[np.float32]:
        """What ``after`` does to the rows (R,) in an epoch: its parameters (R, P)."""
        assert self.after is not None
        return self.after.drawn(derive_seed(self._seed, "after", self._k, epoch), rows)

    def fill(self, images: Images, rows: Rows, epoch: int, out: Pixels) -> None:
        """Writes the variants of rows (R,) in an epoch into ``out`` (R, S, S, 3)."""
        if not len(rows):
            return
        loaded = [images[row] for row in rows.tolist()]
        shapes = np.array([image.shape[:2] for image in loaded], dtype=np.int64)
        self.show(loaded, rows, epoch, self.windows(rows, epoch, shapes), 0, out)

    def show(
        self, loaded: Sequence[Pixels], rows: Rows, epoch: int, windows: SamplingGrid, first: int, out: Pixels
    ) -> None:
        """Writes what R loaded images of ``rows`` show in an epoch into ``out`` (R, S, S, 3), through the windows
        from the ``first`` on; without ``after`` where they have none of its parameters.
        """
        with self._turn:
            self._show(loaded, rows, epoch, windows, first, out)

    def _show(
        self, loaded: Sequence[Pixels], rows: Rows, epoch: int, windows: SamplingGrid, first: int, out: Pixels
    ) -> None:
        for n, (row, image) in enumerate(zip(rows.tolist(), loaded, strict=True)):
            own = out[n]
            part = image
            if not self.lattice.is_empty:
                part = apply_grid(image, windows, first + n, own if self.in_batches else None)
            if self.after is not None and windows.after is not None:
                part = self.after.one(part, windows.after[first + n].tolist())
            elif not self.in_batches:
                part = self.rest.changed(part, variant_seed(self._seed, self._k, epoch, row))
            if part.shape != own.shape:
                part = fit(part, self.transform.preprocess)
            if part is not own:
                own[:] = part

    def after_moves(
        self, move: Callable[[Pixels], None], parameters: NDArray[np.float32] | None, out: Pixels
    ) -> None:
        """Writes what ``move`` writes into ``out`` (R, S, S, 3), changed by ``after`` and its parameters (R, P)."""
        assert self.after is not None
        assert parameters is not None
        with self._turn:
            move(out)
            for own, given in zip(out, parameters.tolist(), strict=True):
                made = self.after.one(own, given)
                if made is not own:
                    own[:] = made

    def one(self, image: Pixels, row: int, epoch: int) -> Pixels:
        """The variant (S, S, 3) of one row's image in an epoch."""
        out: Pixels = np.empty((1, self.size, self.size, self.channels), np.uint8)
        shape = np.array([image.shape[:2]], dtype=np.int64)
        windows = self.windows(np.array([row]), epoch, shape)
        self.show([image], np.array([row]), epoch, windows, 0, out)
        return np.asarray(out[0], dtype=np.uint8)


def variant_seed(seed: int, k: int, epoch: int, row: int) -> int:
    """The seed of what albumentations draws for a row in an epoch of fold k."""
    return (derive_seed(seed, "transform", k, epoch) * 1_000_003 + row) % (2**31)


Rows = NDArray[np.int64]
Parameters = NDArray[np.float32]
_DRAWN = 4096  # rows whose variants are drawn at once
_DRAWN_AHEAD = 1024  # the same where threads make them, which begin when the first are drawn
_CHANGED = 16 << 20  # numbers of images that are recoloured at once on a GPU, in floats


class TrainLoader:
    """Batches of an epoch's variants, uint8 (B, S, S, 3).

    On a GPU the images lie as bytes where there is room for them, and the moves of a whole batch are gathered there in one
    go; without room threads make the moves while steps run. What the policy turns, recolours or cuts out follows on the
    GPU either way (``Batched.batch``), so that its pixels do not depend on the room. On a CPU small images lie together,
    and threads do what follows (``Batched.one``). Moved pixels are the same everywhere, recoloured ones differ by a level
    here and there between GPU and CPU.

    Parameters
    ----------
    images : Images
        Of ``count`` rows.
    variants : Variants
    pool : ThreadPoolExecutor
    device : torch device
    rows : int64 array, optional
        Those that epochs will have; all where not given.
    room : int, optional
        Bytes that they may take on a GPU; ``room_on(device)`` where not given, and 0 where they come but once.
    on_gpu : bool, optional
        Whether to feed as a GPU is fed; as the device says where not given.
    """

    def __init__(
        self,
        images: Images,
        count: int,
        variants: Augmenter,
        pool: ThreadPoolExecutor,
        device: Any,
        rows: Rows | None = None,
        room: int | None = None,
        on_gpu: bool | None = None,
    ) -> None:
        self._images, self._variants, self._pool = images, variants, pool
        self._device = torch.device(device)
        self._on_gpu = self._device.type == "cuda" if on_gpu is None else on_gpu
        self._after = variants.after if self._on_gpu else None  # what is done where the network is
        self._at_once = max(
            1, _CHANGED // (3 * variants.size**2)
        )  # images, as long as memory suffices for them
        self._stack: PackedImages | None = None
        self._there: Resident | None = None
        squares = (
            variants.in_batches and not variants.transform.crops and variants.moved_side == variants.size
        )
        squares = squares and variants.channels == 3  # what lies packed, or on a GPU, are colours
        small = squares and variants.size <= SMALL
        wanted, load = np.arange(count) if rows is None else np.unique(rows), images.__getitem__
        if (squares and self._on_gpu) or (small and self._device.type != "cpu" and variants.after is None):
            left = room_on(self._device) if room is None else room
            self._there = Resident.of(load, wanted, variants.side, pool, self._device, left)
        elif small and PackedImages.fits(len(wanted), variants.side):
            self._stack = PackedImages(load, wanted, variants.side, pool)

    @property
    def nbytes(self) -> int:
        """Bytes of images on a device other than the CPU."""
        return 0 if self._there is None else self._there.nbytes

    @property
    def has_images(self) -> bool:
        """Whether it has the images of all its rows, and loads none again as long as a GPU has room for them."""
        return self._stack is not None or self.nbytes > 0

    def epoch(self, rows: Rows, batch: int, epoch: int) -> Iterator[tuple[Rows, Tensor]]:
        """(rows (B,), pixels uint8 (B, S, S, 3)) of an epoch in the order of ``rows``; a last batch of one row is
        left out (BatchNorm cannot train on it), unless it is the only one.
        """
        parts = in_batches(rows, batch, drop_last=True)
        if self._stack is not None and self._variants.after is None:
            for part, places in self._places(self._stack, parts, epoch, _DRAWN):
                yield part, self._stack.taken(places)
            return
        given = self._variants.parameters(rows, epoch) if self._after is not None else None
        done = 0
        for part, moved in self._moved(parts, epoch):
            yield part, self._changed(moved, given, done)
            done += len(part)

    def _moved(self, parts: list[Rows], epoch: int) -> Iterator[tuple[Rows, Tensor]]:
        """Batches, whole but for what is done where the network is."""
        done = 0
        if self._there is not None:
            for part, made in self._gathered(self._there, parts, epoch):
                done += 1
                yield part, made
        if done == len(parts):
            return
        # all of them, or those that are left since the images had to give way on the device
        work = (
            self._work(parts[done:], epoch)
            if self._stack is None
            else self._recoloured(self._stack, parts[done:], epoch)
        )
        shape = (self._variants.size, self._variants.size, self._variants.channels)
        yield from prefetch(self._pool, work, shape, pinned=self._device.type == "cuda")

    def _work(self, parts: list[Rows], epoch: int) -> Iterator[tuple[Rows, Fill]]:
        """Batches, and what fills each. Where the images' shapes are known, many batches' windows are drawn here at
        once: drawing costs as much for few rows as for many, and in the threads it would keep the others waiting.
        """
        for every, some in _together(parts, _DRAWN_AHEAD):
            shapes, place = self._images.shapes(every), 0
            windows = None if shapes is None else self._windows(every, epoch, shapes)
            if windows is not None and self._variants.in_batches:
                _ = windows.quick  # here, not by the first thread that asks for it while the others wait
            for part in some:
                yield part, partial(self._fill, part, epoch, windows, place)
                place += len(part)

    def _fill(
        self,
        part: Rows,
        epoch: int,
        windows: SamplingGrid | None,
        first: int,
        own: slice,
        out: NDArray[np.uint8],
    ) -> None:
        rows = part[own]
        loaded = [self._images[row] for row in rows.tolist()]
        if windows is None and len(rows):
            shapes = np.array([image.shape[:2] for image in loaded], dtype=np.int64)
            self._variants.show(loaded, rows, epoch, self._windows(rows, epoch, shapes), 0, out)
        elif windows is not None:
            self._variants.show(loaded, rows, epoch, windows, first + own.start, out)

    def _windows(self, rows: Rows, epoch: int, shapes: NDArray[np.int64]) -> SamplingGrid:
        """What threads show of these rows: all but what is done where the network is."""
        if self._after is not None:
            return self._variants.moves(rows, epoch, shapes)
        return self._variants.windows(rows, epoch, shapes)

    def _gathered(self, there: Resident, parts: list[Rows], epoch: int) -> Iterator[tuple[Rows, Tensor]]:
        """Batches that are gathered where the network is, as long as the images lie there."""
        for every, some in _together(parts, _DRAWN):
            places, place = None, 0
            for part in some:
                try:
                    if there.pixels is None:
                        return
                    if places is None:
                        shapes = np.full((len(every), 2), there.side)
                        places = there.places(every, self._variants.moves(every, epoch, shapes))
                    made = there.taken(places[place : place + len(part)])
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    made = None
                if made is None:
                    make_room()  # here the error is gone, and with it what it held
                    return
                yield part, made
                place += len(part)

    def _changed(self, moved: Tensor, given: Parameters | None, first: int) -> Tensor:
        """Moved images (B, S, S, 3) as what is done where the network is changes them, by the parameters from ``first``
        on; in smaller parts where memory ends.
        """
        if self._after is None or given is None:
            return moved
        moved = moved.to(self._device, non_blocking=True)
        while True:
            step = self._at_once
            try:
                parts = []
                for start in range(0, len(moved), step):
                    own = moved[start : start + step]
                    parts.append(self._after.batch(own, given[first + start :][: len(own)]))
                return parts[0] if len(parts) == 1 else torch.cat(parts)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or step == 1:
                    raise
            parts = []  # nothing holds what the attempt had made
            make_room()
            self._at_once = -(-min(step, len(moved)) // 2)

    def _recoloured(self, stack: PackedImages, parts: list[Rows], epoch: int) -> Iterator[tuple[Rows, Fill]]:
        """Batches, and what makes each on a CPU."""

        def fill(places: GatherIndex, own: slice, out: NDArray[np.uint8]) -> None:
            self._variants.after_moves(partial(stack.take, places[own]), places[own].after, out)

        for part, places in self._places(stack, parts, epoch, _DRAWN_AHEAD):
            yield part, partial(fill, places)

    def _places(
        self, stack: PackedImages, parts: list[Rows], epoch: int, together: int
    ) -> Iterator[tuple[Rows, GatherIndex]]:
        """Batches and their places, of about ``together`` rows drawn at once: it costs as much for few as for many."""
        for every, some in _together(parts, together):
            windows, place = self._variants.windows(every, epoch, np.full((len(every), 2), stack.side)), 0
            places = stack.places(every, windows)
            for part in some:
                yield part, places[place : place + len(part)]
                place += len(part)


def _together(parts: list[Rows], together: int) -> Iterator[tuple[Rows, list[Rows]]]:
    """Batches in groups of about ``together`` rows, each with all of its rows."""
    step = max(1, together // max(1, len(parts[0]))) if parts else 1
    for start in range(0, len(parts), step):
        some = parts[start : start + step]
        yield np.concatenate(some), some
