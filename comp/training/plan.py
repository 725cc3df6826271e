"""What a fold is trained by (rows, recipe, images, weights), and what the folds of a run came to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from comp.data.folds import Folds, folds_sha256
from comp.data.images.preprocess import Preprocess
from comp.data.images.source import ImageSource
from comp.data.labels import LabelMap
from comp.data.manifest import TRAINING, Manifest, feature_columns, soft_columns
from comp.data.open_set import corrected
from comp.data.predictions import Predictions, average, join
from comp.data.pseudo_labels import PseudoLabels
from comp.data.several_images import by_image, has_several, image_folds, pooled, row_names
from comp.errors import InputError, TrainingFailed
from comp.events import ALL_ROWS
from comp.files import write_text
from comp.inference.predict import chosen
from comp.metrics import Metric
from comp.models.net import OwnModels
from comp.models.weights import StateDict
from comp.recipe import Recipe, as_one, load
from comp.runs.contents import fitted_beside
from comp.training.teacher import Teacher
from comp.training.time_limit import Deadline, OutOfTime
from comp.training.warm_start import WarmStart
from comp.uncertainty import calibration_summary

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class TrainPlan:
    """What all folds of a run share; ``recipe`` is resolved, nothing in it is left open.

    ``weights`` are what every fold starts from; with ``warm`` each has its own. ``deadline`` says when training has
    to stop, if ever. ``decoded`` gives what ``source`` gives, decoded once; ``features`` is
    where those of frozen backbones are kept. ``sets`` are the sets of views to choose among, by name, where the recipe
    leaves the choice open; ``pseudo`` are test rows with labels, for each fold its own. ``own_models`` is the
    competition's models.py where ``recipe`` names a model of it, ``teacher`` the earlier run that folds learn from. With ``refit`` there are no folds to train but one
    network on every labelled row, which has the number K; ``folds`` are those of the run that it is a refit of. ``node`` is what the machine
    that trains is called, where that is not its own name. ``manifest`` and ``folds`` are by row; where rows have several
    images these are trained on and predicted one by one, and ``pool`` says what they come to.

    A plan can be pickled, and trains the same in the process that it is pickled to as far as that sees the same files.
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
    own_models: OwnModels | None = None
    refit: bool = False
    teacher: Teacher | None = None
    node: str = ""
    pool: str = "mean"

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of what is trained: 0 … K-1 the folds, or K alone the refit, which holds out no row."""
        return (self.folds.k,) if self.refit else range(self.folds.k)

    def name(self, k: int) -> str:
        """What number k is called."""
        return ALL_ROWS if self.refit else f"fold {k}"

    @property
    def summary(self) -> str:
        """What will be trained, in a line."""
        recipe, parts = self.recipe, ALL_ROWS if self.refit else f"{self.folds.k} folds"
        return f"{recipe.mode} {recipe.model.name}, {parts}, on {recipe.device} in {recipe.precision}"

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
        run that made its pseudo-labels, or that it learns from.
        """
        own = self.recipe.checkpoint == "best" or self.recipe.stop is not None or self.recipe.chooses_views
        taught = self.teacher is not None and self.teacher.selected
        return own or taught or (self.pseudo is not None and self.pseudo.selected)

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
        """Where training reads its images."""
        return self.decoded or self.source

    @cached_property
    def by_image(self) -> Manifest:
        """The manifest with a line for each image: itself where rows have one."""
        return by_image(self.manifest)

    @cached_property
    def image_folds(self) -> Folds:
        """The folds of the images."""
        return image_folds(self.folds, self.by_image, self.manifest)

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
        left_open = dict.fromkeys(("threads", "jobs", "processes", "channels_last", "compile", "fold_norms"))
        recipe = recipe.model_copy(update={**left_open, "accumulate": 1})
        pseudo = self.pseudo.of(k) if self.pseudo is not None else {}
        facts = (
            self.slug,
            k,
            recipe.to_toml(),
            self.folds.fingerprint,
            folds_sha256(self.folds),
            sorted(pseudo.items()),
            *([ALL_ROWS] if self.refit else []),
            *([sorted(self.manifest.corrections.items())] if self.manifest.corrections else []),
            *([self.pool] if has_several(self.manifest) else []),
            *(
                [self.manifest.train[beside].to_csv()]
                if (beside := feature_columns(self.manifest.table))
                else []
            ),
            *([self.manifest.fingerprint("extra")] if soft_columns(self.manifest.table) else []),
        )
        return hashlib.sha256(repr(facts).encode("utf-8", "backslashreplace")).hexdigest()

    def in_folder(self, folder: Path) -> TrainPlan:
        return replace(self, folder=folder)

    def fold_folder(self, k: int) -> Path:
        return self.folder / f"fold-{k}"


@dataclass(frozen=True)
class FoldRows:
    """The rows of one fold: ``table`` holds train and extra rows, ``targets`` (N,) or (N, D) their truth,
    ``fitted`` and ``held_out`` are row numbers of it. A refit fits them all, and ``held_out`` are those of them that become its control
    rows: nothing is judged by them. With copies, ``origin`` (N,) is the row whose image a row shows,
    and ``copy_seed`` (N,) the seed of its change, 0 for an image as it is.

    ``shares`` (N, D) are what rows are to be answered with where some have probabilities, ``weight`` (N,) what their loss is
    multiplied by where some have one, ``teacher`` (N, D) what a teacher answers, at the recipe's temperature.
    """

    table: pd.DataFrame
    targets: NDArray[Any]
    fitted: Rows
    held_out: Rows
    origin: Rows | None = None
    copy_seed: Rows | None = None
    shares: NDArray[np.float32] | None = None
    weight: NDArray[np.float32] | None = None
    teacher: NDArray[np.float32] | None = None

    @property
    def soft(self) -> dict[str, NDArray[np.float32]]:
        """Those of ``shares``, ``weight`` and ``teacher`` that there are, by name."""
        every = {"shares": self.shares, "weight": self.weight, "teacher": self.teacher}
        return {name: known for name, known in every.items() if known is not None}

    @property
    def is_plain(self) -> bool:
        """Whether rows are told by their labels alone, each as much as any other."""
        return not self.soft

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
    their group. Of the pseudo-labelled rows there are those alone that fold k's own models labelled. Only a plan that says that it is a
    refit has a number k that no row is held out by.
    """
    if k not in plan.numbers:
        raise ValueError(f"{k} is not one of {list(plan.numbers)}, which this plan trains")
    table = pd.concat([plan.by_image.train, plan.by_image.extra], ignore_index=True)
    if plan.pseudo is not None:
        table = pd.concat([table, plan.pseudo_table(plan.pseudo.of(k))], ignore_index=True)
    n = len(plan.by_image.train)
    fold = np.concatenate([plan.image_folds.of(plan.by_image.train["id"]), np.full(len(table) - n, -1)])
    if TRAINING in table:  # rows that are held out are scored by the label that they came with
        wanted = table[TRAINING].where(fold != k, table["label"])
        table = table.assign(label=wanted.where(wanted.notna(), table["label"]))
    targets = plan.labels.encode(table["label"])
    held_out = np.flatnonzero(fold == k)
    related = set(table["group"].iloc[held_out]) - {""}
    apart = (fold == -1) & table["group"].isin(related).to_numpy()  # they would tell what is held out
    if plan.refit:
        held_out = np.sort(np.array(chosen(list(plan.by_image.train["id"])), dtype=np.int64))
    if plan.labels.task.unknown:  # what it stands for is no class that could be learned
        apart |= targets == plan.labels.index(plan.labels.task.unknown)
    part = FoldRows(table, targets, np.flatnonzero((fold != k) & ~apart), held_out)
    return _with_soft(part, plan.labels) if soft_columns(table) else part


def answered_rows(
    plan: TrainPlan, part: FoldRows, probs: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The truth and predictions (N, D) of a fold's held-out rows, by the predictions (M, D) of its held-out images."""
    targets = part.targets[part.held_out]
    if not has_several(plan.manifest):
        return targets, probs
    names = row_names(part.table.iloc[part.held_out])
    rows, found = pooled(probs, names, plan.pool, plan.labels)
    place = {name: n for n, name in reversed(list(enumerate(names)))}
    return targets[[place[name] for name in rows]], found


def unseen_classes(plan: TrainPlan, part: FoldRows) -> tuple[str, ...]:
    """The classes without a row that the fold fits, where there is one for what is unknown; without that class itself."""
    unknown = plan.labels.task.unknown
    if not unknown:
        return ()
    seen = set(part.targets[part.fitted].tolist())
    return tuple(name for n, name in enumerate(plan.labels.names) if n not in seen and name != unknown)


def _with_soft(part: FoldRows, labels: LabelMap) -> FoldRows:
    """A fold's rows with the probabilities and weights that extra rows have."""
    from comp.data import soft_rows

    table = part.table.assign(**{name: part.table[name].fillna("") for name in soft_columns(part.table)})
    shares = soft_rows.shares(table, part.targets, labels)
    return replace(part, shares=shares, weight=soft_rows.weights(table))


@dataclass(frozen=True)
class TrainedModels:
    """The finished folds of every model of a run.

    ``plans`` and ``results`` are by model; a fold's OOF rows are the mean over the models that have it, as the test
    rows are the mean over all. ``folder`` is the run's.
    """

    folder: Path
    plans: list[TrainPlan]
    results: list[list[FoldResult]]
    failures: list[Exception] = field(default_factory=list)

    @property
    def folds(self) -> list[int]:
        """The folds that some model has finished."""
        return sorted({one.fold for results in self.results for one in results})

    @property
    def folders(self) -> list[Path]:
        """The folders of all finished folds."""
        pairs = zip(self.plans, self.results, strict=True)
        return [plan.fold_folder(one.fold) for plan, results in pairs for one in results]

    @property
    def by_source(self) -> list[tuple[ImageSource, list[Path]]]:
        """The same by where their models read images: one of many pixels reads the files, others the store."""
        found: list[tuple[ImageSource, list[Path]]] = []
        for plan, results in zip(self.plans, self.results, strict=True):
            own = [plan.fold_folder(one.fold) for one in results]
            same = next((folders for images, folders in found if images is plan.images), None)
            if same is None:
                found.append((plan.images, own))
            else:
                same += own
        return [(images, folders) for images, folders in found if folders]

    @property
    def is_whole(self) -> bool:
        """Whether every model has every fold, or its refit."""
        return all(len(r) == len(p.numbers) for p, r in zip(self.plans, self.results, strict=True))

    @cached_property
    def oof(self) -> Predictions:
        """The OOF rows of the finished folds, in the manifest's order."""
        return self._joined(lambda one: one.oof)

    def beside(self) -> dict[str, Predictions]:
        """The same rows judged otherwise, by name (see ``FoldResult``), where every fold has it."""
        every = [one for results in self.results for one in results]
        names = [name for name in every[0].beside if all(name in one.beside for one in every)]
        return {name: self.joined(lambda one, name=name: one.beside[name]) for name in names}  # type: ignore[misc]

    def joined(self, of: Callable[[FoldResult], Predictions]) -> Predictions:
        """What ``of`` takes from each fold, of all finished folds, in the manifest's order."""
        if all(of(one) is one.oof for results in self.results for one in results):
            return self.oof
        return self._joined(of)

    def _joined(self, of: Callable[[FoldResult], Predictions]) -> Predictions:
        parts = [self._fold(k, of) for k in self.folds]
        ids = list(self.plans[0].judged_by(self.folds)["id"])
        count = sum(map(len, parts))
        if count != len(ids):
            value = f"{count} rows are predicted, {len(ids)} are held out by folds {self.folds}"
            remedy = "remove the result.json of the fold that is wrong: it is trained again"
            raise InputError("each held-out row is predicted once", value, remedy)
        return join(parts, ids)

    def _fold(self, k: int, of: Callable[[FoldResult], Predictions]) -> Predictions:
        return average([of(one) for results in self.results for one in results if one.fold == k])

    def score(self, predictions: Predictions) -> float:
        """The metric over these rows, pooled."""
        return self.plans[0].metric(self.truth(predictions), predictions.probs)

    def truth(self, predictions: Predictions) -> NDArray[Any]:
        """The truth of predicted train rows, (N,) or (N, D)."""
        plan = self.plans[0]
        return plan.labels.encode(plan.manifest.train.set_index("id").loc[list(predictions.ids)]["label"])

    def corrected_score(self, predictions: Predictions) -> float | None:
        """The metric over these rows by the labels that they train with; None where none was corrected."""
        plan = self.plans[0]
        if not (plan.manifest.corrections and corrected(plan.manifest, plan.labels)):
            return None
        cells = plan.manifest.train.set_index("id").loc[list(predictions.ids)][TRAINING]
        return plan.metric(plan.labels.encode(cells), predictions.probs)

    def calibration(self, predictions: Predictions) -> dict[str, float]:
        """What a temperature would do to these rows: calibration error and log loss, before and after.

        Of one fold alone it is not known: a fold's temperature is fitted on the others.
        """
        if len(self.folds) < 2 or not self.plans[0].labels.task.is_single_label:
            return {}
        fold = self.plans[0].folds.by_id
        folds = np.array([fold[i] for i in predictions.ids])
        return calibration_summary(predictions.probs, self.truth(predictions), folds, self.plans[0].metric)

    def per_fold(self, oof: Predictions | None = None) -> list[float]:
        """The metric of each finished fold; of ``oof``, all their rows, where they were moved since."""
        parts = [self._fold(k, lambda one: one.oof) for k in self.folds]
        return [self.score(part if oof is None else oof.select(part.ids)) for part in parts]

    def by_model(self) -> list[dict[str, Any]]:
        """The score of each model alone."""
        found = []
        for plan, results in zip(self.plans, self.results, strict=True):
            if results:
                alone = TrainedModels(self.folder, [plan], [results])
                score = self.score(alone.oof)
                found.append({"model": plan.recipe.model.name, "score": score, "per_fold": alone.per_fold()})
        return found


def remember_parts(trained: TrainedModels) -> None:
    """Writes into the run's recipe in how many parts memory let batches be computed."""
    path = trained.folder / "recipe.toml"
    before = load(path).each  # not the plans', which another machine may have made its own
    after = [
        one.model_copy(update={"accumulate": max([one.accumulate, *(r.accumulate for r in results)])})
        for one, results in zip(before, trained.results, strict=True)
    ]
    if any(new.accumulate != old.accumulate for new, old in zip(after, before, strict=True)):
        header = [line[2:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
        write_text(path, as_one(after).to_toml("\n".join(header)))


def require_something(trained: TrainedModels) -> None:
    """Refuses to go on without any finished fold, and says of failed ones what is kept.

    Raises
    ------
    OutOfTime, TrainingFailed
    """
    out_of_time: Sequence[Exception] = [f for f in trained.failures if isinstance(f, OutOfTime)]
    failed = [f for f in trained.failures if isinstance(f, TrainingFailed)]
    if failed:
        if not trained.folders:
            raise failed[0]
        value = f"{failed[0].value}; {len(trained.folders)} finished folds are kept"
        remedy = f"`comp predict {trained.folder.name} --partial` asks those; {failed[0].remedy}"
        raise TrainingFailed(failed[0].rule, value, remedy)
    if out_of_time and not trained.folders:
        raise out_of_time[0]


def needs_features(plan: TrainPlan) -> bool:
    """Whether folds begin with a classifier solved on frozen features: always in probe, by ``head_start`` in finetune."""
    return plan.recipe.mode == "probe" or (
        plan.recipe.mode == "finetune"
        and plan.recipe.head_start
        and plan.recipe.model.head.hidden is None  # only a linear classifier has a solution
        and plan.weights is not None
    )
