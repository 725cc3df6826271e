"""Steps of a run repeated alone: predicting again, validating a CSV."""

from __future__ import annotations

from pathlib import Path

from comp import console, registry, runs, submission
from comp.checks.evidence import Evidence
from comp.checks.findings import lower
from comp.checks.gate import judge_test, require_pass
from comp.errors import InputError
from comp.manifest import Manifest
from comp.recipe import load
from comp.submission import Problem
from comp.survey import look_at_images
from comp.template import load_template, read_submission
from comp.workspace import Workspace


def predict(
    run: str,
    *,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
    template: str | Path | None = None,
    partial: bool = False,
    out: str | Path | None = None,
) -> tuple[Path, int]:
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

    Returns
    -------
    (Path, int)
        The CSV and its number of rows.

    Raises
    ------
    CompError
        Where a checkpoint is missing, or the test rows do not pass the gate.
    """
    from comp.inference.predict import predict as predict_rows
    from comp.training.checkpoint import read_sidecar
    from comp.training.device import resolve_device
    from comp.training.networks import load_models

    place = Workspace.find(workspace)
    one = runs.find_run(place, run)
    competition = registry.competition(one.slug, place)
    load_models(competition.file("models.py"))
    folders = _folds_to_ask(one, partial)
    labels = read_sidecar(folders[0]).labels
    raw = Path(data).expanduser().absolute() if data else Path(str(one.started["raw"]))
    manifest = (
        competition.tidied(competition.adapter.read(raw), raw)
        if data
        else Manifest.read_csv(one.folder / "manifest.csv")
    )
    if not len(manifest.test):
        raise InputError(
            "there must be rows to predict", f"{raw} has no test images", f"see `comp data {one.slug}`"
        )
    asked = load_template(competition, raw, manifest, Path(template).expanduser() if template else None)
    source = competition.source(raw)
    images = look_at_images(source, raw, Manifest(manifest.test), None)
    evidence = Evidence(competition, raw, manifest, labels, asked, len(folders), images)
    require_pass(lower(judge_test(evidence), competition.facts.check.allow), one.slug)

    recipe = resolve_device(load(one.folder / "recipe.toml"))
    with console.progress():
        test = manifest.test
        found = predict_rows(
            folders, source, list(test["id"]), list(test["path"]), recipe, manifest.fingerprint("test")
        )
    new = ("-new" if data or template else "") + ("-partial" if len(folders) < len(_every_fold(one)) else "")
    path = Path(out).expanduser() if out else place.submissions(one.slug) / f"{one.id}{new}.csv"
    submission.write(found, asked, path)
    return path, len(found)


def _folds_to_ask(one: runs.Run, partial: bool) -> list[Path]:
    """The fold folders of a run, of all its models; those that are missing are named, unless ``partial``."""
    every = _every_fold(one)
    whole = [
        folder
        for folder in every
        if (folder / "result.json").is_file() and (folder / "model.safetensors").is_file()
    ]
    missing = [str(folder.relative_to(one.folder)) for folder in every if folder not in whole]
    if not whole or (missing and not partial):
        remedy = f"comp run {one.slug} --resume {one.id} trains them" + ("; or --partial" if whole else "")
        raise InputError(
            "a prediction asks every fold", f"{one.id} lacks the checkpoint of {', '.join(missing)}", remedy
        )
    return whole


def _every_fold(one: runs.Run) -> list[Path]:
    from comp.trained import model_folder

    models = len(load(one.folder / "recipe.toml").each)
    folds = range(int(one.started["folds"]))
    return [model_folder(one.folder, n, models) / f"fold-{k}" for n in range(models) for k in folds]


def validate(
    slug: str, csv: str | Path, *, workspace: str | Path | None = None, data: str | Path | None = None
) -> tuple[list[Problem], int]:
    """Every way in which a CSV does not answer the competition's template, and its number of rows."""
    place = Workspace.find(workspace)
    competition = registry.competition(slug, place)
    raw = Path(data).expanduser().absolute() if data else place.raw(slug)
    manifest = competition.read(raw)
    table = read_submission(Path(csv).expanduser())
    template = load_template(competition, raw, manifest)
    return submission.validate(table, template, competition.label_map(manifest, raw)), len(table)
