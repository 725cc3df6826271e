"""Verbs that make one run of several: merge, ensemble."""

from __future__ import annotations

from typing import Annotated

import typer

from comp import console
from comp.cli.options import Allow, AsJson, DataDir, WorkspaceDir, parse_allow, parse_priors


def merge(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN…", help="Run ids or prefixes, two or more, of one recipe.")
    ],
    data: DataDir = None,
    allow: Allow = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Make one run of folds of one recipe that were trained in several places, and predict with all of them."""
    from comp.merging import merge as merge_runs
    from comp.runs.result import show_result

    result = merge_runs(*runs, workspace=workspace, data=data, allow=parse_allow(allow))
    show_result(result)
    if json:
        console.document(result.as_json())


def ensemble(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN…",
            help="Run ids or prefixes, or RUN/model-N; a run of several models alone is taken apart.",
        ),
    ],
    method: Annotated[
        str,
        typer.Option(
            "--method",
            metavar="NAME",
            help="mean, geometric, rank, power, weighted, greedy or stacking. auto: the simplest that the best does not beat by more than a standard error.",
        ),
    ] = "auto",
    calibrate: Annotated[
        str,
        typer.Option(
            "--calibrate",
            metavar="auto|on|off",
            help="Scale the temperature. auto: where the metric is log loss and gains.",
        ),
    ] = "auto",
    decide: Annotated[
        str,
        typer.Option(
            "--decide",
            metavar="auto|on|off",
            help="Multiply the classes' probabilities. auto: for F1 and its kin, where that gains more than a standard error.",
        ),
    ] = "auto",
    priors: Annotated[
        str | None,
        typer.Option(
            "--priors",
            metavar="uniform|CLASS=SHARE,…",
            help="Class shares of the test rows, where they are known to be others than in train.",
        ),
    ] = None,
    data: DataDir = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Blend runs into a run of its own, with weights learned on OOF rows and a score nested by folds."""
    from comp.blend_view import show_ensemble
    from comp.blending import ensemble as blend

    result = blend(
        *runs,
        method=method,
        calibrate=calibrate,
        decide=decide,
        priors=parse_priors(priors),
        workspace=workspace,
        data=data,
    )
    show_ensemble(result)
    if json:
        console.document(result.as_json())
