"""Steps of a run repeated alone: predicting again, validating a CSV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.checks.context import CheckContext, downgrade_allowed
from comp.checks.runner import raise_on_errors, require_known, run_test_checks, say_findings
from comp.data.competitions.competition import Competition, find_competition
from comp.data.dataset import Dataset, load_template
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest
from comp.data.predictions import Predictions, with_prior
from comp.files import require_output
from comp.pipelines.check import look_at_images
from comp.runs import run as runs
from comp.runs.contents import (
    _every_fold,
    fold_checkpoints,
    manifest_of,
    predictions_of,
    recipe_of,
    require_of_fold,
    with_chosen_views,
)
from comp.runs.submissions import remember_predicted
from comp.submission import write
from comp.workspace import Workspace


@dataclass(frozen=True)
class Predicted:
    """A CSV that was written, its number of rows, and the rows that were answered with the class prior, since their
    images cannot be decoded. It unpacks as the first two: ``path, rows = comp.predict(...)``.
    """

    path: Path
    rows: int
    unread: list[str]

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
    from comp.inference.predict import predict as predict_rows
    from comp.models.checkpoint import read_sidecar
    from comp.models.net import load_models
    from comp.models.runtime import on_this_machine, resolve_device
    from comp.pipelines.decide import decision_of

    ws = Workspace.find(workspace)
    out = require_output(out)
    this_run = runs.find_run(ws, run)
    runs.require_checkpoints(this_run)
    competition = find_competition(this_run.slug, ws)
    allowed = {**competition.facts.check.allow, **(allow or {})}
    require_known(allowed)
    load_models(competition.file("models.py"))
    folders = fold_checkpoints(this_run, partial)
    labels = read_sidecar(folders[0]).labels
    context = _rows(this_run, ws, competition, labels, data, template)
    findings = downgrade_allowed(run_test_checks(context), allowed)
    say_findings(findings)
    raise_on_errors(findings, this_run.slug, "no prediction past an error")

    test = context.manifest.test
    unread = [i for i, path in zip(test["id"], test["path"], strict=True) if context.images[path].error]
    readable = test[~test["id"].isin(unread)]
    here = resolve_device(on_this_machine(recipe_of(this_run)))
    recipe = with_chosen_views(here, this_run)
    found = predict_rows(
        folders,
        context.dataset.source,
        list(readable["id"]),
        list(readable["path"]),
        recipe,
        context.manifest.fingerprint("test"),
    )
    if unread:
        found = with_prior(found, unread, _prior(this_run), list(test["id"]))
    found = replace(found, probs=decision_of(this_run, labels)(found.probs))
    new = ("-new" if data or template else "") + (
        "-partial" if len(folders) < len(_every_fold(this_run)) else ""
    )
    path = out or ws.submissions(this_run.slug) / f"{this_run.id}{new}.csv"
    write.write(found, context.template, path)
    if path == ws.submissions(this_run.slug) / f"{this_run.id}.csv":
        remember_predicted(this_run, path)
    return Predicted(path, len(context.template.ids), unread)


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


def _prior(run: runs.Run) -> NDArray[np.float64]:
    """The mean OOF probabilities (C,) of a run, of the folds that are there."""
    if run.has("oof.npz"):
        parts = [predictions_of(run, "oof")]
    else:
        folders = fold_checkpoints(run, True)
        for folder in folders:
            require_of_fold(folder, ["oof.npz"])
        parts = [Predictions.load(folder / "oof.npz") for folder in folders]
    every = np.concatenate([part.probs for part in parts])
    return np.asarray(every.mean(axis=0), dtype=np.float64)
