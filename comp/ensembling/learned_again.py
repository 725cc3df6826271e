"""What a blend learned on the OOF rows of its parts, learned once more as they lie in the workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from comp.data.competitions.competition import Competition, find_competition
from comp.data.folds import Folds, group_names
from comp.data.manifest import Manifest
from comp.data.postprocess import postprocessed
from comp.ensembling.aligned import LabelledPredictions, align, judged
from comp.ensembling.evaluate import BlendOptions, factors_of
from comp.ensembling.members import Member, joined_manifest, nested_folds, read_parts
from comp.ensembling.nested_cv import BlendSpec, FittedBlend, affordable, learn_all
from comp.errors import InputError
from comp.runs import run as runs
from comp.runs.contents import predictions_of
from comp.workspace import Workspace

SAME = 1e-9  # of probabilities that were computed twice


@dataclass(frozen=True, eq=False)
class BlendRows:
    """What a blend is learned on: its parts, their OOF rows with the truth, and how it learns."""

    parts: list[Member]
    manifest: Manifest
    rows: LabelledPredictions
    spec: BlendSpec


def blend_rows(workspace: Workspace, run: runs.Run) -> BlendRows:
    """What a blend was learned on.

    Raises
    ------
    InputError
        For a part that is gone.
    """
    told = run.record["ensemble"]
    chosen = read_parts(workspace, run.started["parts"])
    manifest = joined_manifest(chosen)
    folds = nested_folds(chosen, manifest)
    competition = find_competition(run.slug, workspace)
    chosen = [posted(part, competition) for part in chosen]
    rows = judged_rows(chosen, manifest, folds)
    calibration, decision = told["calibration"], told["decision"]
    spec = BlendSpec(
        told["method"],
        competition.metric,
        affordable(rows),
        calibrate=bool(calibration and calibration["applied"]),
        decide=bool(decision and decision["applied"]),
        factors=factors_of(rows, BlendOptions(priors=told["priors"])),
    )
    return BlendRows(chosen, manifest, rows, spec)


def learned_again(workspace: Workspace, run: runs.Run, blend: BlendRows | None = None) -> FittedBlend:
    """What a blend answers other rows with; ``blend`` are its rows where they were read already.

    Raises
    ------
    InputError
        For a part that is gone, and where the parts no longer give the blend's own test predictions.
    """
    blend = blend or blend_rows(workspace, run)
    learned = learn_all(blend.spec, blend.rows)
    prints = blend.manifest.fingerprint("test")
    aligned = align({part.name: replace(part.test, fingerprint=prints) for part in blend.parts})
    before = predictions_of(run, "test").select(aligned.ids)
    if not np.allclose(learned(aligned), before.probs, atol=SAME):
        value = f"the parts of {run.id} give other test predictions than it has"
        raise InputError("a blend is of the parts that it was made of", value, "blend them again")
    return learned


def posted(part: Member, competition: Competition) -> Member:
    """A part whose predictions are postprocessed as the competition has it; a blend's were before it was one."""
    if part.run.started.get("mode") == runs.ENSEMBLE:
        return part
    began = part.run.started
    oof = postprocessed(part.oof, competition, part.manifest.train, began)
    return replace(part, oof=oof, test=postprocessed(part.test, competition, part.manifest.test, began))


def judged_rows(parts: Sequence[Member], manifest: Manifest, folds: Folds) -> LabelledPredictions:
    """The OOF rows of the parts, with their truth, nested folds and joined groups."""
    labels = parts[0].oof.labels
    train = manifest.train
    prints = manifest.fingerprint("train")
    return judged(
        {part.name: replace(part.oof, fingerprint=prints) for part in parts},
        dict(zip(train["id"], labels.encode(train["label"]), strict=True)),
        folds.by_id,
        dict(zip(train["id"], group_names(train), strict=True)),
    )
