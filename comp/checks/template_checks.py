"""Checks of what is to be answered: the template's ids, columns and cells, its files, and the metric."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from comp.checks.context import CheckContext, Finding, Severity, check, finding
from comp.checks.template_cells import judge_cells
from comp.data.csv_table import listed, whole_of
from comp.data.images.boxes import without_box
from comp.data.images.raw_tree import natural_key, nfc
from comp.data.labels import disorder
from comp.data.several_images import has_several, row_names
from comp.errors import CompError
from comp.metrics import Metric
from comp.submission.answers import evidently_second
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
def class_index(context: CheckContext) -> list[Finding]:
    """Where the template wants class indices, classes that are whole numbers and not their own index: labels 1 … 5
    would be answered as 0 … 4. Exact; O(C).
    """
    if context.template.kind != "index":
        return []
    numbers = {name: whole_of(name) for name in context.labels}
    wrong = [name for n, name in enumerate(context.labels) if numbers[name] not in (None, n)]
    if not wrong:
        return []
    shown = ", ".join(f"{name!r} as {context.labels.index(name)}" for name in wrong[:3])
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
def template_columns(context: CheckContext) -> list[Finding]:
    """Templates that could not be answered after training: columns of probabilities that are not the classes, class
    names that its encoding lacks or that cannot stand beside others in a cell. A submission with every class in it is
    composed and judged, then dropped. O(C²) cells.
    """
    try:
        rehearse(context.template, context.labels)
    except CompError as error:
        message = f"{error.rule}: {error.value}; the classes are {listed(context.labels.names, 8)}"
        return [finding("template-columns", "error", context.labels.names, message, error.remedy)]
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
def template_cells(context: CheckContext) -> list[Finding]:
    """What already stands in the template's answers, which are placeholders until shown otherwise: an error where they
    contradict the stated kind (names for indices, numbers past the classes, several names in one label), or are
    classes in another spelling; a warning where they are something else. A made template has none. O(cells).
    """
    if context.template.made:
        return []
    found = judge_cells(context.template, context.labels)
    return [finding("template-cells", one.severity, one.rows, one.message, one.remedy) for one in found]


@check(
    "metric-mismatch",
    "data",
    "answers",
    "error, warning",
    catches=(
        "a metric of probabilities with a template of classes; a metric of order whose classes "
        "have no known order; a metric of one of two classes, where nothing says of which"
    ),
    misses="a metric that is not the site's",
    of_answers=True,
)
def metric_mismatch(context: CheckContext) -> list[Finding]:
    """Metrics that judge what is never written, so that the OOF score is not the site's: probabilities or several
    answers, where the template holds one class. Metrics of order without classes whose order is known. A metric of the
    adapter is tried on made-up answers. O(C²).
    """
    metric = context.competition.metric
    return [
        *_unwritten(metric, context),
        *_disordered(metric, context),
        *_of_other_classes(metric, context),
        *_of_either_class(metric, context),
    ]


def _of_other_classes(metric: Metric, context: CheckContext) -> list[Finding]:
    """A metric of two classes where there are more: tried on one row of each, as it would be refused after training."""
    if not context.task.is_single_label or context.competition.facts.metric.startswith("adapter:"):
        return []
    rows = np.arange(len(context.labels))
    try:
        metric(rows, np.eye(len(rows)))
    except CompError as error:
        return [
            finding("metric-mismatch", "error", [metric.name], f"{error.rule}: {error.value}", error.remedy)
        ]
    return []


def _of_either_class(metric: Metric, context: CheckContext) -> list[Finding]:
    """A metric of one of two classes, such as F1, where nothing says of which."""
    names, facts = context.labels.names, context.competition.facts
    if not context.task.is_single_label or len(names) != 2 or not _is_of_one_class(metric):
        return []
    positive = facts.template.positive
    known = positive == names[1] if positive else facts.classes != "discover" or evidently_second(names)
    if known:
        return []
    message = f"{metric.name} is of one of two classes, and would be of {names[1]!r}: nothing says that it is that one"
    remedy = "state positive in [template], or classes in competition.toml with it last"
    return [finding("metric-mismatch", "error", [metric.name], message, remedy)]


def _is_of_one_class(metric: Metric) -> bool:
    """Whether a metric says something else of made-up rows when both classes change their names."""
    rng = np.random.default_rng(0)
    truth = np.concatenate([np.arange(2), rng.integers(0, 4, TRIES) // 3])
    probs = rng.dirichlet(np.ones(2), len(truth))
    try:
        return abs(metric(truth, probs) - metric(1 - truth, probs[:, ::-1].copy())) > 1e-9
    except CompError:  # it needs rows of another kind: nothing is known
        return False


def _unwritten(metric: Metric, context: CheckContext) -> list[Finding]:
    template, facts = context.template, context.competition.facts
    written = template.kind == "number" or (template.kind in ("prob", "probs") and template.decimals > 0)
    if written or metric.depth == 1:
        return []
    held = {
        "index": "a class index",
        "label": "a class name",
        "topk": f"{template.k} class names",
        "labels": "class names without their probabilities",
    }.get(template.kind, "0 or 1")
    remedy = "correct metric, or kind in [template]: the OOF score would not be the site's"
    if facts.metric.startswith("adapter:"):
        several = not context.task.is_single_label
        if several or _same_when_written(metric, template.kind, template.k, len(context.labels)):
            return []
        message = f"{facts.metric} scores probabilities otherwise than the answers that the template holds ({held} a row)"
        remedy = 'metric_input = "index" lets it judge answered classes; ' + remedy
        return [finding("metric-mismatch", "warning", [facts.metric], message, remedy)]
    if metric.depth is None:
        judged = "numbers" if context.task.is_numeric else "probabilities"
        message = (
            f"{metric.name} judges {judged}, and the template holds {held} a row (kind = {template.kind!r})"
        )
    elif template.kind == "topk" and template.k >= metric.depth:
        return []
    else:
        message = f"{metric.name} judges {metric.depth} answers a row, and the template holds {held} (kind = {template.kind!r})"
    return [finding("metric-mismatch", "error", [metric.name], message, remedy)]


def _disordered(metric: Metric, context: CheckContext) -> list[Finding]:
    if context.task.name == "ordinal":  # whatever scores it: its scale is the order of the classes
        metric = replace(metric, name="task = 'ordinal'", ordered=True)
    if not metric.ordered:
        return []
    stated = context.competition.states_order(context.raw)
    wrong = disorder(metric, context.labels.names, stated)
    if wrong is None:
        return []
    remedy = "state `classes` in competition.toml, from one end to the other"
    severity: Severity = "error" if wrong.grave else "warning"
    return [finding("metric-mismatch", severity, context.labels.names, wrong.message, remedy)]


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


@check(
    "template-mismatch",
    "data",
    "answers",
    "error",
    catches=(
        "template ids without a test image, test images without a row, ids that come twice, a "
        "template without rows; another file beside an id than `pairs` and `order` of "
        "competition.toml give"
    ),
    misses="wrong facts in competition.toml: `rows.csv` of a run is there to be looked at",
    of_answers=True,
    of_test_rows=True,
)
def template_mismatch(context: CheckContext) -> list[Finding]:
    """Template ids and test rows that do not pair up: ids missing on either side, doubled, or another file
    beside an id than the competition's own rule gives (``pairs`` and ``order`` in competition.toml, worked out
    here from the raw folder alone).
    """
    wanted, test = list(context.template.samples), list(dict.fromkeys(row_names(context.manifest.test)))
    have, asked = set(test), set(wanted)
    found: list[Finding] = []
    doubled = [i for i, n in Counter(wanted).items() if n > 1]
    missing = [i for i in wanted if i not in have]
    extra = [i for i in test if i not in asked]
    name = context.template.table.name
    remedy = "complete the download; the template and the test files must belong together"
    if not wanted:
        nobody = "there are no test rows" if context.template.made else f"{name} has no rows"
        found.append(Finding("template-mismatch", "error", 0, f"nothing is asked for: {nobody}", (), remedy))
    if any(not i.strip() for i in context.template.ids):
        rows = [f"row {n}" for n, i in enumerate(context.template.ids, start=2) if not i.strip()]
        found.append(
            finding("template-mismatch", "error", rows, f"{len(rows)} rows of {name} have no id", remedy)
        )
    if doubled:
        found.append(
            finding(
                "template-mismatch", "error", doubled, f"{name} asks for {len(doubled)} ids twice", remedy
            )
        )
    if missing:
        message = f"{name} asks for {len(wanted)} rows and {len(missing)} of them have no test image ({len(test)} found)"
        found.append(finding("template-mismatch", "error", missing, message, remedy))
    if extra:
        message = f"{len(extra)} test images have no row in {name}"
        found.append(finding("template-mismatch", "error", extra, message, remedy))
    return found or check_pairs(context)


def check_pairs(context: CheckContext) -> list[Finding]:
    """Compares the adapter's id → file with the rule that the competition states.

    ``pairs = "filename"``: an id is its file's name, with or without the suffix. ``pairs = "position"``: row i of
    the template is the i-th test file in ``order``. Catches an adapter that sorts names as text (1, 10, 2) or
    takes them as the folder lists them. One listing of the raw folder.
    """
    expected = None if has_several(context.manifest) else expected_pairs(context)
    if expected is None:
        return []
    actual = dict(zip(context.manifest.test["id"], context.manifest.test["path"], strict=True))
    asked = [i for i in context.template.samples if i in expected]
    wrong = [i for i in asked if nfc(without_box(actual[i])) != nfc(expected[i])]
    if not wrong:
        return []
    first = wrong[0]
    message = (
        f"{len(wrong)} rows would be answered from another file than the competition means, "
        f"first row {first!r}: the adapter reads {actual[first]}, the rule gives {expected[first]}"
    )
    facts = context.competition.facts
    remedy = f"pairs = {facts.pairs!r}, order = {facts.order!r}: make the adapter keep to it, or correct competition.toml"
    return [finding("template-mismatch", "error", wrong, message, remedy)]


def expected_pairs(context: CheckContext) -> dict[str, str] | None:
    """Sample id → path by the stated rule; None where the competition states no test files."""
    facts = context.competition.facts
    if context.template.made:
        return None
    if facts.pairs == "position" and facts.order == "array":
        return None
    if not facts.layout.test:
        return None
    if facts.has_boxes and facts.data is not None and "{id}" not in facts.data.test_pattern:
        return None  # an id is that of a box, not of its file
    files = context.tree.images(facts.layout.test)
    if facts.pairs == "position":
        if facts.order == "natural":
            files.sort(key=lambda f: natural_key(PurePosixPath(f).name))
        elif facts.order == "text":
            files.sort(key=lambda f: PurePosixPath(f).name)
        return dict(zip(context.template.samples, files, strict=False))
    by_name = {nfc(PurePosixPath(f).name): f for f in files}
    by_stem = {nfc(PurePosixPath(f).stem): f for f in files}
    asked = zip(context.template.samples, context.template.ids, strict=True)
    pairs = {sample: by_name.get(nfc(i)) or by_stem.get(nfc(i)) for sample, i in asked}
    return {i: path for i, path in pairs.items() if path is not None}
