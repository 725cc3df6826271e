"""The parts of training a fold, each as endless work that tells how many images it did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from comp.data.augment.policies import TrainTransform
from comp.data.images.pixel_cache import ImageDataset
from comp.data.images.source import ImageSource
from comp.data.loading.prefetch import batches, each, loader_pool
from comp.data.loading.train_loader import Augmenter, TrainLoader
from comp.models.runtime import wait_for
from comp.training.loop import new_net, steps_per_epoch, train_mode, train_step
from comp.training.losses import TrainPixels, epoch_order, learned, loss_weights
from comp.training.plan import TrainPlan, rows_of_fold
from comp.training.state import TrainState

Rows = NDArray[np.int64]
Batch = tuple[Rows, Tensor]


class Bench:
    """Fold 0 of a plan, trained on and on; nothing is written."""

    def __init__(self, plan: TrainPlan) -> None:
        self.plan, recipe = plan, plan.recipe
        self.part = rows_of_fold(plan, 0)
        self.transform = TrainTransform(recipe.transform, plan.preprocess)
        self.pixels = TrainPixels(plan, self.part, self.transform.extent)
        self.state = TrainState.begin(
            new_net(plan, 0), recipe, steps_per_epoch(len(self.part.fitted), recipe.batch)
        )
        self.variants = Augmenter(self.transform, recipe.seed, 0, self.state.device)
        fitted = self.part.targets[self.part.fitted]
        self._weights = loss_weights(recipe, fitted, plan.labels, self.state.device)
        self._pool: ThreadPoolExecutor | None = None
        train_mode(self.state)

    @contextmanager
    def threads(self) -> Iterator[None]:
        """Loader threads, as training has them, while the block lasts."""
        with loader_pool(self.plan.recipe.threads or 1) as self._pool:
            yield

    def wait(self) -> None:
        """Waits for what a GPU still has to do."""
        wait_for(self.state.device)

    def decoded(self, load: Callable[[ImageSource, str], object]) -> Iterator[int]:
        """Reads and decodes the rows one after another, in the loader threads."""
        assert self._pool is not None
        paths = list(self.part.table["path"])
        for _ in count():
            yield from (1 for _ in self._pool.map(lambda path: load(self.plan.source, path), paths))

    def first_pass(self) -> Iterator[int]:
        """Batches made from the files each time, as an epoch without any memory would."""
        assert self._pool is not None
        plan, extent = self.plan, self.transform.extent
        fresh = ImageDataset(plan.source, list(self.part.table["path"]), plan.preprocess, extent, budget=0)
        for epoch, order in self._orders():
            load = each(lambda row, epoch=epoch: self.variants.one(fresh[row], row, epoch))  # type: ignore[misc]
            shape = (plan.preprocess.size, plan.preprocess.size, plan.preprocess.channels)
            for rows, _ in batches(self._pool, order, plan.recipe.batch, shape, load):
                yield len(rows)

    def fed(self) -> Iterator[int]:
        """Batches as training gets them, once every image was seen."""
        yield from (len(rows) for rows, _ in self._batches())

    def steps(self) -> Iterator[int]:
        """Steps on one batch, again and again."""
        rows, images = next(self._batches())
        targets, images = learned(self.plan.labels, self.part, rows), images.to(self.state.device)
        for _ in count():
            train_step(self.state, self.plan, 0, images, targets, self._weights)
            yield len(rows)

    def fed_steps(self) -> Iterator[int]:
        """Steps on what the feed delivers."""
        for rows, images in self._batches():
            train_step(
                self.state,
                self.plan,
                0,
                images,
                learned(self.plan.labels, self.part, rows),
                self._weights,
            )
            yield len(rows)

    def _batches(self) -> Iterator[Batch]:
        assert self._pool is not None
        rows, device = self.part.fitted, self.state.device
        feed = TrainLoader(self.pixels, len(self.part.table), self.variants, self._pool, device, rows)
        for row in self.part.fitted:
            self.pixels[int(row)]  # from here on nothing is decoded, as after a first epoch
        for epoch, order in self._orders():
            yield from feed.epoch(order, self.plan.recipe.batch, epoch)

    def _orders(self) -> Iterator[tuple[int, Rows]]:
        for epoch in count():
            yield epoch, epoch_order(self.part, self.plan.recipe, 0, epoch)
