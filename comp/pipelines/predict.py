"""Steps of a run repeated alone: predicting again, validating a CSV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comp.checks.context import CheckContext, downgrade_allowed
from comp.checks.runner import raise_on_errors, require_known, run_test_checks, say_findings
from comp.data.competitions.competition import Competition, find_competition
from comp.data.csv_table import listed
from comp.data.dataset import Dataset, load_template
from comp.data.images.array_source import by_scale
from comp.data.images.scale import Scale
from comp.data.images.shared_squares import SharedSquares, SquaredSource
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest
from comp.data.postprocess import postprocessed
from comp.data.predictions import Predictions, with_prior
from comp.data.several_images import by_image, by_row, pooled_predictions, without_broken
from comp.data.side_features import with_side
from comp.errors import InputError
from comp.files import require_output
from comp.pipelines.check import look_at_images
from comp.runs import run as runs
from comp.runs.contents import (
    fold_checkpoints,
    manifest_of,
    predictions_of,
    recipe_of,
    refit_facts,
    require_of_fold,
    require_same_reading,
    with_chosen_views,
)
from comp.runs.parts import Part, parts_of
from comp.runs.submissions import remember_predicted
from comp.submission import write
from comp.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from comp.data.competitions.facts import CompetitionConfig
    from comp.data.images.source import ImageSource
    from comp.recipe import Recipe


@dataclass(frozen=True, repr=False)
class Predicted:
    """A CSV that was written, its number of rows, and the rows that were answered with the class prior, since their
    images cannot be decoded. It unpacks as the first two: ``path, rows = comp.predict(...)``.
    """

    path: Path
    rows: int
    unread: list[str]

    def __repr__(self) -> str:
        unread = f", {len(self.unread)} unread" if self.unread else ""
        return f"Predicted({str(self.path)!r}, {self.rows} rows{unread})"

    def __iter__(self) -> Iterator[Any]:
        return iter((self.path, self.rows))

    def __getitem__(self, place: int) -> Any:
        return (self.path, self.rows)[place]

    def as_json(self) -> dict[str, Any]:
        """What ``comp predict --json`` says beside the run."""
        return {"submission": str(self.path), "rows": self.rows, "unread": self.unread}


def predict(
    run: str,
    *,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
    template: str | Path | None = None,
    partial: bool = False,
    out: str | Path | None = None,
    allow: dict[str, str] | None = None,
    precision: str | None = None,
) -> Predicted:
    """Predicts test rows with the checkpoints of a run.

    Parameters
    ----------
    run : str
        An id, a prefix, or "latest".
    data : path, optional
        A raw folder with other test rows (its train part may be absent); by default the run's own.
    template : path, optional
        Another template than the one in the raw folder.
    partial : bool
        Predict with the folds there are, where some are missing.
    out : path, optional
        By default the run's own submission, or ``<run>-new.csv`` beside it where rows or template are new (``-partial``
        where folds are missing).
    allow : dict, optional
        Checks whose errors become warnings, each with its reason. With ``unreadable-image`` rows whose image cannot be
        decoded are answered with the OOF class prior, and named.
    precision : str, optional
        "fp16" instead of what the checkpoints were judged in: on a GPU, as long as their control rows come back in it.

    Raises
    ------
    CompError
        Where a checkpoint is missing, ``out`` is no plain file, or the test rows do not pass the checks.
    """
    from comp.models.checkpoint import read_sidecar
    from comp.models.net import load_models

    ws = Workspace.find(workspace)
    out = require_output(out)
    this_run = runs.find_run(ws, run)
    asked = parts_of(ws, this_run, partial)
    competition = find_competition(this_run.slug, ws)
    allowed = {**competition.facts.check.allow, **(allow or {})}
    require_known(allowed)
    load_models(competition.file("models.py"))
    labels = read_sidecar(asked[0].folders[0]).labels
    _require_same_answers(this_run, competition, labels)
    for one in asked:
        require_same_reading(one.run, competition.facts)
    dataset = _dataset(this_run, ws, competition, labels, data, template)
    source_here = by_scale(dataset.source, _scale_of(asked))
    dataset = replace(dataset, source=with_side(source_here, dataset.manifest.table))
    recipes = {one.name: _recipe_here(one) for one in asked}
    with _squares(asked, recipes, dataset) as squares:
        looked = look_at_images(dataset, None, squares.put)
        images = dataset.with_manifest(by_image(dataset.manifest))
        context = CheckContext(images, int(this_run.started.get("folds") or 0), looked)
        findings = downgrade_allowed(run_test_checks(context), allowed)
        say_findings(findings)
        raise_on_errors(findings, this_run.slug, "no prediction past an error")
        rows = by_row(without_broken(context.manifest, looked.failed))
        context = replace(context, dataset=dataset.with_manifest(rows))
        source = SquaredSource(dataset.source, squares, looked.files(looked.paths))
        each, unread = _predicted(asked, recipes, context, source, precision)
    answers = _answered(ws, this_run, each)
    new = ("-new" if data or template else "") + ("-partial" if any(p.is_partial for p in asked) else "")
    path = out or ws.submissions(this_run.slug) / f"{this_run.id}{new}.csv"
    write.write(answers, context.template, path)
    if path == ws.submissions(this_run.slug) / f"{this_run.id}.csv":
        remember_predicted(this_run, path)
    return Predicted(path, len(context.template.ids), unread)


def _predicted(
    asked: list[Part],
    recipes: dict[str, Recipe],
    context: CheckContext,
    source: ImageSource,
    precision: str | None,
) -> tuple[dict[str, Predictions], list[str]]:
    """Each part's predictions of the test rows by its name, postprocessed; and the ids of rows that cannot be decoded, which
    have the part's prior.
    """
    test = context.manifest.test
    unread = [i for i, path in zip(test["id"], test["path"], strict=True) if path in context.images.failed]
    readable = test[~test["id"].isin(unread)]
    fingerprint = context.manifest.fingerprint("test")
    each = {}
    for one in asked:
        predicted = _by_part(one, recipes[one.name], source, readable, fingerprint, precision)
        if unread:
            predicted = with_prior(predicted, unread, prior_of(one), list(test["id"]))
        each[one.name] = postprocessed(predicted, context.competition, test, one.run.started)
    return each, unread


def _scale_of(asked: list[Part]) -> Scale | None:
    """The scale that all checkpoints read images by; None of photographs. InputError where they differ."""
    from comp.models.checkpoint import read_sidecar

    scales = {folder: read_sidecar(folder).preprocess.scale for one in asked for folder in one.folders}
    (first, scale), *others = scales.items()
    for folder, other in others:
        if (scale and scale.numbers) != (other and other.numbers):
            value = f"{folder} reads another range than {first}"
            raise InputError(
                "what predicts together reads images by one scale", value, "train them on the same images"
            )
    return scale


def _squares(asked: list[Part], recipes: dict[str, Recipe], dataset: Dataset) -> SharedSquares:
    """Where the squares that all checkpoints read are kept, so that each image is decoded once."""
    from comp.inference.forward import squares_of
    from comp.models.checkpoint import read_sidecar

    wanted = []
    for one in asked:
        views = list(dict.fromkeys(["identity", *recipes[one.name].views]))
        for preprocess in dict.fromkeys(read_sidecar(folder).preprocess for folder in one.folders):
            wanted.append((preprocess, list(squares_of(views, preprocess).values())))
    return SharedSquares(wanted, len(by_image(dataset.manifest)))


def _require_same_answers(run: runs.Run, competition: Competition, labels: LabelMap) -> None:
    """InputError where competition.toml asks for another task, or states other classes, than the run was trained for."""
    facts = competition.facts
    where = competition.file("competition.toml")
    remedy = f"take the facts that {run.id} was trained with, or train again"
    if facts.task != labels.task.name:
        value = f"{run.id} is of task {labels.task.name!r}, {where} has task = {facts.task!r}"
        raise InputError("a run answers the task that it was trained for", value, remedy)
    if labels.task.has_classes and facts.classes != "discover" and not _same_classes(facts, labels):
        value = f"{run.id} has the classes {listed(labels.names)}, {where} states {listed(facts.classes)}"
        raise InputError("a run answers with the classes that it was trained for", value, remedy)


def _same_classes(facts: CompetitionConfig, labels: LabelMap) -> bool:
    """Whether stated classes are those of a label map; their order matters where places are written."""
    if facts.template.kind == "index":
        return tuple(facts.classes) == labels.names
    return set(facts.classes) == set(labels.names)


def _recipe_here(part: Part) -> Recipe:
    """A part's recipe as this machine goes on with it, with the views that it chose."""
    from comp.models.runtime import on_this_machine, resolve_device

    recipe = with_chosen_views(resolve_device(on_this_machine(recipe_of(part.run))), part.run)
    fewer = (part.run.started.get("views") or {}).get(part.model)  # a notebook without time for all of them
    return recipe.with_views(fewer) if fewer else recipe


def _by_part(
    part: Part,
    recipe: Recipe,
    source: ImageSource,
    rows: pd.DataFrame,
    fingerprint: str,
    precision: str | None,
) -> Predictions:
    """The mean of a part's checkpoints on some rows, not yet moved by what it learned."""
    from comp.inference.predict import mean_of_folds, predict_each

    images, pool = by_image(Manifest(rows)).table, str(part.run.started.get("pool") or "mean")
    ids, paths = list(images["id"]), list(images["path"])
    each = predict_each(part.folders, source, ids, paths, recipe, fingerprint, precision=precision)
    return mean_of_folds(
        {folder: pooled_predictions(one, images, pool, fingerprint) for folder, one in each.items()}
    )


def _answered(workspace: Workspace, run: runs.Run, each: dict[str, Predictions]) -> Predictions:
    """What a run, or a blend of parts by name, answers with its temperature and rule."""
    from comp.ensembling.decisions import decision_of

    if run.started.get("mode") != runs.ENSEMBLE:
        alone = each[run.id]
        return replace(alone, probs=decision_of(run, alone.labels)(alone.probs))
    from comp.ensembling.aligned import align
    from comp.ensembling.kept_blend import LEARNED, load_blend
    from comp.ensembling.learned_again import learned_again

    own = {}
    for name in run.started["parts"]:
        id_ = name.partition("/")[0]
        is_blend = name not in each
        own[name] = _answered(workspace, runs.find_run(workspace, id_), each) if is_blend else each[name]
    kept = load_blend(run.checked(LEARNED)) if run.has(LEARNED) else None
    learned, aligned = kept or learned_again(workspace, run), align(own)
    first = next(iter(own.values()))
    return replace(first, ids=aligned.ids, probs=learned(aligned))


def _dataset(
    run: runs.Run,
    workspace: Workspace,
    competition: Competition,
    labels: LabelMap,
    data: str | Path | None,
    template: str | Path | None,
) -> Dataset:
    """The rows to predict: other rows of ``data``, or the run's own, as its folder has them."""
    if data:
        raw = Path(data).expanduser().absolute()
        manifest = competition.read_test(raw)
    else:
        raw = runs.raw_folder(run, workspace)
        manifest = Manifest(manifest_of(run).test)
    asked = load_template(competition, raw, manifest, Path(template).expanduser() if template else None)
    return Dataset(competition, raw, manifest, labels, asked, competition.source(raw))


def prior_of(part: Part) -> NDArray[np.float64]:
    """The mean OOF predictions (D,) of a part, of the folds that are there; for a refit those of the run that it is of."""
    run = part.run
    if run.refit:
        return np.array(list(refit_facts(run)["prior"].values()), dtype=np.float64)
    if part.model:
        parts = [predictions_of(run, "oof", part.model)]
    elif run.has("oof.npz"):
        parts = [predictions_of(run, "oof")]
    else:
        folders = fold_checkpoints(run, True)
        for folder in folders:
            require_of_fold(folder, ["oof.npz"])
        parts = [Predictions.load(folder / "oof.npz") for folder in folders]
    every = np.concatenate([part.probs for part in parts])
    return np.asarray(every.mean(axis=0), dtype=np.float64)
