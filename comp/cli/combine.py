"""Verbs that make one run of several: merge."""

from __future__ import annotations

from typing import Annotated

import typer

from comp import console
from comp.cli.options import Allow, AsJson, DataDir, WorkspaceDir, parse_allow


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
    from comp.result import show_result

    result = merge_runs(*runs, workspace=workspace, data=data, allow=parse_allow(allow))
    show_result(result)
    if json:
        console.document(result.as_json())
