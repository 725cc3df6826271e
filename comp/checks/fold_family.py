"""Checks of the folds."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from comp.checks.evidence import Evidence
from comp.checks.findings import Finding, finding
from comp.folds import group_names


def fold_coverage(evidence: Evidence) -> list[Finding]:
    """Train rows without a fold, or a fold without rows. Exact; O(N)."""
    if evidence.folds is None:
        return []
    known = set(evidence.folds.ids)
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


def group_across_folds(evidence: Evidence) -> list[Finding]:
    """Rows of one group (declared, or a parent and its copies) in different folds. Exact; O(N)."""
    if evidence.folds is None or fold_coverage(evidence):
        return []
    train = evidence.manifest.train
    places: defaultdict[str, set[int]] = defaultdict(set)
    for group, fold in zip(group_names(train), evidence.folds.of(train["id"]), strict=True):
        places[group].add(int(fold))
    torn = [group[2:] for group, folds in places.items() if len(folds) > 1]
    if not torn:
        return []
    message = f"{len(torn)} groups lie in more than one fold, so that a sample would validate its kin"
    return [
        finding("group-across-folds", "error", torn, message, "make the folds again with the groups declared")
    ]


def stale_folds(evidence: Evidence) -> list[Finding]:
    """Folds that were made for other train rows than these. One SHA-256 over the ids, labels and groups."""
    if evidence.folds is None:
        return []
    now = evidence.manifest.fingerprint("train")
    if evidence.folds.fingerprint == now:
        return []
    gone = sorted(set(evidence.folds.ids) - set(evidence.manifest.train["id"]))
    come = sorted(set(evidence.manifest.train["id"]) - set(evidence.folds.ids))
    message = f"the folds were made for other train rows: {len(come)} came, {len(gone)} went, or labels or groups changed"
    remedy = (
        f"remove folds/{evidence.competition.slug}/ to make them again (earlier runs then no longer compare)"
    )
    return [finding("stale-folds", "error", [*come, *gone], message, remedy)]
