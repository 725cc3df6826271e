"""The smoke dial: what ``--quick`` changes."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from comp.data.folds import Folds
from comp.data.manifest import Manifest
from comp.recipe import Recipe, as_one

ROWS_PER_CLASS_AND_FOLD = 4


def quick_recipe(recipe: Recipe) -> Recipe:
    """The recipe with one epoch for each of its models, in its last stage where it has several."""

    def shorter(one: Recipe) -> Recipe:
        stages = None if one.stages is None else [one.stages[-1].model_copy(update={"epochs": 1})]
        return one.model_copy(update={"epochs": 1, "stages": stages})

    return as_one([shorter(one) for one in recipe.each])


def quick_rows(manifest: Manifest, folds: Folds) -> Manifest:
    """The manifest with a few train rows of each class and fold, and every test row.

    Rows are chosen by SHA-256 of their id, so that the choice does not depend on their order.
    """
    train = manifest.train
    picked = train.assign(
        fold=folds.of(train["id"]),
        key=[hashlib.sha256(i.encode("utf-8", "surrogatepass")).hexdigest() for i in train["id"]],
    )
    few = set(picked.sort_values("key").groupby(["label", "fold"]).head(ROWS_PER_CLASS_AND_FOLD)["id"])
    table = manifest.table
    kept = table[(table["split"] == "test") | table["id"].isin(few)].reset_index(drop=True)
    return replace(manifest, table=kept)
