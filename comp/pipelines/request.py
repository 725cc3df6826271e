"""What a run was asked for, from arguments or from the folder of an unfinished run; what ``quick`` changes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comp import events
from comp.checks.prediction_checks import expected_score
from comp.checks.related_images import OF_A_RUN, CloseLook
from comp.data.competitions.competition import Competition
from comp.data.competitions.raw_folder import raw_of
from comp.data.folds import Folds
from comp.data.manifest import Manifest
from comp.data.open_set import corrected
from comp.data.several_images import image_paths
from comp.errors import InputError, UnknownName
from comp.recipe import Recipe, as_one, load, member_tables
from comp.runs import run as runs
from comp.runs.contents import recipe_of
from comp.runs.marks import CORRECTED, REFIT
from comp.runs.result import what_differs
from comp.workspace import Workspace

if TYPE_CHECKING:
    from comp.checks.runner import CheckResult
    from comp.training.plan import TrainPlan
    from comp.training.train_folds import Executor

ENGINES = ("local", "ray")
GROUPING = "grouping"  # in what a run began with: how closely its images were looked at for related rows


@dataclass(frozen=True)
class FoldEngine:
    """What trains the folds of a run: this process ("local"), with as many others as ``gpus`` says, or a cluster ("ray") at
    ``address``, where each fold asks for so many ``cpus`` and ``gpus``.
    """

    name: str = "local"
    address: str | None = None
    cpus: float | None = None
    gpus: float | None = None

    @classmethod
    def of(cls, name: str | None, address: str | None, cpus: float | None, gpus: float | None) -> FoldEngine:
        """An engine by its name.

        Raises
        ------
        InputError
            For an unknown one, for what only a cluster takes beside another, and for what no fold could train with.
        """
        name = name or "local"
        if name not in ENGINES:
            raise UnknownName("engine", name, ENGINES)
        asked = {"address": address, "cpus_per_fold": cpus, "gpus_per_fold": gpus}
        told = {key: f"`{key}={value!r}`" for key, value in asked.items() if value is not None}
        of_cluster = [text for key, text in told.items() if key != "gpus_per_fold"]
        if name == "local" and of_cluster:
            remedy = 'add `engine="ray"`'
            raise InputError("only a cluster deals folds to machines", ", ".join(of_cluster), remedy)
        for key, number, least in (("cpus_per_fold", cpus, 0.01), ("gpus_per_fold", gpus, 0.0)):
            if number is not None and not least <= number < math.inf:
                raise InputError("a fold needs part of a machine", told[key], "for example 1, or 0.5")
        if name == "local" and gpus is not None and (gpus < 1 or gpus != round(gpus)):
            remedy = 'a whole number, or `engine="ray"`'
            raise InputError("a fold has whole GPUs of this machine", told["gpus_per_fold"], remedy)
        return cls(name, address, cpus, gpus)

    def on(self, request: RunRequest) -> RunRequest:
        """The request, to be trained by this engine: several GPUs a fold are so many ``processes`` of the recipe.

        Raises
        ------
        InputError
            Where a run that goes on has a recipe already, or nothing is trained step by step.
        """
        request = replace(request, engine=self)
        if self.name != "local" or self.gpus is None:
            return request
        value = f"`gpus_per_fold={self.gpus:g}`"
        if request.given:
            raise InputError("a run goes on with the processes of its recipe", value, "drop it")
        if any(one.mode == "probe" for one in request.recipe.each):
            raise InputError('mode = "probe" solves its classifier', value, "drop it")
        each = [one.model_copy(update={"processes": int(self.gpus)}) for one in request.recipe.each]
        return replace(request, recipe=as_one(each))

    def require_for_many(self) -> None:
        """InputError where several GPUs of this machine would train each fold of many recipes: that is each recipe's own.

        A study or a preset takes a cluster alone.
        """
        if self.name == "local" and self.gpus is not None:
            value, remedy = f"`gpus_per_fold={self.gpus:g}`", '`overrides=["processes=2"]`, or `engine="ray"`'
            raise InputError("what trains a fold together is said by its recipe", value, remedy)

    def require_possible(self) -> None:
        """InputError where it is a cluster that cannot be had; asked before any image is looked at."""
        if self.name == "ray":
            from comp.training.cluster.connection import require_cluster

            require_cluster(self.address)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Keeps the cluster, where it is one, for several runs: one of this machine alone begins and ends but once."""
        if self.name == "local":
            yield
            return
        from comp.training.cluster.connection import connected

        with connected(self.address):
            yield

    def at_once(self, plan: TrainPlan) -> int:
        """How many folds of a plan train at once."""
        if self.name == "local":
            from comp.training.train_folds import folds_at_once

            return folds_at_once(plan.recipe, plan.folds.k)
        from comp.training.cluster.executor import OnRay

        return min(plan.folds.k, OnRay(self.address, self.cpus, self.gpus).at_once(plan))

    def executor(self, checks: CheckResult) -> Executor | None:
        """What deals the folds of checked rows; None for this process."""
        if self.name == "local":
            return None
        from comp.training.cluster.executor import OnRay

        contents = checks.context.images.files(image_paths(checks.dataset.manifest))
        return OnRay(self.address, self.cpus, self.gpus, contents)


@dataclass(frozen=True)
class RunRequest:
    """What was asked for: where, of what, by which recipe, what score its header expects, whether an unfinished run
    goes on, which folds only, and how many seconds it may take.

    ``like`` is another run whose rows and folds a new one takes, ``pseudo`` a file of ``comp pseudo`` to train with,
    and ``origin`` what its record says of where it comes from; ``report`` asks for its page; ``look`` is how
    closely images are compared, ``engine`` what trains.
    """

    workspace: Workspace
    competition: Competition
    raw: Path
    recipe: Recipe
    folds: int | Path
    quick: bool
    expected: float | None
    resumed: runs.Run | None
    only: Sequence[int] | None = None
    seconds: float | None = None
    like: runs.Run | None = None
    pseudo: Path | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    report: bool = True
    look: CloseLook = OF_A_RUN
    engine: FoldEngine = FoldEngine()

    @property
    def given(self) -> runs.Run | None:
        """The run whose rows and folds are taken, instead of new ones."""
        return self.resumed or self.like

    @property
    def refit(self) -> str:
        """The run that all of this trains again on every labelled row; empty where folds are trained."""
        return str(self.origin.get("refit") or (self.resumed.refit if self.resumed else ""))

    @property
    def has_pseudo_labels(self) -> bool:
        """Whether training takes pseudo-labels: of ``pseudo``, or of the run that is given."""
        return self.pseudo is not None or (self.given is not None and bool(self.given.started.get("pseudo")))


def new_request(
    workspace: Workspace,
    competition: Competition,
    raw: Path,
    recipe: str | Path | None,
    overrides: Sequence[str],
    seed: int | None,
    folds: int | Path,
    quick: bool,
) -> RunRequest:
    """The order of a new run."""
    path = recipe_file(competition, recipe)
    wanted = load_recipe(competition, path, bool(recipe), overrides, seed, quick)
    return RunRequest(workspace, competition, raw, wanted, folds, quick, expected_score(path), None)


def require_folds(only: Sequence[int] | None, k: int) -> None:
    """InputError for a fold that does not exist."""
    wrong = [fold for fold in only or () if not 0 <= fold < k]
    if wrong or (only is not None and not only):
        raise InputError(
            "`only` names folds 0…K-1", f"{wrong or 'none'} of {k} folds", f"for example `only=[0, {k - 1}]`"
        )


def first_model(recipe: Recipe) -> Recipe:
    """The recipe of the first model, where only one can be measured; that it is the first of several is said."""
    if recipe.members:
        events.log(f"  the first of {len(recipe.members)} models: {recipe.each[0].model.name}")
    return recipe.each[0]


def recipe_file(competition: Competition, recipe: str | Path | None) -> Path:
    """The recipe that was asked for: a file, a recipe of the competition by its name, or its baseline."""
    named = competition.file(f"{recipe or 'baseline'}.toml")  # --recipe story means the competition's own
    if recipe and not (str(recipe).isidentifier() and named.is_file()):
        return Path(recipe).expanduser()
    return named


def load_recipe(
    competition: Competition,
    path: Path,
    asked: bool,
    overrides: Sequence[str],
    seed: int | None,
    quick: bool,
) -> Recipe:
    """A recipe, then ``overrides``, ``seed`` and ``quick`` over it; without a file the defaults, unless one was asked for."""
    laid = [*overrides, *([f"seed={seed}"] if seed is not None else [])]
    recipe = load(path if asked or path.is_file() else None, laid, also=model_mistakes(competition))
    told = any("epochs" in override.partition("=")[0] for override in overrides)
    return quick_recipe(recipe) if quick and not told else recipe


def model_mistakes(competition: Competition) -> Callable[[dict[str, Any]], list[str]]:
    """Finds mistakes in a recipe that only timm, torch and albumentations can see."""
    return partial(_recipe_mistakes, competition)


def _recipe_mistakes(competition: Competition, table: dict[str, Any]) -> list[str]:
    """Names in a recipe's table that timm, torch or albumentations do not have, told by their dotted paths."""
    from comp.models.net import load_models

    load_models(competition.file("models.py"))
    several = isinstance(table.get("model"), list)
    found: list[str] = []
    for path, attempt, n in ((*one, n) for n, m in enumerate(member_tables(table)) for one in _names_in(m)):
        try:
            attempt()
        except InputError as error:
            place = f"model.{n}.{path.removeprefix('model.')}" if several else path
            found.append(f"{place}: {error.rule}, {error.value}")
    return found


def _names_in(table: dict[str, Any]) -> list[tuple[str, Callable[[], object]]]:
    """The names of a model's table, by their dotted paths, each with what raises if nobody knows it."""
    from comp.data.augment.policies import check_transform
    from comp.models.net import require_model
    from comp.training.optim import require_optimizer

    tried: list[tuple[str, Callable[[], object]]] = []
    for key, require in (("model", require_model), ("optimizer", require_optimizer)):
        part = table.get(key, {})
        name = part if isinstance(part, str) else part.get("name") if isinstance(part, dict) else None
        if isinstance(name, str):
            tried.append((f"{key}.name", partial(require, name)))
    balance = table.get("balance")
    copied = balance.get("transform") if isinstance(balance, dict) else None
    for path, transform in (("transform", table.get("transform")), ("balance.transform", copied)):
        if isinstance(transform, str) or (
            isinstance(transform, list) and all(isinstance(t, dict) for t in transform)
        ):
            tried.append((path, partial(check_transform, transform)))
    return tried


def request_of(
    run: runs.Run, workspace: Workspace, competition: Competition, data: str | Path | None
) -> RunRequest:
    """The order of an unfinished run, as its folder tells it."""
    if run.record:
        raise InputError(
            "only an unfinished run can be resumed",
            f"{run.id} is done",
            f'`overrides=["epochs=N"]` trains on as a child run; `comp predict {run.id}` predicts again',
        )
    require_own(run, competition)
    from comp.models.runtime import on_this_machine, resolve_device

    recipe = on_this_machine(recipe_of(run))
    if differing := what_differs(run.started, resolve_device(recipe.each[0]).device):
        events.log(
            f"  {run.id} began with {'; '.join(differing)}: what is left may differ in the last digits"
        )
    return replace(request_like(run, workspace, competition, recipe, data), resumed=run, like=None)


def request_like(
    run: runs.Run, workspace: Workspace, competition: Competition, recipe: Recipe, data: str | Path | None
) -> RunRequest:
    """The order of a new run on another's rows and folds, with its marks."""
    raw = raw_of(competition, workspace, data) if data else runs.raw_folder(run, workspace)
    folds, expected = run.folder / "folds.csv", run.started.get("expected")
    return RunRequest(
        workspace, competition, raw, recipe, folds, "quick" in run.marks, expected, None, like=run
    )


def require_own(run: runs.Run, competition: Competition) -> None:
    """InputError for a run of another competition."""
    if run.slug != competition.slug:
        raise InputError(
            "a run belongs to one competition",
            f"{run.id} is of {run.slug}",
            f"`comp run {run.slug} --resume {run.id}`",
        )


ROWS_PER_CLASS_AND_FOLD = 4


def quick_recipe(recipe: Recipe) -> Recipe:
    """The recipe with one epoch for each of its models, in its last stage where it has several."""

    def shorter(one: Recipe) -> Recipe:
        stages = None if one.stages is None else [one.stages[-1].model_copy(update={"epochs": 1})]
        return one.model_copy(update={"epochs": 1, "stages": stages})

    return as_one([shorter(one) for one in recipe.each])


def quick_rows(manifest: Manifest, folds: Folds) -> Manifest:
    """The manifest with a few train rows of each class and fold, a few extra rows of each class, and every test row.

    Rows are chosen by SHA-256 of their id, so that the choice does not depend on their request.
    """
    train = manifest.train
    picked = train.assign(
        fold=folds.of(train["id"]),
        key=[hashlib.sha256(i.encode("utf-8", "surrogatepass")).hexdigest() for i in train["id"]],
    )
    few = set(picked.sort_values("key").groupby(["label", "fold"]).head(ROWS_PER_CLASS_AND_FOLD)["id"])
    few.update(manifest.extra.groupby("label").head(ROWS_PER_CLASS_AND_FOLD)["id"])
    table = manifest.table
    kept = table[(table["split"] == "test") | table["id"].isin(few)].reset_index(drop=True)
    return replace(manifest, table=kept)


def marks_of(request: RunRequest, checks: CheckResult) -> list[str]:
    """Why a run is no full one, and what else stands beside its score, before it is known whether it has all its folds."""
    manifest = checks.dataset.manifest
    known = {
        "quick": request.quick,
        "sample": checks.dataset.is_sample,
        REFIT: bool(request.refit),
        CORRECTED: bool(manifest.corrections and corrected(manifest, checks.dataset.labels)),
    }
    return [mark for mark, yes in known.items() if yes]
