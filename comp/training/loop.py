"""The training loop: one visible loop over epochs and steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comp import console
from comp.errors import TrainingFailed
from comp.images.pixels import FittedPixels
from comp.inference.forward import probabilities
from comp.training.batches import batches, loaders
from comp.training.device import accelerator as make_accelerator
from comp.training.fold import Part, Plan
from comp.training.model import Net, build, freeze_batchnorm, init_head, load_into, normalise
from comp.training.schedule import criterion, make_optimizer, make_schedule
from comp.training.seeds import derive
from comp.training.transforms import TrainTransform


@dataclass(frozen=True)
class Epoch:
    """A line of history: mean training loss, held-out loss and metric (identity view), training images/s."""

    epoch: int
    loss: float
    valid_loss: float
    valid_metric: float
    lr: float
    images_per_second: float


def new_net(plan: Plan, k: int) -> Net:
    """Fold k's network before its first step: the same for the same seed, whatever was drawn before."""
    torch.manual_seed(derive(plan.recipe.seed, "init", k))
    net = build(plan.recipe.model, len(plan.labels))
    init_head(net, derive(plan.recipe.seed, "head", k))
    if plan.weights is not None:
        load_into(net, plan.weights, plan.recipe.model.name)
    return net


def train(plan: Plan, k: int, part: Part, ended: Callable[[Epoch], None]) -> tuple[Net, list[Epoch]]:
    """Trains fold k and returns its network and history.

    Raises
    ------
    TrainingFailed
        If the loss stops being a number; names the epoch.
    """
    recipe = plan.recipe
    accelerator = make_accelerator(recipe)
    net = new_net(plan, k)
    if recipe.channels_last:
        net = net.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(net, recipe)
    steps = recipe.epochs * _steps_per_epoch(len(part.fitted), recipe.batch)
    schedule = make_schedule(optimizer, recipe.schedule, steps)
    net, optimizer = accelerator.prepare(net, optimizer)
    loss_of = criterion(recipe.regularize.label_smoothing)
    pixels = FittedPixels(plan.source, list(part.table["path"]), plan.preprocess)
    transform = TrainTransform(recipe.transform, plan.preprocess)
    history: list[Epoch] = []

    with loaders(recipe.threads or 1) as pool, console.task(f"fold {k}", steps * recipe.batch) as bar:
        for epoch in range(recipe.epochs):
            order = np.random.default_rng(derive(recipe.seed, "order", k, epoch)).permutation(part.fitted)
            torch.manual_seed(derive(recipe.seed, "epoch", k, epoch))  # dropout, stochastic depth
            load = _varied(pixels, transform, recipe.seed, k, epoch)
            net.train()
            if recipe.model.freeze_bn:
                freeze_batchnorm(net)
            started, total, seen = time.perf_counter(), torch.zeros((), device=accelerator.device), 0
            lr = max(group["lr"] for group in optimizer.param_groups)

            for rows, images in batches(
                pool, order, recipe.batch, plan.preprocess.size, load, drop_last=True
            ):
                x = normalise(
                    images.to(accelerator.device, non_blocking=True), plan.preprocess
                )  # (B, 3, S, S)
                y = torch.from_numpy(part.targets[rows]).to(accelerator.device)  # (B,)
                with accelerator.autocast():
                    loss: Tensor = loss_of(net(x), y)
                accelerator.backward(loss)
                if recipe.optimizer.clip is not None:
                    accelerator.clip_grad_norm_(net.parameters(), recipe.optimizer.clip)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad(set_to_none=True)
                total += loss.detach() * len(rows)
                seen += len(rows)
                bar.advance(
                    len(rows),
                    f"epoch {epoch + 1}/{recipe.epochs}  {seen / (time.perf_counter() - started):.0f} images/s",
                )

            speed = seen / (time.perf_counter() - started)
            mean_loss = float(total) / seen
            if not np.isfinite(mean_loss):
                raise _diverged(k, epoch, lr)
            valid_loss, valid_metric = _evaluate(plan, net, pool, pixels, part, accelerator)
            history.append(Epoch(epoch + 1, mean_loss, valid_loss, valid_metric, lr, speed))
            ended(history[-1])

    trained: Net = accelerator.unwrap_model(net)
    return trained.eval(), history


def _steps_per_epoch(rows: int, batch: int) -> int:
    whole, rest = divmod(rows, batch)
    return whole + (1 if rest > 1 or (rest == 1 and whole == 0) else 0)


def _varied(
    pixels: FittedPixels, transform: TrainTransform, seed: int, k: int, epoch: int
) -> Callable[[int], NDArray[np.uint8]]:
    """A sample's variant in this epoch, seeded by what it is and not by when or where it is loaded."""
    base = derive(seed, "transform", k, epoch)
    return lambda row: transform(pixels[row], (base * 1_000_003 + row) % (2**31))


def _evaluate(
    plan: Plan, net: Any, pool: Any, pixels: FittedPixels, part: Part, accelerator: Any
) -> tuple[float, float]:
    """Loss and metric of the identity view on the held-out rows."""
    net.eval()
    probs = probabilities(net, pool, pixels, part.held_out, ["identity"], plan.recipe, accelerator.device)[
        "identity"
    ]
    targets = part.targets[part.held_out]
    picked = np.clip(probs[np.arange(len(targets)), targets], 1e-12, 1.0)
    return float(-np.log(picked).mean()), plan.metric(targets, probs)


def _diverged(k: int, epoch: int, lr: float) -> TrainingFailed:
    value = f"fold {k}, epoch {epoch + 1}: the loss is not a number (learning rate {lr:.2g})"
    return TrainingFailed(
        "the loss must be a number",
        value,
        "--set optimizer.lr a third of it, --set optimizer.clip=1.0, or --set precision=fp32",
    )
