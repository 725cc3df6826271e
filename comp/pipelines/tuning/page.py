"""The page of a study: its trials, and how much each key mattered."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

from comp.pipelines.tuning.result import TuneResult
from comp.pipelines.tuning.search_space import Parameter, SearchSpace, shown
from comp.pipelines.tuning.study import TrialRow, choice_labels
from comp.report.study_html import StudyPage, StudyTrial, render

LEAST = 8  # finished trials, before it is said which keys mattered


def page_of(rows: Sequence[TrialRow], space: SearchSpace, result: TuneResult) -> str:
    """The page as HTML."""
    over = [one for one in rows if one.is_over]
    trials = [_trial(one) for one in over]
    folds = max((k for one in trials for k in one.per_fold), default=-1) + 1
    counts = ", ".join(f"{count} {state}" for state, count in result.counts.items())
    facts = [
        ("Trials", counts),
        (
            "Best",
            f"trial {result.trial}: OOF {result.metric} {result.score:.4f}, the best of many and so rather too good",
        ),
    ]
    if result.nested is not None:
        chosen = ", ".join(map(str, result.nested.chosen))
        facts.append(
            (
                "Nested",
                f"{result.nested.score:.4f}: each fold by the trial that is best on the others ({chosen})",
            )
        )
    if result.baseline is not None:
        facts.append(
            ("Baseline", f"{result.baseline:.4f}, the recipe as it stood; the search {result.verdict}")
        )
    facts.append(("Next", result.command))
    study = StudyPage(
        study=result.study,
        slug=result.slug,
        metric=result.metric,
        direction=result.direction,
        best=result.trial,
        folds=folds,
        trials=trials,
        importances=importances(over, space, result.direction),
        log=[one.key for one in space.parameters if one.log],
        facts=facts,
        command=result.command,
        keys=[one.key for one in space.parameters],
    )
    return render(study)


def _trial(one: TrialRow) -> StudyTrial:
    scores = {int(k): float(v) for k, v in one.facts.get("scores", {}).items() if v is not None}
    mean = sum(scores.values()) / len(scores) if scores else math.nan
    values = {
        key: shown(value) if isinstance(value, list | dict) else value for key, value in one.values.items()
    }
    score = math.nan if one.score is None else one.score
    seconds = float(one.facts.get("seconds", math.nan))
    state = "given up" if one.state == "pruned" else one.state
    return StudyTrial(one.slot, state, score, mean, values, scores, seconds, str(one.facts.get("why", "")))


def importances(rows: Sequence[TrialRow], space: SearchSpace, direction: str) -> dict[str, float]:
    """How much each key mattered for being among the better half of the finished trials, as shares of one (PED-ANOVA, Watanabe
    et al. 2023), of the keys that enough trials have; empty while there are too few.
    """
    import optuna

    done = [one for one in rows if one.state == "complete" and one.score is not None]
    found: dict[str, float] = {}
    for one in space.parameters:
        with_key = [row for row in done if one.key in row.values]
        if len(with_key) < LEAST or len({row.score for row in with_key}) < 2:
            continue
        study = optuna.create_study(direction="maximize" if direction == "max" else "minimize")
        for row in with_key:
            label = _label(one, row)
            study.add_trial(
                optuna.trial.create_trial(
                    params={one.key: label}, distributions={one.key: _distribution(one)}, value=row.score
                )
            )
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found |= optuna.importance.get_param_importances(
                study, evaluator=evaluator, params=[one.key], normalize=False
            )
    whole = sum(found.values())
    return {key: value / whole for key, value in found.items()} if whole > 0 and math.isfinite(whole) else {}


def _label(one: Parameter, row: TrialRow) -> object:
    value = row.values[one.key]
    return value if isinstance(value, bool | int | float | str) else shown(value)


def _distribution(one: Parameter):  # type: ignore[no-untyped-def]
    import optuna

    if one.kind == "choice":
        return optuna.distributions.CategoricalDistribution(choice_labels(one))
    if one.kind == "int":
        return optuna.distributions.IntDistribution(int(one.low), int(one.high), one.log, int(one.step or 1))
    return optuna.distributions.FloatDistribution(one.low, one.high, one.log, one.step)
