"""Several images for one answer: a row of them is predicted image by image, and answered by what they come to together.

A manifest has its images by row, or by image. By row (``by_row``) a line is an answer: its id is the row's, ``path`` its
first image, and the column ``images`` has the paths of all. By image (``by_image``) a line is an image: its id is its
path, and the column ``row`` names the answer. Training, inference and the checks of images see the second; folds, scores,
blends, the report and the CSV the first. Where each row has but one image there is neither column, and both are the same.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from comp.data.folds import Folds
from comp.data.labels import LabelMap
from comp.data.manifest import IMAGES, ROW, Manifest
from comp.data.predictions import Predictions
from comp.errors import InputError

POOLS = ("mean", "max", "noisy-or")
BREAK = "\n"  # between the paths of a cell: no path has one
_SHARED = ("split", "label", "group", "parent", "training_label", "action")  # of all images of a row


def has_several(manifest: Manifest) -> bool:
    """Whether rows of a manifest have several images, in either form."""
    return IMAGES in manifest.table or ROW in manifest.table


def by_row(manifest: Manifest) -> Manifest:
    """A manifest with a line for each answer, in the order of their first images.

    Raises
    ------
    InputError
        For an image without a row, an image twice in one, and a row whose images differ in split, label, group or parent.
    """
    table = manifest.table
    if ROW not in table:
        return manifest
    own = table[ROW].fillna("").to_numpy(dtype=object)
    own = np.where(own == "", np.where(table["split"] == "extra", table["id"], ""), own)
    if (own == "").any():
        path = table["path"].iloc[int((own == "").argmax())]
        raise InputError("an image belongs to a row", f"{path!r} has none", "name it in the column `row`")
    keys = pd.Series([f"{split}\0{row}" for split, row in zip(table["split"], own, strict=True)])
    _require_alike(table, own)
    parts = keys.groupby(keys, sort=False).indices
    first = np.array([places[0] for places in parts.values()], dtype=np.int64)
    joined: dict[str, list[str]] = {}
    for name, separator in (("path", BREAK), ("content", " ")):
        if name in table:
            cells = table[name].to_numpy(dtype=object)
            joined[name] = [separator.join(cells[places]) for places in parts.values()]
    made = table.iloc[first].reset_index(drop=True).drop(columns=ROW)
    made = made.assign(id=own[first], **{IMAGES: joined.pop("path")}, **joined)
    return replace(manifest, table=made)


def _require_alike(table: pd.DataFrame, own: NDArray[np.object_]) -> None:
    """InputError for a row whose images contradict each other, or that has one twice."""
    for name in ("split", *(one for one in _SHARED[1:] if one in table)):
        cells = table[name].fillna("").to_numpy(dtype=object)
        seen: dict[str, str] = {}
        for row, cell, split in zip(own, cells, table["split"], strict=True):
            key = row if name == "split" else f"{split}\0{row}"
            if name == "split" and cell == "extra":
                continue
            if seen.setdefault(key, cell) != cell:
                value = f"row {row!r} has {seen[key]!r} and {cell!r}"
                remedy = "correct the table, or `row` in [data] where these are several answers"
                raise InputError(f"the images of a row have one {name}", value, remedy)
    pairs = pd.DataFrame({"row": own, "path": table["path"], "split": table["split"]})
    twice = pairs.duplicated()
    if twice.any():
        row, path = pairs.loc[int(twice.to_numpy().argmax()), ["row", "path"]]
        raise InputError("an image is once in a row", f"row {row!r} has {path!r} twice", "drop one")


def by_image(manifest: Manifest) -> Manifest:
    """A manifest with a line for each image; those of a row share its label and a group, which ``by_row`` takes as it is."""
    table = manifest.table
    if IMAGES not in table:
        return manifest
    several = table[IMAGES].fillna("")
    several = several.where(several != "", table["path"])
    paths = [cell.split(BREAK) for cell in several]
    counts = [len(own) for own in paths]
    made = table.iloc[np.repeat(np.arange(len(table)), counts)].reset_index(drop=True)
    flat = [path for own in paths for path in own]
    is_extra = (made["split"] == "extra").to_numpy()
    ids = np.where(is_extra, made["id"].to_numpy(dtype=object), np.array(flat, dtype=object))
    groups = [group or row for group, row in zip(made["group"], made["id"], strict=True)]
    columns: dict[str, Any] = {ROW: made["id"].tolist(), "path": flat, "id": ids, "group": groups}
    if "content" in made:
        columns["content"] = [one for cell in table["content"] for one in cell.split(" ")]
    made = made.drop(columns=IMAGES).assign(**columns)
    parents = made["parent"]  # rows are whole: what one was made from is its group's business
    return replace(manifest, table=made.assign(parent=parents.where(is_extra, "")))


def image_folds(folds: Folds, images: Manifest, rows: Manifest) -> Folds:
    """The folds of the images, by those of their rows; they are as up to date as those were."""
    if ROW not in images.table:
        return folds
    train, known = images.train, folds.by_id
    fresh = folds.fingerprint == rows.fingerprint("train")
    prints = images.fingerprint("train") if fresh else folds.fingerprint
    pairs = [(i, known[row]) for i, row in zip(train["id"], train[ROW], strict=True) if row in known]
    there = set(train[ROW])
    pairs += [
        (i, fold) for i, fold in known.items() if i not in there
    ]  # of rows that are gone: checks name them
    numbers = np.array([fold for _, fold in pairs], dtype=np.int64)
    return replace(folds, ids=tuple(i for i, _ in pairs), fold=numbers, fingerprint=prints)


def without_broken(manifest: Manifest, failed: Collection[str]) -> Manifest:
    """A manifest by image without those that cannot be decoded, as far as their row has others, with a note of them."""
    if ROW not in manifest.table or not failed:
        return manifest
    table = manifest.table
    sound = ~table["path"].isin(list(failed)).to_numpy()
    keys = table["split"] + "\0" + table[ROW]
    rescued = keys.isin(set(keys[sound])).to_numpy()
    dropped = ~sound & rescued
    if not dropped.any():
        return manifest
    note = f"{int(dropped.sum()):,} images cannot be decoded: their rows are answered by their other images"
    kept = table[~dropped].reset_index(drop=True)
    return replace(manifest, table=kept, notes=(*manifest.notes, note))


def image_paths(manifest: Manifest) -> list[str]:
    """The paths of all images of a manifest, each once."""
    return list(dict.fromkeys(by_image(manifest).table["path"]))


def require_one_image(manifest: Manifest, what: str) -> None:
    """InputError where rows have several images: ``what`` knows rows of one alone."""
    if has_several(manifest):
        value = "[data] row makes one answer of several images here"
        raise InputError(f"{what} of rows of one image", value, "go on without it")


def require_pool(pool: str, labels: LabelMap) -> None:
    """InputError for a way to pool that these answers have none of: a maximum is of probabilities that something is there."""
    task = labels.task
    is_there = task.name == "multi-label" or (task.is_single_label and len(labels) == 2)
    if pool != "mean" and not is_there:
        value = f"[data] pool = {pool!r}, task {task.name!r} with {labels.width} columns"
        raise InputError(
            "max and noisy-or pool probabilities of two classes, or of several labels", value, 'pool = "mean"'
        )


def row_names(images: pd.DataFrame) -> list[str]:
    """The row that each image (M,) of a table belongs to: its own id where rows have one image."""
    return list(images[ROW] if ROW in images else images["id"])


def pooled(
    probs: NDArray[np.float64], rows: Sequence[str], pool: str, labels: LabelMap
) -> tuple[list[str], NDArray[np.float64]]:
    """The ids (N,) of rows, by their first image, and what the predictions (M, D) of their images come to (N, D).

    ``rows`` (M,) names the row of each image. "mean" is the mean of each column. "max" and "noisy-or" are of the second
    of two classes, the first being the rest, or of each label of several: the largest probability, or 1 − ∏(1 − p)
    (Pearl 1988, section 4.3.2), as if each image could show it by itself.
    """
    place: dict[str, int] = {}
    own = np.array([place.setdefault(row, len(place)) for row in rows], dtype=np.int64)
    if len(place) == len(own):
        return list(place), probs
    order = np.argsort(own, kind="stable")
    starts = np.flatnonzero(np.diff(own[order], prepend=-1))
    if pool == "mean":
        counts = np.diff(starts, append=len(order))[:, None]
        return list(place), np.add.reduceat(probs[order], starts, axis=0) / counts
    columns = probs[order][:, 1:] if labels.task.is_single_label else probs[order]
    if pool == "max":
        found = np.maximum.reduceat(columns, starts, axis=0)
    else:
        found = 1 - np.multiply.reduceat(1 - columns, starts, axis=0)
    return list(place), np.hstack([1 - found, found]) if labels.task.is_single_label else found


def pooled_predictions(found: Predictions, images: pd.DataFrame, pool: str, fingerprint: str) -> Predictions:
    """The predictions of the rows that the images of a table belong to, by those of the images."""
    if ROW not in images:
        return found
    ids, probs = pooled(found.select(list(images["id"])).probs, row_names(images), pool, found.labels)
    return Predictions(tuple(ids), found.labels, probs, fingerprint)
