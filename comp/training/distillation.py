"""Distillation (Hinton et al. 2015): the rows that fold k fits with the answers of an earlier run's models of fold k."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from comp import events
from comp.data.images.preprocess import side_for
from comp.data.predictions import Predictions, average
from comp.errors import InputError, counted
from comp.inference.predict import predict_each
from comp.models.checkpoint import read_sidecar
from comp.runs.contents import ANSWERS
from comp.training.plan import FoldRows, TrainPlan


def with_teacher(plan: TrainPlan, k: int, part: FoldRows) -> FoldRows:
    """Fold k's rows with what the teacher's models of fold k answer those that it fits.

    The answers are kept in the fold's folder until it is finished, so that training that goes on has the same ones.

    Raises
    ------
    InputError
        As ``Teacher.require_fitting``.
    """
    teacher = plan.teacher
    if teacher is None:
        return part
    ids = list(part.table["id"].iloc[part.fitted])
    known = _kept(plan, k, ids)
    if known is None:
        teacher.require_fitting(plan.slug, plan.manifest, plan.folds, plan.labels, [k])
        known = answers(plan, k, part)
        known.save(plan.fold_folder(k) / ANSWERS)
    soft = softened(known.select(ids).probs, teacher.config.temperature, plan.labels.task.is_single_label)
    made = np.zeros((len(part.table), plan.labels.width), np.float32)
    made[part.fitted] = soft
    return replace(part, teacher=made)


def _kept(plan: TrainPlan, k: int, ids: list[str]) -> Predictions | None:
    """The answers that were kept for this training of fold k; None where they are of another, or damaged."""
    path = plan.fold_folder(k) / ANSWERS
    if not path.is_file():
        return None
    try:
        known = Predictions.load(path)
    except InputError:
        return None
    return known if known.fingerprint == plan.key(k) and list(known.ids) == ids else None


def answers(plan: TrainPlan, k: int, part: FoldRows) -> Predictions:
    """What the teacher's models of fold k answer the rows that fold k fits: the mean over models and views."""
    assert plan.teacher is not None, "asked only where there is a teacher"
    rows = part.table.iloc[part.fitted]
    folders = plan.teacher.checkpoints(k)
    views = list(plan.teacher.views)
    recipe = plan.recipe.model_copy(update={"tta": views, "tta_mean": "arithmetic"})
    events.log(
        f"  fold {k}: {len(rows):,} rows answered by {counted(len(folders), 'model')} of {plan.teacher.config.run}"
    )
    found = []
    for folder in folders:
        # one of many pixels reads the files, others what was decoded once
        whole = side_for(read_sidecar(folder).preprocess) is None
        images = plan.source if whole else plan.images
        ids, paths = list(rows["id"]), list(rows["path"])
        each = predict_each([folder], images, ids, paths, recipe, plan.key(k), what="teacher's answers")
        found.append(each[folder])
    return average(found)


def softened(probs: NDArray[np.float64], temperature: float, is_single: bool) -> NDArray[np.float64]:
    """Probabilities (N, D) at another temperature: as if their logits were divided by it."""
    if temperature == 1:
        return probs
    yes = probs ** (1 / temperature)
    if is_single:
        return np.asarray(yes / yes.sum(axis=1, keepdims=True), dtype=np.float64)
    return np.asarray(yes / (yes + (1 - probs) ** (1 / temperature)), dtype=np.float64)
