"""From probabilities and a template to the CSV, and the validation of any CSV against a template."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from comp.errors import InvalidSubmission, near_names
from comp.labels import LabelMap
from comp.manifest import Manifest
from comp.predictions import Predictions
from comp.tables import Table
from comp.template import Template
from comp.workspace import write_bytes


@dataclass(frozen=True)
class Problem:
    """One way in which a submission does not answer its template; ``rows`` are file rows, the header is row 1."""

    rule: str
    message: str
    count: int = 1
    rows: tuple[int, ...] = ()


def compose(predictions: Predictions, template: Template) -> str:
    """The submission as CSV text: the template's rows with their targets answered, joined by id.

    Ties go to the lower class index. Other columns of the template stay as they are.

    Raises
    ------
    InputError
        If a row of the template has no prediction.
    """
    answers = predictions.select(template.ids)
    rows = [list(row) for row in template.table.rows]
    if template.kind == "probs":
        columns = _probability_columns(template, answers.labels)
        for row, probs in zip(rows, answers.probs, strict=True):
            for place, index in columns.items():
                row[place] = f"{probs[index]:.8f}"
    else:
        for row, index in zip(rows, answers.probs.argmax(axis=1).tolist(), strict=True):
            row[template.target_places[0]] = (
                str(index) if template.kind == "index" else answers.labels.names[index]
            )
    return template.table.text(rows)


def write(predictions: Predictions, template: Template, path: Path) -> None:
    """Writes the submission in the template's encoding, all or nothing, and validates what was written.

    Raises
    ------
    InvalidSubmission
        If what was written does not validate; the file is then removed.
    """
    from comp.template import read_submission

    write_bytes(path, compose(predictions, template).encode(template.table.encoding))
    problems = validate(read_submission(path), template, predictions.labels)
    if problems:
        path.unlink()
        raise InvalidSubmission(
            "a submission must answer its template", problems[0].message, "please report this run"
        )


def row_table(predictions: Predictions, manifest: Manifest) -> str:
    """``id,path,answer`` of every test row as CSV text, so that a person can look."""
    rows = manifest.test[["id", "path"]].set_index("id").loc[list(predictions.ids)].reset_index()
    rows["answer"] = [predictions.labels.names[i] for i in predictions.probs.argmax(axis=1)]
    return str(rows.to_csv(index=False, lineterminator="\n"))


def validate(table: Table, template: Template, labels: LabelMap) -> list[Problem]:
    """Every way in which ``table`` does not answer ``template``; empty when it does."""
    if table.header != template.table.header:
        message = (
            f"the header is {','.join(table.header)!r}, the template's {','.join(template.table.header)!r}"
        )
        return [Problem("header", message, rows=(1,))]
    return [*_id_problems(table, template), *_value_problems(table, template, labels)]


def _id_problems(table: Table, template: Template) -> list[Problem]:
    ids = [row[template.id_place] for row in table.rows]
    wanted = template.ids
    found: list[Problem] = []
    counts = Counter(ids)
    known = set(wanted)
    doubled = [i for i, n in counts.items() if n > 1]
    missing = [i for i in wanted if i not in counts]
    extra = [i for i in counts if i not in known]
    for rule, names in (("doubled-id", doubled), ("missing-id", missing), ("extra-id", extra)):
        if names:
            rows = (
                tuple(n + 2 for n, i in enumerate(ids) if i in set(names[:5])) if rule != "missing-id" else ()
            )
            shown = ", ".join(repr(n) for n in names[:5]) + (" …" if len(names) > 5 else "")
            found.append(
                Problem(
                    rule,
                    f"{len(names)} {rule.replace('-', ' ')}{'s' if len(names) > 1 else ''}: {shown}",
                    len(names),
                    rows[:5],
                )
            )
    if not found and ids != list(wanted):
        wrong = [n for n, (a, b) in enumerate(zip(ids, wanted, strict=True)) if a != b]
        message = f"{len(wrong)} rows stand in another order than the template's, first row {wrong[0] + 2}: {ids[wrong[0]]!r} for {wanted[wrong[0]]!r}"
        found.append(Problem("order", message, len(wrong), tuple(n + 2 for n in wrong[:5])))
    return found


def _value_problems(table: Table, template: Template, labels: LabelMap) -> list[Problem]:
    if template.kind == "probs":
        return _probability_problems(table, template)
    wrong: list[tuple[int, str]] = []
    allowed = {str(i) for i in range(len(labels))} if template.kind == "index" else set(labels.names)
    for number, row in enumerate(table.rows, start=2):
        cell = row[template.target_places[0]]
        if cell not in allowed:
            wrong.append((number, cell))
    if not wrong:
        return []
    number, cell = wrong[0]
    if template.kind == "index":
        kind = f"a class index 0…{len(labels) - 1}"
        hint = f"; {cell!r} is a class name, write {labels.index(cell)}" if cell in labels else ""
    else:
        kind = "a class name"
        near = near_names(cell, labels.names)
        hint = f"; did you mean {near[0]!r}?" if near else ""
    message = f"{len(wrong)} answers are not {kind}, first in row {number}: {cell!r}{hint}"
    return [Problem("value", message, len(wrong), tuple(n for n, _ in wrong[:5]))]


def _probability_problems(table: Table, template: Template) -> list[Problem]:
    found: list[Problem] = []
    not_numbers: list[int] = []
    off: list[int] = []
    for number, row in enumerate(table.rows, start=2):
        try:
            values = np.array([float(row[place]) for place in template.target_places])
        except ValueError:
            not_numbers.append(number)
            continue
        if not np.isfinite(values).all():
            not_numbers.append(number)
        elif values.min() < 0 or values.max() > 1 or abs(values.sum() - 1) > 1e-4:
            off.append(number)
    if not_numbers:
        found.append(
            Problem(
                "value",
                f"{len(not_numbers)} rows have a cell that is no number, first row {not_numbers[0]}",
                len(not_numbers),
                tuple(not_numbers[:5]),
            )
        )
    if off:
        found.append(
            Problem(
                "row-sum",
                f"{len(off)} rows are not probabilities that sum to one, first row {off[0]}",
                len(off),
                tuple(off[:5]),
            )
        )
    return found


def _probability_columns(template: Template, labels: LabelMap) -> dict[int, int]:
    """Column place → class index, by the names in the template's header."""
    return {place: labels.index(template.table.header[place]) for place in template.target_places}
