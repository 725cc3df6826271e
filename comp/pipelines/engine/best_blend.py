"""What a preset has so far: its finished runs, and the blend of those that gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comp.ensembling.forward_selection import FORWARD, Addition, forward_selection
from comp.ensembling.nested_cv import BlendSpec, nested
from comp.pipelines.ensemble import rows_of_parts
from comp.uncertainty import PairedJackknife
from comp.workspace import Workspace

BEHIND = 2.0  # standard errors that a first fold is behind before it is given up


@dataclass(frozen=True)
class BestBlend:
    """The blend of finished runs: the parts that were ``taken``, in order, and the ``nested`` score of choosing them; ``gain`` of the
    last run that was added, None where it was not taken.
    """

    taken: list[Addition]
    nested: float

    @property
    def names(self) -> list[str]:
        """The runs that the blend has."""
        return [one.part for one in self.taken]

    @property
    def score(self) -> float:
        """Of the blend on the rows that it was chosen by."""
        return self.taken[-1].score


def best_blend_of(workspace: Workspace, names: Sequence[str]) -> BestBlend:
    """The best blend of finished runs, and its nested score."""
    rows, metric = rows_of_parts(workspace, names)
    answers = nested(BlendSpec(FORWARD, metric), rows)
    return BestBlend(forward_selection(rows, metric), metric(rows.truth, answers))


def why_dropped(workspace: Workspace, names: Sequence[str], partial: str, fold: int) -> str | None:
    """Why a candidate whose first fold alone is trained is given up, in words; None where it goes on.

    Given up is what is BEHIND standard errors worse than the best finished run on that fold's rows, and does not better the mean of
    the two either.
    """
    from comp.data.predictions import Predictions, mean_loss
    from comp.runs import run as runs

    rows, metric = rows_of_parts(workspace, names)
    folder = runs.find_run(workspace, partial).folder / f"fold-{fold}"
    own = Predictions.load(folder / "oof.npz")
    place = {i: n for n, i in enumerate(rows.aligned.ids)}
    here = np.array([place[i] for i in own.ids])
    truth, labels = rows.truth[here], rows.aligned.labels
    judge = PairedJackknife(metric, truth, [rows.group[n] for n in here])
    best = min(range(len(names)), key=lambda n: mean_loss(rows.aligned.probs[n][here], truth, labels))
    other = rows.aligned.probs[best][here]
    gain = judge.gain(judge.score(own.probs), judge.score(other))
    if not gain.value < -BEHIND * gain.error:
        return None
    if mean_loss((own.probs + other) / 2, truth, labels) < mean_loss(other, truth, labels):
        return None
    return f"fold {fold}: {gain.value:+.4f} ± {gain.error:.4f} against {rows.aligned.names[best]}, and no better in a mean"
