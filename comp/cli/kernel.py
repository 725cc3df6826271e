"""`comp kernel`: an offline notebook for a competition that is submitted by one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from comp import console
from comp.cli.options import Allow, AsJson, DataDir, Slug, WorkspaceDir, option, parse_allow


def kernel(
    slug: Slug,
    run: Annotated[str, option("--run RUN", "A run id, a prefix of one, or latest.")] = "latest",
    out: Annotated[
        Path | None, option("--out FOLDER", "Where to write. Default: kernels/SLUG/RUN of the workspace.")
    ] = None,
    kaggle: Annotated[
        str | None, option("--kaggle SLUG", "Its name on Kaggle. Default: that of competition.toml.")
    ] = None,
    user: Annotated[str | None, option("--user NAME", "Yours on Kaggle. Default: KAGGLE_USERNAME.")] = None,
    gpu: Annotated[
        bool | None, option("--gpu/--no-gpu", "Ask for a GPU. Default: if the run was trained on one.")
    ] = None,
    device: Annotated[
        str | None,
        option("--device t4|p100|cpu", "Kaggle's machine. Default: two T4 with a GPU, else the CPU."),
    ] = None,
    budget: Annotated[
        str | None,
        option(
            "--budget 2h",
            "How long it may take: what does not fit loses views, then parts. Default: by competition.toml.",
        ),
    ] = None,
    partial: Annotated[bool, option("--partial", "Predict with the folds there are.")] = False,
    wheels: Annotated[
        list[str] | None,
        option(
            "--wheels WHEEL|NAME",
            "A further wheel that the notebook needs: a file, or a requirement for pip to download.",
        ),
    ] = None,
    rehearse: Annotated[
        int | None,
        option(
            "--rehearse N", "Then run it as Kaggle would, offline, on N hidden rows made of training images."
        ),
    ] = None,
    allow: Allow = None,
    data: DataDir = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Write a Kaggle notebook that predicts.

    With its dataset it needs no internet, for a notebooks-only competition.
    """
    from comp.cli.show_kernel import show_kernel
    from comp.kaggle.kernel.build import kernel as write_kernel

    found = write_kernel(
        slug,
        run,
        out=out,
        kaggle=kaggle,
        user=user,
        gpu=gpu,
        device=device,
        budget=budget,
        partial=partial,
        wheels=wheels or (),
        allow=parse_allow(allow),
        workspace=workspace,
    )
    show_kernel(found)
    document = found.as_json()
    if rehearse is not None:
        from comp.cli.show_kernel import show_rehearsal
        from comp.kaggle.kernel.rehearsal import rehearse as run_it

        ran = run_it(found, rehearse, workspace, data)
        show_rehearsal(ran)
        document |= {"rehearsal": ran.as_json()}
    if json:
        console.print_json(document)
