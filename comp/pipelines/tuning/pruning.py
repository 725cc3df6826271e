"""When a trial is given up: by its folds so far, each beside the same fold of the best trial, and never by one fold alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median, stdev

LEAST_TRIALS = 4  # finished ones, before anything is known of the spread between folds
MARGIN = 2.0  # standard errors that a trial has to be behind
FAR = 3.0  # spreads between folds that an epoch has to be behind the median trial's
EARLIEST = 0.25  # share of the epochs before which nothing is said of a fold


@dataclass(frozen=True)
class FinishedTrial:
    """A trial with all its folds: its ``score`` over all rows, that of each fold, and after each epoch of a fold."""

    number: int
    score: float
    per_fold: Mapping[int, float]
    curves: Mapping[int, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class TrialHistory:
    """The finished trials of a study, and which end of its metric is better."""

    trials: Sequence[FinishedTrial]
    direction: str

    @property
    def best(self) -> FinishedTrial | None:
        """The best trial, of equal ones the first; None where none has a score."""
        known = [one for one in self.trials if math.isfinite(one.score)]
        return min(known, key=lambda one: (-self._sign * one.score, one.number), default=None)

    @property
    def _sign(self) -> float:
        return 1.0 if self.direction == "max" else -1.0

    def behind(self, done: Mapping[int, float]) -> str | None:
        """Why a trial with these folds is given up; None where it goes on.

        Its folds are compared with the same folds of the best trial. The mean difference has to exceed MARGIN standard errors,
        and still does so whichever one of the folds is left out: a fold that happens to lie decides nothing. The standard
        error is by the spread of such differences between folds: of the other trials (see ``spread``), or of this one
        where that is larger. Or it cannot catch up: it would stay behind though its worst fold and those to come were better than
        any trial's. Two folds and LEAST_TRIALS finished trials are the least that it is judged by.

        Parameters
        ----------
        done : mapping
            The score of each fold that is finished, of two or more.
        """
        best, spread = self.best, self.spread
        if best is None or not spread or len(done) < 2:
            return None
        apart = [self._sign * (best.per_fold.get(k, math.nan) - score) for k, score in done.items()]
        if not all(map(math.isfinite, apart)):
            return None
        least = math.inf
        for n in range(len(apart)):
            left = apart[:n] + apart[n + 1 :]
            own = stdev(left) if len(left) > 1 else 0.0
            least = min(least, mean(left) - MARGIN * max(spread, own) / math.sqrt(len(left)))
        if least <= 0:
            return self._hopeless(done, best, spread)
        return f"{mean(apart):.4f} behind trial {best.number} on {len(apart)} folds, which differ by {spread:.4f}"

    def _hopeless(self, done: Mapping[int, float], best: FinishedTrial, spread: float) -> str | None:
        """Why a trial cannot catch up with the best one; None where it can."""
        ceiling = {
            k: max(self._sign * one.per_fold[k] for one in self.trials if k in one.per_fold) + MARGIN * spread
            for k in best.per_fold
        }
        hoped = {k: self._sign * done[k] if k in done else top for k, top in ceiling.items()}
        worst = max(done, key=lambda k: ceiling[k] - hoped[k])
        hoped[worst] = max(hoped[worst], ceiling[worst])
        lacking = self._sign * mean(best.per_fold.values()) - mean(hoped.values())
        if not lacking > 0:
            return None
        return f"at best {lacking:.4f} behind trial {best.number}, whatever its worst fold and those to come were"

    @property
    def spread(self) -> float | None:
        """The standard deviation between folds of a trial's difference from the best: the upper quartile of the others', since
        trials that hardly differ from the best say little; None while too few are finished.
        """
        best = self.best
        if best is None or len(self.trials) < LEAST_TRIALS:
            return None
        found = []
        for one in self.trials:
            shared = [k for k in best.per_fold if k in one.per_fold]
            apart = [best.per_fold[k] - one.per_fold[k] for k in shared]
            if one.number != best.number and len(apart) > 1 and all(map(math.isfinite, apart)):
                found.append(stdev(apart))
        found = [one for one in found if one > 0]  # of the very same answers
        return sorted(found)[3 * len(found) // 4] if len(found) >= LEAST_TRIALS - 1 else None

    def far_behind(self, fold: int, epoch: int, epochs: int, score: float) -> str | None:
        """Why a fold is left after this epoch; None where it goes on.

        It is left where every finished trial of as many epochs was better at this epoch of this fold, and the median one by more
        than FAR times the spread between folds at this epoch. A fold that is left says nothing of its trial by itself (see
        ``judge_folds``).

        Parameters
        ----------
        epoch, epochs : int
            From 1; nothing is said before a quarter of them.
        """
        if epoch < max(1, math.ceil(EARLIEST * epochs)) or epoch >= epochs:
            return None
        alike = [one for one in self.trials if len(one.curves.get(fold, ())) == epochs]
        others = _finite(self._sign * one.curves[fold][epoch - 1] for one in alike)
        spreads = [stdev(at) for one in alike if len(at := _at(one, epoch, epochs)) > 1]
        if min(len(others), len(spreads)) < LEAST_TRIALS:
            return None
        ours = self._sign * score
        if not math.isfinite(score):
            return None
        gap, spread = median(others) - ours, median(spreads)
        if ours >= min(others) or not spread or gap <= FAR * spread:
            return None
        return f"{gap:.4f} behind the median trial after epoch {epoch} of {epochs}"


def _at(one: FinishedTrial, epoch: int, epochs: int) -> list[float]:
    """The scores after an epoch, a fold each."""
    return _finite(curve[epoch - 1] for curve in one.curves.values() if len(curve) == epochs)


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]
