"""Whether mirrored or turned copies make classes alike: a quick classifier is solved with and without them.

Two classes that are mirror images of each other cannot be told apart by a network that trains on mirrored copies, and
no score of that network shows why. The quick classifier shows it before hours are spent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import from_numpy

from comp.data.augment.policies import Symmetry
from comp.data.images.decode import preview
from comp.data.images.pixel_cache import ImageDataset
from comp.inference.forward import view
from comp.training.patch_classifier import SIDE, Floats, Patches, held_out_answers

if TYPE_CHECKING:
    from comp.training.plan import TrainPlan


Ids = NDArray[np.int64]

ROWS, ROWS_AND_COPIES = 1000, 3000  # at most
UNDECODED_ROWS = 300  # where each image is decoded for this alone
LEAST_ROWS = 24
PARTS = 3
ERRORS = 3.0  # standard errors
ODDS = 1.25  # by which the odds of a wrong answer grow
PAIR_ERRORS, PAIR_SHARE = 4.0, 0.2


@dataclass(frozen=True)
class Cost:
    """What copies cost a quick classifier: its accuracy on ``rows`` held-out rows without and with them, and the
    standard error of the difference. ``lost`` rows were answered rightly without them alone; ``pair`` are the class
    indices that are confused more than any others, ``pair_lost`` how many rows more often than without copies, of the
    ``pair_rows`` that both classes have.
    """

    symmetry: Symmetry
    rows: int
    without: float
    with_copies: float
    error: float
    lost: int
    pair: tuple[int, int]
    pair_lost: int
    pair_changed: int
    pair_rows: int

    @property
    def is_harmful(self) -> bool:
        """Whether classes become alike: over all rows, or between two classes.

        Over all rows the cost must exceed three standard errors, and errors become more likely by a quarter: photographs
        lose a little by rare views, and networks gain from them what this classifier does not.
        """
        cost = self.without - self.with_copies
        half = 0.5 / self.rows  # nobody is always right
        odds = (1 - self.with_copies + half) / (self.with_copies + half)
        before = (1 - self.without + half) / (self.without + half)
        overall = cost > ERRORS * self.error and odds > ODDS * before
        return overall or self.is_pair

    @property
    def is_pair(self) -> bool:
        """Whether two classes are confused far more often with copies than without."""
        beyond = self.pair_lost > PAIR_ERRORS * np.sqrt(self.pair_changed)
        return bool(beyond and self.pair_lost > PAIR_SHARE * self.pair_rows)


def mirrored_costs(plan: TrainPlan, listed: Sequence[Symmetry]) -> list[Cost]:
    """What each mirroring or turning transform costs the images of a plan; empty where rows are few.

    Judged on at most 1,000 train rows as 32 x 32 pixels, taken and dealt by their contents, so that file names do not
    matter; a few seconds.
    """
    table = plan.by_image.train
    folds = plan.image_folds.of(table["id"])
    order = np.argsort(np.asarray(table["content"] if "content" in table else table["id"]), kind="stable")
    order = order[folds[order] >= 0][: ROWS if plan.decoded is not None else UNDECODED_ROWS]
    if len(order) < LEAST_ROWS:
        return []
    targets = plan.labels.encode(table["label"])[order]
    small = _small(plan, list(table["path"].iloc[order]))
    patches = Patches.learned(small)
    parts = folds[order] % PARTS if plan.folds.k >= PARTS else folds[order]
    return [_cost(one, small, patches, targets, parts) for one in listed]


def _cost(symmetry: Symmetry, small: Floats, patches: Patches, targets: Ids, parts: Ids) -> Cost:
    count = min(len(small), ROWS_AND_COPIES // (1 + len(symmetry.views)))
    small, targets, parts = small[:count], targets[:count], parts[:count]
    features = patches.features(small)
    copies = [patches.features(_viewed(small, name)) for name in symmetry.views]
    plain = held_out_answers(features, [], targets, parts)
    mirrored = held_out_answers(features, copies, targets, parts)
    return cost_of(symmetry, targets, plain, mirrored)


def cost_of(symmetry: Symmetry, targets: Ids, plain: Ids, mirrored: Ids) -> Cost:
    """The cost by the answers (N,) of a classifier without copies and of one with them."""
    better, worse = (plain == targets) & (mirrored != targets), (plain != targets) & (mirrored == targets)
    apart = better.astype(float) - worse
    pairs: dict[tuple[int, int], list[int]] = {}
    for rows, answers, sign in ((better, mirrored, 1), (worse, plain, -1)):
        for truth, answer in zip(targets[rows].tolist(), answers[rows].tolist(), strict=True):
            pairs.setdefault((min(truth, answer), max(truth, answer)), []).append(sign)
    pair = max(pairs, key=lambda one: (sum(pairs[one]), one), default=(0, 0))
    changes = pairs.get(pair, [])
    return Cost(
        symmetry,
        rows=len(targets),
        without=float((plain == targets).mean()),
        with_copies=float((mirrored == targets).mean()),
        error=float(apart.std() / np.sqrt(len(apart))),
        lost=int(better.sum()),
        pair=pair,
        pair_lost=sum(changes),
        pair_changed=len(changes),
        pair_rows=int(np.isin(targets, pair).sum()),
    )


def _small(plan: TrainPlan, paths: Sequence[str]) -> Floats:
    """Images as float32 (N, 32, 32, 3) from 0 to 1, the whole of each."""
    whole = replace(plan.preprocess, size=SIDE, fit="squash", crop_pct=1.0)
    pixels = ImageDataset(plan.images, paths, whole, budget=0)
    return np.stack([preview(pixels[row]) for row in range(len(paths))]).astype(np.float32) / np.float32(255)


def _viewed(small: Floats, name: str) -> Floats:
    """The images under a view."""
    batch = from_numpy(small).permute(0, 3, 1, 2)
    return np.ascontiguousarray(view(name, batch, SIDE).permute(0, 2, 3, 1).numpy(), dtype=np.float32)
