"""What a fold is trained by: its rows, its recipe, its images and the weights that it begins with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from comp.data.folds import Folds
from comp.data.images.preprocess import Preprocess
from comp.data.images.source import ImageSource
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest
from comp.data.predictions import Predictions
from comp.data.pseudo_labels import PseudoLabels, folds_sha256
from comp.metrics import Metric
from comp.models.weights import StateDict
from comp.recipe import Recipe
from comp.runs.contents import fitted_beside
from comp.training.time_limit import Deadline
from comp.training.warm_start import WarmStart

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class TrainPlan:
    """What all folds of a run share; ``recipe`` is resolved, nothing in it is left open.

    ``weights`` are what every fold starts from; with ``warm`` each has its own. ``deadline`` says when training has
    to stop, if ever. ``decoded`` gives what ``source`` gives, decoded once; ``features`` is
    where those of frozen backbones are kept. ``sets`` are the sets of views to choose among, by name, where the recipe
    leaves the choice open; ``pseudo`` are test rows with labels, for each fold its own.
    """

    slug: str
    recipe: Recipe
    preprocess: Preprocess
    weights: StateDict | None
    manifest: Manifest
    labels: LabelMap
    folds: Folds
    metric: Metric
    source: ImageSource
    folder: Path
    deadline: Deadline | None = None
    warm: WarmStart | None = None
    decoded: ImageSource | None = None
    features: Path | None = None
    sets: dict[str, list[str]] = field(default_factory=dict)
    pseudo: PseudoLabels | None = None

    @property
    def summary(self) -> str:
        """What will be trained, in a line."""
        recipe = self.recipe
        return f"{recipe.mode} {recipe.model.name}, {self.folds.k} folds, on {recipe.device} in {recipe.precision}"

    @property
    def views(self) -> list[str]:
        """Every view that held-out rows are seen under: identity, the recipe's, and those to choose among."""
        wanted = [view for views in (self.recipe.views, *self.sets.values()) for view in views]
        return list(dict.fromkeys(["identity", *wanted]))

    @property
    def most_views(self) -> int:
        """How many views each test row is predicted by, at most."""
        return max(map(len, [self.recipe.views, *self.sets.values()]))

    @property
    def selects(self) -> bool:
        """Whether anything of a model is chosen by the rows that it is scored on: epochs, views, or those of the
        run that made its pseudo-labels.
        """
        own = self.recipe.checkpoint == "best" or self.recipe.stop is not None or self.recipe.chooses_views
        return own or (self.pseudo is not None and self.pseudo.selected)

    @property
    def solved_views(self) -> list[str]:
        """The views whose features a probe's classifier is solved on: the recipe's, or those of every day where a
        set is still to be chosen.
        """
        return ["identity", "hflip"] if self.sets else self.views

    @property
    def fit_views(self) -> list[str]:
        """The views that a probe's classifier is solved on; none in other modes, which have transforms."""
        return self.solved_views if self.recipe.mode == "probe" else []

    @property
    def images(self) -> ImageSource:
        """Where training reads its pictures."""
        return self.decoded or self.source

    def weights_of(self, k: int) -> StateDict | None:
        """What fold k starts from; None: random weights."""
        return self.weights if self.warm is None else self.warm.weights(k, self.labels)

    def fitted_before(self, k: int) -> set[str]:
        """The contents of the rows that what fold k starts from was fitted on, as far as they are known."""
        if self.warm is not None:
            return self.warm.fitted(k)
        return fitted_beside(Path(self.recipe.model.weights)) if self.weights is not None else set()

    def pseudo_table(self, labels: dict[str, str]) -> pd.DataFrame:
        """Test rows with the labels given by their ids, under ids that no other row has."""
        mark = "pseudo:"
        while any(i.startswith(mark) for i in self.manifest.table["id"]):
            mark = f"~{mark}"
        rows = self.manifest.test.set_index("id", drop=False).loc[list(labels)]
        named = {"id": [f"{mark}{i}" for i in labels], "label": list(labels.values()), "split": "pseudo"}
        return rows.assign(**named, group="", parent="").reset_index(drop=True)

    def judged_by(self, folds: Sequence[int]) -> pd.DataFrame:
        """The train rows that these folds hold out."""
        train = self.manifest.train
        return train[np.isin(self.folds.of(train["id"]), folds)]

    def key(self, k: int) -> str:
        """SHA-256 of what decides the training of fold k: recipe, rows, folds and pseudo-labels, and not how a machine
        computes it.
        """
        recipe = self.recipe.model_copy(update=dict.fromkeys(("device", "precision"), "auto"))
        left_open = dict.fromkeys(("threads", "jobs", "channels_last", "compile", "fold_norms"))
        recipe = recipe.model_copy(update={**left_open, "accumulate": 1})
        pseudo = self.pseudo.of(k) if self.pseudo is not None else {}
        facts = (
            self.slug,
            k,
            recipe.to_toml(),
            self.folds.fingerprint,
            folds_sha256(self.folds),
            sorted(pseudo.items()),
        )
        return hashlib.sha256(repr(facts).encode("utf-8", "backslashreplace")).hexdigest()

    def in_folder(self, folder: Path) -> TrainPlan:
        return replace(self, folder=folder)

    def fold_folder(self, k: int) -> Path:
        return self.folder / f"fold-{k}"


@dataclass(frozen=True)
class FoldRows:
    """The rows of one fold: ``table`` holds train and extra rows, ``targets`` (N,) their class indices,
    ``fitted`` and ``held_out`` are row numbers of it. With copies, ``origin`` (N,) is the row whose picture a row shows,
    and ``copy_seed`` (N,) the seed of its change, 0 for a picture as it is.
    """

    table: pd.DataFrame
    targets: Rows
    fitted: Rows
    held_out: Rows
    origin: Rows | None = None
    copy_seed: Rows | None = None

    @property
    def origin_of_all(self) -> Rows:
        """``origin``, also where there are no copies."""
        return np.arange(len(self.table)) if self.origin is None else self.origin


@dataclass(frozen=True)
class FoldResult:
    """A finished fold: its score on its held-out rows, from the checkpoint and the views of the submission.

    ``beside`` are the same rows judged otherwise: "identity_view" without views, "plain_fit" by a probe's classifier
    that was solved without them too, "plain_weights" without the moving average, "last_epoch" by the last epoch's weights without views where the best epoch's were kept. ``sets`` are the
    rows under each set of views that may be chosen; until one is, ``oof`` is the identity view.
    ``accumulate`` is the number of parts that memory left a batch.
    """

    fold: int
    score: float
    identity_score: float
    rows: int
    seconds: float
    images_per_second: float
    oof: Predictions
    beside: dict[str, Predictions] = field(default_factory=dict)
    accumulate: int = 1
    sets: dict[str, Predictions] = field(default_factory=dict)


def rows_of_fold(plan: TrainPlan, k: int) -> FoldRows:
    """The rows that fold k fits on and those it holds out.

    Rows of fold -1, extra rows and pseudo-labelled ones only ever train, and not where the fold holds out a row of
    their group. Of the pseudo-labelled rows there are those alone that fold k's own models labelled.
    """
    table = pd.concat([plan.manifest.train, plan.manifest.extra], ignore_index=True)
    if plan.pseudo is not None:
        table = pd.concat([table, plan.pseudo_table(plan.pseudo.of(k))], ignore_index=True)
    n = len(plan.manifest.train)
    fold = np.concatenate([plan.folds.of(plan.manifest.train["id"]), np.full(len(table) - n, -1)])
    targets = plan.labels.encode(table["label"])
    held_out = np.flatnonzero(fold == k)
    kin = set(table["group"].iloc[held_out]) - {""}
    apart = (fold == -1) & table["group"].isin(kin).to_numpy()  # they would tell what is held out
    return FoldRows(table, targets, np.flatnonzero((fold != k) & ~apart), held_out)
