"""What to try next: three experiments that this run's numbers speak for, each with its command."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from comp.report.run_report.epochs import Verdict
from comp.report.run_report.run_data import RunData
from comp.report.run_report.scores import RunBeside

MOST = 3


@dataclass(frozen=True)
class Experiment:
    """Something to try: why, and the command that tries it."""

    why: str
    command: str


def next_experiments(data: RunData, curves: Verdict | None, beside: Sequence[RunBeside]) -> list[Experiment]:
    """The three that promise most, the surest first."""
    every = [*_of_the_run(data), *_of_runs(data, beside), *_of_curves(data, curves), *_of_the_recipe(data)]
    return every[:MOST]


def _of_the_run(data: RunData) -> list[Experiment]:
    shown = [mark for mark in data.marks if mark in ("quick", "partial", "sample")]
    found = []
    if "quick" in shown:
        found.append(Experiment("This was a smoke run on a few rows.", f"comp run {data.slug}"))
    elif "partial" in shown or not data.record:
        found.append(Experiment("Some folds are left.", f"comp run {data.slug} --resume {data.run}"))
    doubted = int(data.doubts.suspected.sum()) if data.doubts is not None else 0
    if doubted:
        count = f"{doubted} labels are" if doubted > 1 else "1 label is"
        why = f"{count} likely wrong: look at the images, and train on corrected labels."
        found.append(Experiment(why, f"comp labels {data.run} --csv labels.csv"))
    return found


def _of_runs(data: RunData, beside: Sequence[RunBeside]) -> list[Experiment]:
    known = [one for one in beside if math.isfinite(one.blended) and one.added.endswith(": better")]
    if not known:
        return []
    sign = 1.0 if data.metric.direction == "max" else -1.0
    best = max(known, key=lambda one: sign * one.blended)
    why = f"The mean of this run and {best.run.id} scores {best.blended:.4f}, {best.added.split(':')[0]} over the better one."
    return [Experiment(why, f"comp ensemble {data.run} {best.run.id}")]


def _of_curves(data: RunData, curves: Verdict | None) -> list[Experiment]:
    if curves is None:
        return []
    epochs = int(data.recipe.get("epochs") or 1)
    run = _again(data)
    if curves.kind in ("longer", "short"):
        return [Experiment(f"{_sentence(curves.words)}", f"{run} --set epochs={2 * epochs}")]
    if curves.kind == "overfits":
        return [
            Experiment(_sentence(curves.words), f"{run} --set regularize.mixup=0.2 --set epochs={epochs}")
        ]
    if curves.kind == "unstable":
        return [Experiment(_sentence(curves.words), f"comp lr {data.slug}")]
    return []


def _again(data: RunData) -> str:
    """The command that trains a run's recipe anew, to be changed by what follows."""
    return f"comp run {data.slug} --folds {data.folds} --recipe runs/{data.run}/recipe.toml"


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + "."


def _of_the_recipe(data: RunData) -> list[Experiment]:
    mode = data.recipe.get("mode")
    model = data.recipe.get("model") or {}
    run = _again(data)
    found = []
    name = f" --set model.name={model['name']}" if model.get("name") else ""
    if mode == "probe":
        why = "The backbone was frozen: fine-tuning it from this run's classifier usually gains most."
        found.append(Experiment(why, f"comp run {data.slug} --set mode=finetune{name}"))
    if mode == "scratch":
        why = "The network was trained from nothing: a pretrained backbone usually gains most."
        found.append(
            Experiment(why, f"comp run {data.slug} --set mode=finetune --set model.weights=default{name}")
        )
    if mode in ("finetune", "probe") and isinstance(model.get("size"), int):
        larger = max(round(model["size"] * 1.25 / 32) * 32, model["size"] + 32)
        found.append(
            Experiment(
                f"Larger images, {larger} instead of {model['size']} pixels a side.",
                f"{run} --set model.size={larger}",
            )
        )
    found.append(Experiment("A second seed, to blend with this run.", f"{run} --seed 2"))
    return found
