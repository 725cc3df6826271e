"""`comp report`: the page of a run, or of all runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from comp import console
from comp.cli.options import AsJson, DataDir, WorkspaceDir, argument, option
from comp.errors import InputError
from comp.workspace import Workspace


def report(
    run: Annotated[str | None, argument("RUN", "A run id, a prefix of one, or latest.")] = None,
    every: Annotated[
        bool, option("--all", "A page of all runs: scores, submissions, any two compared.")
    ] = False,
    html: Annotated[
        Path | None, option("--html FILE", "Where to. Default: report.html in the run's folder.")
    ] = None,
    grad_cam: Annotated[
        bool, option("--grad-cam", "Show where the network looked, for the worst mistakes.")
    ] = False,
    data: DataDir = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Write a run's page: scores, mistakes, curves, advice."""
    if every == (run is not None):
        value = "both were given" if every else "neither was given"
        raise InputError("a page is of one run, or of all with --all", value, "comp report latest")
    if every and (grad_cam or data):
        raise InputError("--grad-cam and --data belong to one run", "--all", "comp report RUN --grad-cam")
    if every:
        from comp.pipelines.report_index import write_index

        page = write_index(workspace=workspace, html=html)
    else:
        from comp.pipelines.report import write_report

        page = write_report(str(run), workspace=workspace, data=data, html=html, grad_cam=grad_cam)
    console.print_result(f"report {Workspace.find(workspace).shown(page)}")
    if json:
        console.print_json({"run": run, "report": str(page)})
