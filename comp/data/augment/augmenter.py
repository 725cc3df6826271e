"""What each epoch shows of each row, for whole batches at once as far as the policy can be carried out so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from threading import Lock
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from comp.data.augment.batch_ops import BatchOps
from comp.data.augment.geometry import GeometricOps, SamplingGrid, apply_grid
from comp.data.augment.policies import Pixels, TrainTransform
from comp.data.images.preprocess import fit, room_side
from comp.recipe import derive_seed

Rows = NDArray[np.int64]
SMALL = 64  # pixels: up to here colours and affine maps too are drawn for whole batches on every device


class Pictures(Protocol):
    """Pictures by row, uint8: of the extent that the policy wants; (L, L, 3) of one side L, unless it wants all of them."""

    def __getitem__(self, row: int) -> Pixels: ...

    def shapes(self, rows: Rows) -> NDArray[np.int64] | None:
        """Heights and widths (R, 2) of the pictures of ``rows``; None where finding them out would mean decoding."""
        ...


class Augmenter:
    """The variants of a fold's rows: each follows from run seed, fold, epoch and row alone.

    What the policy begins with and only moves pixels is drawn for a whole batch (``GeometricOps``), and of pictures up to 64
    pixels, for a GPU of any size, what follows it (``BatchOps``); what neither can do runs through albumentations, a picture
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
        # the side of pictures before the policy, unless it crops from whole ones
        self.side = room_side(preprocess) if transform.extent == "room" else self.size
        self.lattice = GeometricOps(listed, self.size, self.side > self.size and not transform.crops)
        rest = listed[self.lattice.taken :]
        self.after: BatchOps | None = None
        batched = self.size <= SMALL or torch.device(device).type == "cuda"
        if rest and batched and self.moved_side == self.size:
            after = BatchOps(rest, self.size)
            self.after = after if after.taken == len(rest) else None
        self.rest = TrainTransform(rest if self.after is None else [], preprocess)
        # OpenCV takes a microsecond for a step of a small picture: threads would mostly wait for Python's lock. A crop of a
        # whole picture takes longer, and threads share that
        alone = self.after is not None and self.size <= SMALL and not transform.crops
        self._turn = Lock() if alone else nullcontext()
        self.in_batches = not self.rest.listed  # nothing is left for albumentations

    @property
    def moved_side(self) -> int:
        """The side of pictures after the policy's moves, pixels."""
        shapes = np.full((1, 2), self.side)
        return int(self.lattice.windows(0, np.zeros(1, np.int64), shapes).first.shape[1])

    def windows(self, rows: Rows, epoch: int, shapes: NDArray[np.int64]) -> SamplingGrid:
        """What the rows (R,) show of pictures of these heights and widths (R, 2), and what ``after`` does to it; all but
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

    def fill(self, pictures: Pictures, rows: Rows, epoch: int, out: Pixels) -> None:
        """Writes the variants of rows (R,) in an epoch into ``out`` (R, S, S, 3)."""
        if not len(rows):
            return
        loaded = [pictures[row] for row in rows.tolist()]
        shapes = np.array([picture.shape[:2] for picture in loaded], dtype=np.int64)
        self.show(loaded, rows, epoch, self.windows(rows, epoch, shapes), 0, out)

    def show(
        self, loaded: Sequence[Pixels], rows: Rows, epoch: int, windows: SamplingGrid, first: int, out: Pixels
    ) -> None:
        """Writes what R loaded pictures of ``rows`` show in an epoch into ``out`` (R, S, S, 3), through the windows
        from the ``first`` on; without ``after`` where they have none of its parameters.
        """
        with self._turn:
            self._show(loaded, rows, epoch, windows, first, out)

    def _show(
        self, loaded: Sequence[Pixels], rows: Rows, epoch: int, windows: SamplingGrid, first: int, out: Pixels
    ) -> None:
        for n, (row, picture) in enumerate(zip(rows.tolist(), loaded, strict=True)):
            own = out[n]
            part = picture
            if not self.lattice.is_empty:
                part = apply_grid(picture, windows, first + n, own if self.in_batches else None)
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

    def one(self, picture: Pixels, row: int, epoch: int) -> Pixels:
        """The variant (S, S, 3) of one row's picture in an epoch."""
        out: Pixels = np.empty((1, self.size, self.size, 3), np.uint8)
        shape = np.array([picture.shape[:2]], dtype=np.int64)
        windows = self.windows(np.array([row]), epoch, shape)
        self.show([picture], np.array([row]), epoch, windows, 0, out)
        return np.asarray(out[0], dtype=np.uint8)


def variant_seed(seed: int, k: int, epoch: int, row: int) -> int:
    """The seed of what albumentations draws for a row in an epoch of fold k."""
    return (derive_seed(seed, "transform", k, epoch) * 1_000_003 + row) % (2**31)
