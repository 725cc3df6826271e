"""`comp predict` and `comp pseudo`: answers of a finished run for other images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from comp import console
from comp.cli.options import Allow, AsJson, DataDir, TemplateFile, WorkspaceDir, argument, option, parse_allow
from comp.errors import counted
from comp.workspace import shown


def predict(
    run: Annotated[str, argument("RUN", "A run id, a prefix of one, or latest.")],
    data: DataDir = None,
    template: TemplateFile = None,
    partial: Annotated[bool, option("--partial", "Predict with the folds there are.")] = False,
    out: Annotated[Path | None, option("--out CSV", "Where to write. Default: the run's submission.")] = None,
    allow: Allow = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Predict the test rows again, or other rows.

    It uses the checkpoints of a run; --data names other rows.
    """
    from comp.cli.next_steps import after_predict
    from comp.cli.show_run import say_unread
    from comp.pipelines.predict import predict as predict_rows

    found = predict_rows(
        run,
        workspace=workspace,
        data=data,
        template=template,
        partial=partial,
        out=out,
        allow=parse_allow(allow),
    )
    say_unread(found.unread)
    console.print_result(f"{counted(found.rows, 'row')} -> {shown(found.path)}")
    after_predict(run, found.path, workspace)
    if json:
        console.print_json({"run": run, **found.as_json()})


def pseudo(
    run: Annotated[str, argument("RUN", "A finished run: an id, a prefix, or latest.")],
    threshold: Annotated[float, option("--threshold P", "How sure a fold's model must be, above 0 to 1.")],
    out: Annotated[
        Path | None, option("--out CSV", "Where they go. Default: pseudo-P.csv in the run's folder.")
    ] = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Label test rows for training.

    Each fold gets those of its own model; comp run --pseudo CSV trains with them.
    """
    from comp.cli.show_run import show_pseudo
    from comp.pipelines.pseudo_label import pseudo as make

    result = make(run, threshold, workspace=workspace, out=out)
    show_pseudo(result)
    if json:
        console.print_json(result.as_json())
