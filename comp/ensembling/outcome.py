"""A blend weighed: every method's nested score, what each part adds, calibration, and the decision rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from comp.ensembling.calibration import calibration_error
from comp.ensembling.decisions import UNEVEN, prior_factors
from comp.ensembling.methods import METHODS
from comp.ensembling.nested import (
    AUTO,
    Added,
    Learned,
    Procedure,
    additions,
    affordable,
    best_of,
    choose,
    judge_of,
    learn_all,
    nested,
)
from comp.ensembling.stack import Judged, Probs
from comp.errors import InputError, UnknownName
from comp.metrics import Metric
from comp.scores import log_loss
from comp.standard_error import Gain, Judge

SWITCHES = ("auto", "on", "off")
PROPER = ("log_loss",)  # metrics that reward calibrated probabilities


@dataclass(frozen=True)
class Options:
    """What was asked for: ``method`` of METHODS or "auto"; ``calibrate`` and ``decide`` "auto", "on" or "off";
    ``priors`` "uniform" or class shares of the test rows.
    """

    method: str = AUTO
    calibrate: str = "auto"
    decide: str = "auto"
    priors: Mapping[str, float] | str | None = None

    def __post_init__(self) -> None:
        if self.method not in (*METHODS, AUTO):
            raise UnknownName("method", self.method, [*METHODS, AUTO])
        for name, value in (("calibrate", self.calibrate), ("decide", self.decide)):
            if value not in SWITCHES:
                raise InputError(f"{name} is one of {', '.join(SWITCHES)}", repr(value), f"{name} auto")


@dataclass(frozen=True)
class Tried:
    """A method's nested score, and what it gains over the best part alone."""

    method: str
    score: float
    gain: Gain
    chosen: bool


@dataclass(frozen=True)
class Calibration:
    """What a temperature does to OOF rows that it was not fitted on; ``temperature`` is that of all rows."""

    temperature: float
    error_before: float
    error_after: float
    log_loss_before: float
    log_loss_after: float
    applied: bool


@dataclass(frozen=True)
class Decision:
    """What multipliers of the classes do to OOF rows that they were not fitted on."""

    multipliers: dict[str, float]
    score_before: float
    score_after: float
    gain: Gain
    applied: bool


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a blend came to. ``oof`` (N, C) are its answers to each fold, learned on the others, ``gain`` is over the
    best part; ``learned`` is what answers the test rows, learned on all OOF rows.
    """

    method: str
    score: float
    gain: Gain
    best_part: str
    tried: list[Tried]
    added: list[Added]
    calibration: Calibration
    decision: Decision | None
    oof: Probs
    learned: Learned


def weigh(rows: Judged, metric: Metric, options: Options) -> Outcome:
    """Scores every method on nested folds, chooses, and learns on all rows what will answer the test rows.

    With "auto" the score is that of the whole procedure: in each fold the method, too, is chosen without its rows.
    """
    judge = judge_of(rows, metric)
    singles = {name: judge.score(rows.aligned.probs[place]) for place, name in enumerate(rows.aligned.names)}
    best = best_of(singles, metric)
    known = affordable(rows)
    asked = known[0] if options.method == AUTO and len(known) == 1 else options.method
    shown = known if asked == AUTO else tuple(dict.fromkeys(["mean", asked]))
    answers = {name: nested(Procedure(name, metric), rows) for name in shown}
    method = choose(answers, judge) if asked == AUTO else asked
    scored = {name: judge.score(probs) for name, probs in answers.items()}
    tried = [
        Tried(name, one.score, judge.gain(one, singles[best]), name == method) for name, one in scored.items()
    ]
    fixed = Procedure(method, metric, known, factors=_factors(rows, options))
    calibration, fixed, plain = _calibrated(fixed, rows, answers[method], options)
    decision, fixed = _decided(fixed, rows, plain, judge, options)
    procedure = replace(fixed, method=asked)
    bare = procedure == Procedure(method, metric, known)
    oof = answers[method] if bare else nested(procedure, rows)
    whole = judge.score(oof)
    plain_parts = replace(fixed, decide=False)
    return Outcome(
        method=method,
        score=whole.score,
        gain=judge.gain(whole, singles[best]),
        best_part=best,
        tried=tried,
        added=additions(plain_parts, rows, judge.score(plain), judge),
        calibration=calibration,
        decision=decision,
        oof=oof,
        learned=learn_all(fixed, rows),
    )


def _factors(rows: Judged, options: Options) -> tuple[float, ...] | None:
    if options.priors is None:
        return None
    return tuple(float(f) for f in prior_factors(options.priors, rows.truth, rows.aligned.labels))


def _calibrated(
    fixed: Procedure, rows: Judged, before: Probs, options: Options
) -> tuple[Calibration, Procedure, Probs]:
    """What a temperature does, the procedure with it where it is used, and that procedure's nested answers."""
    wanted = options.calibrate == "on" or (options.calibrate == "auto" and fixed.metric.name in PROPER)
    warm = replace(fixed, calibrate=True, factors=None)
    after, truth = nested(warm, rows), rows.truth
    temperature = learn_all(warm, rows).temperature
    assert temperature is not None, "it was asked for"
    told = Calibration(
        temperature,
        calibration_error(before, truth),
        calibration_error(after, truth),
        log_loss(truth, before),
        log_loss(truth, after),
        wanted,
    )
    used = replace(fixed, calibrate=wanted)
    if fixed.factors is not None:
        return told, used, nested(used, rows)
    return told, used, after if wanted else before


def _decided(
    fixed: Procedure, rows: Judged, plain: Probs, judge: Judge, options: Options
) -> tuple[Decision | None, Procedure]:
    """What multipliers do, where the metric calls for them or they were asked for; used where they gain."""
    if options.decide == "off" or (options.decide == "auto" and fixed.metric.name not in UNEVEN):
        return None, fixed
    with_rule = replace(fixed, decide=True)
    before, after = judge.score(plain), judge.score(nested(with_rule, rows))
    gain = judge.gain(after, before)
    used = options.decide == "on" or gain.is_beyond
    multipliers = learn_all(with_rule, rows).multipliers
    assert multipliers is not None, "they were asked for"
    named = dict(zip(rows.aligned.labels.names, (float(m) for m in multipliers), strict=True))
    return Decision(named, before.score, after.score, gain, used), with_rule if used else fixed


def as_json(outcome: Outcome, asked: str) -> dict[str, Any]:
    """An outcome for the record and for ``--json``, without what is too large; numbers that are none become null."""
    weights = outcome.learned.blend.by_part() or {}
    parts = [
        {
            "part": one.part,
            "score": number(one.alone),
            "weight": number(weights.get(one.part)),
            "without": number(one.without),
            **_gain(one.gain),
        }
        for one in outcome.added
    ]
    methods = [
        {"method": one.method, "score": number(one.score), **_gain(one.gain), "chosen": one.chosen}
        for one in outcome.tried
    ]
    calibration = {k: number(v) for k, v in vars(outcome.calibration).items() if k != "applied"}
    decision = outcome.decision
    return {
        "method": outcome.method,
        "asked": asked,
        "facts": outcome.learned.blend.facts,
        "score": number(outcome.score),
        "best_part": outcome.best_part,
        **_gain(outcome.gain),
        "parts": parts,
        "methods": methods,
        "calibration": {**calibration, "applied": outcome.calibration.applied},
        "decision": decision
        and {
            "multipliers": decision.multipliers,
            "score_before": number(decision.score_before),
            "score_after": number(decision.score_after),
            **_gain(decision.gain),
            "applied": decision.applied,
        },
    }


def _gain(gain: Gain | None) -> dict[str, float | None]:
    if gain is None:
        return {"gain": None, "standard_error": None}
    return {"gain": number(gain.value), "standard_error": number(gain.error)}


def number(value: float | None) -> float | None:
    """A number that JSON has; None for an infinity or no number."""
    return float(value) if value is not None and np.isfinite(value) else None
