"""Runs that were never trained, as the page of a run sees them: rows, answers and epochs of any size and task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from comp.checks.label_errors import LikelyWrong
from comp.data.images.source import ArraySource
from comp.data.labels import LabelMap
from comp.data.task import SINGLE_LABEL, Task
from comp.metrics import metric_by_name
from comp.report.run_report.run_data import FoldEpochs, OofRows, OtherRun, RunData, TestRows

METRIC = {"single-label": "accuracy", "multi-label": "micro_f1", "ordinal": "accuracy", "regression": "rmse"}


def shares(values: np.ndarray) -> np.ndarray:
    """Softmax of values (N, C)."""
    each = np.exp(values)
    return np.asarray(each / each.sum(axis=1, keepdims=True))


def made_rows(
    classes: int = 3, rows: int = 60, task: Task = SINGLE_LABEL, names: Sequence[str] = (), seed: int = 0
) -> OofRows:
    """OOF rows that are right in most places, a few wrong, in three folds."""
    rng = np.random.default_rng(seed)
    labels = LabelMap(names or [f"class {n}" for n in range(classes)], task)
    wide = rng.normal(size=(rows, classes))
    truth: Any = rng.integers(0, classes, rows)
    truth[:classes] = np.arange(classes)
    if task.name == "single-label":
        wide[np.arange(rows), truth] += 2.5
        probs, cells = shares(wide), [labels.names[n] for n in truth]
    elif task.name == "ordinal":
        probs = np.clip(truth[:, None] + rng.normal(size=(rows, 1)) * 0.6, 0, classes - 1.0)
        cells = [labels.names[n] for n in truth]
    elif task.name == "multi-label":
        truth = (rng.random((rows, classes)) < 0.4).astype(np.float64)
        probs = np.clip(truth * 0.7 + 0.15 + rng.normal(size=wide.shape) * 0.25, 0, 1)
        cells = ["|".join(labels.names[c] for c in np.flatnonzero(row)) for row in truth]
    else:
        low, high = task.bounds(classes)
        truth = low + rng.random((rows, classes)) * (high - low)
        probs = np.clip(truth + rng.normal(size=wide.shape) * 0.1 * (high - low), low, high)
        cells = ["|".join(map(str, row)) for row in truth]
    ids = tuple(f"i{n}" for n in range(rows))
    paths = tuple(f"train#{n}" for n in range(rows))
    return OofRows(ids, paths, tuple(cells), truth, probs, probs, np.arange(rows) % 3, ids, labels)


def made_data(oof: OofRows | None = None, tests: int = 12, **changes: Any) -> RunData:
    """A run of these rows with images of noise, test rows and looks."""
    oof = made_rows() if oof is None else oof
    rng = np.random.default_rng(1)
    images = {"train": rng.integers(0, 256, (len(oof), 40, 40, 3), dtype=np.uint8)}
    images["test"] = rng.integers(0, 256, (max(tests, 1), 40, 40, 3), dtype=np.uint8)
    at = rng.integers(0, len(oof), tests)
    probs = oof.probs[at]
    test = TestRows(
        tuple(f"t{n}" for n in range(tests)),
        tuple(f"test#{n}" for n in range(tests)),
        probs,
        np.stack([probs, oof.probs[at[::-1]]]),
        oof.labels,
    )
    data = RunData(
        run="20260101-000000-abcd",
        slug="shapes",
        title="Shapes",
        record={"oof": {"score": 0.9, "per_fold": [0.9] * 3}, "seconds": {"train": 3.0}, "marks": []},
        started={"command": ["run", "shapes"], "started": "2026-01-01T00:00:00", "versions": {"comp": "1"}},
        metric=metric_by_name(METRIC[oof.labels.task.name], task=oof.labels.task.name),
        oof=oof,
        test=test if tests else None,
        folds=3,
        fold_scores={0: 0.9, 1: 0.8, 2: 0.85},
        epochs=[],
        recipe={"mode": "probe", "model": {"name": "resnet9", "size": 32}},
        findings=[],
        checks=["duplicate-id"],
        source=ArraySource(images),
        looks=np.array([(40 + n % 3, 40, n) for n in range(len(oof))], np.float64),
        training_shares=oof.labels.shares(oof.truth),
    )
    return replace(data, **changes)


def epochs_of(valid: Sequence[float], scores: Sequence[float], losses: Sequence[float] = ()) -> FoldEpochs:
    """A fold's history."""
    trained = losses or [1.0 / (n + 1) for n in range(len(valid))]
    rows: list[Mapping[str, float]] = [
        {"epoch": n + 1.0, "loss": loss, "valid_loss": v, "valid_metric": s, "lr": 0.1}
        for n, (loss, v, s) in enumerate(zip(trained, valid, scores, strict=True))
    ]
    return FoldEpochs(0, "", tuple(map(dict, rows)))


def other_run(oof: OofRows, noise: float = 0.3, **changes: Any) -> OtherRun:
    """Another run of the same rows, whose answers are a little different."""
    rng = np.random.default_rng(5)
    logits = np.log(np.maximum(oof.probs, 1e-9)) + rng.normal(size=oof.probs.shape) * noise
    run = OtherRun("20251231-000000-ffff", 0.85, "probe other", 3.0, True, (), (), shares(logits))
    return replace(run, **changes)


def doubts_of(score: np.ndarray, suspected: np.ndarray, suggested: np.ndarray) -> LikelyWrong:
    """Labels that are doubted, as the check has them."""
    return LikelyWrong(score, suspected, suggested, np.zeros((len(score), 1)))
