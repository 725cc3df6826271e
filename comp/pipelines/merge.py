"""Folds of one recipe that were trained in several places become one run."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comp import events
from comp.checks.context import Finding
from comp.data.competitions.competition import find_competition
from comp.errors import InputError
from comp.files import make_folder, unwritable
from comp.pipelines.pseudo_label import rows_for
from comp.pipelines.record import StepTimer
from comp.pipelines.request import RunRequest, marks_of, quick_rows, request_like
from comp.pipelines.resume import BEFORE, kept_of
from comp.pipelines.run import checked, finish_run, run_folder
from comp.pipelines.run_result import RunResult
from comp.recipe import Recipe, as_one
from comp.runs import run as runs
from comp.runs.contents import (
    findings_of,
    folds_of,
    recipe_of,
    rehome,
    require_fold,
    require_held_out,
    require_kept,
    require_of_fold,
    require_same_rows,
)
from comp.workspace import Workspace

if TYPE_CHECKING:
    from comp.checks.runner import CheckResult
    from comp.training.plan import TrainPlan

HOW = (
    "device",
    "threads",
    "jobs",
    "processes",
    "channels_last",
    "compile",
    "fold_norms",
    "precision",
    "accumulate",
)  # how a machine computes, not what
MACHINE = ("device", "threads")  # of these, what a prediction takes from the machine it runs on
MODELS = "models_sha256"
JUDGED_BEFORE = ("weights-leak", "preprocessing-override")


def merge(
    *parts: str,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
    allow: dict[str, str] | None = None,
    report: bool = True,
) -> RunResult:
    """Makes one run of the folds of several, and predicts the test rows with all of them.

    The runs must be of one competition, recipe, rows and folds; their fold folders are copied, and nothing of them
    is changed. What machines choose for themselves (device, threads, precision, memory layout) may differ. A fold
    that several have must be the same in all. Where folds are missing still, the new run is a partial one that
    ``comp run SLUG --resume`` completes; a fold under way is taken as far as it is.

    Parameters
    ----------
    parts : str
        Ids or prefixes of two runs or more, in ``runs/`` of the workspace.
    data : path, optional
        The raw folder; by default that of the first run.
    allow : dict, optional
        Checks whose errors become warnings, each with its reason.
    report : bool
        Write its page, as ``comp.run`` does.

    Raises
    ------
    CompError
        Where the runs do not belong together, naming what differs, and as ``comp.run`` does.
    """
    clock = StepTimer()
    ws = Workspace.find(workspace)
    with ExitStack() as held:
        chosen = _named(ws, parts)
        for one in chosen:
            held.enter_context(runs.at_work(one))
        return _merged(ws, chosen, data, allow, clock, held, report)


def _merged(
    workspace: Workspace,
    chosen: Sequence[runs.Run],
    data: str | Path | None,
    allow: dict[str, str] | None,
    clock: StepTimer,
    held: ExitStack,
    report: bool,
) -> RunResult:
    """The run of some runs' folds; ``held`` keeps them, and the new one, from other processes."""
    first = chosen[0]
    competition = find_competition(first.slug, workspace)
    recipe = recipe_of(first)
    require_alike(chosen)
    folders = whose_folds(chosen, len(recipe.each))
    origin = {key: first.started[key] for key in ("parent", BEFORE) if key in first.started}
    origin |= {"merged": [run.id for run in chosen]}
    request = request_like(first, workspace, competition, recipe, data)
    request = replace(request, only=(), origin=origin, report=report)
    with clock.step("check"):
        result = checked(request, allow=allow)
        require_same_rows(first, result.dataset.manifest)
    with clock.step("model"):
        plans = _plans(request, result)
        require_sound(folders)
        before = _judged_before(chosen)
    with clock.step("copy"):
        marks = marks_of(request, result)
        for part in chosen:
            require_kept(part, kept_of(request, result, recipe), competition.file("models.py"))
        run = run_folder(request, result, recipe, marks, held, rows_for(request, result))
        for relative, source in folders.items():
            events.log(f"  {relative} of {source.id}")
            _copy(source.folder / relative, run.folder / relative, run.id, relative)
    findings = [*result.findings, *before]
    return finish_run(request, result, clock, run, plans, findings, marks)


def _named(workspace: Workspace, names: Sequence[str]) -> list[runs.Run]:
    """The runs of these names, each once."""
    found = {one.id: one for one in (runs.find_run(workspace, name) for name in names)}
    if len(found) < 2:
        value = f"got {', '.join(found) or 'none'}"
        raise InputError("a merge takes two runs or more", value, "`comp runs` shows them all")
    for one in found.values():
        runs.require_checkpoints(one)
        require_held_out(one)
    return list(found.values())


def require_alike(parts: Sequence[runs.Run]) -> None:
    """InputError, naming what differs, for runs that are not of one competition, recipe, rows and folds."""
    first, *others = parts
    facts = {
        "competition": "slug",
        "marks": "marks",
        "train rows": "train_sha256",
        "test rows": "test_sha256",
        "pseudo-labels": "pseudo",
        "corrected labels": "corrected_sha256",
        "extra rows": "extra_sha256",
    }
    for one in others:
        differing = [
            f"the {name}" for name, key in facts.items() if one.started.get(key) != first.started.get(key)
        ]
        if (
            len({part.started[MODELS] for part in (first, one) if MODELS in part.started}) > 1
        ):  # older runs do not tell
            differing.append("the networks of models.py")
        differing = differing or _other_recipe(first, one) or _other_folds(first, one)
        if differing:
            value = f"{first.id} and {one.id} differ in {'; '.join(differing)}"
            remedy = f"train folds of one recipe: `comp run {first.slug} --recipe runs/{first.id}/recipe.toml --folds runs/{first.id}/folds.csv --only …`"
            raise InputError("a merge takes folds of one run", value, remedy)
        _say_where(first, one)


def _say_where(first: runs.Run, run: runs.Run) -> None:
    """Says in which versions, on which machine and how a part was trained, where another was otherwise."""
    for key in ("versions", "machine"):
        a, b = first.started.get(key), run.started.get(key)
        if a != b:
            events.log(f"  {key}: {a} in {first.id}, {b} in {run.id}")
    ours, theirs = (recipe_of(part).each for part in (first, run))
    for key in HOW:
        a, b = ([getattr(model, key) for model in models] for models in (ours, theirs))
        if a != b:
            told = [", ".join(dict.fromkeys(str(value) for value in values)) for values in (a, b)]
            events.log(f"  {key}: {told[0]} in {first.id}, {told[1]} in {run.id}")


def _other_recipe(first: runs.Run, run: runs.Run) -> list[str]:
    """The keys in which two recipes differ, with both values."""
    a, b = (_flat(_asked(recipe_of(part))) for part in (first, run))
    return [f"{key} ({a.get(key)} and {b.get(key)})" for key in sorted({*a, *b}) if a.get(key) != b.get(key)]


def _asked(recipe: Recipe) -> dict[str, Any]:
    """The recipe's table without what a machine chooses for itself."""
    blank = Recipe()
    plain = {key: getattr(blank, key) for key in HOW}
    return as_one([one.model_copy(update=plain) for one in recipe.each]).as_table()


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """The values of a table by their dotted paths."""
    if isinstance(value, dict):
        pairs = [(str(key), below) for key, below in value.items()]
    elif isinstance(value, list) and any(isinstance(below, dict) for below in value):
        pairs = [(str(n), below) for n, below in enumerate(value)]
    else:
        return {path: value}
    return {k: v for key, below in pairs for k, v in _flat(below, f"{path}.{key}".strip(".")).items()}


def _other_folds(first: runs.Run, run: runs.Run) -> list[str]:
    a, b = (folds_of(part) for part in (first, run))
    if a.k != b.k:
        return [f"the number of folds ({a.k} and {b.k})"]
    moved = sum(a.by_id.get(i) != b.by_id.get(i) for i in {*a.ids, *b.ids})
    return [f"the fold of {moved} rows"] if moved else []


def whose_folds(parts: Sequence[runs.Run], models: int) -> dict[Path, runs.Run]:
    """Which run each fold folder is taken from, by its path in the run folder.

    Finished folds are taken, and one under way where no run has finished it.

    Raises
    ------
    InputError
        If two runs have trained a fold to different checkpoints, or none has finished any.
    """
    from comp.training.state import FILE as STATE

    found: dict[Path, runs.Run] = {}
    whole = 0
    for relative in _fold_folders(parts[0], models):
        have = [one for one in parts if _is_finished(one.folder / relative)]
        for other in have[1:]:
            ours, theirs = (one.folder / relative / "model.safetensors" for one in (have[0], other))
            if not filecmp.cmp(ours, theirs, shallow=False):
                value = f"{relative} of {have[0].id} and of {other.id} are different checkpoints"
                raise InputError("a fold is trained once", value, "merge without one of them")
        whole += bool(have)
        have = have or [one for one in parts if (one.folder / relative / STATE).is_file()]
        if have:
            found[relative] = have[0]
    if not whole:
        value = f"{', '.join(one.id for one in parts)} have none"
        raise InputError("a merge needs finished folds", value, f"`comp run SLUG --resume {parts[0].id}`")
    return found


def require_sound(folders: dict[Path, runs.Run]) -> None:
    """InputError, before anything is copied, for a fold whose files are damaged or not what its run wrote, or whose rows
    are not those that it holds out.
    """
    from comp.models.checkpoint import load_checkpoint
    from comp.training.state import require_state
    from comp.training.train_fold import read_fold

    for relative, one in folders.items():
        folder, k = one.folder / relative, int(relative.name.removeprefix("fold-"))
        if not _is_finished(folder):
            require_state(folder, "")
            continue
        files = require_fold(one, folder).get("files") or {}
        require_of_fold(folder, [name for name in files if name != "model.safetensors"])
        load_checkpoint(folder)
        predicted = set(read_fold(folder, k).oof.ids)
        held_out = {i for i, fold in folds_of(one).by_id.items() if fold == k}
        if strange := predicted - held_out:
            value = f"{folder} predicts {len(strange)} rows that fold {k} does not hold out, first {min(strange)!r}"
            raise InputError("a fold's predictions answer its rows", value, "train this fold again")


def _fold_folders(run: runs.Run, models: int) -> Iterator[Path]:
    from comp.runs.progress import model_folder

    for n in range(models):
        for k in range(int(run.started.get("folds") or 0)):
            yield model_folder(Path(), n, models) / f"fold-{k}"


def _is_finished(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("result.json", "model.safetensors"))


def _plans(request: RunRequest, checks: CheckResult) -> list[TrainPlan]:
    """The plans of the run; nothing is trained, so that no weights are looked for, and another device will do."""
    from comp.models.runtime import on_this_machine
    from comp.pipelines import training_plans

    recipes = request.recipe.each
    bare = [
        one.model_copy(update={"model": one.model.model_copy(update={"weights": "none"})}) for one in recipes
    ]
    reduce = quick_rows if request.quick else None
    here = on_this_machine(as_one(bare))
    plans = training_plans.make_plans(request.competition, checks, here, request.workspace, reduce)
    return [
        replace(plan, recipe=one.model_copy(update={key: getattr(plan.recipe, key) for key in MACHINE}))
        for plan, one in zip(plans, recipes, strict=True)
    ]


def _copy(source: Path, target: Path, run: str, relative: Path) -> None:
    """Copies a fold's folder into another run, all or nothing; its result says whose it is now."""
    make_folder(target.parent)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        ignore = shutil.ignore_patterns(".*")
        shutil.copytree(source, part, ignore=ignore, copy_function=shutil.copyfile)
        rehome(part, run, relative.as_posix())
        os.replace(part, target)
    except shutil.Error as error:
        raise InputError("the folds must be copied", str(error)[:200], "free some space") from error
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _judged_before(parts: Sequence[runs.Run]) -> list[Finding]:
    """What was found about the recipe and its weights when the parts were trained, each once."""
    tables = [table for one in parts for table in findings_of(one) if table["check"] in JUDGED_BEFORE]
    known = {one.name for one in fields(Finding)}
    found = [
        Finding(**{**{k: v for k, v in table.items() if k in known}, "examples": tuple(table["examples"])})
        for table in tables
    ]
    return list({finding.message: finding for finding in found}.values())
