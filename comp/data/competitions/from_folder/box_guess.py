"""Whether the rows of a folder's table are of boxes of its images, and which columns have them."""

from __future__ import annotations

from collections.abc import Sequence

from comp.config import finite_number
from comp.data.competitions.from_folder.proposal import Fact, Proposal
from comp.data.competitions.from_folder.survey import Survey, column, columns
from comp.data.competitions.from_folder.table_guess import Link
from comp.data.competitions.row_boxes import numbers_of
from comp.data.csv_table import Table

_XYWH = (("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height"))
_XYXY = (("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"))
_MORE = (("x1", "y1", "x2", "y2"), ("x0", "y0", "x1", "y1"), ("left", "top", "right", "bottom"))
_PREFIXES = ("", "bbox_", "box_", "bbox.", "bbox-")
_ALONE = ("bbox", "box", "bounding_box", "boundingbox")


def propose_boxes(
    found: Proposal, survey: Survey, train: Link | None, test: Link | None, labels: Sequence[str]
) -> None:
    """Adds the boxes of a table to the facts where they are what tells its rows apart: several rows of an image, with
    different ``labels``, and columns of a box, which rows to predict have too.
    """
    if train is None or len(labels) != len(train.table) or found.facts["task"].value != "single-label":
        return
    files = column(train.table, train.path)
    several = dict(zip(files, labels, strict=True))
    if all(several[file] == label for file, label in zip(files, labels, strict=True)):
        return
    boxes = _boxes(train.table)
    if boxes is None or "pairs" in found.facts:
        return
    names, form, doubt = boxes
    if train.name.lower().endswith(".json") and names == ["bbox"]:
        _propose_coco(found, survey, train, test)
        return
    if test is not None and not set(names) <= set(columns(test.table)):
        return
    if test is None and found.facts.get("data.test_images"):
        return  # nothing has the boxes of the rows to predict
    why = f"{len(files)} rows of {len(several)} images, with several labels in one"
    found.put("data.box", names if len(names) > 1 else names[0], why)
    found.put("data.box_format", form, "by the names of the columns", doubt)
    if max(abs(number) for row in _cells(train.table, names) for number in row) <= 1:
        found.put("data.box_unit", "fractions", "no number is above 1")


def _propose_coco(found: Proposal, survey: Survey, train: Link, test: Link | None) -> None:
    """The annotations of COCO files as rows, in place of its images."""
    asked = bool(survey.templates) or test is not None
    others = [
        name
        for name, table in survey.tables.items()
        if name != train.name
        and name.lower().endswith(".json")
        and {"bbox", "file_name"} <= set(columns(table))
        and "category_name" not in columns(table)
    ]
    named = test.name if test is not None else (others[0] if len(others) == 1 else "")
    if (asked or found.facts.get("data.test_images")) and named not in others:
        return  # nothing has the boxes of the rows to predict
    facts = dict(found.facts)
    for key in ("table", "test_table", "id", "images", "test_images"):
        facts.pop(f"data.{key}", None)
    usual = ("category_name",) if survey.templates else ("category_name", "category_id")
    if facts.get("data.label", Fact("")).value in usual:
        facts.pop("data.label")
    rows = f"{len(train.table)} annotations with boxes, several of an image with different labels"
    facts["data.coco"] = Fact(train.name, rows)
    if named:
        facts["data.test_coco"] = Fact(named, "annotations with boxes and without categories")
    found.facts = facts


def _boxes(table: Table) -> tuple[list[str], str, str] | None:
    """The columns of boxes with their format, and what is doubtful; None where no columns are named so."""
    known = {name.casefold(): name for name in columns(table) if name}
    for form, every in (("xywh", _XYWH), ("xyxy", (*_XYXY, *_MORE))):
        for names in every:
            for prefix in _PREFIXES:
                if all(prefix + one in known for one in names):
                    return _with_numbers(table, [known[prefix + one] for one in names], form, "")
    for one in _ALONE:
        if one in known:
            doubt = "" if table.name.lower().endswith(".json") else "it may be xyxy"
            return _with_numbers(table, [known[one]], "xywh", doubt)
    return None


def _with_numbers(table: Table, names: list[str], form: str, doubt: str) -> tuple[list[str], str, str] | None:
    return (names, form, doubt) if all(len(row) == 4 for row in _cells(table, names)) else None


def _cells(table: Table, names: Sequence[str]) -> list[list[float]]:
    """The numbers of each row's box; fewer than four where cells are none."""
    rows = zip(*(column(table, name) for name in names), strict=True)
    return [[n for one in numbers_of(row) if (n := finite_number(one)) is not None] for row in rows]
