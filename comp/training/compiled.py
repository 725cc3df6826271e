"""Training steps through torch.compile: one launch of a CUDA graph instead of a thousand, where that is the same function."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from comp import events
from comp.data.device_memory import is_out_of_memory
from comp.models.runtime import exact
from comp.recipe import Recipe
from comp.training.state import TrainState

HOW: dict[str, Any] = {"mode": "reduce-overhead", "dynamic": False}
RECORDED = 3  # calls until a CUDA graph is replayed: the first compiles, the second records it
TIMES = 4  # what rounding did to the plain network's numbers is allowed so many times over
SHARE = {"fp32": 2e-3, "bf16": 2e-2, "fp16": 2e-2}  # of a tensor's length that its difference may be
FLOOR = {
    "fp32": 1e-5,
    "bf16": 1e-3,
    "fp16": 1e-3,
}  # of the length of all: some gradients are nothing but rounding
_SCALE = {"fp16": 256.0}  # as a GradScaler: small gradients would be 0 in fp16
Loss = Callable[[Tensor], Tensor]  # of logits (B, C)
Numbers = dict[str, dict[str, Tensor]]  # by kind ("loss", "gradient", "statistic") and name


class Compiled(NamedTuple):
    """A network's compiled call, for batches (B, 3, S, S) of one shape and memory layout."""

    call: Callable[[Tensor], Tensor]
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def takes(self, x: Tensor) -> bool:
        return x.shape == self.shape and x.stride() == self.stride


class _Refused(Exception):
    """Why a compiled network is not used."""


def compiled_call(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network as a compiled call; the module itself, its parameters and their names stay as they are."""
    made: Callable[[Tensor], Tensor] = torch.compile(net, **HOW)
    return made


def network_for(state: TrainState, x: Tensor, loss: Loss) -> Callable[[Tensor], Tensor]:
    """What images x (B, 3, S, S) go through in a training step: the compiled network for whole batches of ``model.size``,
    the plain one for all others (the last of an epoch, parts of a batch, smaller images of a stage).

    Before the compiled network of a stage takes its first step, its loss and gradients on this batch are compared with the
    plain one's. Where they differ, or nothing can be compiled, the stage goes on with the plain network, and that is said.
    """
    if not state.recipe.compile or state.accumulate != 1:
        return state.net
    if state.to_compile and x.shape == _whole(state.recipe):
        state.to_compile = False
        state.compiled = _compared(state, x, loss)
    made: Compiled | None = state.compiled
    if made is None or not made.takes(x):
        return state.net
    if x.device.type == "cuda":
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
    return made.call


def stop_compiled(state: TrainState, error: BaseException) -> None:
    """Goes on with the plain network after an error of the compiled one."""
    state.compiled = None
    forget_compiled()
    events.log(f"  steps are no longer compiled: {in_words(error)}")


def forget_compiled() -> None:
    """Frees what torch compiled, and the memory of CUDA graphs."""
    torch.compiler.reset()


def _whole(recipe: Recipe) -> tuple[int, ...]:
    size = recipe.model.size or 224
    return (recipe.batch, recipe.model.channels, size, size)


def _compared(state: TrainState, x: Tensor, loss: Loss) -> Compiled | None:
    """The compiled network, or None where it cannot be made or gives other gradients."""
    forget_compiled()  # of an earlier stage
    try:
        with warnings.catch_warnings(), _undone(state.net, x.device):
            warnings.simplefilter("ignore")  # of torch, about how it compiles
            call = compiled_call(state.net)
            _require_same(state, call, x, loss)
        return Compiled(call, tuple(x.shape), x.stride())
    except Exception as error:  # whatever torch's compilers raise: none of it may end a run
        reason = in_words(error)
    forget_compiled()
    events.log(f"  steps are not compiled: {reason}")
    return None


def in_words(error: BaseException) -> str:
    """Why a network was not compiled, in a line; torch wraps what a compiler raised."""
    error = getattr(error, "inner_exception", error)
    if is_out_of_memory(error):
        return "memory does not suffice"
    line = " ".join(str(error).split())[:160]
    return line if isinstance(error, _Refused) else f"{type(error).__name__}: {line}"


@contextmanager
def _undone(net: nn.Module, device: torch.device) -> Iterator[None]:
    """Afterwards nothing is changed: statistics of norms, gradients, random generators; inside, layers that drop are off.

    Those whose share is 0 stay as they are: a mode that changed would have torch compile the network again for its steps,
    which would then be taken by a graph that was never compared.
    """
    before = [buffer.clone() for buffer in net.buffers()]
    drops = [layer for layer in layers_that_drop(net) if layer.training]
    for module in drops:
        module.training = False
    try:
        with torch.random.fork_rng([device.index or 0] if device.type == "cuda" else []):
            yield
    finally:
        net.zero_grad(set_to_none=True)
        for module in drops:
            module.training = True
        _put_back(net, before)


def layers_that_drop(net: nn.Module) -> list[nn.Module]:
    """Layers that in train mode leave out some of what they get: dropout, stochastic depth."""
    return [m for m in net.modules() if "Drop" in type(m).__name__ and _dropped_share(m)]


def _dropped_share(module: nn.Module) -> float:
    named = [getattr(module, name) for name in ("p", "drop_prob", "prob") if hasattr(module, name)]
    return float(named[0] or 0.0) if named else 1.0  # unknown: as if it dropped


def _shifted(x: Tensor, n: int) -> Tensor:
    """Images (B, 3, S, S) moved n pixels to the right, in the same memory layout: ``roll`` gives another one on a GPU, for
    which torch would compile anew.
    """
    return torch.empty_like(x).copy_(x.roll(n, dims=3)) if n else x


@torch.no_grad()
def _put_back(net: nn.Module, before: list[Tensor]) -> None:
    for buffer, was in zip(net.buffers(), before, strict=True):
        buffer.copy_(was)


def _require_same(state: TrainState, call: Callable[[Tensor], Tensor], x: Tensor, loss: Loss) -> None:
    """_Refused unless the compiled call has the plain network's loss, gradients and statistics, each time until a CUDA graph
    is replayed, on batches that differ.
    """
    net, before = state.net, [buffer.clone() for buffer in state.net.buffers()]

    def numbers(of: Callable[[Tensor], Tensor], images: Tensor, context: Any, seed: int = 0) -> Numbers:
        _put_back(net, before)
        torch.manual_seed(seed)
        return _numbers(net, of, images, loss, context, _SCALE.get(state.recipe.precision, 1.0))

    def exactly(images: Tensor) -> Numbers:
        """In 32 bits for half precision, else in 64: where equal values meet in a ReLU or a pooling window, rounding alone
        decides whose gradient it is.
        """
        if state.recipe.precision != "fp32":
            return numbers(net, images, nullcontext())
        _put_back(net, before)
        wide = copy.deepcopy(net).double()
        found = _numbers(wide, lambda x: wide(x.double()).float(), images, loss, nullcontext(), 1.0)
        return {kind: {n: t.float() for n, t in tensors.items()} for kind, tensors in found.items()}

    # plain first: a process that compiles before its first backward pass could fork no folds at once any more
    first, again = (numbers(net, x, state.accelerator.autocast(), seed) for seed in (0, 1))
    a, b = (float(one["loss"]["loss"]) for one in (first, again))
    if abs(a - b) > 1e-3 * abs(a):
        raise _Refused("the network draws random numbers, so that no two steps can be compared")
    for n in range(RECORDED):
        images = _shifted(x, n)
        with exact():
            reference = exactly(images)
        plain = numbers(net, images, state.accelerator.autocast())
        made = numbers(call, images, state.accelerator.autocast())
        if different := first_different(reference, plain, made, state.recipe.precision):
            raise _Refused(f"compiled, {different} is another")


def _numbers(
    net: nn.Module,
    call: Callable[[Tensor], Tensor],
    x: Tensor,
    loss: Loss,
    context: Any,
    scale: float,
) -> Numbers:
    """A step's loss, the gradients of what is trained, and the statistics of norms after it."""
    net.zero_grad(set_to_none=True)
    with context:
        value = loss(call(x))
    (value * scale).backward()  # type: ignore[no-untyped-call]
    slopes = {name: p for name, p in net.named_parameters() if p.requires_grad}
    found: Numbers = {
        "loss": {"loss": value.detach().float().clone()},
        "gradient": {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in slopes.items()},
        "statistic": {n: b.clone() for n, b in net.named_buffers() if b.is_floating_point()},
    }
    net.zero_grad(set_to_none=True)
    return found


def first_different(reference: Numbers, plain: Numbers, made: Numbers, precision: str) -> str:
    """Where a compiled network's numbers are others than the plain one's, "" where nowhere.

    The ``reference`` is computed in more bits than the precision has; the plain network's distance from it is what
    rounding does, and the compiled one's may be ``TIMES`` that, and a small share more.
    """
    for kind, tensors in reference.items():
        whole = _length(tensors.values())
        for name, exactly in tensors.items():
            noise, off = (float((one[kind][name] - exactly).norm()) for one in (plain, made))
            allowed = TIMES * noise + SHARE[precision] * float(exactly.norm()) + FLOOR[precision] * whole
            if not off <= allowed:  # also where it is no number
                return kind if kind == "loss" else f"the {kind} of {name}"
    return ""


def _length(tensors: Any) -> float:
    lengths: Sequence[Tensor] = [t.norm() for t in tensors]
    return float(torch.stack(list(lengths)).norm()) if lengths else 0.0
