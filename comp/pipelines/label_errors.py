"""labels(): which labels of a run's training rows are likely wrong, and a manifest with them corrected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp import events
from comp.checks.label_errors import LikelyWrong, likely_wrong, require_judged
from comp.data.competitions.competition import Competition, find_competition
from comp.data.corrected_labels import with_corrections
from comp.data.folds import Folds
from comp.data.images.source import WithFiles
from comp.data.labels import LabelMap
from comp.data.manifest import TRAINING, Manifest
from comp.data.open_set import without_unknown
from comp.data.predictions import Predictions
from comp.data.several_images import by_image
from comp.errors import InputError
from comp.files import require_output, write_text
from comp.runs import run as runs
from comp.runs.contents import (
    fold_checkpoints,
    folds_of,
    manifest_of,
    predictions_of,
    recipe_of,
    require_of_fold,
    require_rows,
)
from comp.workspace import Workspace

FEATURES, PROBABILITIES = "features", "probabilities"


@dataclass(frozen=True)
class WrongLabel:
    """A label that is likely wrong: what the row is labelled and what is likelier, with the probabilities of both, from 0
    to 1; ``score`` is higher the likelier it is wrong, ``fold`` the fold that held the row out.
    """

    id: str
    path: str
    label: str
    answer: str
    p_label: float
    p_answer: float
    score: float
    fold: int


@dataclass(frozen=True, repr=False)
class WrongLabels:
    """The labels of a run that are likely wrong, the likeliest first; ``rows`` were judged, by "features" or by
    "probabilities" (see ``labels``); ``csv`` is the manifest that was written, if any.
    """

    run: str
    slug: str
    judged_by: str
    rows: int
    found: list[WrongLabel]
    csv: Path | None = None

    def __repr__(self) -> str:
        return (
            f"WrongLabels({self.run!r}, {len(self.found)} of {self.rows} likely wrong, by {self.judged_by})"
        )

    def __len__(self) -> int:
        return len(self.found)

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp labels --json``."""
        return {
            "run": self.run,
            "slug": self.slug,
            "judged_by": self.judged_by,
            "rows": self.rows,
            "likely_wrong": len(self.found),
            "labels": [asdict(one) for one in self.found],
            "csv": None if self.csv is None else str(self.csv),
        }


@dataclass(frozen=True, eq=False)
class JudgedRows:
    """The rows of a run that are judged: its manifest, OOF predictions in their order, labels (N,), folds (N,), paths."""

    manifest: Manifest
    oof: Predictions
    truth: NDArray[np.int64]
    fold: NDArray[np.int64]
    paths: list[str]
    contents: list[str]

    @property
    def labels(self) -> LabelMap:
        return self.oof.labels


def labels(
    run: str,
    *,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
    csv: str | Path | None = None,
    by: str = "auto",
) -> WrongLabels:
    """Finds the labels of a run's training rows that are likely wrong.

    Each row is judged by what was learned from the rows of other folds: by the run's out-of-fold probabilities, or by
    a classifier of its own on what the levels of the run's network see, which finds more. That takes a network that was
    fitted on none of the rows, as that of ``mode = "probe"``.

    Parameters
    ----------
    run : str
        A finished run of a single-label or ordinal task: an id, a prefix, or "latest".
    data : path, optional
        The raw folder, where images are read again; by default the run's own.
    csv : path, optional
        Where to write the run's manifest with ``label`` corrected, and the label as it was in ``original_label``.
        ``comp.run(SLUG, manifest=CSV)`` trains with it; read it, and correct it, before.
    by : "auto", "features" or "probabilities"
        What judges; "auto" takes features where it can.

    Raises
    ------
    CompError
        For a run without OOF rows of all folds, another task, and ``by="features"`` where the network saw the rows.
    """
    ws = Workspace.find(workspace)
    out = require_output(csv)
    this_run = runs.find_run(ws, run)
    rows, verdict, judged_by = verdict_on(this_run, ws, data, by)
    found = _table(rows, verdict)
    if out is not None:
        changed = {one.id: one.answer for one in found}
        corrected = with_corrections(rows.manifest, {**rows.manifest.corrections, **changed})
        write_text(out, _with_reasons(corrected, found))
    return WrongLabels(this_run.id, this_run.slug, judged_by, len(rows.truth), found, out)


def verdict_on(
    run: runs.Run, workspace: Workspace, data: str | Path | None = None, by: str = "auto"
) -> tuple[JudgedRows, LikelyWrong, str]:
    """The rows of a run, a verdict on each of their labels, and what judged them: "features" or "probabilities".

    Parameters and errors are those of ``labels``.
    """
    if by not in ("auto", FEATURES, PROBABILITIES):
        raise InputError("`by` takes auto, features or probabilities", repr(by), 'for example `by="auto"`')
    rows = _rows(run)
    frozen = [] if by == PROBABILITIES else _frozen(run, asked=by == FEATURES)
    features = None
    if frozen:
        competition = find_competition(run.slug, workspace)
        raw = Path(data).expanduser().absolute() if data else runs.raw_folder(run, workspace)
        features = _features(run, workspace, competition, raw, frozen[0], rows)
    verdict = likely_wrong(rows.oof.probs, rows.truth, rows.fold, features, len(rows.labels))
    return rows, verdict, FEATURES if features is not None else PROBABILITIES


def _rows(run: runs.Run) -> JudgedRows:
    """The rows that a finished run predicted out of fold, with the labels that it trained with."""
    if not run.record:
        value = f"{run.id} is not done"
        raise InputError(
            "labels are judged by all folds", value, f"`comp run {run.slug} --resume {run.id}`, then again"
        )
    manifest, folds = manifest_of(run), folds_of(run)
    oof = predictions_of(run, "oof")
    require_judged(oof.labels.task, run.id)
    require_rows(run, "oof", oof, manifest, folds)
    oof = without_unknown(oof, manifest.train)
    table = manifest.train.set_index("id", drop=False).loc[list(oof.ids)]
    cells = table[TRAINING] if TRAINING in table else table["label"]
    contents = list(table["content"]) if "content" in table else []
    fold = _fold_of(oof, folds)
    return JudgedRows(manifest, oof, oof.labels.encode(cells), fold, list(table["path"]), contents)


def _fold_of(oof: Predictions, folds: Folds) -> NDArray[np.int64]:
    by_id = folds.by_id
    return np.array([by_id[i] for i in oof.ids], dtype=np.int64)


def _frozen(run: runs.Run, asked: bool) -> list[Path]:
    """The checkpoints of a run whose network was fitted on none of its rows, that of the first model; none where there is
    no such network, or InputError where it was ``asked`` for.
    """
    reason = ""
    if run.started.get("mode") in (runs.ENSEMBLE, runs.IMPORTED):
        reason = f"{run.id} has predictions alone"
    elif recipe_of(run).each[0].mode != "probe":
        reason = f"the network of {run.id} was fitted on the rows"
    if not reason:
        return fold_checkpoints(run, False)
    if asked:
        raise InputError("features come from a network that no row was fitted on", reason, '`by="auto"`')
    return []


def _features(
    run: runs.Run,
    workspace: Workspace,
    competition: Competition,
    raw: Path,
    checkpoint: Path,
    rows: JudgedRows,
) -> NDArray[np.float32]:
    """What the levels of a frozen network see in the judged rows, with a bar."""
    from comp.inference.level_features import SIZES, level_features
    from comp.models.net import load_models
    from comp.models.runtime import on_this_machine, resolve_device

    load_models(competition.file("models.py"))
    competition.require_layout(raw)
    require_of_fold(checkpoint, ["model.safetensors", "model.json"])
    recipe = resolve_device(on_this_machine(recipe_of(run))).each[0]
    source = competition.source(raw)
    source = WithFiles(source) if len(rows.manifest.extra) else source
    with events.task("features", len(rows.paths) * len(SIZES)) as bar:
        return level_features(
            checkpoint, source, rows.paths, recipe, workspace.features, rows.contents, bar.advance
        )


def _table(rows: JudgedRows, verdict: LikelyWrong) -> list[WrongLabel]:
    names = rows.labels.names
    return [
        WrongLabel(
            rows.oof.ids[n],
            rows.paths[n],
            names[rows.truth[n]],
            names[verdict.suggested[n]],
            round(float(verdict.probs[n, rows.truth[n]]), 6),
            round(float(verdict.probs[n, verdict.suggested[n]]), 6),
            round(float(verdict.score[n]), 6),
            int(rows.fold[n]),
        )
        for n in verdict.ranked
    ]


def _with_reasons(manifest: Manifest, found: Sequence[WrongLabel]) -> str:
    """A manifest as CSV, with the score of each label that is corrected, to sort by; rows stay in their order."""
    score = {one.id: f"{one.score:.4f}" for one in found}
    told = replace(
        manifest, table=manifest.table.assign(wrong_score=[score.get(i, "") for i in manifest.table["id"]])
    )
    return by_image(told).to_csv()
