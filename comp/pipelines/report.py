"""write_report(): the page of a run, written from what their folders hold."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from comp import events
from comp.checks.context import in_order
from comp.checks.label_errors import LikelyWrong, likely_wrong
from comp.data.competitions.competition import Competition, find_competition
from comp.data.device_memory import release_memory
from comp.data.folds import Folds, group_names
from comp.data.manifest import Manifest
from comp.data.postprocess import postprocessed
from comp.data.predictions import Predictions, kept_as
from comp.ensembling.decisions import decision_of
from comp.errors import CompError, InputError
from comp.files import read_json, require_output, write_text
from comp.pipelines.run_features import features_of
from comp.report.run_report.run_data import Floats, FoldEpochs, OofRows, OtherRun, RunData, TestRows
from comp.runs import ledger
from comp.runs import run as runs
from comp.runs.contents import (
    SCORED,
    folds_of,
    manifest_of,
    predictions_of,
    read_result,
    recipe_of,
    require_held_out,
    require_of_fold,
    scored_oof,
    wrote,
)
from comp.runs.run import RESULT, Run
from comp.submission.answers import names_of
from comp.workspace import Workspace

REPORT, OOF = "report.html", "oof.csv"
MOST_RUNS = 12
FACTS = {"check", "severity", "count", "message"}  # of each finding
COSTLY = 5e9  # numbers that comparing runs may look at: some seconds


def write_report(
    run: str = "latest",
    *,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
    html: str | Path | None = None,
    grad_cam: bool = False,
) -> Path:
    """Writes the page of a run, and ``oof.csv`` beside it: every OOF row with its label, answer and fold.

    Parameters
    ----------
    run : str
        A run's id, a prefix of it, or "latest". Of a run that is not finished the folds that are.
    workspace, data : path, optional
        As for ``comp.run``; ``data`` is read for images, by default the raw folder that the run had. Images that are not
        there are said to be missing on the page.
    html : path, optional
        Where to; by default report.html in the run's folder, and oof.csv only there.
    grad_cam : bool
        Shows, for the worst mistakes, where the network of their own fold looked (Selvaraju et al. 2017); loads its
        checkpoints.

    Returns
    -------
    Path of the page.

    Raises
    ------
    CompError
        For a run that there is not, that is damaged, or of which no fold is done.
    """
    ws = Workspace.find(workspace)
    this_run = runs.find_run(ws, run)
    competition = find_competition(this_run.slug, ws)
    raw = Path(data).expanduser().absolute() if data else runs.raw_folder(this_run, ws)
    out = require_output(html)
    gathered = gather(this_run, ws, competition, raw)
    if grad_cam:
        from comp.pipelines.run_images import attention_mosaic

        looked = attention_mosaic(this_run, gathered, recipe_of(this_run))
        gathered = replace(gathered, mosaics=[*gathered.mosaics, *looked])
    return _write(gathered, out or this_run.folder / REPORT, None if out else this_run.folder / OOF)


def report_of(
    run: str, seconds: float, workspace: Workspace, competition: Competition, raw: Path, page: bool
) -> Path | None:
    """Writes oof.csv of a run that has just been done, in ``seconds``, and, with ``page``, its page; None, with a warning, where it cannot be
    drawn: that is no reason to lose a run.
    """
    from comp.report.run_report.page import MOST_IMAGES

    try:
        with events.task("writing the report", 1) as bar:
            most = int(min(max(seconds * SHARE / SECONDS_AN_IMAGE, FEWEST_IMAGES), MOST_IMAGES))
            this_run = runs.find_run(workspace, run)
            write_text(this_run.folder / OOF, oof_csv(oof_rows(this_run)))
            if not page:
                return None
            gathered = gather(this_run, workspace, competition, raw)
            path = _write(gathered, this_run.folder / REPORT, None, most)
            bar.advance(1)
        return path
    except Exception as error:  # whatever a page meets, the submission is right
        told = str(error) if isinstance(error, CompError) else f"{type(error).__name__}: {error}"
        events.log(f"  warning: no report: {told}; `comp report {run}` tries again")
        return None


SHARE, SECONDS_AN_IMAGE, FEWEST_IMAGES = 0.02, 0.004, 100  # of a run's time for the images of its page


def fragment(folder: Path, page: Path | None) -> str:
    """The run of a folder for a notebook: its scores, curves, confusions and worst images, as a piece of HTML."""
    from comp.report.run_report.notebook import summary

    workspace = Workspace.find(folder.parent.parent)
    this_run = runs.find_run(workspace, folder.name)
    competition = find_competition(this_run.slug, workspace)
    raw = runs.raw_folder(this_run, workspace)
    data = gather(this_run, workspace, competition, raw, mosaics=False)
    return summary(data, "" if page is None else workspace.shown(page))


def _write(data: RunData, page: Path, rows: Path | None, most: int | None = None) -> Path:
    from comp.report.run_report.page import MOST_IMAGES, render

    write_text(page, render(data, MOST_IMAGES if most is None else most))
    if rows is not None:
        write_text(rows, oof_csv(data.oof))
    return page


def oof_csv(oof: OofRows) -> str:
    """``id,path,label,answer,p_true,fold`` of every OOF row, in the order of the manifest; the classes of a multi-label cell
    in the order of the label map, so that label and answer are the same text where the answer is right.
    """
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "path", "label", "answer", "p_true", "fold"])
    sure = (f"{value:.6g}" for value in oof.p_true.tolist())
    several = oof.labels.task.name == "multi-label"
    labels = names_of(oof.truth > 0, oof.labels) if several else oof.cells
    writer.writerows(zip(oof.ids, oof.paths, labels, oof.answer_names, sure, oof.fold.tolist(), strict=True))
    return out.getvalue()


def gather(
    this_run: Run, workspace: Workspace, competition: Competition, raw: Path, mosaics: bool = True
) -> RunData:
    """Everything that the page of a run shows, read from its folder and from those of the competition's other runs;
    ``mosaics``: also what its network sees, which decodes and augments images.
    """
    require_held_out(this_run)
    release_memory()  # what training and predictions took
    manifest, folds = manifest_of(this_run), folds_of(this_run)
    rows = oof_rows(this_run, manifest)
    recipe = recipe_table(this_run)
    test = _test(this_run, manifest, rows, competition)
    answers = {} if test is None else dict(zip(test.ids, test.answer_names, strict=True))
    found = RunData(
        run=this_run.id,
        slug=this_run.slug,
        title=competition.facts.title,
        record=this_run.record or this_run.partial,
        started=this_run.started,
        metric=competition.metric,
        oof=rows,
        test=test,
        features=features_of(this_run, answers),
        folds=folds.k,
        fold_scores=_fold_scores(rows, competition),
        epochs=_epochs(this_run),
        recipe=recipe,
        findings=_findings(this_run),
        checks=[one.name for one in in_order() if recipe or one.stage != "recipe"],
        source=competition.source(raw),
        looks=_looks(workspace, this_run.slug, raw, rows.paths),
        others=_others(this_run, workspace, rows, recipe),
        submitted=[
            one.model_dump() for one in ledger.entries(workspace, this_run.slug) if one.run == this_run.id
        ],
        has_controls=any((model / "fold-0" / "control.json").is_file() for model in _models(this_run)),
        training_shares=rows.labels.shares(rows.labels.encode(list(manifest.train["label"]))),
    )
    seen = _mosaics(this_run, workspace, manifest, found) if mosaics else []
    return replace(found, doubts=_doubts(rows), mosaics=seen)


def _doubts(rows: OofRows) -> LikelyWrong | None:
    """Labels that are likely wrong by the OOF probabilities; None where a row has not one class, or all were held out at
    once.
    """
    if not rows.labels.task.one_class_a_row or len(np.unique(rows.fold)) < 2:
        return None
    return likely_wrong(rows.plain, rows.truth, rows.fold, classes=len(rows.labels))


def _mosaics(
    this_run: Run, workspace: Workspace, manifest: Manifest, data: RunData
) -> list[tuple[str, str, bytes]]:
    """What the network saw; none of a run that trained none, or whose images are not at hand."""
    from comp.pipelines.run_images import training_mosaic

    if not data.recipe:
        return []
    try:
        return [training_mosaic(recipe_of(this_run).each[0], workspace, manifest.train, data)]
    except (CompError, OSError) as error:
        events.log(f"  the report shows no training images: {getattr(error, 'value', error)}")
        return []


def _models(this_run: Run) -> list[Path]:
    """The folders of a run's models; of a blend or an import, that trained none, nothing."""
    if (this_run.folder / "fold-0").is_dir():
        return [this_run.folder]
    return sorted(this_run.folder.glob("model-*"))


def _oof(this_run: Run, folds: Folds) -> Predictions:
    """The OOF predictions of a run; of one that is not done those of its finished folds, each the mean of its models."""
    from comp.data.predictions import average

    if this_run.has("oof.npz") and (this_run.folder / "oof.npz").is_file():
        return predictions_of(this_run, "oof")
    parts = []
    for k in range(folds.k):
        done = [folder / f"fold-{k}" for folder in _models(this_run)]
        if done and all((folder / RESULT).is_file() and read_result(folder) for folder in done):
            parts.append(average([Predictions.load(folder / "oof.npz") for folder in done]))
    if not parts:
        remedy = f"`comp run {this_run.slug} --resume {this_run.id}` trains it"
        raise InputError("a report needs a fold that is done", f"{this_run.id} has none", remedy)
    ids = tuple(i for part in parts for i in part.ids)
    return Predictions(ids, parts[0].labels, np.concatenate([part.probs for part in parts]))


def oof_rows(this_run: Run, manifest: Manifest | None = None) -> OofRows:
    """OOF rows in the order of the run's manifest, as the run scored them."""
    manifest, folds = manifest or manifest_of(this_run), folds_of(this_run)
    plain = _oof(this_run, folds)
    table = manifest.train
    place = {i: n for n, i in enumerate(plain.ids)}
    known = [n for n, i in enumerate(table["id"]) if i in place]
    shown = table.iloc[known]
    groups = group_names(table)
    predicted = plain.select(list(shown["id"])).probs
    scored = (
        scored_oof(this_run).select(list(shown["id"])).probs if this_run.has(f"{SCORED}.npz") else predicted
    )
    cells = tuple(map(str, shown["label"]))
    return OofRows(
        tuple(shown["id"]),
        tuple(shown["path"]),
        cells,
        plain.labels.encode(cells),
        scored,
        predicted,
        np.array([folds.by_id[i] for i in shown["id"]], dtype=np.int64),
        tuple(groups[n] for n in known),
        plain.labels,
    )


def _test(this_run: Run, manifest: Manifest, rows: OofRows, competition: Competition) -> TestRows | None:
    if not (this_run.has("test.npz") or (this_run.folder / "test.npz").is_file()) or not len(manifest.test):
        return None
    found = (
        predictions_of(this_run, "test")
        if this_run.has("test.npz")
        else Predictions.load(this_run.folder / "test.npz")
    )
    path_of = dict(zip(manifest.test["id"], manifest.test["path"], strict=True))
    decide = decision_of(this_run, rows.labels) if this_run.record else (lambda probs: probs)
    paths = tuple(path_of.get(i, "") for i in found.ids)
    posted = found  # a blend's were postprocessed before it was one, an import's come as answers
    if this_run.started.get("mode") not in (runs.ENSEMBLE, runs.IMPORTED):
        posted = postprocessed(found, competition, manifest.test, this_run.started)
    return TestRows(found.ids, paths, decide(posted.probs), _by_fold(this_run, found), rows.labels)


def _by_fold(this_run: Run, test: Predictions) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """Test predictions (K, N, D) of each fold of the first model; None where they are not all there."""
    files = [path / "test.npz" for models in _models(this_run)[:1] for path in sorted(models.glob("fold-*"))]
    if len(files) < 2 or not all(file.is_file() for file in files):
        return None
    for file in files:
        _require_whole(file)
    shape = (len(files), len(test), test.labels.width)
    each = np.empty(shape, kept_as(int(np.prod(shape)), test.labels.task.is_single_label))
    for probs, file in zip(each, files, strict=True):
        alone = Predictions.load(file)
        if set(alone.ids) != set(test.ids):
            return None
        probs[:] = alone.select(test.ids).probs
    return each


def _fold_scores(rows: OofRows, competition: Competition) -> dict[int, float]:
    """The score of each fold's rows."""
    found = {}
    for k in np.unique(rows.fold):
        here = rows.fold == k
        found[int(k)] = competition.metric(rows.truth[here], rows.probs[here])
    return found


def _epochs(this_run: Run) -> list[FoldEpochs]:
    found = []
    for model in _models(this_run):
        for folder in sorted(model.glob("fold-*")):
            path = folder / "history.csv"
            if not path.is_file():
                continue
            _require_whole(path)
            with path.open(encoding="utf-8", newline="") as file:
                rows = [
                    {key: _float(cell) for key, cell in row.items() if key} for row in csv.DictReader(file)
                ]
            name = "" if model == this_run.folder else model.name
            found.append(FoldEpochs(int(folder.name.removeprefix("fold-")), name, tuple(rows)))
    return found


def _require_whole(path: Path) -> None:
    """InputError for a file of a fold that is not as the fold wrote it."""
    if wrote(path.parent, path.name):
        require_of_fold(path.parent, [path.name])


def _float(cell: str | None) -> float:
    try:
        return float(cell or "nan")
    except ValueError:
        return math.nan


def recipe_table(this_run: Run) -> dict[str, Any]:
    """The recipe of a run as a table; empty for one that has none."""
    if not (this_run.has(runs.RECIPE) or (this_run.folder / runs.RECIPE).is_file()):
        return {}
    return recipe_of(this_run).each[0].model_dump(mode="json")


def _findings(this_run: Run) -> list[dict[str, Any]]:
    name = "findings.json"
    path = this_run.folder / name
    if this_run.record and this_run.has(name):  # until then it is written anew
        this_run.checked(name)
    found: Any = read_json(path) if path.is_file() else []
    if not isinstance(found, list) or not all(isinstance(one, dict) and set(one) >= FACTS for one in found):
        value = f"{path}: not a list of findings"
        raise InputError("a run's findings are as it wrote them", value, "restore the file")
    return found


def _looks(workspace: Workspace, slug: str, raw: Path, paths: Sequence[str]) -> Floats | None:
    """Width, height and brightness (N, 3) of images, by the fingerprints that a check kept; None where it lacks some."""
    from comp.checks.image_scan import load
    from comp.pipelines.check import fingerprint_file

    kept = fingerprint_file(workspace, slug, raw)
    facts = load(kept)
    try:
        places = facts.places(paths)
    except KeyError:
        return None
    found = np.stack([facts.column(name, places) for name in ("width", "height", "mean")], axis=1)
    return found.astype(np.float64) if (found[:, 0] > 0).all() else None


def _others(this_run: Run, workspace: Workspace, rows: OofRows, recipe: Mapping[str, Any]) -> list[OtherRun]:
    """The newest finished runs of the competition but this one; damaged files of theirs cost them their place, not the page."""
    most = max(2, min(MOST_RUNS, int(COSTLY / (300 * max(rows.probs.size, 1)))))
    found: list[OtherRun] = []
    for other in runs.sound_runs(workspace, this_run.slug):
        if other.id == this_run.id or not other.record or other.refit or len(found) >= most:
            continue
        try:
            found.append(_other(other, this_run, rows, recipe))
        except CompError as error:
            events.log(f"  warning: {other.id} is left out of the report: {error}")
    return found


def _other(other: Run, this_run: Run, rows: OofRows, recipe: Mapping[str, Any]) -> OtherRun:
    theirs = recipe_table(other)
    return OtherRun(
        other.id,
        score_of(other.record),
        model_in_words(other, theirs),
        float(sum((other.record.get("seconds") or {}).values())),
        str(other.started.get("started", "")) < str(this_run.started.get("started", "")),
        tuple(other.marks),
        tuple(_changes(theirs, recipe)) if theirs and recipe else (),
        _same_rows(other, this_run, rows),
    )


def score_of(record: Mapping[str, Any]) -> float:
    """The OOF score of a run's record; NaN where there is none."""
    score = (record.get("oof") or {}).get("score")
    return math.nan if score is None else float(score)


def model_in_words(run: Run, recipe: Mapping[str, Any]) -> str:
    """The mode and network of a run, by its recipe where it has one."""
    name = (recipe.get("model") or {}).get("name")
    if name:
        return f"{recipe.get('mode')} {name}"
    return " ".join(str(run.started[key]) for key in ("mode", "model") if run.started.get(key))


def _same_rows(other: Run, this_run: Run, rows: OofRows) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """Another run's answers to these rows, in their order; None where it has others, labelled otherwise or of other
    classes.
    """
    oof = scored_oof(other)
    place = {i: n for n, i in enumerate(oof.ids)}
    if oof.labels != rows.labels or not set(rows.ids) <= set(place):
        return None
    prints = [run.started.get("train_sha256") for run in (other, this_run)]
    if prints[0] is None or prints[0] != prints[1]:  # else rows and labels are the same
        table = manifest_of(other).train
        labels = dict(zip(table["id"], table["label"], strict=True))
        if any(str(labels.get(i)) != cell for i, cell in zip(rows.ids, rows.cells, strict=True)):
            return None
    return oof.probs[[place[i] for i in rows.ids]]


def _changes(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The keys whose values differ, dotted."""
    one, other = flat(there), flat(here)
    keys = sorted({*one, *other})
    return [(key, word(one.get(key)), word(other.get(key))) for key in keys if one.get(key) != other.get(key)]


def flat(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """A table's values by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{before}{key}"
        found.update(flat(value, f"{name}.") if isinstance(value, dict) else {name: value})
    return found


def word(value: Any) -> str:
    """A value of a recipe in at most 40 characters."""
    told = "–" if value is None else str(value)
    return told if len(told) <= 40 else told[:39] + "…"
