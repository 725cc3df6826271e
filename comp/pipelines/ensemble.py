"""A blend of runs as a run of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from comp import events
from comp.checks.context import Finding, applying
from comp.checks.prediction_checks import collapsed_predictions, prior_shift
from comp.checks.runner import say_findings
from comp.data.competitions.competition import Competition, find_competition
from comp.data.competitions.raw_folder import raw_of
from comp.data.dataset import load_template
from comp.data.folds import Folds
from comp.data.manifest import Manifest
from comp.data.predictions import Predictions
from comp.ensembling.aligned import LabelledPredictions, align
from comp.ensembling.evaluate import BlendOptions, BlendResult, as_json, evaluate_blend
from comp.ensembling.learned_again import judged_rows, posted
from comp.ensembling.members import (
    Member,
    joined_manifest,
    nested_folds,
    read_parts,
    require_same_rows,
    require_whole_groups,
)
from comp.errors import InputError
from comp.metrics import Metric
from comp.pipelines.record import UntrainedRun, write_untrained
from comp.pipelines.run_result import RunResult
from comp.runs import run as runs
from comp.workspace import Workspace


@dataclass(frozen=True, repr=False)
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
    report: bool = True,
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
        "mean", "geometric", "rank", "power", "weighted", "greedy", "stacking", "forward" (never by "auto"); "auto" takes the simplest that the
        best does not beat by more than one standard error.
    calibrate : "auto", "on" or "off"
        Temperature scaling; "auto" where the metric is log loss and gains. It is told in any case.
    decide : "auto", "on" or "off"
        Multipliers of the classes; "auto" for F1 and the like where they gain more than one standard error.
    priors : "uniform" or mapping of class to share, optional
        Class shares of the test rows, where they are known to be other than the training rows'.
    data : path, optional
        The raw folder, for the template; by default that of the first run.
    report : bool
        Write its page, as ``comp.run`` does.

    Raises
    ------
    CompError
        Where the parts do not answer the same rows, or the folds of one split a group of another.
    """
    options = BlendOptions(method, calibrate, decide, priors)
    return blend_runs(Workspace.find(workspace), parts, options, data, report)


def blend_runs(
    ws: Workspace,
    parts: Sequence[str],
    options: BlendOptions,
    data: str | Path | None = None,
    report: bool = True,
    result_type: Callable[..., EnsembleResult] = EnsembleResult,
    **told: Any,
) -> EnsembleResult:
    """What ``ensemble`` does; ``told`` goes into ``started.json`` too, and ``result_type`` makes the result of its fields."""
    if not parts:
        raise InputError("a blend has one part or more", "no run was named", "`comp runs` shows them all")
    chosen = read_parts(ws, parts)
    competition = find_competition(chosen[0].run.slug, ws)
    require_same_rows(chosen)
    require_whole_groups(chosen)
    manifest = joined_manifest(chosen)
    folds = nested_folds(chosen, manifest)
    chosen = [posted(part, competition) for part in chosen]
    events.log(f"{competition.facts.title}: {len(chosen)} parts, {folds.k} nested folds")
    rows = judged_rows(chosen, manifest, folds)
    outcome = evaluate_blend(rows, competition.metric, options)
    raw = raw_of(competition, ws, data) if data else runs.raw_folder(chosen[0].run, ws)
    new = _blended(competition, raw, chosen, manifest, folds, rows, outcome)
    marks = sorted({mark for part in chosen for mark in part.run.marks})
    started = {
        **runs.dataset_metadata(competition.facts, raw, folds.k, manifest, marks),
        "mode": runs.ENSEMBLE,
        "model": f"{outcome.method} of {len(chosen)}",
        "parts": [part.name for part in chosen],
        "expected": None,
        **told,
    }
    blend = {**as_json(outcome, options.method), "priors": options.priors}
    findings = _judged(new.test, rows, competition)
    return write_untrained(
        ws, started, new, findings, partial(result_type, blend=blend, **_selected(chosen)), report
    )


def _selected(parts: Sequence[Member]) -> dict[str, bool]:
    """Whether a blend's score is of rows that one of its parts chose something by; nesting the weights does not undo that."""
    names = [part.name for part in parts if part.run.record["oof"].get("selected_on_oof")]
    if names:
        events.log(
            f"  {', '.join(names)} chose by the held-out rows that are scored: the blend's score is optimistic too"
        )
    return {"selected_on_oof": bool(names)}


def rows_of_parts(ws: Workspace, parts: Sequence[str]) -> tuple[LabelledPredictions, Metric]:
    """The OOF rows that a blend of these runs is learned on, and the metric that it is judged by."""
    chosen = read_parts(ws, parts)
    competition = find_competition(chosen[0].run.slug, ws)
    manifest = joined_manifest(chosen)
    chosen = [posted(part, competition) for part in chosen]
    return judged_rows(chosen, manifest, nested_folds(chosen, manifest)), competition.metric


def _blended(
    competition: Competition,
    raw: Path,
    parts: Sequence[Member],
    manifest: Manifest,
    folds: Folds,
    rows: LabelledPredictions,
    outcome: BlendResult,
) -> UntrainedRun:
    """The blend's answers to the OOF and test rows, with what a run's folder needs beside them."""
    labels = rows.aligned.labels
    prints = manifest.fingerprint("test")
    aligned = align({part.name: replace(part.test, fingerprint=prints) for part in parts})
    test = Predictions(aligned.ids, labels, outcome.learned(aligned), prints)
    known = set(rows.aligned.ids)
    order = [i for i in manifest.train["id"] if i in known]
    oof = Predictions(rows.aligned.ids, labels, outcome.oof, manifest.fingerprint("train"))
    return UntrainedRun(
        manifest,
        folds,
        load_template(competition, raw, manifest),
        competition.metric,
        oof.select(order),
        test.select(list(manifest.test["id"])),
        rows.truth,
        rows.fold,
        outcome.oof,
    )


def _judged(test: Predictions, rows: LabelledPredictions, competition: Competition) -> list[Finding]:
    """What is found about the blend's answers, said as it comes."""
    found = [
        *collapsed_predictions(test, test.labels.shares(rows.truth)),
        *prior_shift(test, test.labels.shares(rows.truth)),
    ]
    found = applying(found, competition)
    say_findings(found)
    return found
