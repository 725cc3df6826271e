"""One trial, fold after fold: what it has shown so far is held against the trials before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from comp.pipelines.tuning.pruning import TrialHistory

Watch = Callable[[int, int, float], None]  # epoch from 1, of how many, and its score on the held-out rows
Told = Callable[[Mapping[int, float]], None]


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
    told: Told = lambda done: None,
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


class _NotKnown(Exception):
    """A fold has not yet shown what it is asked for."""


@dataclass
class _HeardFolds:
    """Folds as far as they were heard, asked as if each were trained when it is asked for; ``curves`` is what was looked at."""

    folds: Sequence[int]
    epochs: Mapping[int, Sequence[float]]
    scores: Mapping[int, float]
    most: int  # epochs of a fold
    curves: dict[int, list[float]] = field(default_factory=dict)

    def fold(self, k: int, watch: Watch | None) -> float:
        self.curves[k] = []
        for epoch, score in enumerate(self.epochs.get(k, ()), start=1):
            self.curves[k].append(score)
            if watch is not None:
                watch(epoch, self.most, score)
        if k not in self.scores:
            raise _NotKnown
        return self.scores[k]


@dataclass
class JudgeAtOnce:
    """Judges folds that train at once as ``judge_folds`` does one after the other: what a fold shows counts when its turn comes, so
    that the same facts give a trial up, and the same are ``told``, whichever fold ends first.

    ``curves`` is what has counted so far.
    """

    folds: Sequence[int]
    history: TrialHistory
    told: Told
    curves: dict[int, list[float]] = field(default_factory=dict)
    _epochs: dict[int, list[float]] = field(default_factory=dict)
    _scores: dict[int, float] = field(default_factory=dict)
    _most: int = 0
    _said: int = 0

    def epoch(self, k: int, epoch: int, epochs: int, score: float) -> None:
        """Hears of an epoch of fold k, from 1; again where its fold went on elsewhere. Raises Pruned where the trial is given up."""
        self._epochs.setdefault(k, [])[epoch - 1 :] = [score]
        self._most = epochs
        self._judge()

    def fold(self, k: int, score: float) -> None:
        """Hears what fold k came to; likewise."""
        self._scores[k] = score
        self._judge()

    def _judge(self) -> None:
        heard = _HeardFolds(self.folds, self._epochs, self._scores, self._most)
        count = 0

        def told(done: Mapping[int, float]) -> None:
            nonlocal count
            count += 1
            if count > self._said:
                self._said, self.curves = count, heard.curves
                self.told(done)

        with suppress(_NotKnown):
            judge_folds(heard, self.history, told)
