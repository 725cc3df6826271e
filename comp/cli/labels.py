"""`comp labels`: which labels of a run are likely wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comp import console, events
from comp.cli.options import AsJson, DataDir, WorkspaceDir, argument, option


def labels(
    run: Annotated[str, argument("RUN", "A finished run: an id, a prefix, or latest.")],
    csv: Annotated[
        Path | None,
        option(
            "--csv FILE",
            "Write a manifest with these labels corrected, for you to edit and --manifest to take.",
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", metavar="N", min=1, help="How many to show.")] = 20,
    by: Annotated[
        str,
        option(
            "--by auto|features|probabilities", "What judges: the images again, or the OOF probabilities."
        ),
    ] = "auto",
    data: DataDir = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """List a run's likely wrong labels, the surest first.

    Look at the images before you believe it.

    A run of mode probe reads its images again, which finds more; others are judged by their OOF probabilities.
    """
    from comp.pipelines.label_errors import labels as find

    found = find(run, workspace=workspace, data=data, csv=csv, by=by)
    header = ("id", "path", "label", "likelier", "p label", "p likelier", "score", "fold")
    rows = [
        (one.id, one.path, one.label, one.answer, one.p_label, one.p_answer, one.score, one.fold)
        for one in found.found[:n]
    ]
    if rows:
        console.table("", header, rows)
    shown = f", the first {len(rows)} above" if len(found) > len(rows) else ""
    console.print_result(
        f"{len(found)} of {found.rows} labels of {found.run} are likely wrong, judged by {found.judged_by}{shown}"
    )
    if found.csv is not None:
        console.print_result(f"manifest {found.csv}")
        events.log(
            "  read it first: only rows whose label is not their original_label count; then "
            f"`comp run {found.slug} --manifest {found.csv}`"
        )
    if json:
        console.print_json(found.as_json())
