"""Other people's OOF and test predictions as a run like any other, without checkpoints."""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comp import console
from comp.checks.context import Finding, counts, downgrade_allowed
from comp.checks.prediction_checks import assumed_folds, collapsed_predictions, prior_shift, too_good
from comp.checks.runner import CheckResult, raise_on_errors
from comp.data.competitions import competition as registry
from comp.data.competitions.competition import Competition
from comp.data.folds import Folds
from comp.data.predictions import Predictions
from comp.errors import InputError
from comp.files import make_folder, write_json, write_text
from comp.metrics import confusion
from comp.pipelines.check import parse_folds, survey
from comp.pipelines.external_predictions import ExternalPredictions, joined_ids, predictions_of, read_rows
from comp.report.findings_text import say_findings, show_findings
from comp.runs import run as runs
from comp.runs.result import RunResult
from comp.workspace import Workspace

if TYPE_CHECKING:
    from comp.data.labels import LabelMap


def import_(
    slug: str,
    oof: str | Path,
    test: str | Path,
    *,
    name: str | None = None,
    folds: int | str | Path = 5,
    fold_column: str | None = None,
    normalise: bool = False,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
    allow: dict[str, str] | None = None,
) -> RunResult:
    """Makes a run of predictions that another program made: it is scored, submitted and blended as any other.

    Parameters
    ----------
    slug : str
    oof, test : path
        CSVs with an id and a column a class (by class name, or by index where they are numbers), or .npz files of
        ours. OOF has every train row once, test every test row.
    name : str, optional
        What the model is called; by default the OOF file's name.
    folds : int or path
        The folds that they were made with, as for ``comp.run``. A number is an assumption, and said to be one.
    fold_column : str, optional
        The column of the OOF file with the fold that each row was held out in.
    normalise : bool
        Divide each row by its sum.
    workspace, data, allow
        As for ``comp.run``.

    Raises
    ------
    CompError
        Where a file does not answer the competition's rows one to one, with the faults named; where the data or the
        folds do not pass the gate.
    """
    place = Workspace.find(workspace)
    competition = registry.competition(slug, place)
    raw = Path(data).expanduser().absolute() if data else place.raw(slug)
    files = {"oof": Path(oof).expanduser(), "test": Path(test).expanduser()}
    named = fold_column is not None or isinstance(parse_folds(folds), Path)
    if fold_column is not None and parse_folds(folds) != 5:
        raise InputError("folds are named once", "--folds and --fold-column", "drop one of them")
    found = _survey(competition, place, raw, files["oof"], fold_column, folds, allow)
    show_findings(found)
    raise_on_errors(found.findings, slug, "no import past an error")
    assert found.folds is not None, "the gate lets nothing pass without folds"
    ours = _read(competition, found, found.folds, files, fold_column, normalise)
    findings = [*found.findings, *_judged(found, found.folds, ours, competition, named)]
    label = name or files["oof"].stem
    one = _new_run(place, found, competition, label, files, named, normalise)
    try:
        return _finished(place, one, found, found.folds, ours, findings)
    except BaseException:  # Ctrl-C too: an import is quick, and half of one is of no use
        _remove(place, one)
        raise


def _remove(place: Workspace, one: runs.Run) -> None:
    """Takes away what there is of a run that did not come to its record."""
    shutil.rmtree(one.folder, ignore_errors=True)
    for suffix in (".csv", ".json"):
        (place.submissions(one.slug) / f"{one.id}{suffix}").unlink(missing_ok=True)


def _survey(
    competition: Competition,
    place: Workspace,
    raw: Path,
    oof: Path,
    fold_column: str | None,
    folds: int | str | Path,
    allow: dict[str, str] | None,
) -> CheckResult:
    """The checked rows, with the folds that the OOF file names where it names some."""
    if fold_column is None:
        return survey(competition, place, raw, folds=parse_folds(folds), allow=allow)
    rows = read_rows(_a_csv(oof), competition.facts.template.id, fold_column)
    samples = list(competition.read(raw).train["id"])
    fold = dict(zip(joined_ids(rows, samples), rows.folds or (), strict=True))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "folds.csv"
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["id", "fold"])
        writer.writerows((i, fold[i]) for i in samples)
        write_text(file, text.getvalue())
        return survey(competition, place, raw, folds=file, allow=allow)


def _a_csv(file: Path) -> Path:
    if file.suffix.lower() == ".npz":
        raise InputError(
            "a fold column is one of a CSV", f"{file} is an .npz", "--folds FILE names folds for it"
        )
    return file


def _read(
    competition: Competition,
    found: CheckResult,
    folds: Folds,
    files: dict[str, Path],
    fold_column: str | None,
    normalise: bool,
) -> dict[str, Predictions]:
    """OOF and test predictions, joined to the rows of the manifest."""
    manifest, labels = found.evidence.manifest, found.evidence.labels
    rows = {"oof": list(manifest.train["id"]), "test": list(manifest.test["id"])}
    prints = {"oof": folds.fingerprint, "test": manifest.fingerprint("test")}
    ours = {}
    for kind, file in files.items():
        if file.suffix.lower() == ".npz":
            ours[kind] = _of_npz(file, labels, rows[kind], prints[kind])
        else:
            column = fold_column if kind == "oof" else None
            table = read_rows(file, competition.facts.template.id, column)
            ours[kind] = predictions_of(table, labels, rows[kind], prints[kind], normalise)
    return ours


def _of_npz(file: Path, labels: LabelMap, samples: list[str], fingerprint: str) -> Predictions:
    """Predictions that comp saved elsewhere, of the same rows and label map."""
    stored = Predictions.load(file)
    stored.require_labels(labels)
    ids = joined_ids(ExternalPredictions(str(file), stored.ids, (), ()), samples)
    if stored.fingerprint not in ("", fingerprint):
        console.log(f"  {file.name} was made from files of other contents or groups; it is joined by id")
    return Predictions(tuple(ids), labels, stored.probs, fingerprint).select(samples)


def _judged(
    found: CheckResult, folds: Folds, ours: dict[str, Predictions], competition: Competition, named: bool
) -> list[Finding]:
    """What is found about the predictions themselves, said as it comes."""
    truth = _truth(found)
    labels = found.evidence.labels
    priors = np.bincount(truth, minlength=len(labels)) / len(truth)
    score = competition.metric(truth, ours["oof"].probs)
    judged = [
        *collapsed_predictions(ours["test"], priors),
        *too_good(score, competition.metric, len(truth), None),
        *prior_shift(ours["test"], priors),
        *assumed_folds(named, folds.k, len(truth)),
    ]
    lowered = downgrade_allowed(judged, found.allowed)
    say_findings(lowered)
    return lowered


def _truth(found: CheckResult) -> NDArray[np.int64]:
    """The class indices (N,) of the train rows, in the manifest's order."""
    return found.evidence.labels.encode(found.evidence.manifest.train["label"])


def _new_run(
    place: Workspace,
    found: CheckResult,
    competition: Competition,
    name: str,
    files: dict[str, Path],
    named: bool,
    normalise: bool,
) -> runs.Run:
    """The run's folder, with what it was made of."""
    make_folder(place.submissions(competition.slug))
    told: dict[str, Any] = {
        kind: {"file": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for kind, file in files.items()
    }
    marks = ["sample"] if found.is_sample else []
    started = {
        **runs.dataset_metadata(
            competition.facts, found.evidence.raw, found.evidence.k, found.evidence.manifest, marks
        ),
        "mode": runs.IMPORTED,
        "model": name,
        "expected": None,
        "imported": told,
        "folds_assumed": not named,
        "normalised": normalise,
    }
    return runs.new_run(place, started)


def _finished(
    place: Workspace,
    one: runs.Run,
    found: CheckResult,
    folds: Folds,
    ours: dict[str, Predictions],
    findings: list[Finding],
) -> RunResult:
    """Writes the run's folder and the submission; the record last."""
    from comp.pipelines.record import write_submission
    from comp.runs.result import confusion_csv

    competition, manifest = found.evidence.competition, found.evidence.manifest
    oof, truth, metric = ours["oof"], _truth(found), competition.metric
    write_text(one.folder / "manifest.csv", manifest.to_csv())
    folds.save(one.folder / "folds.csv")
    for kind, predictions in ours.items():
        predictions.save(one.folder / f"{kind}.npz")
    counted = confusion(truth, oof.probs)
    write_text(one.folder / "confusion.csv", confusion_csv(oof.labels, counted))
    path = write_submission(place, found, one, ours["test"])
    fold = folds.of(manifest.train["id"])
    result = RunResult(
        run=one.id,
        slug=one.slug,
        metric=metric.name,
        direction=metric.direction,
        score=metric(truth, oof.probs),
        beside={},
        per_fold=[metric(truth[fold == k], oof.probs[fold == k]) for k in range(folds.k)],
        submission=path,
        findings=counts(findings),
        seconds={},
        folder=one.folder,
        marks=list(one.marks),
    )
    write_json(one.folder / "findings.json", [f.as_json() for f in findings])
    write_json(path.with_suffix(".json"), {**result.as_json(), "message": None, "submitted": None})
    runs.finish(one, result.as_json())
    return result
