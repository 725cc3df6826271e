"""Whether mirrored or turned copies make classes alike: a quick classifier is solved with and without them.

Two classes that are mirror images of each other cannot be told apart by a network that trains on mirrored copies, and
no score of that network shows why. The quick classifier shows it before hours are spent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import from_numpy

from comp.data.augment.policies import check_transform
from comp.data.images.pixel_cache import ImageDataset
from comp.inference.tta import view
from comp.training.patch_classifier import SIDE, Floats, Patches, held_out_answers

if TYPE_CHECKING:
    from comp.training.plan import TrainPlan


OFTEN = 0.1  # of the images; a network learns what it sees less often as an exception
_HALF, _QUARTERS = "turn180", ("turn90", "turn180", "turn270")
_ALL = (*_QUARTERS, "hflip", *(f"{turn}-hflip" for turn in _QUARTERS))
_BY_NAME = {
    "HorizontalFlip": ("hflip",),
    "VerticalFlip": ("turn180-hflip",),
    "Transpose": ("turn90-hflip",),
    "RandomRotate90": _QUARTERS,
    "D4": _ALL,
    "SquareSymmetry": _ALL,
}


@dataclass(frozen=True)
class Symmetry:
    """A transform's name, and the views (as in docs/views.md) that it shows beside the image as it is."""

    name: str
    views: tuple[str, ...]


def symmetries(transforms: Sequence[Any]) -> list[Symmetry]:
    """What a list of albumentations mirrors or turns by 45° and more in at least a tenth of the images.

    Parts of OneOf, SomeOf and Sequential are looked into, each with its own chance.
    """
    return list(dict.fromkeys(_among(transforms, 1.0)))


def _among(transforms: Sequence[Any], chance: float) -> Iterator[Symmetry]:
    for one in transforms:
        often = chance * float(one.p)
        parts = [part for part in getattr(one, "transforms", ()) if hasattr(part, "p")]
        if parts:
            yield from _parts(one, parts, often)
        elif often >= OFTEN and (views := _views(one)):
            yield Symmetry(type(one).__name__, views)


def _parts(one: Any, parts: list[Any], chance: float) -> Iterator[Symmetry]:
    """The symmetries of a composition's parts, of which one, ``n``, or all are applied."""
    kind = type(one).__name__
    if kind in ("OneOf", "OneOrOther"):  # the chances of its parts are weights
        chance /= sum(float(part.p) for part in parts) or 1.0
    elif kind in ("SomeOf", "RandomOrder"):
        chance *= min(1.0, float(one.n) / max(1, len(parts)))
    return _among(parts, chance)


def _views(one: Any) -> tuple[str, ...]:
    """The views that one albumentation shows; none where it turns by less than 45°."""
    name = type(one).__name__
    if name in _BY_NAME:
        return _BY_NAME[name]
    limit = getattr(one, "rotate", None) if hasattr(one, "rotate") else getattr(one, "limit", None)
    if "Rotate" not in name and name not in ("Affine", "RandomAffine"):
        return ()
    if not isinstance(limit, tuple | list) or not all(isinstance(v, int | float) for v in limit):
        return ()
    furthest = max(abs(float(v)) for v in limit)
    if furthest < 45:
        return ()
    return _QUARTERS if furthest >= 135 else ("turn90", "turn270")


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


def mirrored_costs(plan: TrainPlan) -> list[Cost]:
    """What each mirroring or turning transform of a plan costs; empty where none does, or rows are few.

    Judged on at most 1,000 train rows as 32 x 32 pixels, taken and dealt by their contents, so that file names do not
    matter; a few seconds.
    """
    listed = symmetries(check_transform(plan.recipe.transform, plan.preprocess.size))
    table = plan.manifest.train
    folds = plan.folds.of(table["id"])
    order = np.argsort(np.asarray(table["content"] if "content" in table else table["id"]), kind="stable")
    order = order[folds[order] >= 0][: ROWS if plan.decoded is not None else UNDECODED_ROWS]
    if not listed or len(order) < LEAST_ROWS:
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
    return np.stack([pixels[row] for row in range(len(paths))]).astype(np.float32) / np.float32(255)


def _viewed(small: Floats, name: str) -> Floats:
    """The images under a view."""
    batch = from_numpy(small).permute(0, 3, 1, 2)
    return np.ascontiguousarray(view(name, batch, SIDE).permute(0, 2, 3, 1).numpy(), dtype=np.float32)
