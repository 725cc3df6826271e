"""The pruning rule: paired on the same folds, by the spread between folds, never by one fold alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from comp.pipelines.tuning.judging import FoldLeft, JudgeAtOnce, Pruned, Watch, judge_folds
from comp.pipelines.tuning.pruning import LEAST_TRIALS, FinishedTrial, TrialHistory

K = 5
scores = st.floats(0.0, 1.0, allow_nan=False).map(lambda x: round(x, 4))
folds_of = st.lists(scores, min_size=K, max_size=K)


def finished(
    number: int, per_fold: Sequence[float], curves: Mapping[int, Sequence[float]] | None = None
) -> FinishedTrial:
    return FinishedTrial(number, float(np.mean(per_fold)), dict(enumerate(per_fold)), curves or {})


def history(trials: Sequence[Sequence[float]], direction: str = "max") -> TrialHistory:
    return TrialHistory([finished(n, one) for n, one in enumerate(trials)], direction)


def noisy(means: Sequence[float], spread: float = 0.01, seed: int = 0) -> list[list[float]]:
    """Trials whose folds share what is hard in a fold, and differ by ``spread`` beside it."""
    rng = np.random.default_rng(seed)
    fold = rng.normal(0, 0.03, K)
    return [(mean + fold + rng.normal(0, spread, K)).tolist() for mean in means]


FOUR = noisy([0.90, 0.89, 0.88, 0.895])
several = st.lists(folds_of, min_size=LEAST_TRIALS, max_size=8)


@given(several, scores, st.sampled_from(["max", "min"]))
def test_one_fold_decides_nothing(trials: list[list[float]], score: float, direction: str) -> None:
    assert history(trials, direction).behind({0: score}) is None


@given(several, folds_of, st.integers(0, K - 1), scores, st.sampled_from(["max", "min"]))
def test_a_trial_that_is_as_good_on_all_folds_but_one_goes_on(
    trials: list[list[float]], own: list[float], lie: int, lied: float, direction: str
) -> None:
    """However bad that one fold is."""
    known = history(trials, direction)
    best = known.best
    assert best is not None
    better = max if direction == "max" else min
    as_good = [better(score, best.per_fold[k]) for k, score in enumerate(own)]
    as_good[lie] = lied
    for count in range(2, K + 1):
        assert known.behind(dict(list(enumerate(as_good))[:count])) is None


@given(several, folds_of, st.permutations(range(K)), st.integers(2, K))
def test_the_order_of_folds_does_not_matter(
    trials: list[list[float]], own: list[float], order: list[int], count: int
) -> None:
    done = {k: own[k] for k in order[:count]}
    known = history(trials)
    assert (known.behind(done) is None) == (known.behind(dict(sorted(done.items()))) is None)


@settings(max_examples=20, suppress_health_check=[HealthCheck.filter_too_much])
@given(several, folds_of, st.integers(2, K), st.floats(0, 1))
def test_what_is_given_up_is_given_up_when_all_its_folds_are_worse(
    trials: list[list[float]], own: list[float], count: int, less: float
) -> None:
    known, done = history(trials), dict(list(enumerate(own))[:count])
    assume(known.behind(done) is not None)
    assert known.behind({k: score - less for k, score in done.items()}) is not None


@given(several, folds_of, st.integers(2, K))
def test_a_metric_and_its_negative_are_judged_alike(
    trials: list[list[float]], own: list[float], count: int
) -> None:
    done = dict(list(enumerate(own))[:count])
    negative = [[-score for score in one] for one in trials]
    other = history(negative, "min").behind({k: -score for k, score in done.items()})
    assert (history(trials).behind(done) is None) == (other is None)


def test_it_waits_for_trials_that_say_how_folds_differ() -> None:
    for few in range(1, LEAST_TRIALS):
        assert history(FOUR[:few]).behind({0: 0.1, 1: 0.1, 2: 0.1}) is None
    assert history(FOUR).behind({0: 0.1, 1: 0.1}) is not None
    assert history([FOUR[0]] * 6).behind({0: 0.1, 1: 0.1}) is None, "the very same answers say nothing of it"


def test_scores_that_are_no_numbers_decide_nothing() -> None:
    assert history(FOUR).behind({0: math.nan, 1: 0.1, 2: 0.1}) is None


def test_it_says_how_far_behind_whom() -> None:
    why = history(FOUR).behind({0: 0.5, 1: 0.5})
    assert why is not None
    assert "behind trial 0 on 2 folds" in why


@pytest.mark.parametrize("gap", [0.0, 0.005, 0.05])
def test_how_often_it_is_wrong(gap: float) -> None:
    """Of trials as good as the best, or nearly so, few are given up; of those far behind, most, and soon."""
    given_up, folds = 0, 0
    for seed in range(200):
        trials = noisy([0.90, 0.88, 0.87, 0.885, 0.86, 0.90 - gap], seed=seed)
        known = history(trials[:-1])
        for count in range(2, K):
            folds += 1
            if known.behind(dict(enumerate(trials[-1][:count]))) is not None:
                given_up += 1
                break
    share = given_up / 200
    assert share <= 0.03 if gap == 0 else share <= 0.08 if gap == 0.005 else share >= 0.9, share


CURVE = [0.3, 0.5, 0.7, 0.75, 0.8, 0.82, 0.83, 0.84]


def with_curves(lift: Sequence[float]) -> TrialHistory:
    rng = np.random.default_rng(1)
    trials = []
    for n, up in enumerate(lift):
        curves = {k: [c + up + rng.normal(0, 0.01) for c in CURVE] for k in range(K)}
        trials.append(FinishedTrial(n, 0.84 + up, {k: curves[k][-1] for k in curves}, curves))
    return TrialHistory(trials, "max")


def test_a_fold_is_left_where_it_is_far_behind_every_other_trial() -> None:
    known = with_curves([0.0, 0.01, -0.01, 0.02])
    assert known.far_behind(0, 3, 8, 0.2) is not None
    assert known.far_behind(0, 3, 8, 0.68) is None, "a little behind"
    assert known.far_behind(0, 1, 8, 0.0) is None, "too early"
    assert known.far_behind(0, 8, 8, 0.0) is None, "it is over"
    assert known.far_behind(0, 3, 9, 0.0) is None, "others have other epochs"
    assert with_curves([0.0, 0.01, 0.02]).far_behind(0, 3, 8, 0.0) is None, "too few"
    assert with_curves([0.0, 0.01, 0.02, -0.5]).far_behind(0, 3, 8, 0.3) is None, (
        "another was worse, and came to its end"
    )


@dataclass
class MadeLearner:
    """A learner whose folds are known beforehand: ``lies`` has what fold 0 says instead."""

    truth: float
    lie: float | None = None
    epochs: int = 8
    folds: Sequence[int] = range(K)
    trained: list[tuple[int, int]] = field(default_factory=list)  # fold, epochs

    def fold(self, k: int, watch: Watch | None) -> float:
        end = self.lie if k == 0 and self.lie is not None else self.truth + 0.002 * (k - 2)
        for epoch in range(1, self.epochs + 1):
            self.trained.append((k, epoch))
            if watch is not None:
                watch(epoch, self.epochs, end * CURVE[epoch - 1] / CURVE[-1])
        return end


def study_of(
    learners: Sequence[MadeLearner], before: Sequence[float] = (0.80, 0.81, 0.79, 0.805)
) -> dict[int, float]:
    """The score of each learner that is not given up, in their order, after some trials."""
    known = list(with_curves([mean - 0.84 for mean in before]).trials)
    kept = {}
    for n, learner in enumerate(learners, start=len(known)):
        try:
            done = judge_folds(learner, TrialHistory(known, "max"))
        except Pruned:
            continue
        kept[n] = float(np.mean(list(done.values())))
        known.append(FinishedTrial(n, kept[n], done))
    return kept


def test_a_bad_trial_whose_first_fold_flatters_it_is_not_kept() -> None:
    bad = MadeLearner(0.60, lie=0.99)
    assert study_of([bad]) == {}
    assert len({k for k, _ in bad.trained}) < K


def test_a_good_trial_whose_first_fold_lies_is_not_given_up() -> None:
    for lie in (0.0, 0.3, 0.7):
        good = MadeLearner(0.90, lie=lie)
        assert 4 in study_of([good]), lie
    good = MadeLearner(0.90, lie=0.0)
    study_of([good])
    first = [epoch for k, epoch in good.trained if k == 0]
    assert first[:3] == [1, 2, 1], (
        "it was left after two epochs, and trained when another fold had spoken for it"
    )


def test_a_trial_that_is_bad_in_its_epochs_is_given_up_by_two_folds() -> None:
    bad = MadeLearner(0.10)
    assert study_of([bad]) == {}
    assert {k for k, _ in bad.trained} == {0, 1}
    assert max(epoch for _, epoch in bad.trained) < 8


def test_the_best_of_lying_learners_wins() -> None:
    kept = study_of(
        [
            MadeLearner(0.60, lie=0.99),
            MadeLearner(0.88, lie=0.2),
            MadeLearner(0.86),
            MadeLearner(0.65, lie=0.97),
        ]
    )
    assert 4 not in kept
    assert 7 not in kept
    assert 5 in kept


def test_a_fold_that_is_left_with_one_fold_to_go_is_trained() -> None:
    class Once(MadeLearner):
        def fold(self, k: int, watch: Watch | None) -> float:
            if watch is not None:
                raise FoldLeft("far behind")
            return super().fold(k, watch)

    with pytest.raises(Pruned, match="fold 0: far behind; fold 1: far behind"):
        judge_folds(Once(0.9), TrialHistory([], "max"))


@dataclass
class Alone(MadeLearner):
    """A learner whose folds are trained one after the other, with what it has shown whenever something was told."""

    curves: dict[int, list[float]] = field(default_factory=dict)
    said: list[object] = field(default_factory=list)

    def judged(self, history: TrialHistory) -> object:
        """What was told, with the curves at that time, and how it ended."""
        try:
            judge_folds(self, history, lambda done: self.said.append((dict(done), deepcopy(self.curves))))
        except Pruned as pruned:
            return self.said, str(pruned)
        return self.said, ""

    def fold(self, k: int, watch: Watch | None) -> float:
        def heard(epoch: int, epochs: int, score: float) -> None:
            self.curves.setdefault(k, [])[epoch - 1 :] = [score]
            if watch is not None:
                watch(epoch, epochs, score)

        return super().fold(k, heard)


def judged_at_once(learner: MadeLearner, history: TrialHistory, order: Sequence[int]) -> object:
    """The same of folds that train at once: ``order`` says which fold shows the next thing."""
    shown: dict[int, list[tuple[int, ...] | float]] = {}
    for k in learner.folds:
        seen: list[Any] = []
        end = learner.fold(k, lambda epoch, epochs, score, seen=seen: seen.append((epoch, epochs, score)))  # type: ignore[misc]
        shown[k] = [*seen, end]
    said: list[object] = []
    judge = JudgeAtOnce(
        learner.folds, history, lambda done: said.append((dict(done), deepcopy(judge.curves)))
    )
    try:
        for k in [*order, *(k for k in learner.folds for _ in range(learner.epochs + 1))]:
            if not shown[k]:
                continue
            match shown[k].pop(0):
                case (epoch, epochs, score):
                    judge.epoch(k, epoch, epochs, score)  # type: ignore[arg-type]
                case score:
                    judge.fold(k, float(score))  # type: ignore[arg-type]
    except Pruned as pruned:
        return said, str(pruned)
    return said, ""


@settings(deadline=None, max_examples=150)
@given(
    truth=st.sampled_from([0.1, 0.6, 0.75, 0.8, 0.9]),
    lie=st.sampled_from([None, 0.0, 0.3, 0.99]),
    order=st.lists(st.integers(0, K - 1), max_size=60),
)
def test_folds_at_once_are_judged_as_one_after_the_other(
    truth: float, lie: float | None, order: list[int]
) -> None:
    """Whichever fold is ahead: what is told, when the trial is given up and why do not depend on it."""
    history = TrialHistory(list(with_curves([-0.04, -0.03, -0.05, -0.035]).trials), "max")
    assert judged_at_once(MadeLearner(truth, lie), history, order) == Alone(truth, lie).judged(history)
