"""Other people's OOF and test predictions as a run like any other, without checkpoints."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from comp import events
from comp.checks.context import Finding, applying, downgrade_allowed
from comp.checks.prediction_checks import assumed_folds, collapsed_predictions, prior_shift, too_good
from comp.checks.runner import CheckResult, raise_on_errors, say_findings, show_findings
from comp.data.competitions.competition import Competition, find_competition
from comp.data.competitions.raw_folder import raw_of
from comp.data.folds import Folds
from comp.data.predictions import Predictions
from comp.errors import InputError
from comp.files import sha256_of, write_text
from comp.pipelines.check import parse_folds, survey
from comp.pipelines.external_predictions import ExternalPredictions, joined_ids, predictions_of, read_rows
from comp.pipelines.record import UntrainedRun, write_untrained
from comp.pipelines.run_result import RunResult
from comp.runs import run as runs
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
    report: bool = True,
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
        folds do not pass the checks.
    """
    ws = Workspace.find(workspace)
    competition = find_competition(slug, ws)
    raw = raw_of(competition, ws, data)
    files = {"oof": Path(oof).expanduser(), "test": Path(test).expanduser()}
    named = fold_column is not None or isinstance(parse_folds(folds), Path)
    if fold_column is not None and parse_folds(folds) != 5:
        raise InputError("folds are named once", "`folds` and `fold_column`", "drop one of them")
    found = _survey(competition, ws, raw, files["oof"], fold_column, folds, allow)
    show_findings(found)
    raise_on_errors(found.findings, slug, "no import past an error")
    assert found.folds is not None, "the checks let nothing pass without folds"
    ours = _read(competition, found, found.folds, files, fold_column, normalise)
    findings = [*found.findings, *_judged(found, found.folds, ours, competition, named)]
    started = {
        **runs.dataset_metadata(
            competition.facts,
            raw,
            found.context.k,
            found.dataset.manifest,
            ["sample"] if found.dataset.is_sample else [],
        ),
        "mode": runs.IMPORTED,
        "model": name or files["oof"].stem,
        "expected": None,
        "imported": {kind: {"file": str(file), "sha256": sha256_of(file)} for kind, file in files.items()},
        "folds_assumed": not named,
        "normalised": normalise,
    }
    new = _untrained(found, found.folds, ours)
    return write_untrained(ws, started, new, findings, RunResult, report)


def _untrained(checked: CheckResult, folds: Folds, ours: dict[str, Predictions]) -> UntrainedRun:
    seen, oof = checked.context, ours["oof"]
    return UntrainedRun(
        seen.manifest,
        folds,
        seen.template,
        seen.competition.metric,
        oof,
        ours["test"],
        _truth(checked),
        folds.of(seen.manifest.train["id"]),
        oof.probs,
    )


def _survey(
    competition: Competition,
    workspace: Workspace,
    raw: Path,
    oof: Path,
    fold_column: str | None,
    folds: int | str | Path,
    allow: dict[str, str] | None,
) -> CheckResult:
    """The checked rows, with the folds that the OOF file names where it names some."""
    if fold_column is None:
        return survey(competition, workspace, raw, folds=parse_folds(folds), allow=allow)
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
        return survey(competition, workspace, raw, folds=file, allow=allow)


def _a_csv(file: Path) -> Path:
    if file.suffix.lower() == ".npz":
        raise InputError(
            "a fold column is one of a CSV", f"{file} is an .npz", "`folds=FILE` names folds for it"
        )
    return file


def _read(
    competition: Competition,
    checked: CheckResult,
    folds: Folds,
    files: dict[str, Path],
    fold_column: str | None,
    normalise: bool,
) -> dict[str, Predictions]:
    """OOF and test predictions, joined to the rows of the manifest."""
    manifest, labels = checked.dataset.manifest, checked.dataset.labels
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
        events.log(f"  {file.name} was made from files of other contents or groups; it is joined by id")
    return Predictions(tuple(ids), labels, stored.probs, fingerprint).select(samples)


def _judged(
    checked: CheckResult, folds: Folds, ours: dict[str, Predictions], competition: Competition, named: bool
) -> list[Finding]:
    """What is found about the predictions themselves, said as it comes."""
    truth = _truth(checked)
    score = competition.metric(truth, ours["oof"].probs)
    judged = [
        *collapsed_predictions(ours["test"], checked.dataset.labels.shares(truth)),
        *too_good(score, competition.metric, len(truth), None),
        *prior_shift(ours["test"], checked.dataset.labels.shares(truth)),
        *assumed_folds(named, folds.k, len(truth)),
    ]
    lowered = downgrade_allowed(applying(judged, competition), checked.allowed)
    say_findings(lowered)
    return lowered


def _truth(checked: CheckResult) -> NDArray[Any]:
    """The truth of the train rows, (N,) or (N, D), in the manifest's order."""
    return checked.dataset.labels.encode(checked.dataset.manifest.train["label"])
