"""neighbours(): a run's rows answered by the nearest images that its networks were fitted on, as a run to blend it with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comp import events
from comp.data.competitions.competition import Competition, find_competition
from comp.data.competitions.raw_folder import raw_of
from comp.data.dataset import load_template
from comp.data.folds import Folds, group_names
from comp.data.images.source import ImageSource
from comp.data.manifest import TRAINING, Manifest, feature_columns
from comp.data.predictions import Predictions, mean_of_views
from comp.data.several_images import has_several
from comp.errors import CheckFailed, InputError
from comp.pipelines.record import UntrainedRun, write_untrained
from comp.pipelines.run_result import RunResult
from comp.runs import run as runs
from comp.runs.contents import (
    fold_checkpoints,
    folds_of,
    manifest_of,
    recipe_of,
    require_held_out,
    require_of_fold,
)
from comp.workspace import Workspace

if TYPE_CHECKING:
    from comp.data.labels import LabelMap
    from comp.inference.neighbours import Likeness


def neighbours(
    run: str,
    *,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
    report: bool = True,
) -> RunResult:
    """Answers a run's rows by the nearest images of each class, among those that its networks were fitted on.

    Each fold's network looks at all training and test images. A held-out or test image has a likeness to each class: the
    cosine of its features with those of the nearest image of the class that the fold fitted. A softmax of it, at a scale with
    the least log loss on the other folds, makes it a probability. What comes of it is a run of predictions, to be
    blended: ``comp.ensemble([RUN, THIS])`` says what that gains on rows that it was not learned on, with its standard error.

    Parameters
    ----------
    run : str
        A finished run of one model, one image a row and one class a row: an id, a prefix, or "latest".
    workspace, data, report
        As for ``comp.run``.

    Raises
    ------
    CompError
        For another kind of run, one without all its folds, and networks that see its images otherwise than they did.
    """
    ws = Workspace.find(workspace)
    this_run = runs.find_run(ws, run)
    manifest, folds = _judged_rows(this_run)
    competition = find_competition(this_run.slug, ws)
    raw = raw_of(competition, ws, data) if data else runs.raw_folder(this_run, ws)
    alike = _likeness(this_run, competition, raw, manifest, folds)
    new = _answered(competition, raw, manifest, folds, alike)
    started = {
        **runs.dataset_metadata(competition.facts, raw, folds.k, manifest, list(this_run.marks)),
        "mode": runs.IMPORTED,
        "model": f"neighbours of {this_run.id}",
        "expected": None,
        "neighbours": this_run.id,
    }
    return write_untrained(ws, started, new, [], RunResult, report)


def _judged_rows(run: runs.Run) -> tuple[Manifest, Folds]:
    """The rows and folds of a run that has what is needed."""
    runs.require_checkpoints(run)
    require_held_out(run)
    if not run.record:
        value = f"{run.id} is not done"
        raise InputError("neighbours need all folds", value, f"`comp run {run.slug} --resume {run.id}`")
    manifest = manifest_of(run)
    faults = {
        f"has {len(recipe_of(run).each)} models": len(recipe_of(run).each) > 1,
        "has several images a row": has_several(manifest),
        "has side features": bool(feature_columns(manifest.table.columns)),
    }
    for fault, there in faults.items():
        if there:
            remedy = "take a run of one model that reads one image a row, and nothing beside it"
            raise InputError("neighbours are found by one image a row", f"{run.id} {fault}", remedy)
    return manifest, folds_of(run)


class _Alike:
    """The likeness of OOF and test rows to each class, by fold: ``oof`` (N, C) by place in the train rows."""

    def __init__(self, labels: LabelMap, rows: int) -> None:
        self.labels = labels
        self.oof: Likeness = np.zeros((rows, len(labels)), np.float32)
        self.test: dict[Path, Likeness] = {}


def _likeness(run: runs.Run, competition: Competition, raw: Path, manifest: Manifest, folds: Folds) -> _Alike:
    """What each fold's network makes of held-out and test images."""
    from comp.inference.neighbours import embedded, likeness
    from comp.models.checkpoint import load_checkpoint
    from comp.models.net import load_models
    from comp.models.runtime import on_this_machine, resolve_device

    load_models(competition.file("models.py"))
    competition.require_layout(raw)
    source = competition.source(raw)
    recipe = resolve_device(on_this_machine(recipe_of(run))).each[0]
    train, checkpoints = manifest.train, fold_checkpoints(run, False)
    paths, fold = [*train["path"], *manifest.test["path"]], folds.of(train["id"])
    seen: dict[str, NDArray[np.float32]] = {}  # one network that was frozen sees all the same
    alike: _Alike | None = None
    with events.task("images of neighbours", len(paths) * len(checkpoints)) as bar:
        for folder in checkpoints:
            require_of_fold(folder, ["model.safetensors", "model.json"])
            net, sidecar = load_checkpoint(folder)
            labels = sidecar.labels
            if not labels.task.is_single_label:
                value = f"{run.id} is of task {labels.task.name!r}"
                raise InputError("neighbours answer with one class a row", value, "take another run")
            alike = alike or _Alike(labels, len(train))
            if sidecar.backbone_sha256 not in seen:
                seen = {sidecar.backbone_sha256: _seen(net, sidecar, source, paths, recipe, bar.advance)}
            else:
                bar.advance(len(paths))
            features = seen[sidecar.backbone_sha256]
            held = np.flatnonzero(fold == sidecar.fold)
            _require_as_judged(folder, net.head, features[held], list(train["id"].iloc[held]), labels)
            unit = embedded(net.head, features)
            targets = labels.encode(train[TRAINING if TRAINING in train else "label"])
            known = np.flatnonzero((fold != sidecar.fold) & (targets != _unknown(labels)))
            alike.oof[held] = likeness(unit[held], unit[known], targets[known], len(labels))
            alike.test[folder] = likeness(unit[len(train) :], unit[known], targets[known], len(labels))
    assert alike is not None, "a finished run has folds"
    return alike


def _seen(net: Any, sidecar: Any, source: ImageSource, paths: list[str], recipe: Any, advance: Any) -> Any:
    from comp.inference.forward import backbone_outputs

    own = recipe.model_copy(update={"precision": "fp32"})
    return backbone_outputs(net, sidecar, source, paths, ["identity"], own, advance)["identity"]


def _unknown(labels: LabelMap) -> int:
    """The index of the unknown class; -1 where there is none."""
    return labels.index(labels.task.unknown) if labels.task.unknown else -1


def _require_as_judged(folder: Path, head: Any, features: Any, ids: list[str], labels: LabelMap) -> None:
    """CheckFailed where a network sees held-out images otherwise than when it was judged."""
    from comp.inference.forward import activated, apply_classifier
    from comp.inference.predict import UTMOST, control_row_error

    require_of_fold(folder, ["oof-identity_view.npz"])
    before = Predictions.load(folder / "oof-identity_view.npz").select(ids)
    seen = {"identity": activated(apply_classifier(head, features), labels)}
    apart = np.abs(mean_of_views(seen, "arithmetic", labels) - before.probs).max(axis=1)
    most = UTMOST["bf16"]
    if len(apart) and not float(apart.max()) <= most:
        error: CheckFailed = control_row_error(folder, float(apart.max()), ids[int(apart.argmax())], most)
        raise error


def _answered(
    competition: Competition, raw: Path, manifest: Manifest, folds: Folds, alike: _Alike
) -> UntrainedRun:
    """OOF and test rows with probabilities, each fold's by a scale that was chosen on the others."""
    from comp.ensembling.aligned import judged
    from comp.ensembling.evaluate import BlendOptions, evaluate_blend
    from comp.inference.neighbours import answers, best_scale
    from comp.inference.predict import mean_of_folds

    train, labels = manifest.train, alike.labels
    fold, truth = folds.of(train["id"]), labels.encode(train["label"])
    judged_ = fold >= 0
    probs = np.zeros(alike.oof.shape, np.float64)
    for k in range(folds.k):
        others = judged_ & (fold != k)
        probs[fold == k] = answers(alike.oof[fold == k], best_scale(alike.oof[others], truth[others], labels))
    scale = best_scale(alike.oof[judged_], truth[judged_], labels)
    ids, prints = tuple(manifest.test["id"]), manifest.fingerprint("test")
    each = {
        folder: Predictions(ids, labels, answers(own, scale), prints) for folder, own in alike.test.items()
    }
    test = mean_of_folds(each)
    oof = Predictions(tuple(train["id"][judged_]), labels, probs[judged_], folds.fingerprint)
    if labels.task.unknown:  # so that its own answers have the unknown class too
        groups = dict(zip(train["id"], group_names(train), strict=True))
        rows = judged({"run": oof}, dict(zip(oof.ids, truth[judged_], strict=True)), folds.by_id, groups)
        moved = evaluate_blend(rows, competition.metric, BlendOptions("mean"))
        place = {name: n for n, name in enumerate(rows.aligned.ids)}
        oof = replace(oof, probs=moved.oof[[place[name] for name in oof.ids]])
        test = replace(test, probs=moved.learned.decision(test.probs))
    return UntrainedRun(
        manifest,
        folds,
        load_template(competition, raw, manifest),
        competition.metric,
        oof,
        test,
        truth[judged_],
        fold[judged_],
        oof.probs,
    )
