"""What stands in a submission's cells: predictions written as the template's kind asks, and read back."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.data.csv_table import Table, clean, listed
from comp.data.dataset import Template
from comp.data.labels import LabelMap
from comp.data.task import SEPARATOR
from comp.errors import InputError, near_names
from comp.metrics import nearest_places
from comp.task_scores import answered_sets, likeliest, row_blocks

Probs = NDArray[np.float64]
KINDS_OF = {  # the kinds of template that can hold the answers of a task
    "single-label": ("index", "label", "prob", "probs", "topk"),
    "multi-label": ("labels", "probs", "topk"),
    "ordinal": ("index", "label"),
    "regression": ("number",),
}
KIND = "correct kind in [template], or task"
_EXACT = Context(prec=400)  # digits of any float


def require_kind(template: Template, labels: LabelMap) -> None:
    """InputError for a template whose kind cannot hold the task's answers, or columns that are not the classes.

    Raises
    ------
    InputError
    """
    task = labels.task.name
    if template.kind not in KINDS_OF[task]:
        value = f"kind = {template.kind!r} in [template], task = {task!r}"
        raise InputError(f"a template of this task is {' or '.join(KINDS_OF[task])}", value, KIND)
    if template.kind in ("probs", "number"):
        class_columns(template, labels)
    elif len(template.target_places) > 1:
        value = f"{template.table.name} has {len(template.target_places)} target columns"
        raise InputError(f"kind = {template.kind!r} answers in one column", value, KIND)
    if template.kind == "prob":
        positive_index(template, labels)


def class_columns(template: Template, labels: LabelMap) -> dict[int, int]:
    """Column place → class index of a template with a column for each class (or number), by the names in its header; stray
    spaces and Unicode forms do not count where no name is exact. A single number needs no name.

    Raises
    ------
    InputError
        If the columns are not the classes, each once.
    """
    names = [template.table.header[place] for place in template.target_places]
    if not labels.task.has_classes and len(names) == len(labels) == 1:
        return {template.target_places[0]: 0}
    loosely = {clean(name): index for index, name in enumerate(labels)}
    columns = {
        place: labels.index(name) if name in labels else loosely[clean(name)]
        for place, name in zip(template.target_places, names, strict=True)
        if name in labels or clean(name) in loosely
    }
    unknown = [name for name in names if name not in labels and clean(name) not in loosely]
    missing = [name for index, name in enumerate(labels) if index not in columns.values()]
    twice = len(set(columns.values())) < len(columns)
    said = [f"{listed(unknown)} {'are' if len(unknown) > 1 else 'is'} no class"] if unknown else []
    said += [f"did you mean {near[0]!r}?"] if unknown and (near := near_names(unknown[0], missing)) else []
    said += [f"no column for {listed(missing)}"] if missing else []
    said += ["a class has two columns"] if twice else []
    if said:
        value = f"{template.table.name}: {'; '.join(said)}"
        remedy = (
            "correct [template] target, or name the classes as the columns do: `classes` in competition.toml"
        )
        raise InputError(f"a {template.kind} template has a column for each class", value, remedy)
    return columns


def positive_index(template: Template, labels: LabelMap) -> int:
    """The class whose probability a `prob` template asks for: the second of two, which metrics look at too.

    Raises
    ------
    InputError
        For another number of classes than two, and where it is not clear which one is meant.
    """
    stated = f"the classes are {listed(labels.names)}"
    if len(labels) != 2:
        raise InputError("kind = 'prob' is for two classes", stated, KIND)
    if template.positive:
        if template.positive not in labels:
            value = f"positive = {template.positive!r}; {stated}"
            raise InputError("positive of [template] is a class", value, "correct it")
        if labels.index(template.positive) == 0:
            remedy = f"state `classes` with {template.positive!r} last"
            raise InputError("the positive class comes last", stated, remedy)
        return 1
    if evidently_second(labels.names):
        return 1
    remedy = "state positive in [template]"
    raise InputError("it must be known whose probability is asked for", stated, remedy)


_EVIDENT = {("0", "1"), ("false", "true"), ("no", "yes"), ("negative", "positive"), ("benign", "malignant")}


def evidently_second(names: Sequence[str]) -> bool:
    """Whether two class names say themselves that the second is the one that is looked for."""
    return tuple(name.casefold() for name in names) in _EVIDENT


def written(probs: Probs, template: Template, labels: LabelMap) -> list[dict[int, str]]:
    """The cells of each row by their column's place, of predictions (N, D).

    Ties go to the lower class index. InputError as ``require_kind``, and for names that cannot stand beside others.
    """
    require_kind(template, labels)
    if template.kind in ("probs", "number"):
        columns = class_columns(template, labels)
        rows = _column_cells(probs, template, labels)
        return [{place: cells[index] for place, index in columns.items()} for cells in rows]
    place = template.target_places[0]
    return [{place: cell} for cell in _single_cells(probs, template, labels)]


def _column_cells(probs: Probs, template: Template, labels: LabelMap) -> list[list[str]]:
    """A text for each number (N, D)."""
    if labels.task.is_single_label:
        return decimal_rows(probs, template.decimals)
    if template.kind == "probs" and template.decimals == 0:
        return [[str(int(yes)) for yes in row] for row in answered_sets(probs).tolist()]
    within = _within_bounds(probs, template) if template.kind == "number" else probs
    return [[_decimal(value, template.decimals) for value in row] for row in within.tolist()]


def _within_bounds(values: Probs, template: Template) -> Probs:
    """Numbers (N, D) that rounding takes to none outside of the competition's range."""
    if template.bounds is None:
        return values
    low, high = (
        float(Decimal(repr(end)).quantize(Decimal(1).scaleb(-template.decimals), rounding, _EXACT))
        for end, rounding in zip(template.bounds, (ROUND_CEILING, ROUND_FLOOR), strict=True)
    )
    return np.clip(values, low, high)


def _decimal(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _single_cells(probs: Probs, template: Template, labels: LabelMap) -> list[str]:
    """The one cell of each row."""
    if template.kind == "prob":
        positive = positive_index(template, labels)
        if template.decimals == 0:
            return [str(int(answer == positive)) for answer in answered_classes(probs, labels)]
        return [_decimal(value, template.decimals) for value in probs[:, positive].tolist()]
    if template.kind in ("topk", "labels"):
        require_apart(template, labels)
    if template.kind == "topk":
        best = [
            row
            for here in row_blocks(probs.shape)
            for row in np.argsort(-probs[here], axis=1, kind="stable")[:, : template.k].tolist()
        ]
        return [template.separator.join(labels.names[index] for index in row) for row in best]
    if template.kind == "labels":
        sets = [[labels.names[c] for c in np.flatnonzero(row)] for row in answered_sets(probs)]
        return [template.separator.join(names) if names else template.empty for names in sets]
    answers = answered_classes(probs, labels)
    return [str(index) if template.kind == "index" else labels.names[index] for index in answers]


def answered_classes(probs: Probs, labels: LabelMap) -> list[int]:
    """The class index that each row answers, of a single label or a step of a scale."""
    places = nearest_places(probs) if labels.task.is_numeric else likeliest(probs)
    return [int(index) for index in np.clip(places, 0, len(labels) - 1)]


def answer_texts(probs: Probs, labels: LabelMap) -> list[str]:
    """What each row answers, as people read it: a class, the classes that apply in the order of the label map, or numbers;
    several of them with a | between, as in a manifest.
    """
    task = labels.task
    if task.one_class_a_row:
        return [labels.names[index] for index in answered_classes(probs, labels)]
    if task.has_classes:
        return names_of(answered_sets(probs), labels)
    return [SEPARATOR.join(f"{value:.6g}" for value in row) for row in probs.tolist()]


def names_of(there: NDArray[Any], labels: LabelMap) -> list[str]:
    """The classes of each row (N, C) of a multi-label task, in the order of the label map, with a | between."""
    return [SEPARATOR.join(labels.names[c] for c in np.flatnonzero(row)) for row in there]


def require_apart(template: Template, labels: LabelMap) -> None:
    """InputError for class names that cannot stand beside others in a cell."""
    between = template.separator
    inside = [name for name in labels if between in name or (between == " " and any(map(str.isspace, name)))]
    if inside:
        value = f"{inside[0]!r} has {between!r} in it"
        rule = f"a {template.kind} template puts {'spaces' if between == ' ' else repr(between)} between class names"
        raise InputError(rule, value, "rename the class, or correct `separator` in [template]")


def decimal_rows(probs: Probs, decimals: int) -> list[list[str]]:
    """Probabilities (N, C) as text of so many decimals whose rows sum to one exactly.

    Each value is cut off, and what is missing goes, a unit each, to the largest remainders (Hamilton's method; of
    equal ones to the lower index). No value moves by a unit or more, and none passes a larger one.
    """
    units = 10**decimals
    wanted = probs / probs.sum(axis=1, keepdims=True) * units
    whole = np.floor(wanted).astype(np.int64)
    left = units - whole.sum(axis=1)
    rank = np.argsort(np.argsort(-(wanted - whole), axis=1, kind="stable"), axis=1, kind="stable")
    whole += rank < left[:, None]
    if not decimals:
        return [[str(n) for n in row] for row in whole.tolist()]
    return [[f"{n // units}.{n % units:0{decimals}d}" for n in row] for row in whole.tolist()]


def read_back(table: Table, template: Template, labels: LabelMap) -> Probs:
    """What a valid submission answers, as predictions (N, D): one where it names a class, falling ones for several."""
    if template.kind in ("probs", "number"):
        probs = np.zeros((len(table), labels.width))
        for place, index in class_columns(template, labels).items():
            probs[:, index] = [float(row[place]) for row in table.rows]
        return probs
    cells = [row[template.target_places[0]] for row in table.rows]
    if template.kind == "prob":
        chance = np.array([float(cell) for cell in cells])
        return np.stack([1 - chance, chance], axis=1)
    if template.kind in ("topk", "labels"):
        return _of_names([names_in(cell, template) for cell in cells], labels, template.kind == "topk")
    answers = np.array([int(cell) if template.kind == "index" else labels.index(cell) for cell in cells])
    if labels.task.is_numeric:
        return answers[:, None].astype(np.float64)
    return np.asarray(np.eye(len(labels))[answers], dtype=np.float64)


def names_in(cell: str, template: Template) -> list[str]:
    """The class names of a cell; none in one that says that no class applies."""
    if template.kind == "labels" and cell == template.empty:
        return []
    return cell.split(template.separator)


def _of_names(rows: Sequence[Sequence[str]], labels: LabelMap, ranked: bool) -> Probs:
    """Rows of names as predictions (N, C): ones, or where they are ranked weights that fall, as a metric sees the order
    alone.
    """
    weights = np.zeros((len(rows), len(labels)))
    for row, names in enumerate(rows):
        places = [labels.index(name) for name in names]
        weights[row, places] = np.arange(len(places), 0, -1) if ranked else 1.0
    if ranked and labels.task.is_single_label:
        return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)
    return weights / max(len(labels), 1) if ranked else weights
