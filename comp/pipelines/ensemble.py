"""A blend of runs as a run of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from comp import console
from comp.checks.context import Finding, counts
from comp.checks.prediction_checks import collapsed_predictions, prior_shift
from comp.data.competitions import competition as registry
from comp.data.competitions.competition import Competition
from comp.data.folds import Folds, group_names
from comp.data.manifest import Manifest
from comp.data.predictions import Predictions
from comp.data.template import load_template
from comp.ensembling.aligned import LabelledPredictions, align, judged
from comp.ensembling.evaluate import BlendOptions, BlendResult, as_json, evaluate_blend
from comp.ensembling.members import (
    Member,
    joined_manifest,
    nested_folds,
    read_parts,
    require_same_rows,
    require_whole_groups,
)
from comp.errors import InputError
from comp.files import make_folder, write_bytes, write_json, write_text
from comp.metrics import Metric, confusion
from comp.report.findings_text import say_findings
from comp.runs import run as runs
from comp.runs.result import RunResult, confusion_csv
from comp.submission import write
from comp.workspace import Workspace


@dataclass(frozen=True)
class EnsembleResult(RunResult):
    """What a blend came to; ``blend`` is its table for JSON: method, parts, weights, nested scores, calibration."""

    blend: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp ensemble --json``."""
        return {**super().as_json(), "ensemble": self.blend}


def ensemble(
    *parts: str,
    method: str = "auto",
    calibrate: str = "auto",
    decide: str = "auto",
    priors: Mapping[str, float] | str | None = None,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
) -> EnsembleResult:
    """Blends the predictions of runs into a run of its own, with weights learned on OOF rows alone.

    Its score is nested: each fold is answered by what was learned on the others. Its oof.npz holds those answers.

    Parameters
    ----------
    parts : str
        Ids or prefixes of finished runs in ``runs/`` of the workspace, or RUN/model-N for one model of a run with
        several. One run of several models is taken apart; of one with a single model the calibration and the decision
        rule are learned.
    method : str
        "mean", "geometric", "rank", "power", "weighted", "greedy", "stacking"; "auto" takes the simplest that the
        best does not beat by more than one standard error.
    calibrate : "auto", "on" or "off"
        Temperature scaling; "auto" where the metric is log loss and gains. It is told in any case.
    decide : "auto", "on" or "off"
        Multipliers of the classes; "auto" for F1 and its kin where they gain more than one standard error.
    priors : "uniform" or mapping of class to share, optional
        Class shares of the test rows, where they are known to be other than the training rows'.
    data : path, optional
        The raw folder, for the template; by default that of the first run.

    Raises
    ------
    CompError
        Where the parts do not answer the same rows, or the folds of one split a group of another.
    """
    options = BlendOptions(method, calibrate, decide, priors)
    place = Workspace.find(workspace)
    if not parts:
        raise InputError("a blend has one part or more", "no run was named", "`comp runs` shows them all")
    chosen = read_parts(place, parts)
    competition = registry.competition(chosen[0].run.slug, place)
    require_same_rows(chosen)
    require_whole_groups(chosen)
    manifest = joined_manifest(chosen)
    folds = nested_folds(chosen, manifest)
    console.log(f"{competition.facts.title}: {len(chosen)} parts, {folds.k} nested folds")
    rows = judged_rows(chosen, manifest, folds)
    outcome = evaluate_blend(rows, competition.metric, options)
    return _written(place, competition, chosen, manifest, folds, rows, outcome, options, data)


def judged_rows(parts: Sequence[Member], manifest: Manifest, folds: Folds) -> LabelledPredictions:
    """The OOF rows of the parts, with their truth, nested folds and joined groups."""
    labels = parts[0].oof.labels
    train = manifest.train
    prints = manifest.fingerprint("train")
    return judged(
        {part.name: replace(part.oof, fingerprint=prints) for part in parts},
        dict(zip(train["id"], labels.encode(train["label"]).tolist(), strict=True)),
        folds.by_id,
        dict(zip(train["id"], group_names(train), strict=True)),
    )


def _written(
    place: Workspace,
    competition: Competition,
    parts: Sequence[Member],
    manifest: Manifest,
    folds: Folds,
    rows: LabelledPredictions,
    outcome: BlendResult,
    options: BlendOptions,
    data: str | Path | None,
) -> EnsembleResult:
    """The run's folder and the submission; the record last."""
    labels, metric = rows.aligned.labels, competition.metric
    asked = list(manifest.test["id"])
    prints = manifest.fingerprint("test")
    aligned = align({part.name: replace(part.test, fingerprint=prints) for part in parts})
    test = Predictions(aligned.ids, labels, outcome.learned(aligned), prints).select(asked)
    known = set(rows.aligned.ids)
    order = [i for i in manifest.train["id"] if i in known]
    oof = Predictions(rows.aligned.ids, labels, outcome.oof, manifest.fingerprint("train")).select(order)
    raw = Path(data).expanduser().absolute() if data else runs.raw_folder(parts[0].run, place)
    template = load_template(competition, raw, manifest)
    make_folder(place.submissions(competition.slug))
    marks = sorted({mark for part in parts for mark in part.run.marks})
    told = runs.dataset_metadata(competition.facts, raw, folds.k, manifest, marks)
    names = [part.name for part in parts]
    model = f"{outcome.method} of {len(parts)}"
    one = runs.new_run(
        place, {**told, "mode": runs.ENSEMBLE, "model": model, "parts": names, "expected": None}
    )
    write_text(one.folder / "manifest.csv", manifest.to_csv())
    folds.save(one.folder / "folds.csv")
    oof.save(one.folder / "oof.npz")
    test.save(one.folder / "test.npz")
    path = place.submissions(competition.slug) / f"{one.id}.csv"
    write.write(test, template, path)
    write_bytes(one.folder / "submission.csv", path.read_bytes())
    write_text(one.folder / "rows.csv", write.row_table(test, manifest))
    write_text(one.folder / "confusion.csv", confusion_csv(labels, confusion(rows.truth, outcome.oof)))
    findings = _judged(test, rows)
    result = EnsembleResult(
        run=one.id,
        slug=competition.slug,
        metric=metric.name,
        direction=metric.direction,
        score=outcome.score,
        beside={},
        per_fold=per_fold(rows, outcome, metric),
        submission=path,
        findings=counts(findings),
        seconds={},
        folder=one.folder,
        marks=marks,
        blend={**as_json(outcome, options.method), "priors": options.priors},
    )
    write_json(one.folder / "findings.json", [f.as_json() for f in findings])
    write_json(path.with_suffix(".json"), {**result.as_json(), "message": None, "submitted": None})
    runs.finish(one, result.as_json())
    return result


def per_fold(rows: LabelledPredictions, outcome: BlendResult, metric: Metric) -> list[float]:
    """The metric of each nested fold, by its number."""
    folds = sorted(set(rows.fold.tolist()))
    return [metric(rows.truth[rows.fold == k], outcome.oof[rows.fold == k]) for k in folds]


def _judged(test: Predictions, rows: LabelledPredictions) -> list[Finding]:
    """What is found about the blend's answers, said as it comes."""
    priors = np.bincount(rows.truth, minlength=len(test.labels)) / len(rows.truth)
    found = [*collapsed_predictions(test, priors), *prior_shift(test, priors)]
    say_findings(found)
    return found
