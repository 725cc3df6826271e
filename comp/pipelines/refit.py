"""A refit: each model of a finished run trained once more, on every labelled row; its score stays that of the run's folds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from comp import events
from comp.checks.context import Finding, applying, counts, downgrade_allowed
from comp.checks.prediction_checks import collapsed_predictions, prior_shift
from comp.checks.runner import say_findings
from comp.data.postprocess import postprocessed
from comp.errors import InputError
from comp.files import write_bytes, write_json
from comp.pipelines.record import StepTimer, record, write_submission
from comp.pipelines.request import RunRequest, request_like, require_own
from comp.pipelines.run_result import RunResult
from comp.recipe import Recipe
from comp.runs import run as runs
from comp.runs.contents import (
    DECISION_FILE,
    REFIT_FILE,
    VIEWS_FILE,
    predictions_of,
    recipe_of,
    refit_facts,
    with_chosen_views,
)
from comp.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from comp.checks.runner import CheckResult
    from comp.data.competitions.competition import Competition
    from comp.data.predictions import Predictions
    from comp.training.plan import FoldResult, TrainPlan

# with what each argument of ``run`` that a refit takes from its run is left alone
ALONE: dict[str, tuple[Any, ...]] = {
    "folds": (5, "5"),
    "recipe": (None,),
    "overrides": ((), [], None),
    "seed": (None,),
    "quick": (False,),
    "resume": (None,),
    "extra": (None,),
    "pseudo": (None,),
    "rare": (None,),
    "only": (None,),
    "ensemble": (None,),
}
MEANING = (
    "they are training rows, and prove order, preprocessing and label map, and nothing about generalisation"
)


@dataclass(frozen=True, repr=False)
class RefitResult(RunResult):
    """What a refit came to. It has no OOF rows: ``score`` is NaN, and null in JSON.

    ``refit`` says of what run it is (``run``), on how many labelled ``rows`` each model was trained, how many ``control_rows`` it has,
    that they are training rows, and what the folds of that run scored (``expected_from``: run, metric, score,
    selected_on_oof), by which alone it can be judged.
    """

    refit: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp run --refit --json``."""
        return {**super().as_json(), "refit": self.refit}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.run!r}, {self.slug!r}, of {self.refit['run']!r}: no score)"

    def _repr_html_(self) -> str:
        told = "A refit of {}, whose folds scored {}: it has no score of its own. Submission: {}"
        return Markup("<p>" + told + "</p>").format(
            self.refit["run"], scored(self.refit["expected_from"]), self.submission
        )

    @property
    def oof(self) -> pd.DataFrame:
        """InputError: it was fitted on every labelled row."""
        raise self._no_rows()

    @property
    def confusion(self) -> pd.DataFrame:
        """InputError: it was fitted on every labelled row."""
        raise self._no_rows()

    def _no_rows(self) -> InputError:
        value = f"{self.run} is a refit: it was fitted on every labelled row"
        return InputError(
            "this needs held-out rows", value, f"name {self.refit['run']}, whose folds held them out"
        )


def scored(expected: Mapping[str, Any]) -> str:
    """What the folds of a refit's run scored, in words."""
    score = "undefined" if expected["score"] is None else f"{expected['score']:.4f}"
    chosen = " (it chose by these rows)" if expected["selected_on_oof"] else ""
    return f"OOF {expected['metric']} {score}{chosen}"


def require_alone(given: Mapping[str, Any]) -> None:
    """InputError for an argument of ``run`` that says otherwise what the run to refit decides."""
    asked = [name for name, left in ALONE.items() if given[name] not in left and given[name] != {}]
    if asked:
        value = f"`refit` came with {', '.join(f'`{name}`' for name in asked)}"
        raise InputError("a refit keeps the recipe, rows and folds of its run", value, "drop them")


def refit_request(
    run: runs.Run, workspace: Workspace, competition: Competition, data: str | Path | None
) -> RunRequest:
    """The order of a run that trains the models of ``run`` on every labelled row.

    Raises
    ------
    InputError
        For a run that is not finished, has no models of its own or is a refit itself; where held-out rows decided how long it
        trained; where folds started from checkpoints of their own, or trained with pseudo-labels of their own.
    """
    from comp.models.runtime import on_this_machine

    require_own(run, competition)
    _require_models(run)
    recipe = recipe_of(run)
    for one in recipe.each:
        _require_fixed(run, one)
    if run.started.get("pseudo"):
        value = f"{run.id} trained with pseudo-labels, those of each fold by its own models"
        raise InputError("a refit trains on labelled rows", value, "refit a run that trained without them")
    events.log(
        f"a refit of {run.id}: {'some' if 'quick' in run.marks else 'all'} labelled rows train, none is held out"
    )
    if "quick" in run.marks:
        events.log(f"  {run.id} is a quick run: its few rows alone are trained on")
    request = request_like(run, workspace, competition, on_this_machine(recipe), data)
    return replace(request, expected=None, origin={"refit": run.id})


def _require_models(run: runs.Run) -> None:
    if run.started.get("mode") == runs.ENSEMBLE:
        parts = [str(part) for part in run.started.get("parts", [])]
        value = f"{run.id} is a blend of {', '.join(parts)}"
        named = dict.fromkeys(part.partition("/")[0] for part in parts)
        remedy = "refit its parts: " + ", ".join(f"`refit={name!r}`" for name in named)
        raise InputError("a refit trains the models of one run", value, remedy)
    runs.require_checkpoints(run)
    if run.refit:
        raise InputError(
            "a refit is of a run with folds", f"{run.id} is one, of {run.refit}", f"`refit={run.refit!r}`"
        )
    if not run.record:
        value = f"{run.id} is {'a partial run' if run.partial else 'not done'}"
        raise InputError("a refit is of a finished run", value, f"`comp run {run.slug} --resume {run.id}`")


def _require_fixed(run: runs.Run, recipe: Recipe) -> None:
    """InputError where a model's training took something from held-out rows, or from a fold of another run."""
    by_rows = {
        'checkpoint = "best"': recipe.checkpoint == "best",
        "stop": recipe.stop is not None,
        'schedule = "plateau"': recipe.mode != "probe" and recipe.schedule.name == "plateau",
    }
    found = [name for name, yes in by_rows.items() if yes and recipe.mode != "probe"]
    if found:
        value = f"{run.id} has {' and '.join(found)}"
        remedy = "train a run with a fixed number of epochs, and refit that: checkpoint=last, no stop, another schedule"
        raise InputError("a refit holds out no row that could say when to stop", value, remedy)
    if recipe.start_run is not None:
        value = f"{run.id} starts each fold from that of {recipe.start_run}"
        remedy = f"refit {recipe.start_run.partition('/')[0]}, or a run that starts from other weights"
        raise InputError("a refit starts from weights that all folds share", value, remedy)
    if recipe.distill is not None:
        value = f"{run.id} learned each fold from that of {recipe.distill.run}"
        raise InputError("a refit has no teacher", value, "refit a run that was trained without `distill`")


def write_given(run: runs.Run, folder: Path) -> None:
    """Copies what a run learned on its OOF rows into the folder of its refit: views, decision, class prior and score."""
    for name in (VIEWS_FILE, DECISION_FILE):
        if run.has(name):
            write_bytes(folder / name, run.checked(name).read_bytes())
    oof = predictions_of(run, "oof")
    prior = dict(zip(oof.labels.columns, oof.probs.mean(axis=0, dtype=np.float64).tolist(), strict=True))
    facts = {"run": run.id, **_expected(run.record)}
    write_json(folder / REFIT_FILE, {**facts, "prior": prior})


def _expected(recorded: Mapping[str, Any]) -> dict[str, Any]:
    oof = recorded["oof"]
    chosen = bool(oof.get("selected_on_oof"))
    return {"metric": recorded["metric"], "score": oof["score"], "selected_on_oof": chosen}


def finished(
    request: RunRequest,
    checks: CheckResult,
    clock: StepTimer,
    this_run: runs.Run,
    plans: list[TrainPlan],
    findings: list[Finding],
    marks: list[str],
) -> RefitResult:
    """What a refit comes to, trained, predicted and written down."""
    from comp.ensembling.decisions import decision_of
    from comp.pipelines.training_plans import predict_test, train_models
    from comp.training.plan import remember_parts, require_something

    plan, given = plans[0], refit_facts(this_run)
    with clock.step("train"):
        trained = train_models(this_run.folder, plans, None, request.engine.executor(checks))
        require_something(trained)
        remember_parts(trained)
        runs.goes_on(this_run)
        chosen = [replace(one, recipe=with_chosen_views(one.recipe, this_run), sets={}) for one in plans]
        trained = replace(trained, plans=chosen)
    with clock.step("predict"):
        unread = checks.unread()
        prior = np.array([given["prior"][name] for name in plan.labels.columns], dtype=np.float64)
        test = predict_test(trained, set(unread.values()), prior)
    test = postprocessed(test, request.competition, plan.manifest.test)
    test = replace(test, probs=decision_of(this_run, plan.labels)(test.probs))
    findings = [*findings, *_judged(plan, test, checks)]
    with clock.step("submit"):
        path = write_submission(request.workspace, checks, this_run, test)
    result = RefitResult(
        run=this_run.id,
        slug=request.competition.slug,
        metric=plan.metric.name,
        direction=plan.metric.direction,
        score=math.nan,
        beside={},
        per_fold=[],
        submission=path,
        findings=counts(findings),
        seconds=clock.seconds,
        folder=this_run.folder,
        unread=list(unread),
        marks=[*marks, *([] if trained.is_whole else ["partial"])],
        refit=_told(given, next(one for each in trained.results for one in each)),
    )
    record(this_run, result, findings)
    return result


def _judged(plan: TrainPlan, test: Predictions, checks: CheckResult) -> list[Finding]:
    """The findings on test predictions alone, said as they come."""
    shares = plan.labels.shares(plan.labels.encode(plan.manifest.train["label"]))
    found = [*collapsed_predictions(test, shares), *prior_shift(test, shares)]
    lowered = downgrade_allowed(applying(found, checks.context.competition), checks.allowed)
    say_findings(lowered)
    return lowered


def _told(given: Mapping[str, Any], trained: FoldResult) -> dict[str, Any]:
    """What the record says of a refit beside a run's usual facts."""
    return {
        "run": given["run"],
        "rows": trained.rows,
        "control_rows": len(trained.oof),
        "control_rows_are": "training rows",
        "expected_from": {name: given[name] for name in ("run", "metric", "score", "selected_on_oof")},
    }
