"""One trial, fold after fold: what it has shown so far is held against the trials before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from comp.pipelines.tuning.pruning import TrialHistory

Watch = Callable[[int, int, float], None]  # epoch from 1, of how many, and its score on the held-out rows


class Pruned(Exception):
    """A trial is given up; the text says why."""


class FoldLeft(Exception):
    """A fold is left in the middle."""


class FoldLearner(Protocol):
    """What trains the folds of a trial."""

    @property
    def folds(self) -> Sequence[int]:
        """Their numbers, in the order that they are trained in."""
        ...

    def fold(self, k: int, watch: Watch | None) -> float:
        """The score of fold k on its held-out rows; ``watch`` hears of each epoch, and what it raises ends the fold."""
        ...


def judge_folds(
    learner: FoldLearner,
    history: TrialHistory,
    told: Callable[[Mapping[int, float]], None] = lambda done: None,
) -> dict[int, float]:
    """The score of every fold of a trial that is not given up; ``told`` hears them as they come.

    A first fold that falls far behind in its epochs is left, and the next one is asked: where that falls as far behind, the trial is
    given up; else it goes on, and the fold that was left is trained last. Finished folds are judged together, from the
    second on (see ``TrialHistory``).

    Raises
    ------
    Pruned
        Where the trial is given up.
    """
    done: dict[int, float] = {}
    doubts: dict[int, str] = {}
    todo = list(learner.folds)
    while todo:
        k = todo.pop(0)
        try:
            done[k] = learner.fold(k, None if done or k in doubts else _watch(k, history))
        except FoldLeft as left:
            doubts[k] = str(left)
            if len(doubts) > 1:
                raise Pruned("; ".join(f"fold {fold}: {why}" for fold, why in doubts.items())) from None
            todo.append(k)
            continue
        told(done)
        why = history.behind(done) if todo else None
        if why is not None:
            raise Pruned(why)
    return done


def _watch(k: int, history: TrialHistory) -> Watch:
    def watch(epoch: int, epochs: int, score: float) -> None:
        why = history.far_behind(k, epoch, epochs, score)
        if why is not None:
            raise FoldLeft(why)

    return watch
