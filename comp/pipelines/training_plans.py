"""The steps of a run that need torch: plans, folds, and test predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comp import events
from comp.checks.context import Finding
from comp.checks.prediction_checks import (
    collapsed_predictions,
    harmful_transform,
    label_errors,
    preprocessing_override,
    prior_shift,
    too_good,
    warm_leak,
    weights_leak,
)
from comp.checks.runner import CheckResult
from comp.data.augment.policies import TrainTransform, check_transform, symmetries
from comp.data.competitions.competition import Competition
from comp.data.device_memory import release_memory
from comp.data.folds import Folds
from comp.data.images.array_source import ScaledSource
from comp.data.images.pixel_cache import cached_source, missing
from comp.data.images.preprocess import Preprocess, side_for
from comp.data.images.source import ImageSource, layer
from comp.data.manifest import TRAINING, Manifest
from comp.data.open_set import without_unknown
from comp.data.predictions import Predictions, with_prior
from comp.data.several_images import by_image, image_paths, pooled_predictions, require_one_image
from comp.errors import InputError
from comp.inference.forward import require_larger, sets_to_try
from comp.inference.predict import KeptFor, mean_of_folds, predict_each
from comp.models.autotune import autotune_precision
from comp.models.net import (
    differences,
    load_models,
    overrides,
    own_models,
    require_forward,
    resolve,
)
from comp.models.runtime import resolve_device
from comp.models.weights import StateDict
from comp.pipelines.view_choice import judge_views
from comp.recipe import ModelConfig, Recipe
from comp.training import arcface
from comp.training.gradients import require_joint
from comp.training.launches import fewer_launches, steps_and_folds
from comp.training.loop import new_net
from comp.training.losses import for_task, require_extra_rows, with_side_features
from comp.training.optim import make_optimizer, open_layers, stages_of
from comp.training.plan import TrainedModels, TrainPlan
from comp.training.teacher import Teacher, find_teacher
from comp.training.time_limit import OutOfTime
from comp.training.train_folds import Executor, are_dealt_to_gpus, per_job_recipe, train_folds, train_plans
from comp.training.transform_trial import mirrored_costs
from comp.training.warm_start import WarmStart, warm_start
from comp.workspace import Workspace, cache_folder


@dataclass(frozen=True)
class Start:
    """What a model starts from: its part of the recipe with nothing left open, its preprocessing, its weights (None:
    random), and the earlier runs that it goes on from, and learns from, if any are named.
    """

    part: ModelConfig
    preprocess: Preprocess
    weights: StateDict | None
    warm: WarmStart | None
    teacher: Teacher | None


def find_starts(competition: Competition, recipe: Recipe, workspace: Workspace) -> list[Start]:
    """What each model of the recipe starts from: needs no image, so that weights that cannot be had are refused at once.

    Raises
    ------
    CompError
        For an unknown model, and for weights or a run that are not there or do not fit the recipe.
    """
    load_models(competition.file("models.py"))
    starts = []
    for n, one in enumerate(recipe.each):
        warm = (
            warm_start(one, n, len(recipe.each), workspace, competition.slug)
            if one.start_run is not None
            else None
        )
        part = warm.part(one.model) if warm else one.model
        part, preprocess, weights = resolve(part, one.mode, workspace.weight_folders(), competition.channels)
        part = part.model_copy(update={"weights": warm.name}) if warm else part
        teacher = find_teacher(one.distill, workspace, competition.slug) if one.distill else None
        starts.append(Start(part, preprocess, weights, warm, teacher))
    return starts


def make_plans(
    competition: Competition,
    checked: CheckResult,
    recipe: Recipe,
    workspace: Workspace,
    reduce: Callable[[Manifest, Folds], Manifest] | None,
    folds_here: int | None = None,
    starts: Sequence[Start] | None = None,
) -> list[TrainPlan]:
    """A plan for each model of the recipe, so that mistakes in any show before a run folder is made; ``folds_here`` are
    trained on this machine where not all are. ``starts`` are those of ``find_starts``, where it was asked already.
    """
    if starts is None:
        starts = find_starts(competition, recipe, workspace)
    # threads is one number for all models, and one where folds train at once
    threads_open = recipe.threads is None and len(starts) == 1 and (recipe.jobs or 1) == 1
    plans = [
        _prepare(competition, checked, one, workspace, reduce, start, threads_open, folds_here)
        for one, start in zip(recipe.each, starts, strict=True)
    ]
    shared = [name for name in plans[0].sets if all(name in plan.sets for plan in plans)]
    return [replace(plan, sets={name: plan.sets[name] for name in shared}) for plan in plans]


def _prepare(
    competition: Competition,
    checked: CheckResult,
    wanted: Recipe,
    workspace: Workspace,
    reduce: Callable[[Manifest, Folds], Manifest] | None,
    start: Start,
    threads_open: bool,
    folds_here: int | None,
) -> TrainPlan:
    """Resolves a model's recipe on this machine, and builds the model once."""
    assert checked.folds is not None, "the checks let no run pass without folds"
    recipe = for_task(resolve_device(wanted), checked.dataset.labels.task)
    scaled = layer(checked.dataset.source, ScaledSource)
    preprocess, warm = replace(start.preprocess, scale=scaled.settled if scaled else None), start.warm
    recipe = recipe.model_copy(
        update={"model": start.part, "distill": start.teacher and start.teacher.config}
    )
    TrainTransform(recipe.transform, preprocess)
    columns = checked.dataset.manifest.table.columns
    if recipe.loss.name == "arcface":
        arcface.require_labels(columns)
    recipe = with_side_features(recipe, columns)
    manifest = checked.readable()
    plan = TrainPlan(
        slug=competition.slug,
        recipe=recipe,
        preprocess=preprocess,
        weights=start.weights,
        manifest=reduce(manifest, checked.folds) if reduce else manifest,
        labels=checked.dataset.labels,
        folds=checked.folds,
        metric=competition.metric,
        source=checked.dataset.source,
        folder=workspace.runs,
        warm=warm,
        decoded=_decoded(checked, preprocess, recipe.mode),
        features=workspace.features,
        own_models=own_models(start.part.name),
        teacher=start.teacher,
        pool=competition.facts.pool,
    )
    net = new_net(plan, warm.whole[0] if warm else 0)
    for size in {None, *(stage.size for stage in stages_of(recipe))}:
        require_forward(net, recipe.model, plan.labels.width, size)
    sets = sets_to_try(net, recipe.model, plan.labels.width, recipe.tta) if recipe.chooses_views else {}
    require_larger(net, recipe.model, plan.labels.width, recipe.views)
    require_joint(recipe, net)
    for stage in stages_of(recipe):
        open_layers(net, stage.train)
        make_optimizer(net, recipe, stage)
    open_layers(net, "all")
    chosen = autotune_precision(net, per_job_recipe(recipe), cache_folder(), threads_open)
    if chosen.device == "cuda":
        chosen = fewer_launches(net, chosen, cache_folder(), *steps_and_folds(plan, folds_here))
    else:
        settled = {"fold_norms": chosen.fold_norms is not False, "compile": bool(chosen.compile)}
        chosen = chosen.model_copy(update=settled)
    if (recipe.jobs or 1) > 1:
        chosen = chosen.model_copy(update={"threads": recipe.threads})
    return replace(plan, recipe=chosen, sets=sets)


def _decoded(checked: CheckResult, preprocess: Preprocess, mode: str) -> ImageSource | None:
    """The images decoded once; None where that brings nothing: networks that read very large ones, or one pass."""
    contents = checked.context.images.files(image_paths(checked.dataset.manifest))
    if side_for(preprocess) is None or (mode == "probe" and missing(contents.values())):
        return None
    if not contents or not missing(contents.values()):  # nothing is left to decode
        return cached_source(checked.dataset.source, contents)
    with events.task("decoding once", len(set(contents.values()))) as bar:
        return cached_source(checked.dataset.source, contents, bar.advance)


def require_starts(plans: list[TrainPlan], only: Sequence[int] | None) -> None:
    """WeightsError where a fold that is to be trained would start from a checkpoint that is not there, InputError where it
    is not what its run wrote, the fold's teacher does not fit, or a stage trains on extra rows and there are none.
    """
    for plan in plans:
        folds = range(plan.folds.k) if only is None else only
        if plan.warm is not None:
            plan.warm.require_written(folds)
        if plan.teacher is not None:
            require_one_image(plan.manifest, "a teacher is")
            plan.teacher.require_fitting(plan.slug, plan.manifest, plan.folds, plan.labels, folds)
        if any(stage.rows == "extra" for stage in plan.recipe.stages or ()):
            require_extra_rows(plan, folds)


def judge_recipe(plans: list[TrainPlan], recipe: Recipe) -> list[Finding]:
    """The findings on the recipe and its weights, before anything is trained; what holds for several models once."""
    found: list[Finding] = []
    for plan, one in zip(plans, recipe.each, strict=True):
        if plan.warm is None:
            found += weights_leak(plan.recipe.model.weights, plan.by_image, plan.image_folds)
            found += preprocessing_override(overrides(one.model, one.mode))
        else:
            warm = plan.warm
            found += warm_leak(warm.run, warm.folds, warm.fitted, plan.by_image, plan.image_folds)
            found += preprocessing_override(differences(one.model, warm.sidecar.preprocess.as_json()))
        found += _judge_transform(plan)
    return list({finding.message: finding for finding in found}.values())


def _judge_transform(plan: TrainPlan) -> list[Finding]:
    """The mirroring and turning transforms that make classes alike; a probe has none (``judge_views`` looks there)."""
    found: list[Finding] = []
    if plan.recipe.mode == "probe" or not plan.labels.task.one_class_a_row:
        return found
    mirrors = symmetries(
        check_transform(plan.recipe.transform, plan.preprocess.size, plan.preprocess.channels)
    )
    for cost in mirrored_costs(plan, mirrors) if mirrors else []:
        if cost.is_harmful:
            first, second = (plan.labels.names[n] for n in cost.pair)
            scores = (cost.without, cost.with_copies, cost.error)
            pair = (first, second) if cost.is_pair else None
            found += harmful_transform(cost.symmetry.name, cost.rows, scores, cost.lost, pair)
    return found


def judge_run(
    trained: TrainedModels, test: Predictions, score: float, expected: float | None
) -> list[Finding]:
    """The findings on a run's predictions, its views and the labels of its training rows."""
    judged = check_predictions(trained.plans[0], test, score, expected)
    return [*judged, *judge_views(trained), *judge_labels(trained)]


def judge_labels(trained: TrainedModels) -> list[Finding]:
    """The labels that are likely wrong, by the OOF rows that there are: by those that training had."""
    plan = trained.plans[0]
    oof = trained.oof
    if plan.labels.task.unknown:
        oof = without_unknown(oof, plan.manifest.train)
    table = plan.manifest.train.set_index("id").loc[list(oof.ids)]
    if not plan.labels.task.one_class_a_row:
        return []
    labels = plan.labels.encode(table[TRAINING if TRAINING in table else "label"])
    folds = np.array([plan.folds.by_id[i] for i in oof.ids], dtype=np.int64)
    return label_errors(oof, labels, folds, trained.folder.name)


def check_predictions(
    plan: TrainPlan, test: Predictions, score: float, expected: float | None
) -> list[Finding]:
    """The findings on what a run came to."""
    truth = plan.labels.encode(plan.manifest.train["label"])
    return [
        *collapsed_predictions(test, plan.labels.shares(truth)),
        *too_good(score, plan.metric, len(truth), expected),
        *prior_shift(test, plan.labels.shares(truth)),
    ]


def train_models(
    folder: Path,
    plans: list[TrainPlan],
    only: Sequence[int] | None = None,
    executor: Executor | None = None,
) -> TrainedModels:
    """The folds of every model of a run, as ``train_folds`` has them; past the time limit no further model begins. An
    ``executor`` is dealt all of them at once, and so are several GPUs.
    """
    if executor is not None or are_dealt_to_gpus(plans):
        trained = train_plans(plans, only, executor)
    else:
        trained = []
        for plan in plans:
            over = any(isinstance(failure, OutOfTime) for _, failed in trained for failure in failed)
            trained.append(train_folds(plan, () if over else only))
    failures = [failure for _, failed in trained for failure in failed]
    return TrainedModels(folder, plans, [results for results, _ in trained], failures)


def predict_test(
    trained: TrainedModels, unread: set[str], prior: NDArray[np.float64] | None = None
) -> Predictions:
    """The mean of the finished folds and views of every model on the test rows.

    Rows whose path is in ``unread`` (their images cannot be decoded, and ``allow`` let them pass) are answered
    with the OOF class prior: the mean OOF probabilities, or ``prior`` (D,) for a refit, which has none.
    """
    plan = trained.plans[0]
    test = plan.manifest.test
    readable = by_image(Manifest(test[[path not in unread for path in test["path"]]])).table
    fingerprint = plan.manifest.fingerprint("test")
    each: dict[Path, Predictions] = {}
    for images, folders in trained.by_source:
        each |= predict_each(
            folders,
            images,
            list(readable["id"]),
            list(readable["path"]),
            plan.recipe,
            fingerprint,
            KeptFor(plan.features, list(readable["content"])) if "content" in readable else None,
        )
    each = {
        folder: pooled_predictions(each[folder], readable, plan.pool, fingerprint)
        for folder in trained.folders
    }
    for folder, alone in each.items():  # `comp pseudo` asks each fold for itself
        alone.save(folder / "test.npz")
    found = mean_of_folds(each)
    rest = [name for name, path in zip(test["id"], test["path"], strict=True) if path in unread]
    if rest:
        mean = trained.oof.probs.mean(axis=0, dtype=np.float64) if prior is None else prior
        found = with_prior(found, rest, mean, list(test["id"]))
    if len(found) != len(test):
        value = f"{len(found)} of {len(test)} test rows have an answer"
        raise InputError("every test row is answered", value, "please report this run")
    found.save(trained.folder / "test.npz")
    release_memory()
    if len(trained.plans) > 1 and not plan.refit:
        _keep_each_model(trained, each, rest)
    return found


def _keep_each_model(trained: TrainedModels, each: dict[Path, Predictions], unread: list[str]) -> None:
    """Writes the OOF and test predictions of each model that has all its folds, so that `comp ensemble` can weigh it."""
    ids = list(trained.plans[0].manifest.test["id"])
    for plan, results in zip(trained.plans, trained.results, strict=True):
        alone = TrainedModels(trained.folder, [plan], [results])
        if alone.is_whole:
            test = mean_of_folds({folder: each[folder] for folder in alone.folders})
            alone.oof.save(plan.folder / "oof.npz")
            with_prior(test, unread, alone.oof.probs.mean(axis=0, dtype=np.float64), ids).save(
                plan.folder / "test.npz"
            )
