"""The smoke dial: what ``--quick`` changes."""

from __future__ import annotations

import hashlib

from comp.folds import Folds
from comp.manifest import Manifest

QUICK_OVERRIDES = ("epochs=1",)
ROWS_PER_CLASS_AND_FOLD = 4


def quick_rows(manifest: Manifest, folds: Folds) -> Manifest:
    """The manifest with a few train rows of each class and fold, and every test row.

    Rows are chosen by SHA-256 of their id, so that the choice does not depend on their order.
    """
    train = manifest.train
    picked = train.assign(
        fold=folds.of(train["id"]), key=[hashlib.sha256(i.encode()).hexdigest() for i in train["id"]]
    )
    few = set(picked.sort_values("key").groupby(["label", "fold"]).head(ROWS_PER_CLASS_AND_FOLD)["id"])
    table = manifest.table
    kept = table[(table["split"] == "test") | table["id"].isin(few)].reset_index(drop=True)
    return Manifest(kept, manifest.notes)
