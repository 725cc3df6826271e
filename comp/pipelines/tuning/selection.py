"""What the winner of a study is worth: in each fold by the trial that is best on the others, beside the baseline."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.checks.runner import CheckResult
from comp.data.predictions import Predictions
from comp.files import atomic, make_folder
from comp.metrics import Metric
from comp.uncertainty import Gain, PairedJackknife

Probs = NDArray[np.float64]


@dataclass(frozen=True)
class TrialRows:
    """The OOF rows of finished trials: a file each, in float32, which is enough to compare them by.

    ``ids`` (N,) are the rows of all, in one order.
    """

    folder: Path
    ids: tuple[str, ...]

    def keep(self, slot: int, oof: Predictions) -> None:
        """Writes the rows of a trial."""
        make_folder(self.folder)
        written = io.BytesIO()
        np.savez_compressed(
            written, probs=oof.select(self.ids).probs.astype(np.float32), ids=np.array(self._digest)
        )
        with atomic(self._file(slot)) as part:
            part.write_bytes(written.getvalue())

    def load(self, slot: int) -> Probs | None:
        """The rows (N, D) of a trial; None where they are not here: another machine has them."""
        try:
            with np.load(self._file(slot), allow_pickle=False) as kept:
                if str(kept["ids"]) != self._digest or len(kept["probs"]) != len(self.ids):
                    return None
                return kept["probs"].astype(np.float64)  # type: ignore[no-any-return]
        except (OSError, ValueError, KeyError, EOFError):
            return None

    @property
    def _digest(self) -> str:
        return hashlib.sha256("\n".join(self.ids).encode("utf-8", "surrogatepass")).hexdigest()

    def _file(self, slot: int) -> Path:
        return self.folder / f"trial-{slot}.npz"


def rows_of(checks: CheckResult, folder: Path) -> TrialRows:
    """Where the OOF rows of a study's trials lie in its folder: of every row that a fold holds out and that can be read."""
    assert checks.folds is not None, "the checks let no study pass without folds"
    train = checks.readable().train
    held_out = train[checks.folds.of(train["id"]) >= 0]
    return TrialRows(folder / "oof", tuple(held_out["id"]))


@dataclass(frozen=True)
class NestedScore:
    """The score of choosing: each fold answered by the trial that is best on the other folds, all rows pooled.

    ``chosen`` is that trial of each fold; ``gain`` what choosing gains over the baseline on the same rows.
    """

    score: float
    chosen: tuple[int, ...]
    gain: Gain


def nested_score(
    rows: TrialRows,
    slots: Sequence[int],
    truth: NDArray[Any],
    fold: NDArray[np.int64],
    groups: Sequence[str],
    metric: Metric,
    baseline: int = 0,
) -> NestedScore | None:
    """The honest score of a study's winner; None where the rows of a trial, or the baseline, are not at hand.

    What is chosen by the best of many scores is overrated by them. Here no trial is chosen by the rows that it is
    scored on (Cawley & Talbot 2010). That later trials were proposed by what earlier ones came to on all folds
    is left as it is.

    Parameters
    ----------
    slots : sequence of int
        The trials to choose among, the baseline among them.
    truth : array (N,) or (N, D)
    fold : int64 array (N,)
    groups : sequence of str, (N,)
    """
    folds = sorted(set(fold.tolist()))
    if baseline not in slots or len(folds) < 2:
        return None
    others: dict[int, list[float]] = {}
    for slot in slots:
        probs = rows.load(slot)
        if probs is None:
            return None
        others[slot] = [metric(truth[fold != k], probs[fold != k]) for k in folds]
    chosen = [_best({slot: scores[n] for slot, scores in others.items()}, metric) for n in range(len(folds))]
    judge = PairedJackknife(metric, truth, groups)
    base = rows.load(baseline)
    assert base is not None, "it was there a moment ago"
    pooled = np.empty_like(base)
    for k, slot in zip(folds, chosen, strict=True):
        probs = rows.load(slot)
        if probs is None:
            return None
        pooled[fold == k] = probs[fold == k]
    whole = judge.score(pooled)
    return NestedScore(whole.score, tuple(chosen), judge.gain(whole, judge.score(base)))


def _best(scores: dict[int, float], metric: Metric) -> int:
    """The trial with the best score, of equal ones the first; one without a score is no better than any."""
    best = min(scores)
    for slot in sorted(scores):
        if metric.better(scores[slot], scores[best]) or scores[best] != scores[best]:
            best = slot
    return best
