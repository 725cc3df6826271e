"""What a candidate costs: work, which depends on no clock, and seconds by a few measured steps of its network."""

from __future__ import annotations

import copy
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch

from comp.models.batchnorm_fusion import fuse_frozen_batchnorm
from comp.models.net import Net
from comp.models.runtime import on_threads, wait_for
from comp.recipe import Recipe
from comp.training.loop import new_net
from comp.training.optim import stages_of
from comp.training.plan import TrainPlan, rows_of_fold
from comp.training.throughput import Bench

BACKWARD = 2.0  # multiply-adds of a step beyond its forward pass, in forward passes
ROUNDS = 40  # passes over the rows until a classifier is solved
PENALTIES = 3  # that are tried before it
MOST_SOLVED = 4096  # rows that a pass is timed on
PER_RUN, PER_FOLD = 1.5, 0.15  # seconds: folders, checkpoints, records
PROBE_BATCH = 32  # images of a forward pass that is timed
JUDGED_AGAIN = 64  # images of a fold that go through its saved network once more
SAMPLE, MEASURE = 256, 2.0  # rows that training is timed on, and seconds that it is timed for
LOOK, LEAST_LOOKS = 1.0, 3  # seconds that a forward pass is timed for, and passes at least


@dataclass(frozen=True)
class Passes:
    """The images that go through a network, each counted once a pass: ``trained`` by the side that they train on, and ``seen``
    forward only.
    """

    trained: dict[int, float]
    seen: float

    @classmethod
    def of(cls, plan: TrainPlan) -> Passes:
        """Of all folds of a plan, their validation and the test rows among them."""
        recipe, k = plan.recipe, plan.folds.k
        rows = len(plan.by_image.train) + len(plan.by_image.extra)
        test, views = len(plan.by_image.test), plan.most_views
        if recipe.mode == "probe":  # a frozen backbone sees an image once for all folds
            return cls({}, float((rows + test) * len(plan.views)))
        fitted = sum(len(rows_of_fold(plan, fold).fitted) for fold in range(k))
        side = recipe.model.size or plan.preprocess.size
        trained: dict[int, float] = {}
        for stage in stages_of(recipe):
            own = stage.size or side
            trained[own] = trained.get(own, 0.0) + fitted * stage.epochs
        held_out = len(plan.judged_by(range(k)))
        frozen = rows if recipe.mode == "finetune" and recipe.head_start and plan.weights is not None else 0
        return cls(trained, float(held_out * (recipe.epochs + views) + test * k * views + frozen))


def work_of(plan: TrainPlan) -> float:
    """10^9 multiply-adds that a plan takes, training and predicting, the same on every machine."""
    passes = Passes.of(plan)
    side = plan.recipe.model.size or plan.preprocess.size
    one = multiply_adds(new_net(plan, 0), side, plan.preprocess.channels) / 1e9
    trained = sum(count * (own / side) ** 2 for own, count in passes.trained.items())
    return one * (trained * (1 + BACKWARD) + passes.seen)


def multiply_adds(net: Net, side: int, channels: int = 3) -> float:
    """Multiply-adds of one image of this side and so many channels."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    net.eval()
    with counter, torch.inference_mode():
        net(torch.zeros(1, channels, side, side))
    return counter.get_total_flops() / 2


def seconds_of(plan: TrainPlan, kept: int = 0, at_once: int = 1) -> float:
    """Seconds that a run of this plan takes on this machine as it is now, or with so many folds ``at_once`` on such
    machines: a few steps of its network are measured.

    A probe's features of the labelled rows are at hand under ``kept`` of its views, and its penalty is then known.
    """
    passes, recipe = Passes.of(plan), plan.recipe
    net = new_net(plan, 0)
    side = recipe.model.size or plan.preprocess.size
    found = PER_RUN + PER_FOLD * plan.folds.k
    passes = replace(passes, seen=passes.seen + JUDGED_AGAIN * plan.folds.k)
    if recipe.mode == "probe":
        seen = passes.seen - kept * (len(plan.by_image.train) + len(plan.by_image.extra))
        solves = plan.folds.k * (1 if kept else 1 + PENALTIES)
        return found + seen * _forward_seconds(net, recipe) + solves * _solve_seconds(plan, net)
    trained = sum(count * _step_seconds(plan, own, side) for own, count in passes.trained.items())
    found += passes.seen * _forward_seconds(net, recipe)
    return found + trained / at_once


def _solve_seconds(plan: TrainPlan, net: Net) -> float:
    """Seconds of a fold's classifier: passes over made features of as many rows, columns and classes are timed."""
    if not isinstance(net.head, torch.nn.Linear):
        return 0.0
    rows = max(1, len(plan.by_image.train) * (plan.folds.k - 1) // plan.folds.k * len(plan.solved_views))
    some = min(rows, MOST_SOLVED)
    x = torch.randn(some, net.head.in_features)
    weight = torch.zeros(plan.labels.width, net.head.in_features, requires_grad=True)
    with on_threads(plan.recipe.threads or torch.get_num_threads()):
        for n in range(3):
            if n == 1:  # the first one warms up
                started = time.perf_counter()
            torch.logsumexp(x @ weight.T, 1).mean().backward()  # type: ignore[no-untyped-call]
        return (time.perf_counter() - started) / 2 * ROUNDS * rows / some


def _forward_seconds(net: Net, recipe: Recipe) -> float:
    """Seconds of an image in a forward pass, with its norms folded as predictions and features have them."""
    size = recipe.model.size or 224
    made = copy.deepcopy(net).eval()
    if recipe.channels_last:
        made = made.to(memory_format=torch.channels_last)
    fuse_frozen_batchnorm(made, size, recipe.model.channels)
    device = torch.device(recipe.device)
    made, x = made.to(device), torch.zeros(PROBE_BATCH, size, size, recipe.model.channels, device=device)
    x = x.permute(0, 3, 1, 2)
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(recipe.precision)
    with (
        torch.inference_mode(),
        on_threads(recipe.threads or torch.get_num_threads()),
        torch.autocast(device.type, dtype=half) if half else nullcontext(),
    ):
        made(x)
        wait_for(device)
        done, started = 0, time.perf_counter()
        while done < LEAST_LOOKS or time.perf_counter() - started < LOOK:
            made(x)
            wait_for(device)
            done += 1
        return (time.perf_counter() - started) / (done * PROBE_BATCH)


def _step_seconds(plan: TrainPlan, side: int, judged: int) -> float:
    """Seconds of a training image at this side: its size alone would not tell, since small steps cost more than their share."""
    stages = [stage for stage in plan.recipe.stages or [] if (stage.size or judged) == side]
    recipe = plan.recipe.model_copy(update={"stages": stages[:1]}) if stages else plan.recipe
    return _measured(replace(plan, recipe=recipe))


def _measured(plan: TrainPlan) -> float:
    table = plan.manifest.table
    some = table[table["split"] == "train"]
    some = some[plan.folds.of(some["id"]) != 0].iloc[:: max(1, len(some) // SAMPLE)]
    small = replace(plan, manifest=replace(plan.manifest, table=some.reset_index(drop=True)))
    bench = Bench(small)
    with bench.threads():
        work = bench.fed_steps()
        next(work)
        bench.wait()
        done, started = 0, time.perf_counter()
        while done == 0 or time.perf_counter() - started < MEASURE:
            done += next(work)
        bench.wait()
        return (time.perf_counter() - started) / done
