"""The files of runs and of their folds, read once their content is known to be what the run wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from comp import events
from comp.config import Shape, read_shaped, require_shape
from comp.data.folds import Folds, folds_sha256
from comp.data.manifest import Manifest
from comp.data.predictions import Predictions
from comp.data.several_images import by_row
from comp.errors import InputError, Refusal
from comp.files import is_intact, read_json, sealed, sha256_of, write_json
from comp.recipe import Recipe
from comp.runs import run as runs
from comp.runs.progress import model_folder
from comp.runs.run import RECIPE, RESULT, STARTED, Run, recipe_sha256, require_content
from comp.views import VIEWS

if TYPE_CHECKING:
    from comp.data.competitions.facts import CompetitionConfig
    from comp.recipe import Recipe

ANSWERS = "teacher.npz"  # of a fold under way: what it learns from another run's models
_NOT_OF_A_RESULT = (
    RESULT,
    "state.pt",
    "state.json",
    "best.pt",
    ANSWERS,
    "test.npz",
)  # of the files in a fold's folder
_TRAIN_AGAIN = "remove it: its fold is trained again"


class _Result(Shape):
    """What a fold's ``result.json`` must be, as far as commands rely on it."""

    fold: int | None = None
    run: str | None = None
    folder: str | None = None
    score: float | None
    identity_score: float | None
    rows: int
    refit: bool = False
    controls: int = 0
    seconds: float
    images_per_second: float
    accumulate: int = 1
    beside: list[str] = Field(default_factory=list)
    sets: list[str] = Field(default_factory=list)
    files: dict[str, str] | None = None
    sha256: str | None = None


class _Finding(Shape):
    check: str
    severity: str
    count: int
    message: str
    examples: list[str]
    remedy: str


def manifest_of(run: Run) -> Manifest:
    """The rows of a run.

    Raises
    ------
    InputError
        Where it is not what the run wrote, or has no train rows; of a run of an older version, where its rows are not
        those that it began with.
    """
    path = run.checked("manifest.csv")
    found = by_row(Manifest.read_csv(path))
    if not len(found.train):
        raise InputError("a run has train rows", f"{path} has none", "restore the file, or train again")
    if not run.is_proven:
        for split in ("train", "test"):
            wanted = run.started.get(f"{split}_sha256")
            if wanted is not None and wanted != found.fingerprint(split):
                value = f"{path} has other {split} rows than {run.id} began with"
                raise InputError("a run's files are as it wrote them", value, "restore it, or train again")
    return found


def folds_of(run: Run) -> Folds:
    """The folds of a run.

    Raises
    ------
    InputError
        Where they are not what the run wrote, or as many.
    """
    run.checked("folds.json")
    path = run.checked("folds.csv")
    found = Folds.load(path)
    wanted, k = run.started.get("folds_sha256"), run.started.get("folds")
    if (wanted is not None and folds_sha256(found) != wanted) or (k is not None and k != found.k):
        value = f"{path} is no longer what {run.id} began with"
        raise InputError("a run's files are as it wrote them", value, "restore it, or train again")
    return found


def recipe_of(run: Run) -> Recipe:
    """The resolved recipe of a run; while it is not finished, the parts that memory left a batch may change in it.

    Raises
    ------
    InputError, Refusal
        Where it is not what the run wrote, or began with.
    """
    from comp.recipe import load

    by_content = run.is_proven and (run.record or RECIPE in (run.started.get("files") or {}))
    if run.record or by_content:
        run.checked(RECIPE)
    found = load(run.folder / RECIPE)
    wanted = None if by_content else run.started.get("recipe_sha256")
    if wanted is not None and recipe_sha256(found) != wanted:
        value = f"{run.folder / RECIPE} is no longer what the run began with"
        raise Refusal(
            "a run keeps its own recipe", value, "restore it, or start a new run with `recipe=FILE`"
        )
    return found


def predictions_of(run: Run, kind: str, model: str = "") -> Predictions:
    """The predictions of a run or of one of its models: ``kind`` is "oof" or "test".

    Raises
    ------
    InputError
        Where they are not what the run wrote, or there are none in them.
    """
    if kind != "test":
        require_held_out(run)
    path = run.checked(f"{model}/{kind}.npz" if model else f"{kind}.npz")
    found = Predictions.load(path)
    if not len(found):
        raise InputError("predictions have rows", f"{path} has none", "restore it, or train again")
    return found


def require_held_out(run: Run) -> None:
    """InputError for a refit: no row is left that it was not fitted on."""
    if run.refit:
        value = f"{run.id} is a refit of {run.refit}: it was fitted on every labelled row"
        raise InputError("this needs held-out rows", value, f"name {run.refit}, whose folds held them out")


def scored_oof(run: Run) -> Predictions:
    """The OOF predictions of a run as they were scored: postprocessed, and each moved by what was learned on the other
    folds.

    Raises
    ------
    InputError
        As ``predictions_of``.
    """
    return predictions_of(run, SCORED if run.has(f"{SCORED}.npz") else "oof")


def require_rows(run: Run, kind: str, found: Predictions, manifest: Manifest, folds: Folds) -> None:
    """InputError unless test predictions answer each test row, and OOF predictions none but rows that a fold holds out
    (a quick run has fewer, and images that cannot be decoded have none).
    """
    if kind == "test":
        wanted = set(manifest.test["id"])
    else:
        wanted = {i for i, fold in folds.by_id.items() if fold >= 0}
    missing = wanted - set(found.ids) if kind == "test" else set()
    more = set(found.ids) - wanted
    if missing or more:
        told = [f"{len(missing)} rows have none, first {min(missing)!r}"] if missing else []
        told += [f"{len(more)} are of no row, first {min(more)!r}"] if more else []
        value = f"{kind}.npz of {run.id}: {'; '.join(told)}"
        raise InputError(
            "a run's predictions answer its own rows", value, "restore its folder, or train again"
        )


def require_same_train_rows(run: Run, manifest: Manifest, folds: Folds) -> None:
    """InputError unless each train row has a fold, and no other has one."""
    train, known = set(manifest.train["id"]), set(folds.ids)
    if train != known or len(folds.ids) != len(known):
        told = f"{len(train - known)} rows have none, {len(known - train)} are of no row"
        value = f"{run.folder / 'folds.csv'}: {told}" if train != known else f"{run.id} names a row twice"
        raise InputError("every train row of a run has one fold", value, "restore it, or train again")


def require_same_rows(run: Run, manifest: Manifest) -> None:
    """Refuses to go on with a run whose rows are no longer those it began with."""
    for split in ("train", "test"):
        if manifest.fingerprint(split) != run.started.get(f"{split}_sha256"):
            value = f"the {split} rows are no longer those that {run.id} began with"
            raise Refusal("a resumed run needs the same rows", value, "restore the data, or start a new run")


def require_kept(run: Run, now: dict[str, str | None], models: Path) -> None:
    """Refuses to go on with other folds, where what a fold has trained on would be scored as held out, and with another
    models.py, other extra rows or other corrected labels, whose networks would be scored as one.
    """
    files = {
        "folds_sha256": run.folder / "folds.csv",
        "models_sha256": models,
        "corrected_sha256": run.folder / "manifest.csv",
        "extra_sha256": run.folder / "manifest.csv",
    }
    for key, file in files.items():
        if run.started.get(key, now[key]) != now[key]:
            value = f"{file} is no longer what the run began with"
            raise Refusal(
                "a resumed run keeps its folds, networks, extra rows and corrected labels",
                value,
                "restore it, or start a new run",
            )


def findings_of(run: Run) -> list[dict[str, Any]]:
    """What the checks said of a run, a table each."""
    path = run.checked("findings.json")
    found: list[dict[str, Any]] = read_shaped(path, list[dict[str, Any]], "restore it, or train again")
    require_shape(list[_Finding], found, str(path), "restore it, or train again")
    return found


def read_result(folder: Path) -> dict[str, Any]:
    """A finished fold's ``result.json``.

    Raises
    ------
    InputError
        Where it is of another shape, was changed, or is of another run or fold than its folder.
    """
    path = folder / RESULT
    found = read_json(path)
    rule = "a finished fold's result must be whole"
    try:
        require_shape(_Result, found, str(path), _TRAIN_AGAIN)
    except InputError as error:
        raise InputError(rule, error.value, error.remedy) from error
    if not is_intact(found):
        raise InputError(rule, f"{path} was changed since it was written", "restore it, or " + _TRAIN_AGAIN)
    if found.get("files") is not None:
        if not found["files"] or not found["rows"]:
            raise InputError(rule, f"{path} says of no file, or of no row", _TRAIN_AGAIN)
        run, inside = home_of(folder)
        if run and ((found.get("run") or run) != run or (found.get("folder") or inside) != inside):
            value = f"{path} is of {found.get('run')}/{found.get('folder')}"
            raise InputError(
                "a fold's folder is its own", value, "put back the right one, or " + _TRAIN_AGAIN
            )
    return dict(found)


def home_of(folder: Path) -> tuple[str, str]:
    """The run of a fold's folder, and the folder's path in it; an empty id where it lies in no run: copied elsewhere."""
    for parent in folder.absolute().parents[:2]:
        if (parent / STARTED).is_file():
            return parent.name, folder.absolute().relative_to(parent).as_posix()
    return "", folder.name


def write_result(folder: Path, facts: dict[str, Any], known: dict[str, str]) -> None:
    """Writes a fold's ``result.json``, after everything else, with the SHA-256 of it all; ``known`` are those that need
    not be worked out again.
    """
    files = {
        path.relative_to(folder).as_posix(): known.get(path.name) or sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in _NOT_OF_A_RESULT and not path.name.startswith(".")
    }
    run, inside = home_of(folder)
    write_json(folder / RESULT, sealed({**facts, "run": run, "folder": inside, "files": files}))


def rehome(folder: Path, run: str, inside: str, changed: dict[str, str] | None = None) -> None:
    """Makes a copied fold's result say whose it is now, and what the SHA-256 of ``changed`` files are; older results,
    that do not say, are left alone.
    """
    if not (folder / RESULT).is_file():
        return
    facts = read_json(folder / RESULT)
    if facts.get("files") is not None:
        files = {**facts["files"], **(changed or {})}
        write_json(folder / RESULT, sealed({**facts, "run": run, "folder": inside, "files": files}))


def require_fold(run: Run, folder: Path) -> dict[str, Any]:
    """The result of a run's fold, once it is known to be what the run wrote."""
    name = (folder / RESULT).relative_to(run.folder).as_posix()
    if run.record or name in run.files:
        run.checked(name)
    return read_result(folder)


def require_of_fold(folder: Path, names: Sequence[str]) -> None:
    """InputError for files of a fold that are not what was written with its result; folds of older runs do not know,
    nor do checkpoints that lie elsewhere.
    """
    if not (folder / RESULT).is_file():
        return
    files = read_result(folder).get("files")
    if files is None:
        return
    whose = "/".join(part for part in home_of(folder) if part)
    for name in names:
        if name not in files:
            value = f"{folder / name} is not one of the files that {whose} wrote"
            raise InputError(
                "a fold's files are as it wrote them", value, "restore it, or train the fold again"
            )
        require_content(folder / name, files[name], whose)


def judged_file(result: dict[str, Any]) -> str:
    """The file in a fold's folder with its held-out rows; a refit has none, and its control rows, which it trained on, instead."""
    return "controls.npz" if result.get("refit") else "oof.npz"


def wrote(folder: Path, name: str) -> bool:
    """Whether a folder, wherever it lies, is a fold's whose result says that it wrote a file of this name."""
    try:
        found = read_json(folder / RESULT)
    except InputError:
        return False
    files = found.get("files") if isinstance(found, dict) else None
    return isinstance(files, dict) and name in files


def fold_checkpoints(run: runs.Run, partial: bool, model: str = "") -> list[Path]:
    """The fold folders of a run, of all its models or of one; those that are missing are named, unless ``partial``."""
    every = [folder for folder in every_fold(run) if not model or folder.parent.name == model]
    whole = [
        folder
        for folder in every
        if (folder / "result.json").is_file() and (folder / "model.safetensors").is_file()
    ]
    missing = [str(folder.relative_to(run.folder)) for folder in every if folder not in whole]
    if not whole or (missing and not partial):
        remedy = f"`comp run {run.slug} --resume {run.id}` trains them" + (
            "; or `partial=True`" if whole else ""
        )
        raise InputError(
            "a prediction asks every fold", f"{run.id} lacks the checkpoint of {', '.join(missing)}", remedy
        )
    for folder in whole:
        require_fold(run, folder)
    return whole


def every_fold(run: runs.Run) -> list[Path]:
    """The folders of all folds of all models of a run, whether they are there or not."""
    models = len(recipe_of(run).each)
    return [model_folder(run.folder, n, models) / f"fold-{k}" for n in range(models) for k in numbers_of(run)]


def numbers_of(run: Run) -> Sequence[int]:
    """The numbers of a run's folds, 0 … K-1; that of what a refit trained comes after them."""
    k = int(run.started.get("folds") or 0)
    return (k,) if run.refit else range(k)


FITTED = "fitted.txt"
VIEWS_FILE = "views.json"  # the TTA views that a run chose
DECISION_FILE = "decision.json"  # the temperature and the rule that it learned
REFIT_FILE = "refit.json"  # of a refit: what it was given by the run that it is of
SCORED = "oof-scored"  # .npz: the OOF rows as they were scored, where that is not as they were predicted


def fitted_beside(path: Path) -> set[str]:
    """The contents of the rows that a checkpoint was ever fitted on, by fitted.txt beside it; empty if not known.

    Raises
    ------
    InputError
        Where its fold wrote another fitted.txt than there is.
    """
    known = path.with_name(FITTED)
    if wrote(path.parent, FITTED):
        require_of_fold(path.parent, [FITTED])
    if not known.is_file():
        return set()
    try:
        return set(known.read_text(encoding="utf-8").split())
    except (OSError, ValueError) as error:
        raise InputError("fitted.txt must be readable", f"{known}: {error}", "restore it") from error


class _Refit(Shape):
    """``refit.json``: what the run that a refit is of scored, and its mean OOF predictions by column."""

    run: str
    metric: str
    score: float | None
    selected_on_oof: bool
    prior: dict[str, float]


def refit_facts(run: Run) -> dict[str, Any]:
    """What a refit was given by the run that it is of: see ``_Refit``. InputError where that is not as it was written."""
    found: _Refit = read_shaped(run.checked(REFIT_FILE), _Refit, "restore it, or train again")
    return found.model_dump()


class _Chosen(Shape):
    """``views.json``, as far as predictions rely on it."""

    views: list[str]


def with_chosen_views(recipe: Recipe, run: Run) -> Recipe:
    """A run's recipe with the views that it chose; identity alone where it has not yet chosen any.

    Raises
    ------
    InputError
        Where the choice is not what the run wrote, or names no views that there are.
    """
    if not recipe.chooses_views:
        return recipe
    if not run.has(VIEWS_FILE):
        events.log(f"  {run.id} has not chosen its views: predicting by the identity view")
        return recipe.with_views(recipe.views)
    path = run.checked(VIEWS_FILE)
    chosen: _Chosen = read_shaped(path, _Chosen, "restore it, or train again")
    strange = [view for view in chosen.views if view not in VIEWS]
    if strange or not chosen.views:
        value = f"{path} names {strange[0]!r}" if strange else f"{path} names none"
        raise InputError("a run chose among the views that there are", value, "restore it, or train again")
    return recipe.with_views(chosen.views)


def require_same_reading(run: Run, competition: CompetitionConfig) -> None:
    """Refusal of a run, to go on with or to predict with, whose rows of several images came to their answers in another way
    than [data] says now, or that saw other parts of them.
    """
    boxes = str(run.started.get("box") or "")
    if boxes != competition.boxes:
        value = f"{run.id} began with {boxes or 'no box'}, [data] of {competition.slug} has {competition.boxes or 'none'}"
        raise Refusal(
            "a run sees the part of an image that it began with", value, "restore [data], or train anew"
        )
    before = run.started.get("pool") or "mean"
    if before != competition.pool:
        value = (
            f"{run.id} began with pool = {before!r}, [data] of {competition.slug} has {competition.pool!r}"
        )
        raise Refusal("a run pools as it began", value, "restore pool, or start a new run")
