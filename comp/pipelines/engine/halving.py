"""Which of many backbones are probed on all rows: successive halving on growing samples of the rows.

After Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization" (2016): each round halves the
backbones and doubles the rows, so that every round costs the same and most of the time goes to those that may win.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from comp.data.predictions import mean_loss
from comp.training.head_trial import solved_fold
from comp.training.linear_probe import frozen_features
from comp.training.plan import TrainPlan, rows_of_fold

LEAST = 4  # backbones from which on it pays
FIRST_ROWS, A_CLASS = 256, 4  # rows of the first sample, and at least so many a class
LARGEST_SHARE = 0.5  # of the rows: a sample that is larger is hardly cheaper than all


def sample_sizes(rows: int, classes: int, backbones: int) -> list[int]:
    """The rows of each round; none where halving does not pay: for few backbones, or few rows."""
    sizes: list[int] = []
    size = max(FIRST_ROWS, A_CLASS * classes)
    while backbones >= LEAST and size <= LARGEST_SHARE * rows:
        sizes.append(size)
        backbones, size = -(-backbones // 2), size * 2
    return sizes


def halve(
    names: Sequence[str], sizes: Sequence[int], loss: Callable[[str, int], float | None]
) -> dict[str, str]:
    """The names that fall behind, each with why in words; ``loss`` of a name on so many rows is None where there is none, and
    such a name stays: its full probe says what is wrong with it.
    """
    behind: dict[str, str] = {}
    left = list(names)
    for size in sizes:
        found = {name: loss(name, size) for name in left}
        known = sorted((value, name) for name, value in found.items() if value is not None)
        keep = -(-len(left) // 2) - (len(left) - len(known))
        for value, name in known[max(1, keep) :]:
            best, first = known[0]
            behind[name] = f"log loss {value:.3f} on {size:,} rows, where {first} has {best:.3f}"
        left = [name for name in left if name not in behind]
    return behind


def loss_on_sample(plan: TrainPlan, size: int) -> float:
    """The log loss (nats) of a probe's classifiers on the held-out rows of a sample of ``size`` rows, each by the fold that holds it out.

    The rows are the same for every plan on the same data: by their ids, and as evenly of the classes as these allow.
    """
    table = plan.manifest.train
    chosen = _evenly(list(table["id"]), list(table["label"]), size)
    some = table.iloc[chosen].reset_index(drop=True)
    small = replace(plan, manifest=replace(plan.manifest, table=some), features=None, pseudo=None)
    features = frozen_features(small)
    parts = {k: rows_of_fold(small, k) for k in range(plan.folds.k)}
    parts = {k: part for k, part in parts.items() if len(part.held_out) and len(part.fitted)}
    answers = [solved_fold(small, k, part, features).oof.probs for k, part in parts.items()]
    truth = np.concatenate([part.targets[part.held_out] for part in parts.values()])
    return mean_loss(np.concatenate(answers), truth, plan.labels)


def _evenly(ids: Sequence[str], labels: Sequence[str], size: int) -> NDArray[np.int64]:
    """The places of ``size`` rows: one of each class in turn, those of a class in the order of their ids' hashes."""
    order = sorted(
        range(len(ids)), key=lambda n: hashlib.sha256(ids[n].encode("utf-8", "surrogatepass")).digest()
    )
    seen: dict[str, int] = {}
    turn = []
    for n in order:
        turn.append(seen.get(labels[n], 0))
        seen[labels[n]] = turn[-1] + 1
    ranked = [order[place] for place in np.argsort(turn, kind="stable")]
    return np.sort(np.array(ranked[:size], dtype=np.int64))
