"""A batch's gradients: in parts where memory wants it so, and of all processes that train a fold together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from comp import events
from comp.data.device_memory import free_memory, is_out_of_memory, make_room
from comp.errors import InputError, TrainingFailed
from comp.recipe import Recipe
from comp.training.compiled import network_for, stop_compiled
from comp.training.losses import loss_of
from comp.training.state import TrainState


class PeerFailed(RuntimeError):
    """Another of several processes has said that it goes no further."""


FINE, NO_MEMORY, BROKEN = 0, 1, 2  # what one of several processes says of its part of a batch


def gradients(
    state: TrainState, x: Tensor, y: Tensor, weights: Tensor | None, beside: Tensor | None = None
) -> Tensor:
    """Adds up a batch's gradients, in parts if memory wants it so, and returns its mean loss, detached.

    A batch that does not fit is computed again, at first as before, since what an earlier fold or another program held may
    have been all that was missing, then in twice as many parts; the step is the same but for BatchNorm, which sees the
    parts. After any error of a compiled network the plain one computes it again, and all that come.
    """
    freed = False
    while True:
        try:
            return _of_all(state, x, y, weights, beside)
        except Exception as error:
            for_memory, of_compiled = is_out_of_memory(error), state.compiled is not None
            if of_compiled:
                stop_compiled(state, error)
            elif not for_memory:
                raise
        # here the error is gone, and with it all that the attempt had made
        state.optimizer.zero_grad(set_to_none=True)
        if not for_memory:
            free_memory()
            continue
        make_room()
        if not freed:
            freed = True
            continue
        if state.accumulate >= len(x):
            raise _too_large(state.recipe)
        state.accumulate *= 2
        size = -(-len(x) // state.accumulate)
        events.log(f"  out of memory: a batch of {len(x)} is now computed in parts of {size}")


def _of_all(state: TrainState, x: Tensor, y: Tensor, weights: Tensor | None, beside: Tensor | None) -> Tensor:
    """A batch's gradients and mean loss; of several processes each computes its part, and has those of all in the end.

    Where memory does not suffice in one of them, it does so in all: each takes the batch again in smaller parts.
    """
    peers = state.peers
    if peers is None:
        return _in_parts(state, x, y, weights, len(x), beside)
    own = peers.share(len(x))
    try:
        there = None if beside is None else beside[own]
        loss = _in_parts(state, x[own], y[own], weights, len(x), there)
    except Exception as error:
        peers.all_reduce_max(NO_MEMORY if is_out_of_memory(error) else BROKEN)
        raise
    said = peers.all_reduce_max(FINE)
    if said == NO_MEMORY:
        raise torch.OutOfMemoryError("in another process of this fold")
    if said == BROKEN:
        raise PeerFailed("another process of this fold failed")
    added: Tensor = peers.all_reduce_gradients(state.net.parameters(), loss)
    return added


def _in_parts(
    state: TrainState,
    x: Tensor,
    y: Tensor,
    weights: Tensor | None,
    rows: int,
    beside: Tensor | None = None,
) -> Tensor:
    """Adds up the gradients of images that are all or some of a batch of so many ``rows``, with what stands ``beside`` them."""
    total = torch.zeros((), device=x.device)
    if not len(x):
        return total
    parts = x.chunk(state.accumulate)
    sides = [None] * len(parts) if beside is None else beside.chunk(state.accumulate)
    for part_x, part_y, side in zip(parts, y.chunk(state.accumulate), sides, strict=True):
        net: Callable[..., Tensor] = state.net if side is None else partial(state.net, beside=side)
        if state.recipe.compile and side is None:
            loss_here = partial(loss_of, targets=part_y, recipe=state.recipe, weights=weights)
            net = network_for(state, part_x, loss_here)
        with state.accelerator.autocast():
            loss = loss_of(net(part_x), part_y, state.recipe, weights) * (len(part_x) / rows)
        (loss if state.scaler is None else state.scaler.scale(loss)).backward()
        total += loss.detach()
    return total


def batch_in_words(recipe: Recipe) -> str:
    """What fills the memory, for an error."""
    return f"{recipe.model.name} at {recipe.model.size} pixels, batches of {recipe.batch}, {recipe.optimizer.name}"


def _too_large(recipe: Recipe) -> TrainingFailed:
    value = f"{recipe.model.name} at {recipe.model.size} pixels does not fit with one row"
    return TrainingFailed("a row must fit into memory", value, "a smaller model.size or model.name")


def require_joint(recipe: Recipe, net: nn.Module) -> None:
    """Refuses what several processes would train to something else than one.

    Raises
    ------
    InputError
        For BatchNorm that learns its statistics on a CPU, where torch cannot do so over all processes; for fewer GPUs than
        processes; for folds side by side.
    """
    if (recipe.processes or 1) == 1:
        return
    if (recipe.jobs or 1) > 1:
        value = f"processes = {recipe.processes}, jobs = {recipe.jobs}"
        raise InputError(
            "a fold is trained by several processes, or several folds at once", value, "drop one of them"
        )
    if recipe.device == "cuda" and (there := torch.cuda.device_count()) < (recipe.processes or 1):
        value = f"processes = {recipe.processes}; there are {there} here"
        raise InputError("each process of a fold has a GPU of its own", value, "fewer processes")
    learns = not recipe.model.freeze_bn and any(
        isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules()
    )
    if learns and recipe.device != "cuda":
        value = f"{recipe.model.name} on {recipe.device}, processes = {recipe.processes}"
        remedy = '`overrides=["model.freeze_bn=true"]`, a model without BatchNorm, or processes = 1'
        raise InputError(
            "BatchNorm of several processes is that of the whole batch on CUDA alone", value, remedy
        )
