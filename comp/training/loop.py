"""The training loop: one visible loop over epochs and steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
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
from comp.training.deadline import stopped
from comp.training.fold import Part, Plan
from comp.training.model import Net, build, freeze_batchnorm, init_head, load_into, normalise
from comp.training.seeds import derive
from comp.training.state import Epoch, State
from comp.training.transforms import TrainTransform


def new_net(plan: Plan, k: int) -> Net:
    """Fold k's network before its first step: the same for the same seed, whatever was drawn before."""
    torch.manual_seed(derive(plan.recipe.seed, "init", k))
    net = build(plan.recipe.model, len(plan.labels))
    init_head(net, derive(plan.recipe.seed, "head", k))
    if plan.weights is not None:
        load_into(net, plan.weights, plan.recipe.model.name)
    return net


def train(
    plan: Plan, k: int, part: Part, net: Net, folder: Path, ended: Callable[[Epoch], None]
) -> tuple[Net, list[Epoch]]:
    """Trains fold k from ``net`` and returns its network and history.

    The state is kept in ``folder`` after every epoch and every ``save_minutes``; where one is found, training
    goes on there, and ends with the same bits as if it had never stopped.

    Raises
    ------
    TrainingFailed
        If the loss stops being a number; names the epoch.
    """
    recipe = plan.recipe
    steps = _steps_per_epoch(len(part.fitted), recipe.batch)
    state = State.begin(net, recipe, recipe.epochs * steps)
    if state.restore(folder):
        console.say(f"  fold {k}: goes on at epoch {state.epoch + 1}, batch {state.batch + 1}")
    pixels = FittedPixels(plan.source, list(part.table["path"]), plan.preprocess)
    transform = TrainTransform(recipe.transform, plan.preprocess)
    varied = FittedPixels(plan.source, pixels.paths, plan.preprocess, room=transform.room)

    with (
        loaders(recipe.threads or 1) as pool,
        console.task(f"fold {k}", recipe.epochs * steps * recipe.batch) as bar,
    ):
        bar.advance((state.epoch * steps + state.batch) * recipe.batch)
        while state.epoch < recipe.epochs:
            load = _varied(varied, transform, recipe.seed, k, state.epoch)
            order = _order(plan, k, part, state.epoch)[state.batch * recipe.batch :]
            if state.batch == 0:
                torch.manual_seed(derive(recipe.seed, "epoch", k, state.epoch))  # dropout, stochastic depth
            state.net.train()
            if recipe.model.freeze_bn:
                freeze_batchnorm(state.net)
            started, lr, before, speed = time.perf_counter(), state.lr, state.seen, 0.0

            for rows, images in batches(
                pool, order, recipe.batch, plan.preprocess.size, load, drop_last=True
            ):
                _step(state, plan, images, torch.from_numpy(part.targets[rows]))
                speed = (state.seen - before) / (time.perf_counter() - started)
                bar.advance(len(rows), f"epoch {state.epoch + 1}/{recipe.epochs}  {speed:.0f} images/s")
                if state.minutes_since_save() > recipe.save_minutes:
                    state.save(folder)
                if plan.deadline is not None and plan.deadline.passed():
                    state.save(folder)
                    raise stopped(f"fold {k}, epoch {state.epoch + 1}, batch {state.batch}")

            loss = float(state.loss_sum) / state.seen
            if not np.isfinite(loss):
                raise _diverged(k, state.epoch, lr)
            valid = _evaluate(plan, state.net, pool, pixels, part, state.device)
            state.history.append(Epoch(state.epoch + 1, loss, *valid, lr, speed))
            ended(state.history[-1])
            state.next_epoch()
            state.save(folder)

    trained: Net = state.accelerator.unwrap_model(state.net)
    return trained.eval(), state.history


def _step(state: State, plan: Plan, images: Tensor, targets: Tensor) -> None:
    """One step on a batch: images uint8 (B, S, S, 3), targets int64 (B,)."""
    recipe = plan.recipe
    x = normalise(images.to(state.device, non_blocking=True), plan.preprocess)  # (B, 3, S, S)
    y = targets.to(state.device)  # (B,)
    with state.accelerator.autocast():
        loss: Tensor = torch.nn.functional.cross_entropy(
            state.net(x), y, label_smoothing=recipe.regularize.label_smoothing
        )
    state.accelerator.backward(loss)
    if recipe.optimizer.clip is not None:
        state.accelerator.clip_grad_norm_(state.net.parameters(), recipe.optimizer.clip)
    state.optimizer.step()
    state.schedule.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.loss_sum += loss.detach() * len(y)
    state.seen += len(y)
    state.batch += 1


def _order(plan: Plan, k: int, part: Part, epoch: int) -> NDArray[np.int64]:
    """The fitted rows in the order of this epoch."""
    return np.random.default_rng(derive(plan.recipe.seed, "order", k, epoch)).permutation(part.fitted)


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
    plan: Plan, net: Any, pool: Any, pixels: FittedPixels, part: Part, device: Any
) -> tuple[float, float]:
    """Loss and metric of the identity view on the held-out rows."""
    net.eval()
    started = time.perf_counter()
    probs = probabilities(net, pool, pixels, part.held_out, ["identity"], plan.recipe, device)["identity"]
    if plan.deadline is not None:
        plan.deadline.measured(len(part.held_out), time.perf_counter() - started)
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
