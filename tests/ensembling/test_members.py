"""The folds that a blend of parts with other folds is learned in."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from comp.data.folds import make_folds
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest, Sample
from comp.data.predictions import Predictions
from comp.data.task import Task
from comp.ensembling.members import Member, nested_folds
from comp.runs.run import Run


def test_new_folds_of_a_blend_are_dealt_by_its_task() -> None:
    """Numbers by their tenths, as a run's; by each number as a class of its own they would be dealt as they come."""
    rng = np.random.default_rng(0)
    values = rng.permutation(100).astype(float)
    manifest = Manifest.from_samples(
        Sample(f"s{n:02}", f"{n}.png", "train", repr(v)) for n, v in enumerate(values.tolist())
    )
    labels = LabelMap(("y",), Task("regression", (0.0,), (99.0,)))
    ids = tuple(manifest.train["id"])
    oof = Predictions(ids, labels, values[:, None])
    none = Predictions((), labels, np.zeros((0, 1)))

    def part(seed: int) -> Member:
        folds = make_folds(manifest, 5, seed, task=labels.task)
        return Member(f"part {seed}", Run(Path(), {}, {}), oof, none, manifest, folds)

    made = nested_folds([part(1), part(2)], manifest)
    for low in range(0, 100, 10):
        there = (values >= low) & (values < low + 10)
        assert np.bincount(made.fold[there], minlength=5).tolist() == [2] * 5
