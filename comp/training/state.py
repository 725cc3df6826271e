"""Everything that a fold's training is at some step, so that it can go on there after any stop."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from comp.config import Shape, read_shaped
from comp.data.device_memory import is_out_of_memory
from comp.errors import InputError
from comp.files import sha256_of, write_json
from comp.models.batchnorm_fusion import fuse_frozen_batchnorm
from comp.models.checkpoint import save_tensors
from comp.models.net import Net
from comp.models.runtime import accelerator as make_accelerator
from comp.recipe import Recipe, derive_seed
from comp.training.ema import WeightEma
from comp.training.optim import (
    make_optimizer,
    make_schedule,
    open_layers,
    plateau_factor,
    stage_at,
    stages_of,
)

FILE = "state.pt"
SIDECAR = "state.json"  # the SHA-256 of state.pt
NEVER = 2**31 - 1
CHEAP = 0.05  # of the time since the last save: what saving after an epoch may take
_REMEDY = "remove it: its fold begins anew, others are kept"
_FORMS = (
    "fused",
    "foreach",
    "capturable",
)  # how torch computes an optimizer's step, which follows from the device


class _Sidecar(Shape):
    """``state.json``: the SHA-256 of the state.pt beside it, newest first."""

    sha256: list[str]


@dataclass(frozen=True)
class Epoch:
    """A line of history: mean training loss, held-out loss and metric (identity view), training images/s."""

    epoch: int
    loss: float
    valid_loss: float
    valid_metric: float
    lr: float
    images_per_second: float


@dataclass
class TrainState:
    """A fold under way: what is trained, and how far it is.

    ``epoch`` and ``batch`` say which batch comes next, both from 0; ``loss_sum`` and ``seen`` are of this epoch, as
    is ``first_bad``, the first batch whose loss was not a number; a batch is computed in ``accumulate`` parts.
    ``skipped`` counts the latest steps that a GradScaler left out, one after the other.
    Sample order, transforms, mixing and the seed of an epoch follow from the recipe's seed, early stopping and
    plateaus from the history, so that nothing else has to be kept but torch's generators in the middle of an epoch.
    ``of`` says what is trained (see ``Plan.key``): a state of anything else is none of this fold. ``best`` is the SHA-256
    of the best epoch's weights where they are kept, ``saved`` that of the last state.pt. ``compiled`` is the network's
    compiled call of this stage, once ``compiled.network_for`` has looked at it; ``to_compile`` says that it has not yet.
    """

    accelerator: Any
    net: Net
    recipe: Recipe
    steps: int  # an epoch of this stage
    average: WeightEma | None
    loss_sum: Tensor
    first_bad: Tensor
    accumulate: int = 1
    optimizer: Any = None
    schedule: LambdaLR | None = None
    epoch: int = 0
    batch: int = 0
    seen: int = 0
    skipped: int = 0
    history: list[Epoch] = field(default_factory=list)
    saved_at: float = field(default_factory=time.monotonic)
    save_seconds: float = 0.0  # that the last save took
    of: str = ""
    best: str = ""
    saved: str = ""
    to_compile: bool = False
    compiled: Any = None
    stage_steps: tuple[int, ...] = ()
    peers: Any = None  # the processes that train the fold together, where there are several

    @classmethod
    def begin(
        cls, net: Net, recipe: Recipe, steps: int, of: str = "", stage_steps: tuple[int, ...] = ()
    ) -> TrainState:
        """The state before the first step, on the recipe's device; an epoch has ``steps`` of them, or as many as
        ``stage_steps`` says of each stage.
        """
        accelerator = make_accelerator(recipe)
        if recipe.channels_last:
            net = net.to(memory_format=torch.channels_last)
        if recipe.model.freeze_bn and recipe.fold_norms is not False:
            fuse_frozen_batchnorm(net, recipe.model.size or 224, recipe.model.channels)
        net = net.to(accelerator.device)
        decay = recipe.regularize.ema
        average = WeightEma(net, decay) if decay is not None else None
        zero = torch.zeros((), device=accelerator.device)
        never = torch.full((), NEVER, device=accelerator.device)
        state = cls(
            accelerator,
            net,
            recipe,
            steps,
            average,
            zero,
            never,
            recipe.accumulate,
            of=of,
            stage_steps=stage_steps,
        )
        state.enter_stage()
        return state

    def enter_stage(self) -> None:
        """Opens the layers of this epoch's stage, and gives it an optimizer and a schedule of its own; what was compiled
        was so for other layers.
        """
        self.compiled, self.to_compile = None, bool(self.recipe.compile)
        stages = stages_of(self.recipe)
        stage = stage_at(stages, self.epoch)
        if self.stage_steps:
            self.steps = self.stage_steps[stages.index(stage)]
        open_layers(self.net, stage.train)
        self.optimizer = make_optimizer(self.net, self.recipe, stage)
        part, steps = self.recipe.schedule, stage.epochs * self.steps
        self.schedule = make_schedule(self.optimizer, part, steps, self._left_by_plateaus)

    def _left_by_plateaus(self) -> float:
        return plateau_factor(self.recipe.schedule, [epoch.valid_loss for epoch in self.history])

    @property
    def device(self) -> Any:
        return self.accelerator.device

    @property
    def scaler(self) -> Any:
        """What keeps small gradients in fp16 from becoming 0; None in other precisions."""
        return getattr(self.accelerator, "scaler", None)

    def is_finite(self) -> bool:
        """Whether all weights, statistics of norms and their moving average are numbers."""
        tensors = [*self.net.parameters(), *(b for n, b in self.net.named_buffers() if "running_" in n)]
        tensors += self.average.tensors.values() if self.average else []
        return not tensors or bool(torch.stack([torch.isfinite(t).all() for t in tensors]).all())

    @property
    def lr(self) -> float:
        """The highest learning rate of all parameter groups."""
        return float(max(group["lr"] for group in self.optimizer.param_groups))

    def next_epoch(self) -> None:
        """Moves on to the first batch of the next epoch, and into the next stage where one begins."""
        self.epoch, self.batch, self.seen = self.epoch + 1, 0, 0
        self.loss_sum = torch.zeros((), device=self.device)
        if any(stage.first == self.epoch for stage in stages_of(self.recipe)):
            self.enter_stage()

    def save(self, folder: Path) -> None:
        """Writes state.pt, all or nothing; state.json has its SHA-256, and that of the one before until it is replaced."""
        assert self.schedule is not None
        began = time.monotonic()
        table = {
            "fold": folder.name,
            "of": self.of,
            "best": self.best,
            "net": self.net.state_dict(),
            "average": self.average.tensors if self.average else {},
            "average_steps": self.average.steps if self.average else 0,
            "optimizer": self.optimizer.state_dict(),
            "on_cpu": _on_cpu(self.optimizer),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler is not None else {},
            "rng": torch.get_rng_state(),
            "device_rng": _random_state(self.device),
            "epoch": self.epoch,
            "batch": self.batch,
            "accumulate": self.accumulate,
            "loss_sum": self.loss_sum,
            "seen": self.seen,
            "history": [list(astuple(epoch)) for epoch in self.history],
        }
        earlier = [self.saved] if self.saved else []
        self.saved = save_tensors(
            folder / FILE, table, lambda sha256: write_json(folder / SIDECAR, {"sha256": [sha256, *earlier]})
        )
        self.saved_at = time.monotonic()
        self.save_seconds = self.saved_at - began

    def save_is_due(self) -> bool:
        """Whether to save after an epoch: where ``save_minutes`` have passed, or it takes little of the time since the last
        save. A large network's short epochs would spend more on saving than a stop could lose.
        """
        minutes = self.minutes_since_save()
        return minutes > self.recipe.save_minutes or self.save_seconds <= CHEAP * minutes * 60

    def restore(self, folder: Path) -> bool:
        """Goes back to what state.pt holds; False where there is none.

        Raises
        ------
        InputError
            Where it is damaged or was changed, or is of another fold or of other training.
        """
        if not (folder / FILE).is_file():
            return False
        table = require_state(folder, self.of)
        try:
            self._take(table)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            value = f"{folder / FILE}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise InputError("a saved state must be whole", value, _REMEDY) from error
        self.saved = sha256_of(folder / FILE)
        return True

    def _take(self, table: dict[str, Any]) -> None:
        self.history = [Epoch(int(epoch), *rest) for epoch, *rest in table["history"]]
        self.epoch, self.batch, self.seen = table["epoch"], table["batch"], table["seen"]
        self.accumulate, self.loss_sum = table["accumulate"], table["loss_sum"].to(self.device)
        self.best = table.get("best", "")
        self.net.load_state_dict(table["net"])
        if self.average is not None:
            self.average.restore(table["average"], table["average_steps"])
        self.enter_stage()
        assert self.schedule is not None
        load_optimizer(self.optimizer, table["optimizer"], table.get("on_cpu", []))
        self.schedule.load_state_dict(table["schedule"])
        if self.scaler is not None and table["scaler"]:
            self.scaler.load_state_dict(table["scaler"])
        torch.set_rng_state(table["rng"])
        kind, known = table.get("device_rng") or ("", torch.empty(0))
        # where it goes on elsewhere than it began, there is no such generator's state
        elsewhere = derive_seed(self.recipe.seed, "elsewhere", self.epoch, self.batch)
        _set_random_state(self.device, known if kind == self.device.type else elsewhere)

    def minutes_since_save(self) -> float:
        return (time.monotonic() - self.saved_at) / 60


def load_optimizer(optimizer: Any, saved: dict[str, Any], on_cpu: list[str]) -> None:
    """Gives an optimizer back what ``saved`` says of it, each tensor where it was: those of the names ``on_cpu`` (Adam's
    count of steps) are read by the program in every step, which on a GPU would wait for it.

    Which form of its step torch uses (``fused`` …) is the optimizer's on this device, whatever it was where the state was
    saved; a fused step reads the count of steps on the GPU itself.
    """
    pairs = list(zip(saved["param_groups"], optimizer.param_groups, strict=True))
    groups = [{**was, **{name: now[name] for name in _FORMS if name in now}} for was, now in pairs]
    optimizer.load_state_dict({**saved, "param_groups": groups})
    for group, was in zip(optimizer.param_groups, groups, strict=True):
        on_gpu = {"step"} if group.get("fused") or group.get("capturable") else set()
        for n, parameter in zip(was["params"], group["params"], strict=True):
            known = saved["state"].get(n, {})
            for name in (set(on_cpu) - on_gpu) & set(known):
                optimizer.state[parameter][name] = known[name].clone()


def _on_cpu(optimizer: Any) -> list[str]:
    """The names of an optimizer's tensors that lie in the machine's memory beside parameters on a GPU."""
    return sorted(
        {
            name
            for parameter, parts in optimizer.state.items()
            for name, value in parts.items()
            if isinstance(value, Tensor) and value.device.type == "cpu" and parameter.device.type != "cpu"
        }
    )


def _random_state(device: Any) -> tuple[str, Tensor] | None:
    """The kind of the device that is used and the state of its generator; other devices' are none of ours."""
    if device.type == "cuda":
        return "cuda", torch.cuda.get_rng_state(device)
    return ("mps", torch.mps.get_rng_state()) if device.type == "mps" else None


def _set_random_state(device: Any, known: Tensor | int) -> None:
    """Sets the generator of a GPU to a state, or to the beginning of a seed."""
    if device.type == "cpu":
        return
    if isinstance(known, Tensor):
        torch.cuda.set_rng_state(known, device) if device.type == "cuda" else torch.mps.set_rng_state(known)
        return
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        (torch.cuda if device.type == "cuda" else torch.mps).manual_seed(known)


def require_state(folder: Path, of: str) -> dict[str, Any]:
    """What a fold's state.pt holds, in the machine's memory; InputError where it is damaged or was changed, or is of another
    fold or of other training than ``of`` (an empty one fits any).

    A state of an older version, that does not say what it is of, is believed.
    """
    path = folder / FILE
    try:
        table: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        fold, said = table.get("fold", folder.name), table.get("of")
    except Exception as error:  # torch, pickle and zip have many errors for bytes that are no state
        value = f"{path}: {type(error).__name__}"
        raise InputError("a saved state must be whole", value, _REMEDY) from error
    if fold != folder.name:
        raise InputError("a saved state is its fold's own", f"{path} is of {fold}", _REMEDY)
    if said is None:
        return table
    known: _Sidecar = read_shaped(folder / SIDECAR, _Sidecar, _REMEDY)
    if sha256_of(path) not in known.sha256:  # torch itself looks at no checksum
        raise InputError("a saved state must be whole", f"{path} was changed since it was written", _REMEDY)
    if of and said and of != said:
        value = f"{path} is of another recipe, or of other rows or folds"
        raise InputError("a saved state is its fold's own", value, _REMEDY)
    return table
