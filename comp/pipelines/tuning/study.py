"""The trials of a study that several processes share: each runs once, and once more where its process died.

Optuna keeps and proposes. Which trial counts is decided here, by trial numbers, which every database gives out one by one.
"""

from __future__ import annotations

import math
import os
import socket
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from comp.pipelines.tuning.pruning import FinishedTrial, TrialHistory
from comp.pipelines.tuning.sampling import SlotSampler
from comp.pipelines.tuning.search_space import Parameter, SearchSpace, shown

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

DEATHS = 2  # of a trial's processes, after which it is not tried again
_SLOT, _TRY, _DEATHS, _SURPLUS, _WORKER, _FACTS = "slot", "try", "deaths", "surplus", "worker", "comp"
_STATES = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}


class PutBack(Exception):
    """A trial that was begun goes back to those that wait: it was stopped, and is not given up."""


class _Surplus(Exception):
    """A trial that its study does not want: several processes asked for the last one at once."""


@dataclass(frozen=True)
class TrialRow:
    """A trial as its study has it. ``state`` is complete, pruned, failed, running or waiting.

    ``slot`` counts the trials of the study from 0, the recipe as it stands; a trial that is tried again has another
    ``number`` of optuna's and the same slot. ``values`` are those that were tried by dotted key, ``facts`` what was told of it.
    """

    number: int
    slot: int
    state: str
    score: float | None
    values: Mapping[str, Any]
    facts: Mapping[str, Any]
    seconds: float | None
    tries: int = 1

    @property
    def is_over(self) -> bool:
        """Whether nobody works at it, or will."""
        return self.state in ("complete", "pruned", "failed")

    def finished(self) -> FinishedTrial:
        """What pruning knows of it."""
        folds = {int(k): score for k, score in self.facts.get("scores", {}).items() if score is not None}
        curves = {int(k): curve for k, curve in self.facts.get("curves", {}).items()}
        return FinishedTrial(self.slot, math.nan if self.score is None else self.score, folds, curves)


@dataclass
class StudyStore:
    """A study that is open. ``wanted`` is how many trials it shall have in all."""

    study: Study
    space: SearchSpace
    wanted: int
    direction: str
    sampler: SlotSampler
    _unseen: set[int] = field(default_factory=set)

    def rows(self) -> list[TrialRow]:
        """The trials by slot, each by its last try."""
        last: dict[int, TrialRow] = {}
        fresh = 0
        for one in self.study.get_trials(deepcopy=False):
            if one.user_attrs.get(_SURPLUS):
                continue
            slot = one.user_attrs.get(_SLOT)
            if slot is None:
                slot, fresh = fresh, fresh + 1
            last[slot] = _row(one, slot, one.user_attrs.get(_TRY, 0) + 1)
        return [last[slot] for slot in sorted(last)]

    def history(self) -> TrialHistory:
        """The finished trials."""
        done = [one.finished() for one in self.rows() if one.state == "complete"]
        return TrialHistory(done, self.direction)

    def run_one(self, work: Callable[[Asked], float]) -> bool:
        """Runs a trial that waits, or the next one; False where the study has all that it wants.

        ``work`` gives the score of the trial that it is asked for. It may raise ``optuna.TrialPruned``, or ``PutBack``, which
        passes on, as all else does.
        """
        if not self.has_more():
            return False

        def objective(trial: Trial) -> float:
            asked = self._claimed(trial)
            try:
                return work(asked)
            except (PutBack, KeyboardInterrupt):
                self._again(self._frozen(trial), died=False)
                raise

        try:
            self.study.optimize(objective, n_trials=1, catch=(_Surplus,))
        except (RuntimeError, ValueError, AssertionError) as error:
            if not _is_taken(error):
                raise
        return True

    def has_more(self) -> bool:
        """Whether there is a trial to begin; those of dead processes are made to wait first."""
        self._bury()
        rows = self.rows()
        return len(rows) < self.wanted or any(one.state == "waiting" for one in rows)

    def running(self) -> int:
        """How many trials are under way, in other processes where this one is between two."""
        self._bury()
        return sum(one.state == "running" for one in self.rows())

    def retry(self, dead: FrozenTrial) -> None:
        """A trial whose process died waits for another try, unless it had its last."""
        self._again(dead, died=True)

    def _bury(self) -> None:
        """Ends the trials whose processes give no sign of life; ``retry`` hears of each.

        One that died before its first sign would run for ever: it gets one from here, once.
        """
        import optuna

        for one in self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            if _WORKER not in one.user_attrs and one.number not in self._unseen:
                self._unseen.add(one.number)
                self.study._storage.record_heartbeat(one._trial_id)  # type: ignore[attr-defined]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optuna.storages.fail_stale_trials(self.study)

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[trial.number]

    def _claimed(self, trial: Trial) -> Asked:
        """The trial with its slot; raises where all slots are taken, or another has this try of it."""
        own = self._frozen(trial)
        before = self.study.get_trials(deepcopy=False)[: trial.number]
        slot = own.user_attrs.get(_SLOT)
        if slot is None:
            slot = sum(_SLOT not in one.user_attrs and not one.user_attrs.get(_SURPLUS) for one in before)
            is_wanted = slot < self.wanted
        else:
            which = (slot, own.user_attrs[_TRY])
            is_wanted = all((one.user_attrs.get(_SLOT), one.user_attrs.get(_TRY)) != which for one in before)
        if not is_wanted:
            trial.set_user_attr(_SURPLUS, True)
            raise _Surplus
        trial.set_user_attr(_WORKER, f"{socket.gethostname()}:{os.getpid()}")
        self.sampler.begin(slot)
        return Asked(trial, slot, self)

    def _again(self, one: FrozenTrial, died: bool) -> None:
        """A trial that ended too early is made to wait, with the values that it had."""
        import optuna

        deaths = one.user_attrs.get(_DEATHS, 0) + died
        if deaths >= DEATHS or one.user_attrs.get(_SURPLUS):
            return
        slot = one.user_attrs.get(_SLOT)
        if slot is None:
            before = self.study.get_trials(deepcopy=False)[: one.number]
            slot = sum(
                _SLOT not in other.user_attrs and not other.user_attrs.get(_SURPLUS) for other in before
            )
        again = optuna.trial.create_trial(
            state=optuna.trial.TrialState.WAITING,
            params=one.params,
            distributions=one.distributions,
            user_attrs={_SLOT: slot, _TRY: one.user_attrs.get(_TRY, 0) + 1, _DEATHS: deaths},
        )
        self.study.add_trial(again)


@dataclass(frozen=True)
class Asked:
    """A trial that this process has. ``slot`` 0 is the recipe as it stands."""

    trial: Trial
    slot: int
    store: StudyStore

    def values(self, recipe: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, Any]:
        """The values to try by dotted key, over a ``recipe`` table; of slot 0 those of the ``baseline``, which has the keys whose value in
        the recipe lies within the space.
        """
        values: dict[str, Any] = {}
        for one in self.store.space.parameters:
            left_out = self.slot == 0 and one.key not in baseline
            if not left_out and self.store.space.is_searched(one, values, recipe):
                values[one.key] = self._value(one)
        return values

    def _value(self, one: Parameter) -> Any:
        if one.kind == "choice":
            labels = choice_labels(one)
            return one.choices[_place(labels, self.trial.suggest_categorical(one.key, labels))]
        if one.kind == "int":
            step = int(one.step or 1)
            return self.trial.suggest_int(one.key, int(one.low), int(one.high), step=step, log=one.log)
        return self.trial.suggest_float(one.key, one.low, one.high, step=one.step, log=one.log)

    def tell(self, **facts: Any) -> None:
        """Keeps facts of the trial beside those that were told before."""
        self.trial.set_user_attr(_FACTS, {**self.trial.user_attrs.get(_FACTS, {}), **facts})

    def report(self, scores: Mapping[int, float]) -> None:
        """The mean of the folds so far, for those who propose: what is given up later is worth something too."""
        finite = [score for score in scores.values() if math.isfinite(score)]
        if finite:
            self.trial.report(sum(finite) / len(finite), len(scores))


def _is_taken(error: BaseException | None) -> bool:
    """Whether an error says that a trial was over already: it was taken for dead while this process slept, and waits for
    another try.
    """
    from optuna.exceptions import UpdateFinishedTrialError

    while error is not None:
        if isinstance(error, UpdateFinishedTrialError) or str(error).startswith("Cannot tell a "):
            return True
        error = error.__context__
    return False


def choice_labels(one: Parameter) -> list[Any]:
    """The choices as optuna takes them: lists and tables as JSON."""
    return [value if isinstance(value, bool | int | float | str) else shown(value) for value in one.choices]


def _place(labels: list[Any], label: Any) -> int:
    """Where a label is; true is not 1."""
    return next(n for n, one in enumerate(labels) if one == label and type(one) is type(label))


def _row(one: FrozenTrial, slot: int, tries: int) -> TrialRow:
    took = one.duration.total_seconds() if one.duration is not None else None
    score = one.value if one.state.name == "COMPLETE" else None
    facts = one.user_attrs.get(_FACTS, {})
    return TrialRow(
        one.number, slot, _STATES[one.state.name], score, facts.get("values", {}), facts, took, tries
    )
