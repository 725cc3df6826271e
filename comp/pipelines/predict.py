"""Steps of a run repeated alone: predicting again, validating a CSV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.checks.context import CheckContext, downgrade_allowed
from comp.checks.runner import raise_on_errors, require_known, run_test_checks, say_findings
from comp.data.competitions import competition as registry
from comp.data.competitions.competition import Competition
from comp.data.dataset import Dataset, load_template
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest
from comp.data.predictions import Predictions, with_prior
from comp.files import require_output
from comp.pipelines.check import look_at_images
from comp.pipelines.training_plans import with_chosen_views
from comp.runs import run as runs
from comp.runs.contents import (
    _every_fold,
    fold_checkpoints,
    manifest_of,
    predictions_of,
    recipe_of,
    require_of_fold,
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

    place = Workspace.find(workspace)
    out = require_output(out)
    one = runs.find_run(place, run)
    runs.require_checkpoints(one)
    competition = registry.competition(one.slug, place)
    allowed = {**competition.facts.check.allow, **(allow or {})}
    require_known(allowed)
    load_models(competition.file("models.py"))
    folders = fold_checkpoints(one, partial)
    labels = read_sidecar(folders[0]).labels
    evidence = _rows(one, place, competition, labels, data, template)
    findings = downgrade_allowed(run_test_checks(evidence), allowed)
    say_findings(findings)
    raise_on_errors(findings, one.slug, "no prediction past an error")

    test = evidence.manifest.test
    unread = [i for i, path in zip(test["id"], test["path"], strict=True) if evidence.images[path].error]
    readable = test[~test["id"].isin(unread)]
    here = resolve_device(on_this_machine(recipe_of(one)))
    recipe = with_chosen_views(here, one)
    found = predict_rows(
        folders,
        evidence.dataset.source,
        list(readable["id"]),
        list(readable["path"]),
        recipe,
        evidence.manifest.fingerprint("test"),
    )
    if unread:
        found = with_prior(found, unread, _prior(one), list(test["id"]))
    new = ("-new" if data or template else "") + ("-partial" if len(folders) < len(_every_fold(one)) else "")
    path = out or place.submissions(one.slug) / f"{one.id}{new}.csv"
    write.write(found, evidence.template, path)
    if path == place.submissions(one.slug) / f"{one.id}.csv":
        remember_predicted(one, path)
    return Predicted(path, len(evidence.template.ids), unread)


def _rows(
    one: runs.Run,
    place: Workspace,
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
        raw = runs.raw_folder(one, place)
        manifest = Manifest(manifest_of(one).test)
    asked = load_template(competition, raw, manifest, Path(template).expanduser() if template else None)
    dataset = Dataset(competition, raw, manifest, labels, asked, competition.source(raw))
    return CheckContext(dataset, int(one.started.get("folds") or 0), look_at_images(dataset, None))


def _prior(one: runs.Run) -> NDArray[np.float64]:
    """The mean OOF probabilities (C,) of a run, of the folds that are there."""
    if one.has("oof.npz"):
        parts = [predictions_of(one, "oof")]
    else:
        folders = fold_checkpoints(one, True)
        for folder in folders:
            require_of_fold(folder, ["oof.npz"])
        parts = [Predictions.load(folder / "oof.npz") for folder in folders]
    every = np.concatenate([part.probs for part in parts])
    return np.asarray(every.mean(axis=0), dtype=np.float64)
