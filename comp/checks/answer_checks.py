"""Checks of what is to be answered: the template's columns and cells and the metric, against the label map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from comp.checks.context import CheckContext
from comp.checks.findings import Finding, Severity, finding
from comp.checks.registry import check
from comp.checks.template_checks import judge_cells
from comp.data.labels import disorder
from comp.data.spelling import listed, whole_of
from comp.errors import CompError
from comp.metrics import Metric
from comp.submission.write import rehearse

TRIES = 64  # rows on which a metric of an adapter is tried, besides two of each class


@check(
    "class-index",
    "data",
    "answers",
    "error",
    catches=(
        '`kind = "index"` with classes that are whole numbers and not their own index: labels 1 '
        "… 5 would be answered 0 … 4"
    ),
    misses="names in another order than the site's",
    of_answers=True,
    of_test_rows=True,
)
def class_index(evidence: CheckContext) -> list[Finding]:
    """Where the template wants class indices, classes that are whole numbers and not their own index: labels 1 … 5
    would be answered as 0 … 4. Exact; O(C).
    """
    if evidence.template.kind != "index":
        return []
    numbers = {name: whole_of(name) for name in evidence.labels}
    wrong = [name for n, name in enumerate(evidence.labels) if numbers[name] not in (None, n)]
    if not wrong:
        return []
    shown = ", ".join(f"{name!r} as {evidence.labels.index(name)}" for name in wrong[:3])
    message = (
        f"{len(wrong)} of {len(numbers)} classes are whole numbers, and would be answered by another: {shown}"
    )
    remedy = 'kind = "label" in [template] answers with the names; or state `classes` in competition.toml so that each stands at its own number'
    return [finding("class-index", "error", wrong, message, remedy)]


@check(
    "template-columns",
    "data",
    "answers",
    "error",
    catches=(
        "columns of probabilities that are not the classes, class names that the template's "
        "encoding lacks or that cannot stand beside others in a cell: what could not be written "
        "after training"
    ),
    of_answers=True,
    of_test_rows=True,
)
def template_columns(evidence: CheckContext) -> list[Finding]:
    """Templates that could not be answered after training: columns of probabilities that are not the classes, class
    names that its encoding lacks or that cannot stand beside others in a cell. A submission with every class in it is
    composed and judged, then dropped. O(C²) cells.
    """
    try:
        rehearse(evidence.template, evidence.labels)
    except CompError as error:
        message = f"{error.rule}: {error.value}; the classes are {listed(evidence.labels.names, 8)}"
        return [finding("template-columns", "error", evidence.labels.names, message, error.remedy)]
    return []


@check(
    "template-cells",
    "data",
    "answers",
    "error, warning",
    catches=(
        "answers in the template that contradict its `kind`, or are classes in another spelling; a "
        "warning where they are something else"
    ),
    misses="a wrong `kind` under empty or constant placeholders",
    of_answers=True,
    of_test_rows=True,
)
def template_cells(evidence: CheckContext) -> list[Finding]:
    """What already stands in the template's answers, which are placeholders until shown otherwise: an error where they
    contradict the stated kind (names for indices, numbers past the classes, several names in one label), or are
    classes in another spelling; a warning where they are something else. A made template has none. O(cells).
    """
    found = judge_cells(evidence.template, evidence.labels)
    return [finding("template-cells", one.severity, one.rows, one.message, one.remedy) for one in found]


@check(
    "metric-mismatch",
    "data",
    "answers",
    "error, warning",
    catches=(
        "a metric of probabilities with a template of classes; a metric of order whose classes "
        "have no known order"
    ),
    misses="a metric that is not the site's",
    of_answers=True,
)
def metric_mismatch(evidence: CheckContext) -> list[Finding]:
    """Metrics that judge what is never written, so that the OOF score is not the site's: probabilities or several
    answers, where the template holds one class. Metrics of order without classes whose order is known. A metric of the
    adapter is tried on made-up answers. O(C²).
    """
    metric = evidence.competition.metric
    return [*_unwritten(metric, evidence), *_disordered(metric, evidence)]


def _unwritten(metric: Metric, evidence: CheckContext) -> list[Finding]:
    template, facts = evidence.template, evidence.competition.facts
    if template.kind == "probs" or metric.depth == 1:
        return []
    held = {"index": "a class index", "label": "a class name", "topk": f"{template.k} class names"}[
        template.kind
    ]
    remedy = "correct `metric`, or `kind` in [template]: the OOF score would not be the site's"
    if facts.metric.startswith("adapter:"):
        if _same_when_written(metric, template.kind, template.k, len(evidence.labels)):
            return []
        message = f"{facts.metric} scores probabilities otherwise than the answers that the template holds ({held} a row)"
        remedy = 'metric_input = "index" lets it judge answered classes; ' + remedy
        return [finding("metric-mismatch", "warning", [facts.metric], message, remedy)]
    if metric.depth is None:
        message = f"{metric.name} judges probabilities, and the template holds {held} a row (kind = {template.kind!r})"
    elif template.kind == "topk" and template.k >= metric.depth:
        return []
    else:
        message = f"{metric.name} judges {metric.depth} answers a row, and the template holds {held} (kind = {template.kind!r})"
    return [finding("metric-mismatch", "error", [metric.name], message, remedy)]


def _disordered(metric: Metric, evidence: CheckContext) -> list[Finding]:
    if not metric.ordered:
        return []
    stated = evidence.competition.states_order(evidence.raw)
    wrong = disorder(metric, evidence.labels.names, stated)
    if wrong is None:
        return []
    remedy = "state `classes` in competition.toml, from one end to the other"
    severity: Severity = "error" if wrong.grave else "warning"
    return [finding("metric-mismatch", severity, evidence.labels.names, wrong.message, remedy)]


def _same_when_written(metric: Metric, kind: str, k: int, classes: int) -> bool:
    """Whether a metric says the same of made-up probabilities and of the answers that a template takes of them."""
    rng = np.random.default_rng(0)
    truth = np.concatenate([np.arange(classes), rng.integers(0, classes, classes + TRIES)])
    probs = rng.dirichlet(np.full(classes, 0.5), len(truth))
    probs[np.arange(len(truth)), truth] += 0.3  # some right answers
    probs /= probs.sum(axis=1, keepdims=True)
    try:
        return abs(metric(truth, probs) - metric(truth, _written(probs, k if kind == "topk" else 1))) < 1e-9
    except CompError:  # it needs rows of another kind: nothing is known
        return True


def _written(probs: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Probabilities (N, C) as the first k answers of each row say them."""
    best = np.argsort(-probs, axis=1, kind="stable")[:, :k]
    weights = np.zeros_like(probs)
    np.put_along_axis(
        weights, best, np.broadcast_to(np.arange(best.shape[1], 0, -1.0), best.shape).copy(), axis=1
    )
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
