"""What limits training on this machine: the parts of a run, each measured alone on a competition's own images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comp import events
from comp.data.competitions.competition import find_competition
from comp.errors import InputError
from comp.pipelines.find_lr import plan_of_first_fold
from comp.workspace import Workspace

if TYPE_CHECKING:
    from comp.training.plan import TrainPlan

ENOUGH = 0.97  # of the step's own speed: then the step is the limit


@dataclass(frozen=True)
class BenchResult:
    """Images a second of each part of training fold 0.

    ``decode`` reads and decodes files (or takes rows of an array), ``first_pass`` also fits and varies them, ``feed``
    delivers batches once images are decoded, ``step`` trains on one batch that is there already, and ``fed_step``
    trains on what the feed delivers. ``limit`` names the part that decides: "step", or "feed" where the step waits; on a
    CPU, whose cores both share, the one that is slower alone.
    """

    slug: str
    model: str
    size: int
    batch: int
    device: str
    precision: str
    channels_last: bool
    threads: int
    decode: float
    first_pass: float
    feed: float
    step: float
    fed_step: float

    @property
    def limit(self) -> str:
        shares_cores = self.device == "cpu"
        waits = self.feed < self.step if shares_cores else True
        return "feed" if waits and self.fed_step < ENOUGH * self.step else "step"

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp bench --json``: images a second by part."""
        parts = ("decode", "first_pass", "feed", "step", "fed_step")
        facts = ("slug", "model", "size", "batch", "device", "precision", "channels_last", "threads")
        return {
            **{name: getattr(self, name) for name in facts},
            "images_per_second": {name: round(getattr(self, name), 1) for name in parts},
            "fed": round(self.fed_step / self.step, 3),
            "limit": self.limit,
        }


def bench(
    slug: str = "digits",
    *,
    seconds: float = 5.0,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
    recipe: str | Path | None = None,
    overrides: Sequence[str] | Mapping[str, object] = (),
) -> BenchResult:
    """Measures the parts of a competition's training on this machine, each for ``seconds``; writes no run.

    Raises
    ------
    CompError
        For a mode without training steps, and whatever ``run`` would refuse.
    """
    if not 0.1 <= seconds <= 600:
        raise InputError("`seconds` takes 0.1 to 600", f"got {seconds:g}", "5 is enough on a quiet machine")
    ws = Workspace.find(workspace)
    competition = find_competition(slug, ws)
    plan = plan_of_first_fold("a bench needs training steps", ws, competition, data, recipe, overrides)
    return _measured(slug, plan, seconds)


def _measured(slug: str, plan: TrainPlan, seconds: float) -> BenchResult:
    from comp.data.images.decode import load_pixels
    from comp.training.throughput import Bench

    parts, recipe = Bench(plan), plan.recipe
    found: dict[str, float] = {}
    measured: list[tuple[str, Callable[[], Iterator[int]]]] = [
        ("decode", lambda: parts.decoded(load_pixels)),
        ("first_pass", parts.first_pass),
        ("feed", parts.fed),
        ("step", parts.steps),
        ("fed_step", parts.fed_steps),
    ]
    with parts.threads(), events.task("measuring", len(measured)) as bar:
        for name, work in measured:
            found[name] = _rate(work(), seconds, parts.wait)
            bar.advance()
    return BenchResult(
        slug,
        recipe.model.name,
        plan.preprocess.size,
        recipe.batch,
        recipe.device,
        recipe.precision,
        bool(recipe.channels_last),
        recipe.threads or 1,
        **found,
    )


def _rate(work: Iterator[int], seconds: float, wait: Callable[[], None]) -> float:
    """Images a second over at least ``seconds``, after a first batch that is not counted."""
    next(work)
    wait()
    done, started = 0, time.perf_counter()
    for count in work:
        done += count
        if time.perf_counter() - started >= seconds:
            break
    wait()
    return done / (time.perf_counter() - started)
