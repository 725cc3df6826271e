"""Commands that make one run of several, or of predictions from elsewhere: merge, ensemble, import, neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from comp import console, events
from comp.cli.options import (
    Allow,
    AsJson,
    DataDir,
    FoldsOption,
    Slug,
    WithReport,
    WorkspaceDir,
    argument,
    option,
    parse_allow,
    parse_priors,
)


def _methods() -> str:
    from comp.ensembling.methods import METHODS

    *names, last = METHODS
    return f"{', '.join(names)} or {last}"


def merge(
    runs: Annotated[list[str], argument("RUN RUN…", "Run ids or prefixes, two or more, of one recipe.")],
    data: DataDir = None,
    allow: Allow = None,
    report: WithReport = True,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Join the folds of several runs into one run.

    The runs are of one recipe, with their folds trained in several places; all folds predict.
    """
    from comp.cli.next_steps import after_run
    from comp.cli.show_run import show_result
    from comp.pipelines.merge import merge as merge_runs

    result = merge_runs(*runs, workspace=workspace, data=data, allow=parse_allow(allow), report=report)
    show_result(result)
    after_run(result, workspace)
    if json:
        console.print_json(result.as_json())


def ensemble(
    runs: Annotated[
        list[str],
        argument(
            "RUN RUN…", "Run ids or prefixes, or RUN/model-N; a run of several models alone is taken apart."
        ),
    ],
    method: Annotated[
        str,
        option(
            "--method NAME",
            lambda: (
                f"{_methods()}. auto: the simplest that the best does not beat by more than a standard error."
            ),
        ),
    ] = "auto",
    calibrate: Annotated[
        str,
        option(
            "--calibrate auto|on|off", "Scale the temperature. auto: where the metric is log loss and gains."
        ),
    ] = "auto",
    decide: Annotated[
        str,
        option(
            "--decide auto|on|off",
            "Multiply the classes' probabilities. auto: for F1 and the like, where that gains more than a standard error.",
        ),
    ] = "auto",
    priors: Annotated[
        str | None,
        option(
            "--priors uniform|CLASS=SHARE,…",
            "Class shares of the test rows, where they are known to be others than in train.",
        ),
    ] = None,
    data: DataDir = None,
    report: WithReport = True,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Blend runs into a new run.

    Weights are learned on OOF rows; the score is nested by folds.
    """
    from comp.cli.next_steps import after_run
    from comp.cli.show_ensemble import show_ensemble
    from comp.pipelines.ensemble import ensemble as blend

    result = blend(
        *runs,
        method=method,
        calibrate=calibrate,
        decide=decide,
        priors=parse_priors(priors),
        workspace=workspace,
        data=data,
        report=report,
    )
    show_ensemble(result)
    after_run(result, workspace)
    if json:
        console.print_json(result.as_json())


def import_(
    slug: Slug,
    oof: Annotated[Path, option("--oof FILE", "OOF predictions: a CSV of id and a column a class, or .npz.")],
    test: Annotated[Path, option("--test FILE", "Test predictions, likewise.")],
    name: Annotated[
        str | None, option("--name TEXT", "What the model is called. Default: the OOF file.")
    ] = None,
    folds: FoldsOption = "5",
    fold_column: Annotated[
        str | None, option("--fold-column COL", "The column of the OOF file with each row's fold.")
    ] = None,
    normalise: Annotated[bool, option("--normalise", "Divide each row by its sum.")] = False,
    data: DataDir = None,
    allow: Allow = None,
    report: WithReport = True,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Make a run of predictions from elsewhere.

    OOF and test predictions of other people are scored, submitted and blended as any other.
    """
    from comp.cli.next_steps import after_run
    from comp.cli.show_run import show_result
    from comp.pipelines.import_predictions import import_ as import_predictions

    result = import_predictions(
        slug,
        oof,
        test,
        name=name,
        folds=folds,
        fold_column=fold_column,
        normalise=normalise,
        workspace=workspace,
        data=data,
        allow=parse_allow(allow),
        report=report,
    )
    show_result(result)
    after_run(result, workspace)
    if json:
        console.print_json(result.as_json())


def neighbours(
    run: Annotated[str, argument("RUN", "A finished run of one model: an id, a prefix, or latest.")],
    data: DataDir = None,
    report: WithReport = True,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Answer a run's rows by the nearest images of each class.

    The features of each fold's network are compared with those of the images that the fold was fitted on. What comes of it is a
    run of predictions, for `comp ensemble` to blend with the first.
    """
    from comp.cli.next_steps import after_run
    from comp.cli.show_run import show_result
    from comp.pipelines.neighbours import neighbours as find

    result = find(run, workspace=workspace, data=data, report=report)
    show_result(result)
    events.log(f"  `comp ensemble {run} {result.run}` blends them, and says what that gains")
    after_run(result, workspace)
    if json:
        console.print_json(result.as_json())
