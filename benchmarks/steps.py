"""Training steps: fed with real images against one batch repeated, and comp's choices against torch's defaults.

    python benchmarks/steps.py fed --data ART --work NEW_FOLDER [--set key=value ...] [--rounds 5]
    python benchmarks/steps.py layout [--models resnet18 mobilenetv2_100] [--rounds 3]

"fed" trains fold 0 of art-classification by the recipe, thirty steps in turn on what the feed delivers and on one
batch that is there already. "layout" times twelve steps of batch 32 at 224 pixels, each side in a process of its own:
torch's defaults (fp32, contiguous, glibc's allocator as it is) against what comp chooses by measuring; BatchNorm keeps
its statistics on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BATCH, STEPS = 32, 12


def fed(data: Path, work: Path, overrides: list[str], rounds: int, steps: int = 30) -> dict[str, Any]:
    from comp.data.competitions.competition import find_competition
    from comp.pipelines import training_plans
    from comp.pipelines.check import survey
    from comp.pipelines.request import new_request
    from comp.training.throughput import Bench
    from comp.workspace import Workspace

    work.mkdir(parents=True, exist_ok=True)
    place = Workspace.find(work)
    competition = find_competition("art-classification", place)
    order = new_request(place, competition, data, None, overrides, None, 5, False)
    found = survey(competition, place, data, folds=5, fold_seed=0)
    (plan,) = training_plans.make_plans(competition, found, order.recipe, place, None)
    bench = Bench(plan)
    rates: dict[str, list[float]] = {"fed": [], "one batch": []}
    with bench.threads():
        sides = {"fed": bench.fed_steps(), "one batch": bench.steps()}
        for work_of in sides.values():
            for _ in range(3):
                next(work_of)
        for n in range(rounds):
            for name, work_of in sides.items():
                started = time.perf_counter()
                count = sum(next(work_of) for _ in range(steps))
                bench.wait()
                rates[name].append(count / (time.perf_counter() - started))
                print(
                    json.dumps({"round": n + 1, "side": name, "images/s": round(rates[name][-1], 1)}),
                    flush=True,
                )
    medians = {name: statistics.median(values) for name, values in rates.items()}
    recipe = plan.recipe
    return {
        "model": recipe.model.name,
        "size": recipe.model.size,
        "precision": recipe.precision,
        "images/s": {name: round(value, 1) for name, value in medians.items()},
        "fed / one batch": round(medians["fed"] / medians["one batch"], 3),
    }


def one_side(side: str, model: str) -> dict[str, Any]:
    """Images a second of one side; in a process of its own, since the allocator's settings are the process's."""
    import torch

    from comp.models.autotune import autotune_precision
    from comp.models.net import build, freeze_batchnorm
    from comp.models.runtime import resolve_device
    from comp.recipe import from_table
    from comp.training.optim import make_optimizer
    from comp.training.state import TrainState

    table = {"mode": "finetune", "batch": BATCH, "model": {"name": model, "size": 224, "freeze_bn": True}}
    recipe = from_table(table, "benchmark", lambda _: [])
    net = build(recipe.model, 10)
    pixels = torch.randn(BATCH, 224, 224, 3).permute(0, 3, 1, 2)
    y = torch.arange(BATCH) % 10
    if side == "comp":
        recipe = autotune_precision(net, resolve_device(recipe), Path(os.environ["COMP_CACHE"]))
        state = TrainState.begin(net, recipe, STEPS)
        network, optimizer, context = state.net, state.optimizer, state.accelerator.autocast
    else:
        torch.set_num_threads(2)
        from contextlib import nullcontext

        network, optimizer, context = net, make_optimizer(net, recipe), nullcontext
        pixels = pixels.contiguous()
    network.train()
    freeze_batchnorm(network)
    seconds = []
    for _ in range(STEPS):
        started = time.perf_counter()
        with context():
            loss = torch.nn.functional.cross_entropy(network(pixels), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - started)
    chosen = {"precision": recipe.precision, "channels_last": recipe.channels_last} if side == "comp" else {}
    return {"images/s": round(BATCH / statistics.median(seconds[2:]), 1), **chosen}


def layout(models: list[str], rounds: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for model in models:
        rates: dict[str, list[float]] = {"default": [], "comp": []}
        chosen: dict[str, Any] = {}
        for n in range(rounds):
            for side in rates:
                command = [sys.executable, __file__, "side", "--side", side, "--models", model]
                ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                told = json.loads(ran.stdout.splitlines()[-1])
                rates[side].append(told.pop("images/s"))
                chosen = told or chosen
                print(json.dumps({"round": n + 1, "model": model, "side": side, "images/s": rates[side][-1]}))
        medians = {side: statistics.median(values) for side, values in rates.items()}
        found[model] = {
            "images/s": medians,
            **chosen,
            "ratio": round(medians["comp"] / medians["default"], 2),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["fed", "layout", "side"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--models", nargs="+", default=["resnet18", "mobilenetv2_100"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", default="default")
    args = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("COMP_CACHE", "/tmp/comp-benchmark")
    if args.what == "side":
        print(json.dumps(one_side(args.side, args.models[0])))
    elif args.what == "fed":
        print(json.dumps(fed(args.data, args.work, args.overrides, args.rounds), indent=1))
    else:
        print(json.dumps(layout(args.models, args.rounds), indent=1))


if __name__ == "__main__":
    main()
