"""The choice of views by the OOF rows, and what the views cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp import console
from comp.checks.context import Finding
from comp.checks.prediction_checks import harmful_views
from comp.data.folds import group_names
from comp.files import write_json
from comp.metrics import Metric
from comp.runs.contents import VIEWS_FILE
from comp.training.plan import TrainedModels, TrainPlan
from comp.uncertainty import Gain, PairedJackknife
from comp.views import PLAIN, VIEW_SETS

Probs = NDArray[np.float64]


@dataclass(frozen=True)
class TtaScore:
    """A set of views on the OOF rows: its score, what it gains over the identity view (above zero is better,
    whatever the metric's direction), and the standard error of that gain.
    """

    set: str
    views: int
    score: float
    gain: float
    standard_error: float
    chosen: bool = False

    @property
    def is_better(self) -> bool:
        """Whether it gains more than its standard error; never so with a NaN."""
        return Gain(self.gain, self.standard_error).is_beyond


def choose_views(trained: TrainedModels) -> tuple[TrainedModels, list[dict[str, Any]]]:
    """The folds judged and to be predicted by the best set of views, and the table of all sets.

    The same folds give the same choice, in whatever order they were trained. The choice is kept in the run's folder.
    """
    chosen, tried = with_best_views(trained)
    if not tried:
        return trained, []
    listed = [asdict(one) for one in tried]
    name = next(one.set for one in tried if one.chosen)
    write_json(trained.folder / VIEWS_FILE, {"chosen": name, "views": VIEW_SETS[name], "sets": listed})
    _say(tried)
    return chosen, listed


def with_best_views(trained: TrainedModels) -> tuple[TrainedModels, list[TtaScore]]:
    """The folds by the best set of views, and how each set did; the folds as they are where none is to be chosen."""
    every = [one for results in trained.results for one in results]
    names = [name for name in trained.plans[0].sets if all(name in one.sets for one in every)]
    if PLAIN not in names:
        return trained, []
    oof = {name: trained.joined(lambda one, name=name: one.sets[name]) for name in names}  # type: ignore[misc]
    ids = list(oof[PLAIN].ids)
    targets = trained.truth(oof[PLAIN])
    probs = {name: oof[name].select(ids).probs for name in names}
    tried = try_sets(probs, targets, _groups(trained.plans[0], ids), trained.plans[0].metric)
    chosen = next(one.set for one in tried if one.chosen)
    plans = [replace(plan, recipe=plan.recipe.with_views(VIEW_SETS[chosen])) for plan in trained.plans]
    results = [[replace(one, oof=one.sets[chosen]) for one in results] for results in trained.results]
    return replace(trained, plans=plans, results=results), tried


def try_sets(
    probs: dict[str, Probs], targets: NDArray[Any], groups: Sequence[str], metric: Metric
) -> list[TtaScore]:
    """Each set against the identity view; one is chosen.

    The best score wins among those that gain more than their standard error, of equal ones that with fewer views; the
    identity view where none does. The standard error is of the difference on the same rows, by a jackknife that
    leaves out a part of the rows at a time (see ``PairedJackknife``).

    Parameters
    ----------
    probs : dict of float64 arrays (N, C)
        By name of the set; "none" among them.
    targets : int64 array (N,)
    groups : sequence of str, (N,)
    metric : Metric
    """
    judge = PairedJackknife(metric, targets, groups)
    scored = {name: judge.score(one) for name, one in probs.items()}
    tried = []
    for name, one in scored.items():
        gain = judge.gain(one, scored[PLAIN])
        tried.append(TtaScore(name, len(VIEW_SETS[name]), one.score, gain.value, gain.error))
    better = [one for one in tried if one.is_better]
    best = min(better, key=lambda one: (-one.gain, one.views, one.set), default=None)
    chosen = best.set if best else PLAIN
    return [replace(one, chosen=one.set == chosen) for one in tried]


def judge_views(trained: TrainedModels) -> list[Finding]:
    """A warning where the views cost more than the standard error of what they cost, in prediction or in a probe's fit."""
    oof, beside = trained.oof, trained.beside()
    others = {
        name: beside[key]
        for name, key in (("prediction", "identity_view"), ("fit", "plain_fit"))
        if key in beside
    }
    plan = trained.plans[0]
    if all(np.array_equal(one.probs, oof.probs) for one in others.values()):
        return []  # there are no views that could cost anything
    ids = list(oof.ids)
    groups = _groups(plan, ids)
    judge = PairedJackknife(plan.metric, trained.truth(oof), groups)
    ours = judge.score(oof.probs)
    gains = {name: judge.gain(judge.score(other.select(ids).probs), ours) for name, other in others.items()}
    views = list(dict.fromkeys(view for one in trained.plans for view in (*one.recipe.views, *one.fit_views)))
    return harmful_views(views, plan.metric.name, len(ids), gains)


def _groups(plan: TrainPlan, ids: Sequence[str]) -> list[str]:
    """The names of the groups of some train rows; rows without one are groups of their own."""
    table = plan.manifest.train
    names = dict(zip(table["id"], group_names(table), strict=True))
    return [names[i] for i in ids]


def _say(tried: Sequence[TtaScore]) -> None:
    rows = [
        (
            one.set,
            one.views,
            one.score,
            f"{one.gain:+.4f}",
            f"{one.standard_error:.4f}",
            "chosen" if one.chosen else "",
        )
        for one in tried
    ]
    console.table(
        "", ("views", "number", "OOF", "gain", "standard error", ""), rows, drop=("standard error", "number")
    )
