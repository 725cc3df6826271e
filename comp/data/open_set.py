"""A class for what training has no class for: rows that are answered with it, and classes that are held out to learn when."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from comp.data.folds import Folds
from comp.data.labels import LabelMap
from comp.data.manifest import TRAINING, Manifest
from comp.data.predictions import Predictions, average
from comp.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

LEAST = 2  # classes that are left to know
TINY = 1e-12


def with_unknown(manifest: Manifest, labels: LabelMap, held_out: int) -> Manifest:
    """The rows with whole classes held out, so that folds have rows whose class their models never saw.

    The ``held_out`` classes with fewest train rows (of equal ones by the SHA-256 of the name) become the unknown class where
    they are scored, and keep their own where they train: each lies in one fold as a group, so that the models of that fold
    know nothing of it, and those of all others learn it. Rows that were labelled unknown never train. Classes with a row in
    a group of another class stay known, as do those that extra rows have.

    Raises
    ------
    InputError
        Where nothing tells what unknown rows are like, or too few classes can be held out.
    """
    unknown, rows = labels.task.unknown, manifest.train
    chosen = _rarest(manifest, unknown)[:held_out]
    known = set(rows["label"]) - {unknown}
    if len(chosen) < held_out or len(known) - len(chosen) < LEAST:
        value = f"unknown_classes = {held_out}; {len(known)} classes have rows, {len(chosen)} can be held out"
        raise InputError(
            "classes that are held out leave others to know",
            value,
            "fewer unknown_classes in competition.toml",
        )
    own = int((rows["label"] == unknown).sum())
    if not own and not chosen:
        value = f"unknown = {unknown!r}, which no training row has"
        raise InputError(
            "when to answer with the unknown class is learned from rows of classes that a model does not know",
            value,
            "unknown_classes = 20, or so, in competition.toml: that many rare classes are held out whole",
        )
    told = [f"{own:,} training rows are {unknown!r} and never train"] if own else []
    if chosen:
        told.append(
            f"{len(chosen)} rare classes are {unknown!r} in the fold that holds them out, first {chosen[0]!r}"
        )
    return replace(_held(manifest, set(chosen), unknown), notes=(*manifest.notes, *told))


def corrected(manifest: Manifest, labels: LabelMap) -> dict[str, str]:
    """Id → corrected label of the rows that a person corrected; those of held-out classes train with their own."""
    unknown = labels.task.unknown
    if not unknown:
        return manifest.corrections
    held = set(manifest.table["id"][manifest.table["label"] == unknown])
    return {i: label for i, label in manifest.corrections.items() if i not in held}


def require_held_out(manifest: Manifest, folds: Folds, labels: LabelMap) -> None:
    """InputError where no fold holds out a row of the unknown class: when to answer with it could not be learned."""
    unknown = labels.task.unknown
    train = manifest.train
    if unknown and not (folds.of(train["id"])[(train["label"] == unknown).to_numpy()] >= 0).any():
        raise InputError(
            "folds hold out rows of the unknown class",
            f"all rows of {unknown!r} only ever train",
            'more unknown_classes than there are folds, or `rare="spread"`',
        )


def without_unknown(oof: Predictions, rows: pd.DataFrame) -> Predictions:
    """Predictions of train ``rows`` (with id and label) without those that are scored as the unknown class: no model that
    judged them knows what they are, so that it cannot say whether their label is wrong.
    """
    unknown = oof.labels.task.unknown
    if not unknown:
        return oof
    label = dict(zip(rows["id"], rows["label"], strict=True))
    return oof.select([i for i in oof.ids if label[i] != unknown])


def mean_of_models(parts: Sequence[Predictions], unseen: Sequence[Collection[str]]) -> Predictions:
    """The mean over models of which some never saw some classes: ``unseen`` are their names, by model.

    A model gives such a class nothing, whatever the image, which the mean must not count against it: there it has what the
    models that know the class give it on the mean, and the model's own answers share the rest. Where all have seen all
    classes it is the plain mean.
    """
    if not any(unseen):
        return average(parts)
    labels, ids = parts[0].labels, parts[0].ids
    probs = np.stack([part.select(ids).probs for part in parts])  # (M, N, C)
    knows = np.array([[name not in names for name in labels.names] for names in unseen])  # (M, C)
    lacks = ~knows & knows.any(axis=0)
    given = (probs * knows[:, None]).sum(axis=0) / np.maximum(knows.sum(axis=0), 1)  # (N, C)
    made = []
    for part, own, lacking in zip(parts, probs, lacks, strict=True):
        others = given * lacking
        others /= np.maximum(others.sum(axis=1, keepdims=True), 1)
        own = own * ~lacking
        own *= (1 - others.sum(axis=1, keepdims=True)) / np.maximum(own.sum(axis=1, keepdims=True), TINY)
        filled = own + others
        filled /= filled.sum(axis=1, keepdims=True)
        made.append(Predictions(ids, labels, filled, part.fingerprint))
    return average(made)


def _rarest(manifest: Manifest, unknown: str) -> list[str]:
    """The classes that can be held out, those with fewest train rows first."""
    train, extra = manifest.train, set(manifest.extra["label"])
    count = Counter(train["label"])
    tied = train[train["group"] != ""]
    of_group = tied.groupby("group")["label"].nunique()
    shared = set(tied["label"][tied["group"].isin(of_group.index[of_group > 1])])
    changed = set()
    if TRAINING in train:
        other = train[train[TRAINING] != train["label"]]
        changed = {*other["label"], *other[TRAINING]}
    left = [name for name in count if name not in {unknown, *extra, *shared, *changed}]
    return sorted(
        left, key=lambda name: (count[name], hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest())
    )


def _held(manifest: Manifest, chosen: set[str], unknown: str) -> Manifest:
    """The manifest with these classes held out whole."""
    if not chosen:
        return manifest
    table = manifest.table
    held = (table["split"] == "train") & table["label"].isin(chosen)
    trained = table[TRAINING] if TRAINING in table else table["label"]
    made = table.assign(
        label=table["label"].where(~held, unknown),
        group=table["group"].where(~held, "class " + table["label"]),
        **{TRAINING: trained},
    )
    return replace(manifest, table=made)
