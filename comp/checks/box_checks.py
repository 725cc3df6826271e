"""Checks of rows that are of boxes: boxes that reach out of their image, and photographs with boxes in train and test."""

from __future__ import annotations

import math

from comp.checks.context import CheckContext, Finding, check, finding
from comp.data.images.boxes import MARK, split_box, without_box

MOST_OUTSIDE = 0.1  # of a box's area; annotators draw a little beyond the rim


@check(
    "box-outside",
    "data",
    "images",
    "warning",
    catches="boxes of which more than a tenth lies outside their image: drawn on an image of another size, or read by another format",
    misses="boxes of another image that lie within this one; those with nothing in it are `unreadable-image`",
    of_test_rows=True,
    of_boxes=True,
)
def box_outside(context: CheckContext) -> list[Finding]:
    """Boxes of [data] box of which more than a tenth of the area, margin left out, lies outside their image. Worked out from
    the box and the size of what was cut; O(N).
    """
    outside = {path: _outside(context, path) for path in context.readable if MARK in path}
    rows = sorted((path for path in outside if outside[path] > MOST_OUTSIDE), key=lambda path: -outside[path])
    if not rows:
        return []
    message = f"{len(rows):,} of {len(outside):,} boxes lie with more than {MOST_OUTSIDE:.0%} of their area outside their image, {rows[0]} with {outside[rows[0]]:.0%}"
    remedy = (
        "compare box_format and box_unit with the table, and the size that boxes were drawn on with the files"
    )
    return [finding("box-outside", "warning", rows, message, remedy)]


def _outside(context: CheckContext, path: str) -> float:
    """The share of a box's area that is not in its image."""
    _, box = split_box(path)
    if box is None:
        return 0.0
    if box.percent:
        across = _visible(box.left, box.width, 0.0, 100.0)
        return 1 - across * _visible(box.top, box.height, 0.0, 100.0)
    look = context.images[path]
    more = math.floor(box.margin * max(box.width, box.height) + 0.5)
    shares = 1.0
    for first, length, pixels in ((box.left, box.width, look.width), (box.top, box.height, look.height)):
        start = max(
            0, math.floor(first) - more
        )  # where the crop begins; it ends with the image, or beyond the box
        shares *= _visible(first, length, 0.0, float(start + pixels))
    return 1 - shares


def _visible(first: float, length: float, low: float, high: float) -> float:
    """The share of a stretch that lies between two ends."""
    return max(0.0, min(first + length, high) - max(first, low)) / length


@check(
    "shared-photograph",
    "data",
    "rows",
    "warning",
    catches="test rows that are boxes of a photograph which labelled rows are boxes of, too",
    misses="copies of a photograph under another name; their crops may be `train-test-duplicate`",
    of_test_rows=True,
    of_boxes=True,
)
def shared_photograph(context: CheckContext) -> list[Finding]:
    """Files that hold boxes of labelled rows and of test rows. Folds keep the boxes of a file together, so that OOF rows are
    of photographs that training never saw, and these test rows are not. One look at the paths; O(N).
    """
    table = context.manifest.table
    labelled = {without_box(path) for path in table["path"][table["split"] != "test"] if MARK in path}
    both = [path for path in context.manifest.test["path"] if MARK in path and without_box(path) in labelled]
    if not both:
        return []
    message = f"{len(both):,} of {len(context.manifest.test):,} test rows are boxes of photographs that labelled rows are of"
    remedy = "their score will be better than the OOF score promises; folds that comp makes keep a photograph together"
    return [finding("shared-photograph", "warning", both, message, remedy)]
