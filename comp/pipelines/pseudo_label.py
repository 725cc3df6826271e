"""``comp pseudo``: extra rows from a run's test predictions, and the guard that keeps them out of what is held out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from comp import events
from comp.checks.fold_checks import folds_of_related
from comp.checks.runner import CheckResult
from comp.data.competitions.competition import Competition, find_competition
from comp.data.folds import folds_sha256
from comp.data.predictions import Predictions, average
from comp.data.pseudo_labels import FILE, PseudoLabels
from comp.data.several_images import require_one_image
from comp.errors import InputError
from comp.files import require_output
from comp.pipelines.request import ROWS_PER_CLASS_AND_FOLD, RunRequest
from comp.runs import run as runs
from comp.runs.contents import folds_of, manifest_of, recipe_of, require_held_out
from comp.task_scores import likeliest
from comp.workspace import Workspace


@dataclass(frozen=True, repr=False)
class PseudoResult:
    """The pseudo-labels that were made: the file, how many of the ``test`` rows each fold gets, and their classes."""

    path: Path
    pseudo: PseudoLabels
    test: int

    def __repr__(self) -> str:
        labels, rows = len(self.pseudo.table), self.pseudo.table["id"].nunique()
        return f"PseudoResult({self.pseudo.run!r}, {labels} labels of {rows} of {self.test} test rows, {str(self.path)!r})"

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp pseudo --json``."""
        classes = Counter(self.pseudo.table["label"])
        return {
            **self.pseudo.as_json(),
            "slug": self.pseudo.slug,
            "file": str(self.path),
            "test": self.test,
            "classes": dict(sorted(classes.items())),
        }


def pseudo(
    run: str,
    threshold: float,
    *,
    workspace: str | Path | None = None,
    out: str | Path | None = None,
) -> PseudoResult:
    """Labels test rows of a finished run, for each fold by that fold's own models alone.

    A test row goes to fold k with the most probable class of the models that held out fold k, where they are at
    least ``threshold`` sure. Other models have been fitted on what fold k holds out: their labels would carry it into
    fold k's training. ``comp.run(..., pseudo=PATH)`` trains with them.

    Parameters
    ----------
    run : str
        A finished run: an id, a prefix, or "latest".
    threshold : float
        Above 0, at most 1.
    out : path, optional
        The CSV (fold, id, label, prob), with a JSON beside it; by default ``pseudo-THRESHOLD.csv`` in the run's folder.

    Raises
    ------
    CompError
        For another threshold, a run without test predictions of each fold, and where no row is so sure.
    """
    if not 0 < threshold <= 1:  # a NaN is neither
        raise InputError("`threshold` is above 0, at most 1", f"got {threshold:g}", "for example 0.95")
    ws = Workspace.find(workspace)
    out = require_output(out)
    if out is not None and require_output(out.with_suffix(".json")) == out:
        raise InputError("pseudo-labels are a CSV with a JSON beside it", str(out), "name a .csv")
    this_run = runs.find_run(ws, run)
    runs.require_checkpoints(this_run)
    require_held_out(this_run)
    _require_scored_rows(find_competition(this_run.slug, ws))
    require_one_image(manifest_of(this_run), "pseudo-labels are")
    if not this_run.started.get("folds"):
        raise InputError("pseudo-labels are of folds", f"{this_run.id} has none", "name a trained run")
    task = this_run.started.get("task", "single-label")
    if task != "single-label":
        value = f"{this_run.id} is of task {task!r}"
        raise InputError("pseudo-labels are classes that a fold is sure of", value, "train without `pseudo`")
    folds = [_of_fold(this_run, k) for k in range(int(this_run.started.get("folds") or 0))]
    tables = [_sure(found, k, threshold) for k, found in enumerate(folds)]
    table = pd.concat(tables, ignore_index=True)
    if not len(table):
        most = max(float(found.probs.max()) for found in folds)
        raise InputError(
            "pseudo-labels need rows", f"no fold is more than {most:.4f} sure", "a lower threshold"
        )
    split = folds_of(this_run)
    made = PseudoLabels(
        run=this_run.id,
        slug=this_run.slug,
        threshold=float(threshold),
        train_sha256=str(this_run.started.get("train_sha256")),
        test_sha256=str(this_run.started.get("test_sha256")),
        folds_sha256=folds_sha256(split),
        k=split.k,
        selected=bool(this_run.record["oof"].get("selected_on_oof")),
        table=table,
    )
    path = out or this_run.folder / f"pseudo-{threshold:g}.csv"
    made.save(path)
    return PseudoResult(path, made, len(folds[0]))


def _require_scored_rows(competition: Competition) -> None:
    """InputError where the visible test rows are not those that are scored."""
    if competition.facts.kaggle.hidden_test:
        value = f"the test of {competition.slug} is hidden (hidden_test = true in its competition.toml)"
        remedy = "train without them: the visible rows only prove the format"
        raise InputError("pseudo-labels are of the rows that are scored", value, remedy)


def _of_fold(run: runs.Run, k: int) -> Predictions:
    """The test rows by fold k's own models; InputError where they are not there."""
    from comp.runs.progress import model_folder

    models = len(recipe_of(run).each) if (run.folder / "recipe.toml").is_file() else 1
    files = [model_folder(run.folder, n, models) / f"fold-{k}" / "test.npz" for n in range(models)]
    missing = [str(file.relative_to(run.folder)) for file in files if not file.is_file()]
    if missing or not run.record:
        value = f"{run.id} lacks {missing[0]}" if missing else f"{run.id} is not done"
        remedy = f"`comp run {run.slug} --resume {run.id}`, or another run that was trained to its end"
        raise InputError("pseudo-labels need the test predictions of every fold alone", value, remedy)
    for file in files:
        run.checked(file.relative_to(run.folder).as_posix())
    found = average([Predictions.load(file) for file in files])
    if not len(found) or found.fingerprint != run.started.get("test_sha256"):
        value = f"{missing or files[0]} answers other test rows than {run.id} began with"
        raise InputError("pseudo-labels are of the run's own test rows", value, f"`comp run {run.slug}` anew")
    return found


def _sure(found: Predictions, k: int, threshold: float) -> pd.DataFrame:
    """The rows of which fold k is sure, in the order of their ids; of equal classes the first."""
    most, best = found.probs.max(axis=1), likeliest(found.probs)
    rows = sorted(np.flatnonzero(most >= threshold).tolist(), key=lambda row: found.ids[row])
    return pd.DataFrame(
        {
            "fold": np.full(len(rows), k, np.int64),
            "id": [found.ids[row] for row in rows],
            "label": [found.labels.names[best[row]] for row in rows],
            "prob": [float(most[row]) for row in rows],
        }
    )


def rows_for(request: RunRequest, checked: CheckResult) -> PseudoLabels | None:
    """The pseudo-labels that an order trains with, without those whose image its fold holds out in a copy.

    They are those of ``pseudo``, or of the run that goes on.

    Raises
    ------
    InputError
        Where they were made from other rows or other folds, or are no longer in the folder of the run that goes on.
    """
    began = request.given is not None and request.given.started.get("pseudo")  # then its file must be there
    path = request.pseudo
    if request.given and began:
        request.given.checked("pseudo.json")
        path = request.given.checked(FILE)
    if path is None:
        return None
    _require_scored_rows(request.competition)
    require_one_image(checked.dataset.manifest, "pseudo-labels are")
    assert checked.folds is not None, "the checks let no run pass without folds"
    wanted = PseudoLabels.load(path)
    context = checked.context
    wanted.require_fitting(request.competition.slug, context.manifest, checked.folds, context.labels)
    clean = wanted.without(folds_of_related(context, checked.folds))
    apart = len(wanted.table) - len(clean.table)
    told = f"  pseudo-labels of {clean.run}, at least {clean.threshold:g} sure: {clean.rows} rows by fold"
    events.log(told + (f"; {apart} left out, copies of what their fold holds out" if apart else ""))
    return clean.few(ROWS_PER_CLASS_AND_FOLD) if request.quick else clean
