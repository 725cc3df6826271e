"""Runs that go on: unfinished ones, and child runs, which are another run's recipe with changes, on its rows and folds, each fold from that run's weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from comp import events
from comp.checks.runner import CheckResult
from comp.config import apply_override, whole_number
from comp.data.competitions.competition import Competition
from comp.data.corrected_labels import corrections_sha256
from comp.data.folds import folds_sha256
from comp.errors import InputError
from comp.pipelines.request import RunRequest, model_mistakes, request_like, request_of, require_own
from comp.recipe import NAMED, Recipe, as_one, from_table
from comp.runs import run as runs
from comp.runs.contents import recipe_of, require_held_out
from comp.workspace import Workspace

Mistakes = Callable[[dict[str, Any]], list[str]]
BEFORE = "epochs_before"
FIXED = {"fold_seed": "its parent's folds", "weights": "its parent's weights"}


def resumed_request(
    run: runs.Run,
    workspace: Workspace,
    competition: Competition,
    data: str | Path | None,
    overrides: Sequence[str],
    plain: bool,
) -> RunRequest:
    """The order of an unfinished run that goes on, or with overrides of a child of a finished one.

    ``plain`` says that nothing else was asked for that a recipe decides; InputError where it was.
    """
    runs.require_checkpoints(run)
    if not plain:
        value = "`resume` came with `recipe`, `seed`, `quick` or `pseudo`"
        remedy = 'drop them; `overrides=["KEY=VALUE"]` goes on from a finished run as a child run'
        raise InputError("a resumed run keeps its own recipe", value, remedy)
    if overrides:
        return child_request(run, workspace, competition, data, overrides)
    return request_of(run, workspace, competition, data)


def child_request(
    parent: runs.Run,
    workspace: Workspace,
    competition: Competition,
    data: str | Path | None,
    overrides: Sequence[str],
) -> RunRequest:
    """The order of a run that goes on from a finished one under a changed recipe.

    ``epochs=N`` among the overrides is the total, the parent's epochs (and those of its own parent) among them;
    without it the epochs of the recipe are trained again.

    Raises
    ------
    InputError
        If the parent is unfinished or of another competition, N does not exceed its epochs, or an override would
        take the child away from its parent's folds or weights.
    """
    from comp.models.runtime import on_this_machine

    require_own(parent, competition)
    require_held_out(parent)
    if not parent.record:
        value = f"{parent.id} is not done, and came with `overrides`"
        remedy = (
            f"finish it, `comp run {parent.slug} --resume {parent.id}`; then `overrides` makes a child run"
        )
        raise InputError("an unfinished run keeps its own recipe", value, remedy)
    old = recipe_of(parent).each
    before = trained_epochs(parent, old)
    total, rest = _split(overrides)
    laid = _laid(old, parent, rest, model_mistakes(competition))
    ordered = any(override.partition("=")[0].strip() == "device" for override in rest)
    wanted = (laid if ordered else on_this_machine(laid)).each
    if total is not None:
        wanted = tuple(
            _going_on(one, total, done, parent.id) for one, done in zip(wanted, before, strict=True)
        )
    _say(parent.id, wanted, before)
    request = request_like(parent, workspace, competition, as_one(wanted), data)
    return replace(request, origin={"parent": parent.id, BEFORE: before})


def trained_epochs(run: runs.Run, recipes: Sequence[Recipe]) -> list[int]:
    """The epochs of each model of a run, its ancestors' among them; probe has none."""
    before = run.started.get(BEFORE) or [0] * len(recipes)
    own = [0 if recipe.mode == "probe" else recipe.epochs for recipe in recipes]
    return [int(b) + o for b, o in zip(before, own, strict=True)]


def _split(overrides: Sequence[str]) -> tuple[int | None, list[str]]:
    """The total of epochs, where one is named, and the other overrides."""
    total: int | None = None
    rest: list[str] = []
    for override in overrides:
        key, _, value = (part.strip() for part in override.partition("="))
        last = key.rpartition(".")[2]
        if (last in FIXED and key.startswith("model")) or key == "fold_seed":
            raise InputError(f"a child run keeps {FIXED[last]}", f"`overrides=[{override!r}]`", "drop it")
        if last == "epochs" and key.startswith("model"):
            raise InputError(
                "epochs is the total of every model",
                f"`overrides=[{override!r}]`",
                '`overrides=["epochs=N"]`',
            )
        if key != "epochs":
            rest.append(override)
        elif (number := whole_number(value)) is not None and number > 0:
            total = number
        else:
            raise InputError(
                "epochs is a whole number",
                f"`overrides=[{override!r}]`",
                'for example `overrides=["epochs=20"]`',
            )
    staged = [text for text in rest if text.startswith("stages")]
    if staged and total is not None:
        raise InputError(
            "stages say how many epochs there are", f"`overrides=[{staged[0]!r}]`", "drop epochs"
        )
    return total, rest


def _laid(old: Sequence[Recipe], parent: runs.Run, overrides: Sequence[str], also: Mistakes) -> Recipe:
    """The parent's recipe with the overrides, starting from its weights."""
    table = as_one(old).as_table()
    for override in overrides:
        apply_override(table, override, NAMED[1:])
    keys = {override.partition("=")[0].strip() for override in overrides}
    if any(key.startswith("stages") for key in keys):
        table.pop("epochs", None)  # they add up to it
    models: list[Any] = table["model"] if isinstance(table["model"], list) else [table["model"]]
    if len(models) != len(old):
        value = f"{parent.id} has {len(old)}, the overrides name {len(models)}"
        raise InputError("a child run keeps its parent's models", value, "a new run may have others")
    entries = [{"name": one} if isinstance(one, str) else dict(one) for one in models]
    for n, (entry, was) in enumerate(zip(entries, old, strict=True)):
        entry["weights"] = f"run:{parent.id}" + (f"/model-{n}" if len(old) > 1 else "")
        place = entry if "mode" in entry else table
        if place.get("mode") == "scratch" and "mode" not in keys and f"model.{n}.mode" not in keys:
            place["mode"] = "finetune"  # it no longer starts from nothing
        if was.mode == "probe" and place.get("mode") != "probe" and not _sets(keys, n, "freeze_bn"):
            entry.pop("freeze_bn", None)  # in probe it meant nothing
    table["model"] = entries if isinstance(table["model"], list) else entries[0]
    return from_table(table, f"the recipe of {parent.id} with `overrides`", also)


def _sets(keys: set[str], n: int, name: str) -> bool:
    return f"model.{name}" in keys or f"model.{n}.{name}" in keys


def _going_on(recipe: Recipe, total: int, done: int, parent: str) -> Recipe:
    """The recipe for the epochs that are left of ``total``, in the last of its stages."""
    if recipe.mode == "probe":
        raise InputError(
            "probe has no epochs: it solves",
            f'`overrides=["epochs={total}"]`',
            '`overrides=["mode=finetune"]` too',
        )
    if total <= done:
        value = f'{parent} trained {done}, `overrides=["epochs={total}"]`'
        raise InputError("epochs is the total, the parent's among them", value, f"epochs={done + 1} or more")
    stages = recipe.stages and [recipe.stages[-1].model_copy(update={"epochs": total - done})]
    return recipe.model_copy(update={"epochs": total - done, "stages": stages})


def _say(parent: str, wanted: Sequence[Recipe], before: Sequence[int]) -> None:
    told = [
        "solves the classifier"
        if recipe.mode == "probe"
        else f"trains epochs {done + 1} to {done + recipe.epochs}"
        if recipe.epochs > 1
        else f"trains epoch {done + 1}"
        for recipe, done in zip(wanted, before, strict=True)
    ]
    events.log(f"a child of {parent}: it starts from its weights and {', '.join(dict.fromkeys(told))}")


def kept_of(request: RunRequest, checks: CheckResult, recipe: Recipe) -> dict[str, str | None]:
    """What has to be the same when a run goes on: its folds, extra rows and corrected labels, and its competition's
    models.py where a network is of it.
    """
    from comp.models.net import models_sha256

    assert checks.folds is not None, "the checks let no run pass without folds"
    names = [one.model.name for one in recipe.each]
    models = models_sha256(request.competition.file("models.py"), names)
    manifest = checks.dataset.manifest
    return {
        "folds_sha256": folds_sha256(checks.folds),
        "models_sha256": models,
        "corrected_sha256": corrections_sha256(manifest) if manifest.corrections else None,
        "extra_sha256": manifest.fingerprint("extra") if len(manifest.extra) else None,
    }
