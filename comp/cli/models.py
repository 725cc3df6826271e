"""`comp models`: the backbones that are worth a try."""

from __future__ import annotations

from typing import Annotated

from comp import console
from comp.cli.options import AsJson, WorkspaceDir, option


def models(
    licence: Annotated[
        str | None,
        option(
            "--licence NAME",
            'Of their weights: "any", or one by its name. Default: those that a winner may publish with a solution.',
        ),
    ] = None,
    device: Annotated[
        str | None, option("--device KIND", "cpu, gpu or big-gpu: those that it fine-tunes in hours.")
    ] = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """List backbones that are worth a try.

    The cheapest comes first; any other of timm's can be named too: --set model.name=NAME. Weights that are not there are downloaded when they are first used.
    """
    from comp.pipelines.listing import list_models

    rows = list_models(licence, device, workspace)
    header = ("backbone", "pixels", "GMACs", "million weights", "device", "licence", "there", "known for")
    shown = [
        (
            row.name,
            row.size,
            f"{row.gmacs:.2f}" if row.gmacs < 10 else f"{row.gmacs:.0f}",
            f"{row.params:.0f}",
            row.device,
            row.licence,
            "" if row.weights is None else "yes",
            row.known_for,
        )
        for row in rows
    ]
    if not rows:
        console.print_result("no backbone of this licence for this device")
    else:
        console.table("", header, shown, drop=("known for", "million weights", "pixels", "device", "licence"))
        console.print_result(
            "GMACs: 10^9 multiply-adds an image of that many pixels a side; train one: comp run SLUG --set model.name=NAME"
        )
    if json:
        console.print_json([row.as_json() for row in rows])
