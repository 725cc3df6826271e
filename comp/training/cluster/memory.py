"""How much memory a fold takes on a worker: some steps and a look at held-out rows, measured in a process of their own."""

from __future__ import annotations

import itertools
import pickle
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch

from comp import events
from comp.data.augment.policies import TrainTransform
from comp.data.images.pixel_cache import ImageDataset
from comp.data.images.preprocess import DEFAULT_BUDGET, room_side
from comp.data.loading.prefetch import loader_pool
from comp.errors import in_words
from comp.inference.forward import probabilities
from comp.models.autotune import Times, remembered
from comp.training.fresh_process import Fresh
from comp.training.loop import new_net
from comp.training.plan import TrainPlan
from comp.training.throughput import Bench
from comp.training.train_fold import FoldJob

SAMPLE = 256  # rows that it is measured on
STEPS = 3
MARGIN = 1.2  # times what was measured: memory is not freed in the order that it was taken in
SOLVE = 4  # times the features of a fold, while its classifier is solved


def fold_memory(job: FoldJob, cache: Path) -> int | None:
    """Bytes of this machine's memory that the process of a fold takes at most; None where they cannot be measured.

    What was measured is kept in ``cache`` for the same network, batch and rows. The images that training keeps, and the features that a
    classifier is solved on, are added by their number.
    """
    if sys.platform == "win32":  # it would not take the pipe along
        return None
    plan = job.plan
    try:
        found = remembered(new_net(plan, job.k), plan.recipe, cache, _what(plan), lambda: _measured(job))
    except _NotMeasured as failed:
        events.log(f"  warning: the memory of a fold is not known, and none is asked for: {failed}")
        return None
    return int(MARGIN * found["bytes"]) + _images(plan) + _features(job)


class _NotMeasured(Exception):
    """The process that was to be measured failed."""


def _measured(job: FoldJob) -> Times:
    """Bytes of a new process that does what a fold does, on few rows."""
    child = Fresh(pickle.dumps(Steps(replace(job, features=None))))
    try:
        with events.task("measuring a fold's memory", 1):
            while child.hear():
                pass
        failure = child.end()
    except BaseException:
        child.kill()
        child.end()
        raise
    if failure is not None:
        raise _NotMeasured(in_words(failure))
    return {"bytes": float(child.answer)}


@dataclass(frozen=True)
class Steps:
    """Some steps of a fold, in a process that does nothing else; its peak of memory in bytes."""

    job: FoldJob

    def __call__(self) -> int:
        with events.screened(lambda event: isinstance(event, events.Message)):
            if self.job.plan.recipe.mode != "probe":
                _steps(_sampled(self.job.plan))
        return peak()


def _steps(plan: TrainPlan) -> None:
    torch.set_num_threads(plan.recipe.threads or 1)
    bench = Bench(plan)
    with bench.threads():
        for _ in itertools.islice(bench.fed_steps(), STEPS):
            bench.wait()
    rows = bench.part.held_out[:SAMPLE]
    pixels = ImageDataset(plan.images, list(bench.part.table["path"]), plan.preprocess)
    with loader_pool(plan.recipe.threads or 1) as pool:
        net, device = bench.state.net.eval(), bench.state.device
        probabilities(net, pool, pixels, rows, plan.views, plan.recipe, device, labels=plan.labels)


def _sampled(plan: TrainPlan) -> TrainPlan:
    """The plan on few rows: of fold 0, which holds out, of the others, a batch at least, and extra ones."""
    table, most = plan.manifest.table, max(SAMPLE, plan.recipe.batch)
    train = table[table["split"] == "train"]
    held_out = plan.folds.of(train["id"]) == 0
    extra = table[table["split"] == "extra"]
    some = pd.concat([train[held_out].iloc[:SAMPLE], train[~held_out].iloc[:most], extra.iloc[:most]])
    few = replace(plan.manifest, table=some.reset_index(drop=True))
    recipe = plan.recipe.model_copy(update={"distill": None})
    small = replace(plan, recipe=recipe, manifest=few, pseudo=None, teacher=None)
    return small if plan.warm is None else replace(small, warm=None, weights=plan.weights_of(0))


def peak() -> int:
    """The most bytes of memory that this process has had."""
    if sys.platform == "linux":  # what getrusage says begins with the process that this one was forked from
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _images(plan: TrainPlan) -> int:
    """Bytes of the images that a fold keeps in memory: those that it trains on, and those that it holds out."""
    if plan.recipe.mode == "probe":
        return 0
    rows, size = len(plan.by_image.train) + len(plan.by_image.extra), plan.preprocess.size
    extent = TrainTransform(plan.recipe.transform, plan.preprocess).extent
    side = {"square": size, "room": room_side(plan.preprocess), "whole": 2 * size}[extent]
    if extent == "whole" and plan.decoded is not None:  # they lie on the disk as they are
        rows = 0
    return _kept(rows, side) + _kept(len(plan.by_image.train) // plan.folds.k, size)


def _kept(rows: int, side: int) -> int:
    return min(DEFAULT_BUDGET, rows * side * side * 3)


def _features(job: FoldJob) -> int:
    """Bytes of the features that come along, and of solving on them."""
    if job.features is None:
        return 0
    return (1 + SOLVE) * sum(one.nbytes for one in job.features.by_view.values())


def _what(plan: TrainPlan) -> str:
    """What decides the memory of some steps, beside the network, its batch and the device."""
    recipe = plan.recipe
    stages = [(stage.train, stage.size) for stage in recipe.stages or []]
    mixes = recipe.regularize.ema is None, bool(recipe.regularize.mixup or recipe.regularize.cutmix)
    facts = (
        recipe.model,
        stages,
        recipe.optimizer.name,
        mixes,
        recipe.transform,
        recipe.fold_norms,
        plan.views,
    )
    return f"memory {facts} {len(plan.by_image.table)} {recipe.threads}"
