"""What a run predicts with: its own checkpoints, or those of the runs that it is a blend of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from comp.runs import run as runs
from comp.runs.contents import every_fold, fold_checkpoints
from comp.workspace import Workspace


@dataclass(frozen=True)
class Part:
    """The checkpoints of a run, or of one of its models, that are to be asked; ``model`` is empty for all of them, ``name`` is
    RUN or RUN/MODEL.
    """

    name: str
    run: runs.Run
    model: str
    folders: list[Path]
    is_partial: bool


def parts_of(workspace: Workspace, run: runs.Run, partial: bool) -> list[Part]:
    """What a run predicts with: its own checkpoints, or those of each part of a blend, each once; those of a blend that is a
    part are among them.

    Raises
    ------
    InputError
        Where a checkpoint is missing, or a part has none.
    """
    if run.started.get("mode") != runs.ENSEMBLE:
        runs.require_checkpoints(run)
        folders = fold_checkpoints(run, partial)
        return [Part(run.id, run, "", folders, len(folders) < len(every_fold(run)))]
    parts: dict[str, Part] = {}
    for name in run.started.get("parts", []):
        id_, _, model = name.partition("/")
        part = runs.find_run(workspace, id_)
        if part.started.get("mode") == runs.ENSEMBLE:
            parts |= {one.name: one for one in parts_of(workspace, part, partial)}
            continue
        runs.require_checkpoints(part)
        parts[name] = Part(name, part, model, fold_checkpoints(part, False, model), False)
    return list(parts.values())
