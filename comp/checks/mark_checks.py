"""The check for marks: a small region at one place of the images that tells their label."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from comp.checks.context import EXAMPLES, CheckContext, Finding, check
from comp.checks.image_index import ImageIndex
from comp.checks.marks import MOST_CLASSES, Looks, Mark, find_mark
from comp.checks.region_labels import Labels
from comp.checks.shortcut_checks import LEAST_ROWS, MOST_ROWS, rows_by_content
from comp.data.folds import group_names

METHOD = 1  # what another one came to is worked out again
LEAST_TESTS = 20
FEWER = 0.7  # of the share of training images that show a mark, from which the test images lack it


@check(
    "pixel-shortcut",
    "data",
    "shortcuts",
    "warning",
    catches=(
        "a small region at one place of the images that tells the label, or one class: a mark, a dot or a pixel of "
        "some colour, a border of 1 to 3 pixels, text or a watermark in a corner or in the middle, in 60 % of a "
        "class's rows or more; and whether the test images lack it"
    ),
    misses=(
        "a mark at another place in every image; away from the corners one of less than about a thirty-second of the "
        "image's side; one across more than a few per cent of the image; one of a single class with fewer than ten groups; all in images "
        "below 24 pixels but their corner pixels"
    ),
)
def pixel_shortcut(context: CheckContext) -> list[Finding]:
    """A small region at one place of the images that tells their label: a mark, a border, a watermark.

    Regions of the corners, sides, middle and a grid of the whole image guess the labels of held-out rows (3 folds with
    groups whole, at most 4,000 rows, the 100 commonest classes). A warning where one tells a class from all others or
    all classes, and

    - nothing else explains it: those beside it tell less than a third, and few cells of the image tell as much;
    - chance does not: it is half again as sure as the surest of all regions with shuffled labels, in each of five
      shuffles of whole groups.

    Content of the images (sky, white background, an object in the middle) tells as much beside a region as in it. Rows
    are taken by content, so that names and order change nothing. A second on thousands of rows; remembered for the
    same contents.
    """
    train = context.manifest.train
    known = train[context.images.can_be_read(train["path"])].reset_index(drop=True)
    if len(known) < LEAST_ROWS or known["label"].nunique() < 2:
        return []
    test = [path for path in context.manifest.test["path"] if path not in context.images.failed]
    test = context.images.sorted_by_content(test)[:MOST_ROWS]
    kinds = context.task.strata(list(known["label"]))
    groups = group_names(known)
    seen = json.dumps(
        [METHOD, kinds, groups, context.images.digest(known["path"]), context.images.digest(test)]
    )
    digest = hashlib.sha256(seen.encode()).hexdigest()
    found = context.memory.recall("mark", digest, lambda: _search(context.images, known, kinds, groups, test))
    return [_finding(found, list(known["id"]), len(test))] if found else []


def _search(
    images: ImageIndex, known: pd.DataFrame, kinds: list[str], groups: list[str], test: list[str]
) -> dict[str, Any] | None:
    """What is to be said of a mark, if there is one; ``rows`` are places in the table."""
    dealt = rows_by_content(images.contents(known["path"]), kinds, groups)
    if dealt is None:
        return None
    common = np.sort(np.argsort(-np.bincount(dealt.y), kind="stable")[:MOST_CLASSES])
    taken = np.isin(dealt.y, common)
    order = dealt.order[taken]
    names = [str(name) for name in dealt.names[common]]
    labels = Labels(np.searchsorted(common, dealt.y[taken]), dealt.fold[taken], dealt.units[common])
    group, _ = pd.factorize(np.array(groups)[order])  # in the order of contents
    looks = _looks(images, [str(path) for path in known["path"].iloc[order]])
    mark = find_mark(looks, labels, group, _looks(images, test))
    return None if mark is None else _as_json(mark, names, order[mark.shown])


def _looks(images: ImageIndex, paths: Sequence[str]) -> Looks:
    sides = np.minimum(images.column("height", paths), images.column("width", paths))
    return Looks(images.regions(paths), images.perceptual(paths), sides.astype(np.int64))


def _as_json(mark: Mark, names: list[str], rows: Any) -> dict[str, Any]:
    return {
        "region": mark.region,
        "label": names[mark.column] if mark.column < len(names) else "",
        "of": len(names),
        **{
            name: float(getattr(mark, name))
            for name in ("score", "chance", "beside", "shuffled", "train", "test")
        },
        "rows": sorted(int(n) for n in rows),
    }


def _finding(mark: dict[str, Any], ids: list[str], tests: int) -> Finding:
    """The warning, with rows that show the mark."""
    score, beside, shuffled = (f"{mark[name]:.2f}" for name in ("score", "beside", "shuffled"))
    if mark["label"]:
        tells = f"tells class {mark['label']!r} from the others: held-out rows of it are guessed so more often by {score}"
    else:
        tells = f"tells the label: held-out rows are guessed with balanced accuracy {score} ({mark['chance']:.2f} by chance)"
    message = f"{mark['region']} {tells}; {beside} by the regions beside it, {shuffled} with shuffled labels"
    if tests >= LEAST_TESTS and 0 <= mark["test"] < FEWER * mark["train"]:
        message += (
            f"; {mark['train']:.0%} of the training images have such values there, but {mark['test']:.0%} of the "
            "test images: what a model learns from it fails there"
        )
    remedy = "look at that region in the rows named: a model may learn the mark instead of the images; crop or paint it over in all images, or collect them anew"
    examples = tuple(ids[n] for n in mark["rows"][:EXAMPLES])
    return Finding("pixel-shortcut", "warning", len(mark["rows"]), message, examples, remedy)
