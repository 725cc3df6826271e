"""Checks of the folds."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pandas as pd

from comp.checks.context import CheckContext
from comp.checks.registry import Finding, check, finding
from comp.data.folds import group_names


@check(
    "fold-coverage",
    "folds",
    "folds",
    "error",
    catches="training rows without a fold, folds without rows, ids with a fold that are no row",
    misses="ids of extra rows",
)
def fold_coverage(evidence: CheckContext) -> list[Finding]:
    """Train rows without a fold, a fold without rows, or folds of ids that no row has. Exact; O(N)."""
    if evidence.folds is None:
        return []
    known = set(evidence.folds.ids)
    strange = sorted(known - set(evidence.manifest.table["id"]))
    if strange and not stale_folds(evidence):  # which says it in other words
        message = f"{len(strange)} ids that have a fold are no rows of these data, first {strange[0]!r}"
        remedy = "bring the folds of these rows; take out the lines of others"
        return [finding("fold-coverage", "error", strange, message, remedy), *_without_folds(evidence, known)]
    return _without_folds(evidence, known)


def _without_folds(evidence: CheckContext, known: set[str]) -> list[Finding]:
    assert evidence.folds is not None, "its caller looked"
    without = [i for i in evidence.manifest.train["id"] if i not in known]
    if without:
        return [
            finding(
                "fold-coverage",
                "error",
                without,
                f"{len(without)} train rows have no fold",
                "make the folds again",
            )
        ]
    used = np.unique(evidence.folds.fold[evidence.folds.fold >= 0])
    empty = [f"fold {k}" for k in range(evidence.folds.k) if k not in used]
    return (
        [finding("fold-coverage", "error", empty, f"{len(empty)} folds hold no row", "choose fewer --folds")]
        if empty
        else []
    )


@check(
    "group-across-folds",
    "folds",
    "folds",
    "error",
    catches="a group, or a parent and its copies, in different folds",
    misses="groups that nobody declared",
)
def group_across_folds(evidence: CheckContext) -> list[Finding]:
    """Rows of one group (declared, or a parent and its copies) in different folds. Exact; O(N)."""
    if evidence.folds is None:
        return []
    train, known = evidence.manifest.train, evidence.folds.by_id
    places: defaultdict[str, set[int]] = defaultdict(set)
    for group, name in zip(group_names(train), train["id"], strict=True):
        if known.get(name, -1) >= 0:  # others only train, and are left out beside held-out kin
            places[group].add(known[name])
    torn = [group[2:] for group, folds in places.items() if len(folds) > 1]
    if not torn:
        return []
    message = f"{len(torn)} groups lie in more than one fold, so that a sample would validate its kin"
    return [
        finding("group-across-folds", "error", torn, message, "make the folds again with the groups declared")
    ]


@check(
    "stale-folds",
    "folds",
    "folds",
    "error",
    catches="folds made for other rows, labels, groups or contents",
)
def stale_folds(evidence: CheckContext) -> list[Finding]:
    """Folds that were made for other train rows than these. One SHA-256 over ids, labels, kin and contents."""
    if evidence.folds is None:
        return []
    now = evidence.manifest.fingerprint("train")
    if evidence.folds.fingerprint == now:
        return []
    gone = sorted(set(evidence.folds.ids) - set(evidence.manifest.train["id"]))
    come = sorted(set(evidence.manifest.train["id"]) - set(evidence.folds.ids))
    kept, path = f"folds/{evidence.competition.slug}", evidence.folds.path
    changed = f"{len(come)} came, {len(gone)} went, or labels, groups or contents changed"
    message = f"the folds were made for other train rows: {changed}{f' ({path})' if path else ''}"
    remedy = f"remove {kept}/ to make them again (earlier runs then no longer compare)"
    if path is not None and not path.parent.as_posix().endswith(
        kept
    ):  # a run's own, say: there is nothing to remove
        remedy = "restore the rows that they were made for, or start a new run with --folds K"
    rows = [*come, *gone] or list(
        evidence.manifest.train["id"]
    )  # the folds know one fingerprint for all rows
    return [finding("stale-folds", "error", rows, message, remedy)]


@check(
    "copy-across-folds",
    "folds",
    "folds",
    "error",
    catches="copies of one image in different folds",
    misses="as `near-duplicate`",
)
def copy_across_folds(evidence: CheckContext) -> list[Finding]:
    """One picture, exactly or nearly, in different folds: a copy would validate its original.

    Folds made by ``comp`` hold such rows together; this judges folds made elsewhere.
    """
    if evidence.folds is None:
        return []
    train, fold_of = evidence.manifest.train, evidence.folds.by_id
    places: defaultdict[str, set[int]] = defaultdict(set)
    for path, name in zip(train["path"], train["id"], strict=True):
        if fold_of.get(name, -1) >= 0:
            places[path].add(fold_of[name])
    known = {path for cluster in evidence.alike for path in cluster}
    same_file = [[path] for path, folds in places.items() if len(folds) > 1 and path not in known]
    torn = []
    for cluster in [*evidence.alike, *same_file]:
        kin = tuple(path for path in cluster if path in places)
        if len({fold for path in kin for fold in places[path]}) > 1:
            torn.append(kin)
    if not torn:
        return []
    rows = [path for kin in torn for path in kin]
    message = f"{len(rows)} rows are copies of one another and lie in different folds ({len(torn)} pictures)"
    remedy = "make the folds with comp, which keeps copies together, or give all copies of a picture one fold"
    return [Finding("copy-across-folds", "error", len(rows), message, tuple(rows[:5]), remedy, tuple(torn))]


@check(
    "stratification",
    "folds",
    "folds",
    "warning",
    catches="classes spread unevenly over the folds",
)
def stratification(evidence: CheckContext) -> list[Finding]:
    """Classes spread unevenly over the folds: a fold without a class, or with half as many again as its share
    (and three rows more). Exact; O(N).
    """
    if evidence.folds is None or fold_coverage(evidence):
        return []
    train = evidence.manifest.train
    fold = evidence.folds.of(train["id"])
    counts = pd.crosstab(train["label"].to_numpy()[fold >= 0], fold[fold >= 0])
    table = counts.reindex(columns=range(evidence.folds.k), fill_value=0).to_numpy()
    share = (
        table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    )  # folds may differ in size
    uneven = ((table == 0) & (share >= 1)) | (np.abs(table - share) > np.maximum(3, share / 2))
    names = [str(name) for name, yes in zip(counts.index, uneven.any(axis=1), strict=True) if yes]
    if not names:
        return []
    message = f"{len(names)} classes are spread unevenly over the folds, first {names[0]!r}: {table[list(counts.index).index(names[0])].tolist()}"
    remedy = "large groups leave no better spread; if you made the folds yourself, stratify them by label"
    return [finding("stratification", "warning", names, message, remedy)]


@check(
    "test-id-in-folds",
    "folds",
    "folds",
    "error",
    catches="test rows that have a fold",
)
def test_id_in_folds(evidence: CheckContext) -> list[Finding]:
    """Test rows that have a fold: the test set would be trained and validated on. Exact; O(N)."""
    if evidence.folds is None:
        return []
    train, folded = set(evidence.manifest.train["id"]), set(evidence.folds.ids)
    rows = [i for i in evidence.manifest.test["id"] if i in folded and i not in train]
    if not rows:
        return []
    message = f"{len(rows)} test ids stand among the folds"
    return [
        finding(
            "test-id-in-folds",
            "error",
            rows,
            message,
            "folds are for train rows only: take these out of the file",
        )
    ]
