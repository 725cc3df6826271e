"""A blend weighed: every method's nested score, what each part adds, calibration, and the decision rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from comp.ensembling.aligned import LabelledPredictions, Probs
from comp.ensembling.class_weights import prior_factors
from comp.ensembling.decisions import RULES
from comp.ensembling.methods import METHODS
from comp.ensembling.nested_cv import (
    AUTO,
    Added,
    BlendSpec,
    FittedBlend,
    additions,
    affordable,
    best_of,
    choose,
    judge_of,
    learn_all,
    nested,
    of_known,
    tried,
)
from comp.ensembling.temperature import as_pairs
from comp.errors import InputError, UnknownName
from comp.metrics import Metric
from comp.uncertainty import Gain, JackknifeScore, PairedJackknife, calibration_effect

SWITCHES = ("auto", "on", "off")


@dataclass(frozen=True)
class BlendOptions:
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
class MethodScore:
    """A method's nested score, and what it gains over the best part alone."""

    method: str
    score: float
    gain: Gain
    chosen: bool


@dataclass(frozen=True)
class Calibration:
    """What a temperature does to OOF rows that it was not fitted on, ``score`` by the competition's own metric;
    ``temperature`` is that of all rows.
    """

    temperature: float
    error_before: float
    error_after: float
    log_loss_before: float
    log_loss_after: float
    score_before: float
    score_after: float
    applied: bool


@dataclass(frozen=True)
class RuleEffect:
    """What the task's rule (multipliers, thresholds or cut points, by name) does to OOF rows that it was not learned on."""

    rule: str
    values: dict[str, float]
    score_before: float
    score_after: float
    gain: Gain
    applied: bool


@dataclass(frozen=True, eq=False)
class BlendResult:
    """What a blend came to. ``oof`` (N, C) are its answers to each fold, learned on the others, ``gain`` is over the
    best part; ``learned`` is what answers the test rows, learned on all OOF rows.
    """

    method: str
    score: float
    gain: Gain
    best_part: str
    tried: list[MethodScore]
    added: list[Added]
    calibration: Calibration | None
    decision: RuleEffect | None
    oof: Probs
    learned: FittedBlend


def evaluate_blend(rows: LabelledPredictions, metric: Metric, options: BlendOptions) -> BlendResult:
    """Scores every method on nested folds, chooses, and learns on all rows what will answer the test rows.

    With "auto" the score is that of the whole procedure: in each fold the method, too, is chosen without its rows.
    """
    rows = replace(rows, aligned=of_known(rows.aligned))
    judge = judge_of(rows, metric)
    known = affordable(rows)
    is_open = bool(rows.aligned.labels.task.unknown) and options.decide != "off"
    calibrate = _calibrates(rows, metric, options)
    start = BlendSpec(options.method, metric, known, calibrate=calibrate, decide=is_open)
    singles = _alone(start, rows, judge)
    best = best_of(singles, metric)
    asked = known[0] if options.method == AUTO and len(known) == 1 else options.method
    shown = known if asked == AUTO else tuple(dict.fromkeys(["mean", asked]))
    answers = tried(start, shown, rows)
    method = choose(answers, judge) if asked == AUTO else asked
    table = [
        MethodScore(name, one.score, judge.gain(one, singles[best]), name == method)
        for name, one in ((name, judge.score(probs)) for name, probs in answers.items())
    ]
    unmoved = replace(start, method=method)
    fixed = replace(unmoved, factors=factors_of(rows, options))
    plain = answers[method] if fixed == unmoved else nested(fixed, rows)
    decision, fixed = _decided(fixed, rows, plain, judge, options)
    procedure = replace(fixed, method=asked)
    oof = answers[method] if procedure == unmoved else nested(procedure, rows)
    whole = judge.score(oof)
    plain_parts = replace(fixed, decide=is_open)
    return BlendResult(
        method=method,
        score=whole.score,
        gain=judge.gain(whole, singles[best]),
        best_part=best,
        tried=table,
        added=additions(plain_parts, rows, judge.score(plain), judge),
        calibration=_calibration(unmoved, rows, answers[method]),
        decision=decision,
        oof=oof,
        learned=learn_all(fixed, rows),
    )


def factors_of(rows: LabelledPredictions, options: BlendOptions) -> tuple[float, ...] | None:
    """What the class shares that are known of the test rows multiply probabilities by; None where none are given."""
    if options.priors is None:
        return None
    if not rows.aligned.labels.task.is_single_label:
        value = f"the task is {rows.aligned.labels.task.name!r}"
        raise InputError("`priors` are shares of classes of which a row has one", value, "drop `priors`")
    return tuple(float(f) for f in prior_factors(options.priors, rows.truth, rows.aligned.labels))


def _calibrates(rows: LabelledPredictions, metric: Metric, options: BlendOptions) -> bool:
    """Whether a temperature is used: with "auto" where the metric rewards it, and the blend is better with one that was
    learned on other folds. Of several methods that is settled by the mean first, as they are chosen with it or without.
    """
    if options.calibrate != "auto" or not metric.proper:
        return options.calibrate == "on"
    plain = BlendSpec("mean" if options.method == AUTO else options.method, metric)
    with_it, without = (nested(replace(plain, calibrate=c), rows) for c in (True, False))
    return metric.better(metric(rows.truth, with_it), metric(rows.truth, without))


def _alone(start: BlendSpec, rows: LabelledPredictions, judge: PairedJackknife) -> dict[str, JackknifeScore]:
    """The score of each part alone, at its own temperature where the blend has one, so that a blend is not praised for
    that; a part that is calibrated alone gains nothing else, and is compared as it is.
    """
    if not (start.calibrate or start.decide) or len(rows.aligned.names) == 1:
        return {name: judge.score(rows.aligned.probs[n]) for n, name in enumerate(rows.aligned.names)}
    single = replace(start, method="mean")
    return {name: judge.score(nested(single, rows.parts([name]))) for name in rows.aligned.names}


def _calibration(used: BlendSpec, rows: LabelledPredictions, answers: Probs) -> Calibration | None:
    """What a temperature does; ``answers`` are those of the procedure that is used, with it or without. None for a task
    whose predictions are no probabilities.
    """
    if rows.aligned.labels.task.is_numeric:
        return None
    warm = replace(used, calibrate=True)
    other = nested(replace(used, calibrate=not used.calibrate), rows)
    before, after = (other, answers) if used.calibrate else (answers, other)
    temperature = learn_all(warm, rows).temperature
    assert temperature is not None, "it was asked for"
    scores = used.metric(rows.truth, before), used.metric(rows.truth, after)
    truth = rows.truth
    if not rows.aligned.labels.task.is_single_label:
        before, after, truth = as_pairs(before), as_pairs(after), truth.reshape(-1).astype(np.int64)
    effect = calibration_effect(temperature, before, after, truth, scores)
    return Calibration(**effect, applied=used.calibrate)


def _decided(
    fixed: BlendSpec, rows: LabelledPredictions, plain: Probs, judge: PairedJackknife, options: BlendOptions
) -> tuple[RuleEffect | None, BlendSpec]:
    """What the task's rule does, where the metric calls for one or it was asked for; used where it gains."""
    labels = rows.aligned.labels
    if labels.task.name not in RULES:
        if options.decide == "on":
            value = f"those of task {labels.task.name!r} are numbers"
            raise InputError("a decision rule is for classes", value, 'decide="off"')
        return None, fixed
    wanted = fixed.metric.wants_decision or bool(labels.task.unknown)
    if options.decide == "off" or (options.decide == "auto" and not wanted):
        return None, fixed
    with_rule = replace(fixed, decide=True)
    if fixed.decide:  # methods were compared with it
        plain = nested(replace(fixed, decide=False), rows)
    before, after = judge.score(plain), judge.score(nested(with_rule, rows))
    gain = judge.gain(after, before)
    # without a threshold no row would ever be answered with the unknown class
    used = options.decide == "on" or gain.is_beyond or bool(labels.task.unknown)
    rule = learn_all(with_rule, rows).rule
    effect = RuleEffect(rule.rule, rule.named(), before.score, after.score, gain, used)
    return effect, with_rule if used else fixed


def as_json(outcome: BlendResult, asked: str) -> dict[str, Any]:
    """An outcome for the record and for JSON documents, without what is too large; numbers that are none become null."""
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
    calibration = outcome.calibration
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
        "calibration": calibration
        and {k: v if k == "applied" else number(v) for k, v in vars(calibration).items()},
        "decision": decision
        and {
            "rule": decision.rule,
            "values": decision.values,
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
