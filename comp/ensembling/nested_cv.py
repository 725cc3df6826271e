"""Nested scores: what is learned on OOF rows is judged on rows that it was not learned on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from comp.ensembling.aligned import AlignedPredictions, LabelledPredictions, Probs
from comp.ensembling.class_weights import reweight
from comp.ensembling.decisions import Decision, learn_rule
from comp.ensembling.methods import BY_NAME, DEAR, METHODS, Blend, learn, methods_of
from comp.ensembling.open_set import with_unknown_at
from comp.ensembling.temperature import learn_temperature, tempered
from comp.metrics import Metric
from comp.uncertainty import Gain, JackknifeScore, PairedJackknife

AUTO = "auto"
MUCH = 20_000_000  # numbers (parts × rows × classes) past which auto leaves the dear methods out


@dataclass(frozen=True)
class BlendSpec:
    """Everything that is learned on OOF rows: a method of METHODS or "auto" (one of ``methods``, by their nested
    scores), then a temperature, then the task's rule; ``factors`` (C,) are given, not learned, and come between.
    """

    method: str
    metric: Metric
    methods: tuple[str, ...] = field(default_factory=lambda: tuple(METHODS))
    calibrate: bool = False
    decide: bool = False
    factors: tuple[float, ...] | None = None


@dataclass(frozen=True, eq=False)
class FittedBlend:
    """A procedure after it has seen rows: what it answers others with."""

    blend: Blend
    temperature: float | None
    factors: NDArray[np.float64] | None
    rule: Decision

    def __call__(self, aligned: AlignedPredictions) -> Probs:
        """Predictions (N, D)."""
        probs = self.blend(of_known(aligned))
        if self.temperature is not None:
            probs = tempered(probs, self.temperature, self.rule.labels)
        if self.factors is not None:
            probs = reweight(probs, self.factors)
        return self.rule(probs)

    @property
    def decision(self) -> Decision:
        """What the blend's answers are moved by, temperature and rule; factors are part of multipliers."""
        values = self.rule.values
        if self.factors is not None:
            values = tuple((self.factors * (np.array(values) if values else 1.0)).tolist())
        return replace(self.rule, values=values, temperature=self.temperature)


def learn_all(procedure: BlendSpec, rows: LabelledPredictions) -> FittedBlend:
    """Learns a procedure on rows; "auto" chooses its method by scores nested within these rows."""
    method = procedure.method
    if method == AUTO:
        method = choose(tried(procedure, procedure.methods, rows), judge_of(rows, procedure.metric))
    known, labels = known_rows(rows), rows.aligned.labels
    blend = learn(method, known, procedure.metric)
    temperature = (
        learn_temperature(blend(known.aligned), known.truth, labels) if procedure.calibrate else None
    )
    probs = blend(of_known(rows.aligned))
    probs = probs if temperature is None else tempered(probs, temperature, labels)
    factors = None if procedure.factors is None else np.array(procedure.factors)
    probs = probs if factors is None else reweight(probs, factors)
    values = learn_rule(probs, rows.truth, procedure.metric, labels) if procedure.decide else ()
    return FittedBlend(blend, temperature, factors, Decision(labels, values))


def of_known(aligned: AlignedPredictions) -> AlignedPredictions:
    """Parts whose known classes sum to one, where there is one for what is unknown: only the rule says where that stands."""
    labels = aligned.labels
    if not labels.task.unknown:
        return aligned
    return replace(aligned, probs=np.stack([with_unknown_at(part, 0.0, labels) for part in aligned.probs]))


def known_rows(rows: LabelledPredictions) -> LabelledPredictions:
    """The rows that parts can be blended by: those of the unknown class, of which no part can say anything, are left out as
    long as others are there.
    """
    labels = rows.aligned.labels
    if not labels.task.unknown:
        return rows
    known = rows.truth != labels.index(labels.task.unknown)
    left = rows.rows(known) if known.any() else rows
    return replace(left, aligned=of_known(left.aligned))


def tried(procedure: BlendSpec, methods: Sequence[str], rows: LabelledPredictions) -> dict[str, Probs]:
    """The nested answers by which a method is chosen: with the procedure's temperature, before factors and multipliers; with
    the threshold of an unknown class, without which some rows have no right answer.

    Folds and the whole choose alike, or the score would be that of another method than the one that answers the test rows.
    """
    decide = procedure.decide and bool(rows.aligned.labels.task.unknown)
    plain = BlendSpec("", procedure.metric, calibrate=procedure.calibrate, decide=decide)
    return {name: nested(replace(plain, method=name), rows) for name in methods}


def nested(procedure: BlendSpec, rows: LabelledPredictions) -> Probs:
    """The answers (N, C) of a procedure to each fold, learned on the others."""
    return by_fold(rows, lambda others: learn_all(procedure, others))


def by_fold(
    rows: LabelledPredictions,
    learn_on: Callable[[LabelledPredictions], Callable[[AlignedPredictions], Probs]],
) -> Probs:
    """Answers (N, C) to each fold by what was learned on the others; neither row order nor fold numbers matter."""
    fold = _folds(rows)
    found = np.empty(rows.aligned.probs.shape[1:])
    for k in dict.fromkeys(fold.tolist()):
        here = fold == k
        others = replace(rows.rows(~here), fold=fold[~here])
        found[here] = learn_on(others)(rows.aligned.rows(here))
    return found


def _folds(rows: LabelledPredictions) -> NDArray[np.int64]:
    """The rows' folds; two made of their groups, where one fold is all that is left."""
    if len(rows.folds) > 1:
        return rows.fold
    names = sorted(
        set(rows.group), key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    )
    half = {name: n % 2 for n, name in enumerate(names)}
    return np.array([half[name] for name in rows.group], dtype=np.int64)


def judge_of(rows: LabelledPredictions, metric: Metric) -> PairedJackknife:
    """The judge of these rows."""
    return PairedJackknife(metric, rows.truth, rows.group)


def choose(answers: Mapping[str, Probs], judge: PairedJackknife) -> str:
    """The simplest method that the best does not beat by more than one standard error (Breiman et al. 1984).

    ``answers`` are nested, by method, from simple to elaborate.
    """
    scored = {name: judge.score(probs) for name, probs in answers.items()}
    best = best_of(scored, judge.metric)
    return next(
        name for name, one in scored.items() if name == best or judge.gain(scored[best], one).is_within
    )


def best_of(scored: Mapping[str, JackknifeScore], metric: Metric) -> str:
    """The name with the best score; of equal ones the first."""
    names = list(scored)
    best = names[0]
    for name in names[1:]:
        if metric.better(scored[name].score, scored[best].score):
            best = name
    return best


def affordable(rows: LabelledPredictions) -> tuple[str, ...]:
    """The methods that auto tries: those that take long are left out of very large blends; of one part, the mean."""
    parts, count, classes = rows.aligned.probs.shape
    if parts == 1:
        return ("mean",)
    fitting = tuple(name for name in methods_of(rows.aligned.labels) if name not in BY_NAME)
    if parts * count * classes <= MUCH:
        return fitting
    return tuple(name for name in fitting if name not in DEAR)


@dataclass(frozen=True)
class Added:
    """What a part adds to a blend: its own score, the blend's without it, and the gain of having it."""

    part: str
    alone: float
    without: float | None
    gain: Gain | None


def additions(
    procedure: BlendSpec, rows: LabelledPredictions, whole: JackknifeScore, judge: PairedJackknife
) -> list[Added]:
    """What each part adds: the nested score with it against the nested score without it, learned anew."""
    names = rows.aligned.names
    found = []
    for place, name in enumerate(names):
        alone = judge.metric(rows.truth, rows.aligned.probs[place])
        others: Sequence[str] = [other for other in names if other != name]
        if not others:
            found.append(Added(name, alone, None, None))
            continue
        left = judge.score(nested(procedure, rows.parts(others)))
        found.append(Added(name, alone, left.score, judge.gain(whole, left)))
    return found
