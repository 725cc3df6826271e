"""Made-up predictions for the tests of blends: parts that are right to a known degree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from comp.data.folds import Folds
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest, Sample
from comp.data.predictions import Predictions
from comp.data.task import Task
from comp.ensembling.aligned import LabelledPredictions, judged
from comp.files import write_json, write_text
from comp.metrics import Metric, metric_by_name

LABELS = LabelMap(("circle", "cross", "square"))


def truth_of(count: int, seed: int = 0, shares: Sequence[float] = (1 / 3, 1 / 3, 1 / 3)) -> dict[str, int]:
    """Class indices by id of so many rows."""
    drawn = np.random.default_rng(seed).choice(3, count, p=list(shares))
    return {f"r{n:03}": int(c) for n, c in enumerate(drawn)}


def guesses(truth: dict[str, int], skill: float, seed: int, sharpness: float = 1.0) -> Predictions:
    """Predictions whose logits are ``skill`` for the true class plus noise, times ``sharpness``."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(truth), 3)) + skill * np.eye(3)[list(truth.values())]
    odds = np.exp(sharpness * logits)
    return Predictions(tuple(truth), LABELS, odds / odds.sum(axis=1, keepdims=True))


def in_folds(ids: Sequence[str], k: int = 4) -> dict[str, int]:
    """Folds by id, in turn."""
    return {name: n % k for n, name in enumerate(sorted(ids))}


def rows_of(parts: dict[str, Predictions], truth: dict[str, int], k: int = 4) -> LabelledPredictions:
    """The judged rows of parts, each row a group of its own."""
    return judged(parts, truth, in_folds(list(truth), k), {name: name for name in truth})


def shuffled(found: Predictions, seed: int) -> Predictions:
    """The same predictions with their rows in another order."""
    order = np.random.default_rng(seed).permutation(len(found))
    return Predictions(
        tuple(found.ids[n] for n in order), found.labels, found.probs[order], found.fingerprint
    )


def by_id(ids: Sequence[str], probs: np.ndarray) -> dict[str, tuple[float, ...]]:
    """The answers by id."""
    return {name: tuple(row) for name, row in zip(ids, probs.tolist(), strict=True)}


SEVERAL = LabelMap(("a", "b", "c"), Task("multi-label"))
SCALE = LabelMap(("0", "1", "2", "3"), Task("ordinal"))
NUMBERS = LabelMap(("x", "y"), Task("regression", (0.0, -5.0), (10.0, 5.0)))
METRIC = {"multi-label": "log_loss", "ordinal": "rmse", "regression": "rmse"}


def task_metric(labels: LabelMap) -> Metric:
    return metric_by_name(METRIC[labels.task.name], task=labels.task.name)


def task_rows_of(labels: LabelMap, count: int = 120) -> LabelledPredictions:
    """Judged rows of a good and a poor part."""
    rng = np.random.default_rng(0)
    ids = tuple(f"r{n:03}" for n in range(count))
    shares = rng.random((count, labels.width))
    truth = (shares > 0.6).astype(np.float64) if labels is SEVERAL else labels.unscaled(shares)
    if labels is SCALE:
        truth = np.round(truth)

    def part(noise: float, seed: int) -> Predictions:
        drawn = np.random.default_rng(seed).normal(0, noise, (count, labels.width))
        return Predictions(
            ids, labels, labels.unscaled(np.clip(0.1 + 0.8 * labels.scaled(truth) + drawn, 0, 1))
        )

    rows = truth if labels is not SCALE else truth[:, 0].astype(np.int64)
    by_id = dict(zip(ids, rows, strict=True))
    fold = {name: n % 4 for n, name in enumerate(ids)}
    parts = {"good": part(0.1, 1), "poor": part(0.5, 2)}
    return judged(parts, by_id, fold, {name: name for name in ids})  # type: ignore[arg-type]


def write_run(
    workspace: Path,
    name: str,
    skill: float,
    *,
    seed: int = 0,
    k: int = 3,
    fold_seed: int = 0,
    groups: dict[str, str] | None = None,
    folds: dict[str, int] | None = None,
    count: int = 90,
    tests: int = 12,
    sharpness: float = 1.0,
    mode: str = "probe",
) -> Path:
    """A finished run of the made-up competition ``shapes`` with nothing but what a part of a blend needs."""
    truth, unseen = truth_of(count, 7), truth_of(tests, 8)
    groups = groups or {}
    samples = [
        Sample(i, f"train/{i}.png", "train", LABELS.names[c], groups.get(i, "")) for i, c in truth.items()
    ]
    samples += [Sample(f"t{n}", f"test/t{n}.png", "test") for n in range(tests)]
    manifest = Manifest.from_samples(samples)
    dealt = folds or {i: (n + fold_seed * (n // k)) % k for n, i in enumerate(truth)}
    folder = workspace / "runs" / name
    made = Folds(
        tuple(dealt),
        np.array(list(dealt.values()), dtype=np.int64),
        max(dealt.values()) + 1,
        fold_seed,
        manifest.fingerprint("train"),
    )
    oof = guesses(truth, skill, seed, sharpness)
    answers = guesses({f"t{n}": c for n, c in enumerate(unseen.values())}, skill, seed + 1, sharpness)
    Predictions(oof.ids, LABELS, oof.probs, made.fingerprint).save(folder / "oof.npz")
    Predictions(answers.ids, LABELS, answers.probs, manifest.fingerprint("test")).save(folder / "test.npz")
    write_text(folder / "manifest.csv", manifest.to_csv())
    made.save(folder / "folds.csv")
    started = {"slug": "shapes", "raw": str(workspace / "data" / "shapes"), "folds": made.k, "marks": []}
    write_json(folder / "started.json", {**started, "mode": mode, "model": name, "metric": "accuracy"})
    write_json(folder / "record.json", {"run": name, "metric": "accuracy", "oof": {"score": 0.5}})
    return folder
