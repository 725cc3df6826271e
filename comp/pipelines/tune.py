"""tune(): a search over recipe keys on fixed folds, which ends with a recipe that `comp run` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comp import events
from comp.checks.related_images import CloseLook
from comp.config import as_overrides
from comp.data.competitions.competition import Competition, find_competition
from comp.data.competitions.raw_folder import raw_of
from comp.data.folds import folds_sha256
from comp.errors import InputError
from comp.pipelines.check import parse_folds
from comp.pipelines.request import FoldEngine, RunRequest, model_mistakes, recipe_file
from comp.pipelines.run import checked
from comp.pipelines.tuning.defaults import default_search
from comp.pipelines.tuning.order import RowOptions, SearchOrder, require_name, require_optuna
from comp.pipelines.tuning.search_space import SearchSpace, read_search_file, read_space, require_allowed
from comp.recipe import from_table, laid_table
from comp.training.time_limit import parse_seconds
from comp.workspace import Workspace

if TYPE_CHECKING:
    from comp.checks.runner import CheckResult
    from comp.pipelines.tuning.result import TuneResult
SEARCH_FILE = "search.toml"


def tune(
    slug: str,
    trials: int = 50,
    folds: int | str | Path = 5,
    *,
    time_limit: str | None = None,
    study: str = "default",
    storage: str | None = None,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
    recipe: str | Path | None = None,
    search: str | Path | None = None,
    overrides: Sequence[str] | Mapping[str, object] = (),
    seed: int | None = None,
    manifest: str | Path | None = None,
    extra: str | Path | None = None,
    rare: str | None = None,
    allow: dict[str, str] | None = None,
    thorough: bool | None = None,
    group_scenes: bool = False,
    engine: str | None = None,
    address: str | None = None,
    cpus_per_fold: float | None = None,
    gpus_per_fold: float | None = None,
) -> TuneResult:
    """Looks for better values of recipe keys: each trial trains the folds of the study, and the best recipe is written.

    Parameters
    ----------
    slug : str
        A competition of ``comp list``.
    trials : int
        How many the study shall have in all, the recipe as it stands among them; those of earlier commands and of other
        processes count.
    folds, workspace, data, recipe, overrides, manifest, extra, rare, allow, thorough, group_scenes
        As ``comp.run`` takes them: the same words give the same rows and folds.
    time_limit : str, optional
        Such as "2h": no trial begins that would not end in time, and one that is at work then waits for the next command.
    study : str
        Its name. The same command goes on with it, from whatever stopped it; further processes join it.
    storage : str, optional
        The URL of a database, for processes on several machines; by default an SQLite file in the study's folder.
    search : path, optional
        A file with [search]; by default that of the recipe, the competition's search.toml, or what suits the mode.
    seed : int, optional
        Of the recipe, and of what is tried.
    engine, address, cpus_per_fold, gpus_per_fold : optional
        As ``comp.run`` takes them: with "ray" the folds of a trial are dealt to a cluster, all at once. What is tried, given up and found
        is the same.

    Raises
    ------
    CompError
        Every mistake of a user and every refusal; see ``comp.errors``.
    """
    require_optuna()
    require_name(study)
    if isinstance(trials, bool) or trials < 1:
        raise InputError("`trials` takes 1 or more", f"got {trials}", "for example `trials=50`")
    seconds = parse_seconds(time_limit) if time_limit else None
    ws = Workspace.find(workspace)
    competition = find_competition(slug, ws)
    raw = raw_of(competition, ws, data)
    rows = RowOptions(folds, data, manifest, extra, rare, allow, thorough, group_scenes)
    order = _ordered(competition, rows, recipe, search, as_overrides(overrides), seed)
    by = FoldEngine.of(engine, address, cpus_per_fold, gpus_per_fold)
    _require_engine(by, order)
    request = RunRequest(
        ws,
        competition,
        raw,
        order.recipe,
        parse_folds(folds),
        quick=False,
        expected=None,
        resumed=None,
        look=CloseLook(thorough, group_scenes, by_itself=True),
        engine=by,
    )
    request.look.require_possible()
    return _searched(order, request, trials, seconds, study, storage)


def _require_engine(engine: FoldEngine, order: SearchOrder) -> None:
    """Refuses an engine that cannot be had, or that would have nothing to train, before any image is read."""
    engine.require_for_many()
    if engine.name != "local" and order.recipe.mode == "probe":
        value = f"`engine={engine.name!r}`"
        raise InputError('mode = "probe" solves its folds where the study runs', value, "drop it")
    engine.require_possible()


def _ordered(
    competition: Competition,
    rows: RowOptions,
    recipe: str | Path | None,
    search: str | Path | None,
    overrides: Sequence[str],
    seed: int | None,
) -> SearchOrder:
    """The recipe and the space of a command; RecipeError with every mistake in either."""
    path = recipe_file(competition, recipe)
    laid = [*overrides, *([f"seed={seed}"] if seed is not None else [])]
    table, own = laid_table(path if recipe or path.is_file() else None, laid)
    also = model_mistakes(competition)
    wanted = from_table(table, f"{path} with `overrides`" if laid else str(path), also)
    if wanted.members:
        value = f"{path} has {len(wanted.members)} models"
        raise InputError(
            "a study tunes one model", value, "tune each alone, then `comp ensemble` blends their runs"
        )
    beside, where = competition.file(SEARCH_FILE), str(path)
    if search is not None:
        where = str(search)
        own = read_search_file(Path(search).expanduser())
    elif own is None and recipe is None and beside.is_file():
        where = str(beside)
        own = read_search_file(beside)
    space = None if own is None else read_space(own, table, wanted.mode, where, also)
    return SearchOrder(table, wanted, space, path.name, rows)


def _searched(
    order: SearchOrder,
    request: RunRequest,
    trials: int,
    seconds: float | None,
    study: str,
    storage: str | None,
) -> TuneResult:
    """Checks the rows once, then runs the trials; the heavy imports begin here."""
    from comp.pipelines import training_plans
    from comp.pipelines.tuning.outcome import EndedStudy, written
    from comp.pipelines.tuning.session import Session
    from comp.training.losses import for_task

    competition, ws, rows = request.competition, request.workspace, order.rows
    competition.require_layout(request.raw)
    starts = training_plans.find_starts(competition, order.recipe, ws)
    checks = checked(request, rows.manifest, rows.extra, rows.rare, rows.allow)
    task = checks.dataset.labels.task
    order = replace(order, space=_space(order, checks))
    assert order.space is not None
    require_allowed(order.space, order.table, lambda one: for_task(one, task))
    folder = ws.root / "tune" / competition.slug / study
    session = Session(order, request, checks, folder, study, starts, seconds)
    events.log(f"  {session.summary}")
    with request.engine.connected():
        session.run(trials, storage, facts_of(order, checks))
    ended = EndedStudy(order, order.space, ws, checks, folder, study, session.url, session.trials)
    return written(ended)


def _space(order: SearchOrder, checks: CheckResult) -> SearchSpace:
    """The space that was given, or the one that suits the recipe."""
    if order.space is not None:
        return order.space
    task = checks.dataset.labels.task
    search = default_search(order.recipe, task)
    return read_space(search, order.table, order.recipe.mode, f'what suits mode = "{order.recipe.mode}"')


def facts_of(order: SearchOrder, checks: CheckResult) -> dict[str, Any]:
    """What all trials of a study share, as JSON: the recipe, the space, the rows and the folds."""
    assert checks.folds is not None
    assert order.space is not None
    manifest = checks.dataset.manifest
    return {
        "recipe": order.recipe.as_table(),
        "search": order.space.as_json(),
        "metric": checks.dataset.competition.metric.name,
        "classes": list(checks.dataset.labels.names),
        "train": manifest.fingerprint("train")[:16],
        "folds": folds_sha256(checks.folds)[:16],
    }
