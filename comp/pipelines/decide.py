"""The temperature and the decision rule of a run, learned on its OOF rows where the metric gains by them, and kept with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from comp import events
from comp.data.competitions.competition import Competition
from comp.data.folds import group_names
from comp.data.postprocess import postprocessed
from comp.data.predictions import Predictions
from comp.ensembling.aligned import judged
from comp.ensembling.decisions import RULES, Decision
from comp.ensembling.evaluate import BlendOptions, BlendResult, evaluate_blend, number
from comp.files import write_json
from comp.runs.contents import DECISION_FILE, SCORED

if TYPE_CHECKING:
    import pandas as pd

    from comp.training.plan import TrainedModels

MUCH = 4e9  # numbers that learning may look at: a minute or so


@dataclass(frozen=True)
class Decided:
    """What moves a run's predictions before they are answers; ``oof`` are its OOF rows, each moved by what was learned on
    the other folds. ``facts`` are for the record, empty where nothing was learned.
    """

    competition: Competition
    decision: Decision
    oof: Predictions
    facts: dict[str, Any]

    def of(self, predictions: Predictions, rows: pd.DataFrame) -> Predictions:
        """Predictions of other rows (id, group), postprocessed and moved."""
        posted = postprocessed(predictions, self.competition, rows)
        return replace(posted, probs=self.decision(posted.probs))


def decide(trained: TrainedModels, competition: Competition) -> Decided:
    """The run's OOF rows postprocessed, what its metric gains by a temperature or a rule on rows that they were not learned on, and the two where it
    does. Of some of the folds nothing is learned.
    """
    plan = trained.plans[0]
    metric, labels = plan.metric, plan.labels
    oof = postprocessed(trained.oof, competition, plan.manifest.train)
    nothing = Decided(competition, Decision(labels), oof, {})
    is_open = bool(labels.task.unknown)
    has_rule = is_open or (metric.wants_decision and labels.task.name in RULES)
    if (not trained.is_whole and not is_open) or not (
        has_rule or (metric.proper and not labels.task.is_numeric)
    ):
        return nothing
    if (
        has_rule
        and not is_open
        and labels.task.is_single_label
        and len(oof) * len(labels) ** 2 * 40 * plan.folds.k > MUCH
    ):
        events.log(f"  no decision rule for {metric.name}: many rows and classes; `comp ensemble` learns one")
        return nothing
    table = plan.manifest.train
    truth = dict(zip(oof.ids, trained.truth(oof), strict=True))
    groups = dict(zip(table["id"], group_names(table), strict=True))
    rows = judged({"run": oof}, truth, plan.folds.by_id, groups)
    result = evaluate_blend(rows, metric, BlendOptions("mean"))
    decision = result.learned.decision
    if decision.is_empty:
        return nothing
    place = {name: n for n, name in enumerate(rows.aligned.ids)}
    probs = result.oof[[place[name] for name in oof.ids]]
    facts = _facts(result, decision, metric(trained.truth(oof), oof.probs))
    events.log(
        f"  {_in_words(decision)}: {metric.name} {facts['score_before']:.4f} -> {facts['score_after']:.4f}"
    )
    return Decided(competition, decision, replace(oof, probs=probs), facts)


def _facts(result: BlendResult, decision: Decision, before: float) -> dict[str, Any]:
    scores = {"score_before": number(before), "score_after": number(result.score)}
    return {**decision.as_json(), "named": decision.named(), **scores}


def _in_words(decision: Decision) -> str:
    parts = [decision.rule] if decision.values else []
    if decision.temperature is not None:
        parts.insert(0, f"temperature {decision.temperature:.3f}")
    return " and ".join(parts)


def keep(decided: Decided, folder: Path, predicted: Predictions) -> None:
    """Writes decision.json where there is something to apply, and the OOF rows as they are scored where they are not as they
    were ``predicted``.
    """
    scored = folder / f"{SCORED}.npz"
    scored.unlink(missing_ok=True)  # of the folds that there were before
    if not np.array_equal(decided.oof.probs, predicted.probs):
        decided.oof.save(scored)
    if decided.facts:
        write_json(folder / DECISION_FILE, decided.facts)
