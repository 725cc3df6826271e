"""The learning-rate range test: the rate grows at each step until the loss runs away (Smith 2017)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from comp import events
from comp.data.augment.policies import TrainTransform
from comp.data.loading.prefetch import loader_pool
from comp.data.loading.train_loader import Augmenter, TrainLoader
from comp.recipe import derive_seed
from comp.training.linear_probe import frozen_features
from comp.training.loop import new_net, train_mode, train_step
from comp.training.losses import TrainPixels, epoch_order, learned, loss_weights, with_copies
from comp.training.optim import stages_of
from comp.training.plan import FoldRows, TrainPlan, needs_features, rows_of_fold
from comp.training.state import TrainState
from comp.training.train_fold import with_solved_head

RUNAWAY = 4.0  # times the best smoothed loss
MEMORY = 0.9  # of the smoothing
SKIPPED = 5  # first steps, in which smoothing has seen too little


@dataclass(frozen=True)
class RangeTest:
    """Rates and losses of a range test, (S,) each; ``smooth`` is the loss averaged over the last steps or so.

    ``steepest`` is the rate at which the smoothed loss falls fastest over the logarithm of the rate, ``safe`` a tenth
    of that where it is lowest; the smaller of both is the ``suggestion``.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smooth: NDArray[np.float64]

    @property
    def steepest(self) -> float:
        """The rate of the steepest fall before the minimum."""
        end = max(SKIPPED + 2, int(self.smooth.argmin()) + 1)
        part = slice(min(SKIPPED, len(self.rates) - 2), end)
        slope = np.gradient(self.smooth[part], np.log(self.rates[part]))
        return float(self.rates[part][slope.argmin()])

    @property
    def safe(self) -> float:
        """A tenth of the rate with the lowest smoothed loss."""
        return float(self.rates[self.smooth.argmin()] / 10)

    @property
    def edge(self) -> str | None:
        """At which end of the rates, "lowest" or "highest", the loss is lowest, if it is at one: what was looked for is not
        among them.
        """
        place = int(self.smooth.argmin())
        if place <= SKIPPED:
            return "lowest"
        return "highest" if place == len(self.smooth) - 1 else None

    @property
    def suggestion(self) -> float:
        return min(self.steepest, self.safe)

    def to_csv(self) -> str:
        """Lines of lr, loss, smooth."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["lr", "loss", "smooth"])
        writer.writerows(zip(self.rates, self.losses, self.smooth, strict=True))
        return out.getvalue()


def range_test(plan: TrainPlan, low: float, high: float, steps: int) -> RangeTest:
    """Trains fold 0 for some steps with rates from ``low`` to ``high``, evenly on a logarithmic scale.

    Network, head start, images, mixing, loss and optimizer are the recipe's; the classifier's rate keeps its
    ratio to the backbone's, which is the one that is told. Nothing is written.
    """
    recipe = plan.recipe
    part = rows_of_fold(plan, 0)
    net = with_solved_head(plan, 0, part, frozen_features(plan)) if needs_features(plan) else new_net(plan, 0)
    part = with_copies(plan, 0, part)
    state = TrainState.begin(net, recipe, steps)
    base = stages_of(recipe)[0].lr
    state.schedule = LambdaLR(state.optimizer, lambda n: low / base * (high / low) ** (n / max(1, steps - 1)))
    weights = loss_weights(recipe, part.targets[part.fitted], plan.labels, state.device)
    transform = TrainTransform(recipe.transform, plan.preprocess)
    pixels, variants = (
        TrainPixels(plan, part, transform.extent),
        Augmenter(transform, recipe.seed, 0, state.device),
    )
    torch.manual_seed(derive_seed(recipe.seed, "epoch", 0, 0))
    train_mode(state)
    losses: list[float] = []
    smooth: list[float] = []
    average = 0.0
    with loader_pool(recipe.threads or 1) as pool, events.task("range test", steps) as bar:
        once = (
            0 if steps * recipe.batch <= len(part.fitted) else None
        )  # nothing is loaded ahead for one look at it
        feed = TrainLoader(pixels, len(part.table), variants, pool, state.device, part.fitted, once)
        for rows, images, epoch in _endless(plan, part, feed):
            before = float(state.loss_sum)
            state.epoch = epoch
            train_step(state, plan, 0, images, learned(plan.labels, part, rows), weights)
            losses.append((float(state.loss_sum) - before) / len(rows))
            average = MEMORY * average + (1 - MEMORY) * losses[-1]
            smooth.append(average / (1 - MEMORY ** len(losses)))
            bar.advance(1, f"loss {smooth[-1]:.3f}")
            runs_away = len(losses) > 2 * SKIPPED and smooth[-1] > RUNAWAY * min(smooth)
            if len(losses) == steps or runs_away or not math.isfinite(losses[-1]):
                break
    whole = int(np.isfinite(losses).sum())
    rates = low * (high / low) ** (np.arange(whole) / max(1, steps - 1))
    return RangeTest(rates, np.array(losses[:whole]), np.array(smooth[:whole]))


def _endless(
    plan: TrainPlan, part: FoldRows, feed: TrainLoader
) -> Iterator[tuple[NDArray[np.int64], Tensor, int]]:
    """Batches of one epoch after another: (rows, images, epoch)."""
    for epoch in count():
        order = epoch_order(part, plan.recipe, 0, epoch)
        for rows, images in feed.epoch(order, plan.recipe.batch, epoch):
            yield rows, images, epoch
