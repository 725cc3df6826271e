"""Work that says which device it has, for tests of how folds are dealt: it is pickled to processes that import it from here."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import comp.console  # noqa: F401  as an adapter may that imports comp
from comp import events
from comp.errors import TrainingFailed
from comp.training.time_limit import Deadline, stopped


@dataclass(frozen=True)
class NoPlan:
    """The part of a plan that dealing looks at."""

    deadline: Deadline | None = None

    def name(self, k: int) -> str:
        return f"fold {k}"


@dataclass(frozen=True)
class Look:
    """A fold that writes down which device it sees, and when it began and ended.

    ``waits`` are folds that have to have begun before it ends, ``fails`` says what it does instead of ending on a device.
    """

    k: int
    folder: Path
    waits: tuple[int, ...] = ()
    fails: dict[str, str] = field(default_factory=dict)
    plan: NoPlan = NoPlan()

    def __call__(self) -> None:
        device = os.environ["CUDA_VISIBLE_DEVICES"]
        began = time.monotonic()
        (self.folder / f"begun-{self.k}").touch()
        events.log(f"fold {self.k} sees {device}")
        fails = self.fails.get(device, "")
        if fails == "prints":
            print(f"fold {self.k} prints")
        if fails == "dies":
            os.kill(os.getpid(), 9)
        elif fails == "cuda":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        elif fails == "memory":
            raise MemoryError("out of memory")
        elif fails == "diverges":
            raise TrainingFailed("the loss must be a number", f"fold {self.k}", "less")
        elif fails == "late":
            raise stopped(f"fold {self.k}")
        elif fails == "bug":
            raise RuntimeError("expected all tensors on cuda:0")
        elif fails == "measures":
            assert self.plan.deadline is not None
            self.plan.deadline.measured(1, 50.0)
        until = time.monotonic() + 60
        while not all((self.folder / f"begun-{k}").exists() for k in self.waits):
            assert time.monotonic() < until
            time.sleep(0.02)
        said = {"device": device, "pid": os.getpid(), "began": began, "ended": time.monotonic()}
        (self.folder / f"{self.k}.json").write_text(json.dumps(said))
