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
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest
from comp.data.postprocess import postprocessed
from comp.data.predictions import Predictions, with_prior
from comp.errors import InputError
from comp.files import require_output
from comp.pipelines.check import look_at_images
from comp.runs import run as runs
from comp.runs.contents import (
    _every_fold,
    fold_checkpoints,
    manifest_of,
    predictions_of,
    recipe_of,
    refit_facts,
    require_of_fold,
    with_chosen_views,
)
from comp.runs.submissions import remember_predicted
from comp.submission import write
from comp.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from comp.data.competitions.facts import CompetitionConfig


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
    context = _rows(this_run, ws, competition, labels, data, template)
    findings = downgrade_allowed(run_test_checks(context), allowed)
    say_findings(findings)
    raise_on_errors(findings, this_run.slug, "no prediction past an error")

    test = context.manifest.test
    unread = [i for i, path in zip(test["id"], test["path"], strict=True) if path in context.images.failed]
    readable = test[~test["id"].isin(unread)]
    each = {}
    for one in asked:
        predicted = _by_part(one, context, readable)
        prior = prior_of(one)
        predicted = with_prior(predicted, unread, prior, list(test["id"])) if unread else predicted
        each[one.name] = postprocessed(predicted, competition, test, one.run.started)
    answers = _answered(ws, this_run, each)
    new = ("-new" if data or template else "") + ("-partial" if any(p.is_partial for p in asked) else "")
    path = out or ws.submissions(this_run.slug) / f"{this_run.id}{new}.csv"
    write.write(answers, context.template, path)
    if path == ws.submissions(this_run.slug) / f"{this_run.id}.csv":
        remember_predicted(this_run, path)
    return Predicted(path, len(context.template.ids), unread)


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


@dataclass(frozen=True)
class _Part:
    """The checkpoints of a run, or of the part of a blend, that are to be asked; ``model`` is empty for all its models."""

    name: str
    run: runs.Run
    model: str
    folders: list[Path]
    is_partial: bool


def parts_of(workspace: Workspace, run: runs.Run, partial: bool) -> list[_Part]:
    """What a run predicts with: its own checkpoints, or those of each part of a blend.

    Raises
    ------
    InputError
        Where a checkpoint is missing, or a part has none.
    """
    if run.started.get("mode") != runs.ENSEMBLE:
        runs.require_checkpoints(run)
        folders = fold_checkpoints(run, partial)
        return [_Part(run.id, run, "", folders, len(folders) < len(_every_fold(run)))]
    parts = []
    for name in run.started.get("parts", []):
        id_, _, model = name.partition("/")
        part = runs.find_run(workspace, id_)
        runs.require_checkpoints(part)
        folders = [f for f in fold_checkpoints(part, False) if not model or f.parent.name == model]
        parts.append(_Part(name, part, model, folders, False))
    return parts


def _by_part(part: _Part, context: CheckContext, rows: pd.DataFrame) -> Predictions:
    """The mean of a part's checkpoints on some rows, not yet moved by what it learned."""
    from comp.inference.predict import predict as predict_rows
    from comp.models.runtime import on_this_machine, resolve_device

    recipe = with_chosen_views(resolve_device(on_this_machine(recipe_of(part.run))), part.run)
    ids, paths = list(rows["id"]), list(rows["path"])
    fingerprint = context.manifest.fingerprint("test")
    return predict_rows(part.folders, context.dataset.source, ids, paths, recipe, fingerprint)


def _answered(workspace: Workspace, run: runs.Run, each: dict[str, Predictions]) -> Predictions:
    """What a run, or a blend of parts by name, answers with its temperature and rule."""
    from comp.ensembling.decisions import decision_of

    if run.started.get("mode") != runs.ENSEMBLE:
        alone = each[run.id]
        return replace(alone, probs=decision_of(run, alone.labels)(alone.probs))
    from comp.ensembling.aligned import align
    from comp.pipelines.ensemble import learned_again

    learned, aligned = learned_again(workspace, run), align(each)
    first = next(iter(each.values()))
    return replace(first, ids=aligned.ids, probs=learned(aligned))


def _rows(
    run: runs.Run,
    workspace: Workspace,
    competition: Competition,
    labels: LabelMap,
    data: str | Path | None,
    template: str | Path | None,
) -> CheckContext:
    """The rows to predict and one look at their images: other rows of ``data``, or the run's own, as its folder has them."""
    if data:
        raw = Path(data).expanduser().absolute()
        manifest = competition.read_test(raw)
    else:
        raw = runs.raw_folder(run, workspace)
        manifest = Manifest(manifest_of(run).test)
    asked = load_template(competition, raw, manifest, Path(template).expanduser() if template else None)
    dataset = Dataset(competition, raw, manifest, labels, asked, competition.source(raw))
    return CheckContext(dataset, int(run.started.get("folds") or 0), look_at_images(dataset, None))


def prior_of(part: _Part) -> NDArray[np.float64]:
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
