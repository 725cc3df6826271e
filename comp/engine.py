"""The steps of a run that need torch: the plan, the folds, the test predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from comp import console
from comp.checks.findings import Finding
from comp.checks.recipe_family import preprocessing_override, weights_leak
from comp.checks.run_family import collapsed_predictions, prior_shift, too_good
from comp.competition import Competition
from comp.errors import InputError
from comp.folds import Folds
from comp.inference.predict import predict
from comp.manifest import Manifest
from comp.predictions import Predictions, join
from comp.recipe import Recipe
from comp.survey import Survey
from comp.training.deadline import OutOfTime
from comp.training.device import resolve_device
from comp.training.fold import FoldResult, Plan
from comp.training.loop import new_net
from comp.training.model import overrides, require_model, resolve
from comp.training.probe import frozen_features
from comp.training.run_fold import is_finished, read_fold, run_fold
from comp.training.transforms import TrainTransform, check_transform
from comp.workspace import Workspace


def recipe_mistakes(table: dict[str, Any]) -> list[str]:
    """Names in a recipe's table that timm or albumentations do not have, told by their dotted paths."""
    model = table.get("model", {})
    name = model if isinstance(model, str) else model.get("name") if isinstance(model, dict) else None
    tried: list[tuple[str, Callable[[], object]]] = []
    if isinstance(name, str):
        tried.append(("model.name", lambda: require_model(name)))
    transform = table.get("transform")
    if isinstance(transform, str) or (
        isinstance(transform, list) and all(isinstance(t, dict) for t in transform)
    ):
        tried.append(("transform", lambda: check_transform(transform)))
    found = []
    for path, attempt in tried:
        try:
            attempt()
        except InputError as error:
            found.append(f"{path}: {error.rule}, {error.value}")
    return found


def prepare(
    competition: Competition,
    found: Survey,
    wanted: Recipe,
    workspace: Workspace,
    reduce: Callable[[Manifest, Folds], Manifest] | None,
) -> Plan:
    """Resolves the recipe on this machine and builds the model once, so that mistakes show before a run folder is made."""
    assert found.folds is not None, "the gate lets no run pass without folds"
    recipe = resolve_device(wanted)
    part, preprocess, weights = resolve(recipe.model, recipe.mode, workspace.weight_folders())
    recipe = recipe.model_copy(update={"model": part})
    TrainTransform(recipe.transform, preprocess)
    manifest = without_unreadable(found)
    plan = Plan(
        slug=competition.slug,
        recipe=recipe,
        preprocess=preprocess,
        weights=weights,
        manifest=reduce(manifest, found.folds) if reduce else manifest,
        labels=found.evidence.labels,
        folds=found.folds,
        metric=competition.metric,
        source=found.source,
        folder=workspace.runs,
    )
    new_net(plan, 0)
    return plan


def without_unreadable(found: Survey) -> Manifest:
    """The manifest without labelled rows whose image cannot be decoded (the gate let them pass by ``--allow``)."""
    table = found.evidence.manifest.table
    broken = np.array([bool(found.evidence.images[path].error) for path in table["path"]], dtype=bool)
    return Manifest(
        table[~broken | (table["split"] == "test")].reset_index(drop=True), found.evidence.manifest.notes
    )


def judge_recipe(plan: Plan, wanted: Recipe) -> list[Finding]:
    """The findings on the recipe and its weights, before anything is trained."""
    return [
        *weights_leak(plan.recipe.model.weights, plan.manifest, plan.folds),
        *preprocessing_override(overrides(wanted.model, wanted.mode)),
    ]


def judge_run(plan: Plan, test: Predictions, score: float, expected: float | None) -> list[Finding]:
    """The findings on what a run came to."""
    targets = plan.labels.encode(plan.manifest.train["label"])
    priors = np.bincount(targets, minlength=len(plan.labels)) / len(targets)
    return [
        *collapsed_predictions(test, priors),
        *too_good(score, plan.metric, len(targets), expected),
        *prior_shift(test, priors),
    ]


def train_folds(plan: Plan, only: Sequence[int] | None = None) -> tuple[list[FoldResult], Predictions]:
    """The folds of a plan, or some of them, finished ones read back; their OOF rows as one, in the manifest's order.

    Raises
    ------
    OutOfTime
        If the deadline passed before any fold was finished; with one that is, what is finished is returned.
    """
    finished = {k for k in range(plan.folds.k) if is_finished(plan.fold_folder(k))}
    todo = [k for k in (range(plan.folds.k) if only is None else only) if k not in finished]
    results = {k: read_fold(plan.fold_folder(k), k) for k in sorted(finished)}
    for one in results.values():
        console.say(f"  fold {one.fold}: {plan.metric.name} {one.score:.4f}, finished before")
    with console.progress():
        features = frozen_features(plan) if needs_features(plan) and todo else None
        with console.task("folds", plan.folds.k) as bar:
            bar.advance(len(results))
            for k in todo:
                try:
                    one = results[k] = run_fold(plan, k, features)
                except OutOfTime as stop:
                    if not results:
                        raise
                    console.say(f"  the time limit was reached in {stop.value}")
                    break
                if plan.deadline is not None:
                    plan.deadline.fold_finished()
                bar.advance()
                console.say(
                    f"  fold {k}: {plan.metric.name} {one.score:.4f} on {one.rows} held-out rows, {console.duration(one.seconds)}"
                )
    found = [results[k] for k in sorted(results)]
    oof = join([one.oof for one in found], list(plan.judged_by(sorted(results))["id"]))
    oof.save(plan.folder / "oof.npz")
    return found, oof


def needs_features(plan: Plan) -> bool:
    """Whether folds begin with a classifier solved on frozen features: always in probe, by ``head_start`` in finetune."""
    return plan.recipe.mode == "probe" or (
        plan.recipe.mode == "finetune" and plan.recipe.head_start and plan.weights is not None
    )


def predict_test(
    plan: Plan, results: Sequence[FoldResult], oof: Predictions, unread: set[str]
) -> Predictions:
    """The mean of the finished folds and views on the test rows.

    Rows whose path is in ``unread`` (their images cannot be decoded, and ``--allow`` let them pass) are answered
    with the OOF class prior: the mean OOF probabilities.
    """
    test = plan.manifest.test
    readable = test[[path not in unread for path in test["path"]]]
    fingerprint = plan.manifest.fingerprint("test")
    folders = [plan.fold_folder(one.fold) for one in results]
    with console.progress():
        found = predict(
            folders, plan.source, list(readable["id"]), list(readable["path"]), plan.recipe, fingerprint
        )
    rest = [name for name, path in zip(test["id"], test["path"], strict=True) if path in unread]
    if rest:
        prior = np.tile(oof.probs.mean(axis=0), (len(rest), 1))
        guessed = Predictions(tuple(rest), found.labels, prior, fingerprint)
        found = join([found, guessed], list(test["id"]))
    found.save(plan.folder / "test.npz")
    return found
