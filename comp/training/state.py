"""Everything that a fold's training is at some step, so that it can go on there after any stop."""

from __future__ import annotations

import time
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from comp.recipe import Recipe
from comp.training.device import accelerator as make_accelerator
from comp.training.model import Net
from comp.training.schedule import make_optimizer, make_schedule
from comp.workspace import atomic

FILE = "state.pt"


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
class State:
    """A fold under way: what is trained, and how far it is.

    ``epoch`` and ``batch`` say which batch comes next, both from 0; ``loss_sum`` and ``seen`` are of this epoch.
    Sample order, transforms and the seed of an epoch follow from the recipe's seed, so that nothing else random
    has to be kept but torch's generators in the middle of an epoch.
    """

    accelerator: Any
    net: Any
    optimizer: Any
    schedule: LambdaLR
    epoch: int = 0
    batch: int = 0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros(()))
    seen: int = 0
    history: list[Epoch] = field(default_factory=list)
    saved_at: float = field(default_factory=time.monotonic)

    @classmethod
    def begin(cls, net: Net, recipe: Recipe, steps: int) -> State:
        """The state before the first of ``steps`` steps, on the recipe's device."""
        accelerator = make_accelerator(recipe)
        if recipe.channels_last:
            net = net.to(memory_format=torch.channels_last)
        optimizer = make_optimizer(net, recipe)
        schedule = make_schedule(optimizer, recipe.schedule, steps)
        prepared, optimizer = accelerator.prepare(net, optimizer)
        zero = torch.zeros((), device=accelerator.device)
        return cls(accelerator, prepared, optimizer, schedule, loss_sum=zero)

    @property
    def device(self) -> Any:
        return self.accelerator.device

    @property
    def lr(self) -> float:
        """The highest learning rate of all parameter groups."""
        return float(max(group["lr"] for group in self.optimizer.param_groups))

    def next_epoch(self) -> None:
        """Moves on to the first batch of the next epoch."""
        self.epoch, self.batch, self.seen = self.epoch + 1, 0, 0
        self.loss_sum = torch.zeros((), device=self.device)

    def save(self, folder: Path) -> None:
        """Writes state.pt, all or nothing."""
        scaler = getattr(self.accelerator, "scaler", None)
        table = {
            "net": self.accelerator.unwrap_model(self.net).state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "epoch": self.epoch,
            "batch": self.batch,
            "loss_sum": self.loss_sum,
            "seen": self.seen,
            "history": [list(astuple(epoch)) for epoch in self.history],
        }
        with atomic(folder / FILE) as part:
            torch.save(table, part)
        self.saved_at = time.monotonic()

    def restore(self, folder: Path) -> bool:
        """Goes back to what state.pt holds; False where there is none."""
        if not (folder / FILE).is_file():
            return False
        table = torch.load(folder / FILE, map_location=self.device, weights_only=True)
        self.accelerator.unwrap_model(self.net).load_state_dict(table["net"])
        self.optimizer.load_state_dict(table["optimizer"])
        self.schedule.load_state_dict(table["schedule"])
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None and table["scaler"]:
            scaler.load_state_dict(table["scaler"])
        torch.set_rng_state(table["rng"].cpu())
        if torch.cuda.is_available() and table["cuda_rng"]:
            torch.cuda.set_rng_state_all([state.cpu() for state in table["cuda_rng"]])
        self.epoch, self.batch, self.seen = table["epoch"], table["batch"], table["seen"]
        self.loss_sum = table["loss_sum"]
        self.history = [Epoch(int(epoch), *rest) for epoch, *rest in table["history"]]
        return True

    def minutes_since_save(self) -> float:
        return (time.monotonic() - self.saved_at) / 60
