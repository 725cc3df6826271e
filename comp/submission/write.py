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
from comp.submission.validate import class_columns, validate

_FEW = 256  # rows that are composed at once to try every class


def compose(predictions: Predictions, template: Template) -> str:
    """The submission as CSV text: the template's rows with their targets answered, joined by id.

    Ties go to the lower class index. Other columns of the template stay as they are, and so does its spelling of ids.

    Raises
    ------
    InputError
        If the template has no rows, an empty or a doubled id, or a row without a prediction; if its columns are not
        the classes, or names of classes cannot stand in one cell.
    """
    template.require_rows()
    answers = predictions.select(template.samples)
    labels = answers.labels
    rows = [list(row) for row in template.table.rows]
    if template.kind == "probs":
        columns = class_columns(template, labels)
        written = decimal_rows(answers.probs, template.decimals)
        for row, cells in zip(rows, written, strict=True):
            for place, index in columns.items():
                row[place] = cells[index]
        return template.table.text(rows)
    for row, cell in zip(rows, _cells(answers.probs, template, labels), strict=True):
        row[template.target_places[0]] = cell
    return template.table.text(rows)


def _cells(probs: NDArray[np.float64], template: Template, labels: LabelMap) -> list[str]:
    """The answer of each row: an index, a name, or the k likeliest names."""
    if template.kind == "topk":
        spaced = [name for name in labels if any(sign.isspace() for sign in name)]
        if spaced:
            value = f"{spaced[0]!r} has a space in it"
            raise InputError("a topk template puts spaces between class names", value, "rename the class")
        best = np.argsort(-probs, axis=1, kind="stable")[:, : template.k]
        return [" ".join(labels.names[index] for index in row) for row in best.tolist()]
    answered = probs.argmax(axis=1).tolist()
    return [str(index) if template.kind == "index" else labels.names[index] for index in answered]


def decimal_rows(probs: NDArray[np.float64], decimals: int) -> list[list[str]]:
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
    return [[f"{n // units}.{n % units:0{decimals}d}" for n in row] for row in whole.tolist()]


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
    """Composes a submission in which every class is answered, and drops it: what ``write`` would refuse after training
    because of classes, columns or encoding is refused now. A template without rows is not judged.

    Raises
    ------
    InputError, InvalidSubmission
        As ``write``.
    """
    table = template.table
    few = [list(row) for row in table.rows[: min(len(labels), _FEW)]]
    for number, row in enumerate(few):
        row[template.id_place] = str(number)  # ids are judged elsewhere
    rows = tuple(tuple(row) for row in few)
    shown = replace(template, table=replace(table, rows=rows), sample_ids=())
    for start in range(0, len(labels) if few else 0, max(len(few), 1)):
        answers = np.arange(start, start + len(few)) % len(labels)
        probs = np.zeros((len(few), len(labels)))
        probs[np.arange(len(few)), answers] = 1.0
        _content(Predictions(shown.ids, labels, probs), shown, "a submission")


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
    rows["answer"] = [predictions.labels.names[i] for i in predictions.probs.argmax(axis=1)]
    return str(rows.to_csv(index=False, lineterminator="\n"))
