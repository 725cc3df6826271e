"""The training loop: one visible loop over epochs and steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comp import events
from comp.data.augment.batch_ops import mix
from comp.data.augment.policies import TrainTransform
from comp.data.device_memory import enough_memory, upload
from comp.data.images.pixel_cache import ImageDataset
from comp.data.loading.prefetch import loader_pool
from comp.data.loading.resident import Resident, room_on, watched
from comp.data.loading.train_loader import Augmenter, TrainLoader
from comp.data.manifest import TRAINING, feature_columns
from comp.data.predictions import mean_loss
from comp.data.side_features import fit_encoder
from comp.errors import TrainingFailed
from comp.files import write_json
from comp.inference.forward import NotFinite, probabilities
from comp.models.load_weights import load_into
from comp.models.net import Net, build, freeze_batchnorm, init_head, normalise
from comp.recipe import Recipe, derive_seed
from comp.training.compiled import forget_compiled
from comp.training.early_stopping import best_epoch, is_over, load_best, save_best
from comp.training.gradients import batch_in_words, gradients
from comp.training.losses import TrainPixels, epoch_order, learned, loss_weights, rows_at, wanted
from comp.training.optim import stage_at, stages_of
from comp.training.plan import FoldRows, TrainPlan, answered_rows
from comp.training.state import NEVER, Epoch, TrainState
from comp.training.time_limit import Deadline, stopped

if TYPE_CHECKING:
    from comp.training.peers import Peers

LOOK_EVERY = 50  # steps between looks at a GPU's losses: each look waits for it
_SMALLER = (
    "end what else uses the memory and `resume`, or train anew with a smaller batch, model.size or model.name"
)
_AGAIN = "end what else uses the memory and `resume`: it goes on from the last state that was saved, which is whole; or train anew with optimizer=sgd or a smaller model.name"
MOST_SKIPPED = 24  # steps that a GradScaler may leave out one after the other: from 65,536 its factor is far below 1 then


def new_net(plan: TrainPlan, k: int) -> Net:
    """Fold k's network before its first step: the same for the same seed, whatever was drawn before."""
    start = (
        0 if plan.recipe.mode == "probe" else k
    )  # a frozen backbone's features are made once for all folds
    if plan.own_models is not None:
        plan.own_models.load()
    torch.manual_seed(derive_seed(plan.recipe.seed, "init", start))
    table = plan.manifest.train
    has_side = bool(feature_columns(table.columns))
    side = fit_encoder(table, plan.folds.of(table["id"]) != k) if has_side else None
    net = build(plan.recipe.model, plan.labels.width, side)
    init_head(net, derive_seed(plan.recipe.seed, "head", k))
    if not plan.labels.task.is_single_label:
        answer_the_mean(net, plan, k)
    weights = plan.weights_of(k)
    if weights is not None:
        load_into(net, weights, plan.recipe.model)
    return net


def numbers_beside(plan: TrainPlan, net: Net, part: FoldRows) -> Tensor | None:
    """What stands beside the images of a fold's rows (N, F); None where the network does not read it."""
    if net.side is None:
        return None
    return torch.from_numpy(net.side.beside(plan.source, list(part.table["path"])))


def answer_the_mean(net: Net, plan: TrainPlan, k: int) -> None:
    """Lets a classifier begin at the mean of each column over the rows that fold k fits: rare labels and numbers far from
    the middle of their scale would take epochs to come there (Lin et al. 2017, section 3.3).
    """
    table = plan.manifest.train
    cells = table[TRAINING if TRAINING in table else "label"][plan.folds.of(table["id"]) != k]
    mean = wanted(plan.labels, plan.labels.encode(cells)).double().mean(0).clamp(1e-3, 1 - 1e-3)
    last = [layer for layer in net.head.modules() if isinstance(layer, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.bias.copy_(torch.logit(mean))


def train(
    plan: TrainPlan,
    k: int,
    part: FoldRows,
    net: Net,
    folder: Path,
    ended: Callable[[Epoch], None],
    begun: Callable[[Sequence[Epoch]], None] = lambda epochs: None,
    peers: Peers | None = None,
) -> TrainState:
    """Trains fold k from ``net`` and returns the state after its last step; ``final_weights`` says what it came to.

    ``begun`` gets the epochs that it goes on from, none at the start, and ``ended`` each epoch after that. The state is kept in ``folder`` every ``save_minutes`` and after epochs (see ``TrainState.save_is_due``); where one is
    found, training goes on there, and ends with the same bits as if it had never stopped. With ``peers`` this is one of several
    processes that train the fold: only the one that leads judges and saves.

    Raises
    ------
    TrainingFailed
        If a loss is not a number (the batch's rows are in diverged.json), or memory does not suffice.
    OutOfTime
        If the plan's deadline has come; the state is saved.
    """
    recipe, leads = plan.recipe, peers is None or peers.leads
    state = _begun(plan, k, net, part, folder, peers)
    begun(state.history)
    with (
        enough_memory("a batch must fit into memory", batch_in_words(recipe), _SMALLER),
        loader_pool(recipe.threads or 1) as pool,
        events.task(plan.name(k), _rows_until(part, recipe, recipe.epochs)) as bar,
    ):
        bar.advance(_rows_until(part, recipe, state.epoch) + state.batch * recipe.batch)
        feed, pixels, there = _images(plan, k, part, pool, state.device)
        beside = numbers_beside(plan, net, part)
        judge = partial(_evaluate, plan, state.net, pool, pixels, part, state.device, there)
        while len(state.history) < recipe.epochs and not (
            recipe.stop and is_over(recipe, state.history, plan.metric)
        ):
            order = epoch_order(part, recipe, k, state.epoch)
            looks = _Looks(plan, k, part, order, folder)
            weights = _class_weights(plan, part, state)
            if state.batch == 0:
                # dropout, stochastic depth
                torch.manual_seed(derive_seed(recipe.seed, "epoch", k, state.epoch))
            train_mode(state)
            started, lr, before, speed = time.perf_counter(), state.lr, state.seen, 0.0

            # empty where it stopped after the last
            rest = order[state.batch * recipe.batch : state.steps * recipe.batch]
            labels = upload(learned(plan.labels, part, order), state.device)
            for rows, images in feed.epoch(rest, recipe.batch, state.epoch) if len(rest) else ():
                truth = labels[state.batch * recipe.batch :][: len(rows)]
                train_step(state, plan, k, images, truth, weights, _among(beside, rows))
                if state.device.type == "cpu" or state.batch % LOOK_EVERY == 0 or state.batch == state.steps:
                    looks.at_losses(state)
                speed = (state.seen - before) / (time.perf_counter() - started)
                bar.advance(len(rows), _facts(state, plan, speed))
                passed = plan.deadline is not None and _passed(plan.deadline, peers)
                if leads and (passed or state.minutes_since_save() > recipe.save_minutes):
                    looks.at_all(state)
                    state.save(folder)
                if passed:
                    raise stopped(f"{plan.name(k)}, epoch {state.epoch + 1}, batch {state.batch}")

            is_best = _watch(state, plan, folder, looks, judge, lr, speed)
            ended(state.history[-1])
            state.next_epoch()
            if leads and (
                is_best or state.save_is_due()
            ):  # an older state would name other weights as the best
                state.save(folder)
    _forget_compiled(state)
    return state


def _forget_compiled(state: TrainState) -> None:
    if state.compiled is not None:
        state.compiled = None
        forget_compiled()


def _among(beside: Tensor | None, rows: NDArray[np.int64]) -> Tensor | None:
    """What stands beside the images of some rows."""
    return None if beside is None else beside[torch.from_numpy(rows)]


def _passed(deadline: Deadline, peers: Peers | None) -> bool:
    """Whether the time is over; of several processes the one that leads decides."""
    passed = deadline.passed()
    return passed if peers is None else bool(peers.broadcast([passed])[0])


def _facts(state: TrainState, plan: TrainPlan, speed: float) -> str:
    """What stands beside a fold's bar: the epoch, the last one's losses and metric, and the speed of this one."""
    told = f"epoch {state.epoch + 1}/{plan.recipe.epochs}"
    if state.history:
        last = state.history[-1]
        told += f"  loss {last.loss:.4f}"
        told += "" if plan.refit else f"  {plan.metric.name} {last.valid_metric:.4f}"
    return f"{told}  {speed:.0f} images/s"


def _watch(
    state: TrainState,
    plan: TrainPlan,
    folder: Path,
    looks: _Looks,
    judge: Callable[[], tuple[float, float]],
    lr: float,
    speed: float,
) -> bool:
    """Adds an epoch to the history, with what ``judge`` says of the held-out rows; True where its weights are the best so
    far and were kept as such.
    """
    loss = float(state.loss_sum) / state.seen
    peers = state.peers
    with ema_weights(state):
        valid = judge() if peers is None or peers.leads else (0.0, 0.0)
        if peers is not None:
            loss_there, score = peers.broadcast(valid)
            valid = loss_there, score
        looks.at_end(state, valid[0])
        if plan.refit:  # these rows are trained on: what they score is no validation
            valid = math.nan, math.nan
        state.history.append(Epoch(state.epoch + 1, loss, *valid, lr, speed))
        is_best = state.recipe.checkpoint == "best" and best_epoch(state.history, plan.metric) == state.epoch
        if is_best and (peers is None or peers.leads):
            state.best = save_best(folder, state.net.state_dict())
    return is_best


def _images(
    plan: TrainPlan, k: int, part: FoldRows, pool: Any, device: Any
) -> tuple[TrainLoader, ImageDataset, Resident | None]:
    """What feeds fold k's steps; the images of its table as validation sees them, and those of the held-out rows that lie on
    a GPU: what training images leave of the room there.
    """
    pixels = ImageDataset(plan.images, list(part.table["path"]), plan.preprocess)
    transform = TrainTransform(plan.recipe.transform, plan.preprocess)
    train_pixels = TrainPixels(plan, part, transform.extent)
    variants, room = Augmenter(transform, plan.recipe.seed, k, device), room_on(device)
    feed = TrainLoader(train_pixels, len(part.table), variants, pool, device, part.fitted, room)
    if feed.has_images:
        train_pixels.forget()  # once is enough
    return feed, pixels, watched(pixels, part.held_out, pool, device, room - feed.nbytes)


def _class_weights(plan: TrainPlan, part: FoldRows, state: TrainState) -> Tensor | None:
    """The class weights (C,) of the rows that this epoch trains on; None where the recipe does not balance by them."""
    here = rows_at(part, plan.recipe, state.epoch)
    shares = None if part.shares is None else part.shares[here]
    return loss_weights(plan.recipe, part.targets[here], plan.labels, state.device, shares)


def _begun(
    plan: TrainPlan, k: int, net: Net, part: FoldRows, folder: Path, peers: Peers | None = None
) -> TrainState:
    """The state that fold k goes on from: the one in ``folder``, or that before the first step."""
    firsts = [stage.first for stage in stages_of(plan.recipe)]
    steps = [steps_per_epoch(len(rows_at(part, plan.recipe, first)), plan.recipe.batch) for first in firsts]
    with enough_memory("a network must fit into memory", batch_in_words(plan.recipe), _SMALLER):
        if peers is not None:
            net = peers.joined(net, plan.recipe)
        state = TrainState.begin(net, plan.recipe, steps[0], plan.key(k), tuple(steps))
        state.peers = peers
        if state.restore(folder):
            events.log(f"  {plan.name(k)}: goes on at epoch {state.epoch + 1}, batch {state.batch + 1}")
    return state


def ema_weights(state: TrainState) -> Any:
    """A context in which the network has the weights that are judged: the moving average where there is one."""
    return state.average.inside(state.net) if state.average is not None else nullcontext()


def final_weights(state: TrainState, folder: Path) -> dict[str, dict[str, Tensor]]:
    """The weights of a trained fold by name: "kept" go into the checkpoint; "plain" are the last ones without the
    moving average, and "last" those of the last epoch, each where it is not what is kept.
    """
    own = {name: tensor.clone() for name, tensor in state.net.state_dict().items()}
    with ema_weights(state):
        last = {name: tensor.clone() for name, tensor in state.net.state_dict().items()}
    found = {"kept": load_best(folder, state.best) if state.recipe.checkpoint == "best" else last}
    if state.average is not None:
        found["plain"] = own
    if state.recipe.checkpoint == "best":
        found["last"] = last
    return found


def train_mode(state: TrainState) -> None:
    """Lets the network train: dropout on, BatchNorm as the stage and the recipe want it."""
    state.net.train()
    if stage_at(stages_of(state.recipe), state.epoch).train == "head":
        state.net.backbone.eval()
    if state.recipe.model.freeze_bn:
        freeze_batchnorm(state.net)


def train_step(
    state: TrainState,
    plan: TrainPlan,
    k: int,
    images: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    beside: Tensor | None = None,
) -> None:
    """One step on a batch: images uint8 (B, S, S, 3), targets as ``learned`` has them, (B,), (B, D) or packed; ``beside``
    (B, F) is what stands beside the images, where the network reads that.
    """
    recipe = plan.recipe
    x = normalise(images.to(state.device, non_blocking=True), plan.preprocess)  # (B, 3, S, S)
    x = resized(x, stage_at(stages_of(recipe), state.epoch).size)
    rng = np.random.default_rng(derive_seed(recipe.seed, "mix", k, state.epoch, state.batch))
    mixes = state.epoch < recipe.regularize.mix_until * recipe.epochs
    x, y = mix(x, upload(targets, state.device), len(plan.labels), recipe.regularize, rng, mixes)

    beside = None if beside is None else upload(beside, state.device)
    loss = gradients(state, x, y, weights, beside)
    # half a step cannot be taken again: what it changed would be changed twice
    with enough_memory("a step must fit into memory", batch_in_words(recipe), _AGAIN):
        taken = _changed(state)
    state.optimizer.zero_grad(set_to_none=True)
    _count(state, loss, len(x), taken)


def _changed(state: TrainState) -> bool:
    """Lets the optimizer change the weights by their gradients; False where a GradScaler leaves that out, since some are not
    numbers: it goes on with a smaller factor, and schedule and average wait.
    """
    optimizer, scaler, clip = state.optimizer, state.scaler, state.recipe.optimizer.clip
    if clip is not None:
        if scaler is not None:
            scaler.unscale_(optimizer)  # this one alone: earlier stages' have the same parameters
        torch.nn.utils.clip_grad_norm_(state.net.parameters(), clip)
    if scaler is None:
        optimizer.step()
    else:
        before = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        if scaler.get_scale() < before:
            return False
    assert state.schedule is not None
    state.schedule.step()
    if state.average is not None:
        state.average.update()
    return True


def _count(state: TrainState, loss: Tensor, rows: int, taken: bool) -> None:
    """Moves on to the next batch, with the mean loss of this one's rows."""
    state.skipped = 0 if taken else state.skipped + 1
    if taken:
        bad = torch.where(torch.isfinite(loss), NEVER, state.batch)
        state.first_bad = torch.minimum(state.first_bad, bad)
        state.loss_sum += loss * rows
    else:  # it changed nothing, so that a loss beyond fp16 does no harm, unless no step is taken any more
        state.loss_sum += torch.nan_to_num(loss, 0.0, 0.0, 0.0) * rows
        if state.skipped > MOST_SKIPPED:
            state.first_bad = state.first_bad.clamp(max=state.batch)
    state.seen += rows
    state.batch += 1


def resized(x: Tensor, size: int | None) -> Tensor:
    """Images (B, 3, S, S) at another side, for stages that train on smaller ones (Howard's progressive resizing)."""
    if size is None or size == x.shape[-1]:
        return x
    made = torch.nn.functional.interpolate(x, (size, size), mode="bilinear", antialias=size < x.shape[-1])
    return made.contiguous(memory_format=torch.channels_last)


def steps_per_epoch(rows: int, batch: int) -> int:
    """Batches of an epoch; a last one of a single row is left out."""
    whole, rest = divmod(rows, batch)
    return whole + (1 if rest > 1 or (rest == 1 and whole == 0) else 0)


def _rows_until(part: FoldRows, recipe: Recipe, epoch: int) -> int:
    """The rows that the epochs before this one train on: all of their stage's, but a last batch of one."""
    each = (len(rows_at(part, recipe, before)) for before in range(epoch))
    return sum(min(steps_per_epoch(rows, recipe.batch) * recipe.batch, rows) for rows in each)


def _evaluate(
    plan: TrainPlan,
    net: Any,
    pool: Any,
    pixels: ImageDataset,
    part: FoldRows,
    device: Any,
    there: Resident | None,
) -> tuple[float, float]:
    """Loss and metric of the identity view on the held-out rows, to watch them: they are judged in the end. NaN for a
    network that gives no numbers.
    """
    net.eval()
    started = time.perf_counter()
    rows = part.held_out
    try:
        views = ["identity"]
        probs = probabilities(
            net, pool, pixels, rows, views, plan.recipe, device, labels=plan.labels, tf32=True, there=there
        )["identity"]
    except NotFinite:
        return math.nan, math.nan
    if plan.deadline is not None:
        loading = there.seconds if there is not None else 0.0  # predictions will have to load theirs
        plan.deadline.measured(len(part.held_out), time.perf_counter() - started + loading)
    targets, probs = answered_rows(plan, part, probs)
    return mean_loss(probs, targets, plan.labels), plan.metric(targets, probs)


@dataclass(frozen=True)
class _Looks:
    """The looks at an epoch of fold k for what is not a number, and whose rows are named then."""

    plan: TrainPlan
    k: int
    part: FoldRows
    order: NDArray[np.int64]
    folder: Path

    def at_losses(self, state: TrainState) -> None:
        """Stops at a loss that is not a number, with the rows of that batch in diverged.json."""
        batch = int(state.first_bad)
        if batch == NEVER:
            return
        fault = f"batch {batch + 1}: the loss is not a number"
        if state.skipped > MOST_SKIPPED:
            fault = f"batch {batch + 1}: the gradients of {state.skipped} steps in a row do not fit into fp16"
        raise self._failed(state, batch, fault)

    def at_all(self, state: TrainState) -> None:
        """Stops also where the last step alone ruined the network, of which no loss could tell: such a state must not be
        saved, or what goes on from it would blame other rows.
        """
        self.at_losses(state)
        if not state.is_finite():
            raise self._failed(
                state, state.batch - 1, f"after batch {state.batch} its weights are not numbers"
            )

    def at_end(self, state: TrainState, valid_loss: float) -> None:
        """Stops where an epoch's last step ruined the network, before it is kept."""
        if not (math.isfinite(valid_loss) and state.is_finite()):
            fault = f"after the last step of epoch {state.epoch + 1} the valid loss is {valid_loss:g}"
            raise self._failed(state, state.batch - 1, fault)

    def _failed(self, state: TrainState, batch: int, fault: str) -> TrainingFailed:
        size = self.plan.recipe.batch
        rows = self.part.table.iloc[self.order[batch * size : (batch + 1) * size]]
        facts = {"fold": self.k, "epoch": state.epoch + 1, "batch": batch + 1, "lr": state.lr}
        named = {"ids": rows["id"].tolist(), "paths": rows["path"].tolist()}
        write_json(self.folder / "diverged.json", {**facts, **named})
        value = f"{self.plan.name(self.k)}, epoch {state.epoch + 1}, {fault} (learning rate {state.lr:.2g})"
        remedy = f'a third of optimizer.lr, `overrides=["optimizer.clip=1.0"]`, or `overrides=["precision=fp32"]`; its rows are in {self.folder / "diverged.json"}'
        return TrainingFailed("the loss must be a number", value, remedy)
