"""From probabilities and a template to the CSV."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comp.data.csv_table import parse_table
from comp.data.dataset import Template
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest
from comp.data.predictions import Predictions
from comp.errors import InputError, InvalidSubmission
from comp.files import write_bytes
from comp.submission.answers import answer_texts, written
from comp.submission.validate import validate

_FEW = 256  # rows that are composed at once to try every class


def compose(predictions: Predictions, template: Template) -> str:
    """The submission as CSV text: the template's rows with their targets answered, joined by id.

    Ties go to the lower class index. Other columns of the template stay as they are, and so does its spelling of ids.

    Raises
    ------
    InputError
        If the template has no rows, an empty or a doubled id, or a row without a prediction; if its kind or columns are
        not the task's, or names of classes cannot stand in one cell.
    """
    template.require_rows()
    answers = predictions.select(template.samples)
    rows = [list(row) for row in template.table.rows]
    for row, cells in zip(rows, written(answers.probs, template, answers.labels), strict=True):
        for place, cell in cells.items():
            row[place] = cell
    return template.table.text(rows)


def write(predictions: Predictions, template: Template, path: Path) -> None:
    """Writes the submission in the template's encoding, all or nothing, once it is known to be valid.

    Raises
    ------
    InputError
        If a class name cannot be written in the template's encoding, and as ``compose``.
    InvalidSubmission
        If it does not validate; nothing is written then.
    """
    write_bytes(path, _content(predictions, template, path.name))


def rehearse(template: Template, labels: LabelMap) -> None:
    """Composes a submission in which every class, or both ends of every number, are answered, and drops it: what ``write``
    would refuse after training because of classes, columns or encoding is refused now. A template without rows is not
    judged.

    Raises
    ------
    InputError, InvalidSubmission
        As ``write``.
    """
    table, count = template.table, max(len(labels), 2)
    few = [list(row) for row in table.rows[: min(count, _FEW)]]
    for number, row in enumerate(few):
        row[template.id_place] = str(number)  # ids are judged elsewhere
    rows = tuple(tuple(row) for row in few)
    shown = replace(template, table=replace(table, rows=rows), sample_ids=())
    for start in range(0, count if few else 0, max(len(few), 1)):
        answers = np.arange(start, start + len(few)) % count
        _content(Predictions(shown.ids, labels, _every_answer(answers, labels)), shown, "a submission")


def _every_answer(answers: NDArray[np.int64], labels: LabelMap) -> NDArray[np.float64]:
    """Predictions (R, D) that answer these classes (R,), or numbers from one end of each column to the other."""
    if labels.task.is_numeric:
        shares = answers[:, None] / max(len(labels) - 1, 1)
        return labels.unscaled(np.repeat(shares, labels.width, axis=1))
    return np.asarray(np.eye(len(labels))[answers % len(labels)], dtype=np.float64)


def _content(predictions: Predictions, template: Template, name: str) -> bytes:
    """A submission in its template's encoding, valid."""
    encoding = template.table.encoding
    try:
        content = compose(predictions, template).encode(encoding)
    except UnicodeEncodeError as error:
        value = f"{error.object[error.start : error.end]!r} is not in {encoding}"
        remedy = "rename the class, or save the template as UTF-8 if the site takes that"
        raise InputError("a submission keeps its template's encoding", value, remedy) from error
    problems = validate(parse_table(content, name), template, predictions.labels)
    if problems:
        raise InvalidSubmission(
            "a submission must answer its template", problems[0].message, "please report this run"
        )
    return content


def row_table(predictions: Predictions, manifest: Manifest) -> str:
    """``id,path,answer`` of every test row as CSV text, so that a person can look."""
    rows = manifest.test[["id", "path"]].set_index("id").loc[list(predictions.ids)].reset_index()
    rows["answer"] = answer_texts(predictions.probs, predictions.labels)
    return str(rows.to_csv(index=False, lineterminator="\n"))
