"""What the models of a run came to: their folds, and their OOF predictions as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.data.images.source import ImageSource
from comp.data.predictions import Predictions, average, join
from comp.errors import InputError, TrainingFailed
from comp.files import write_text
from comp.metrics import confusion
from comp.recipe import as_one, load
from comp.training.plan import FoldResult, TrainPlan
from comp.training.time_limit import OutOfTime
from comp.uncertainty import calibration_summary


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
        """The same by where their models read pictures: one of many pixels reads the files, others the store."""
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
        """Whether every model has every fold."""
        return all(len(r) == p.folds.k for p, r in zip(self.plans, self.results, strict=True))

    @property
    def oof(self) -> Predictions:
        """The OOF rows of the finished folds, in the manifest's order."""
        return self.joined(lambda one: one.oof)

    def beside(self) -> dict[str, Predictions]:
        """The same rows judged otherwise, by name (see ``FoldResult``), where every fold has it."""
        every = [one for results in self.results for one in results]
        names = [name for name in every[0].beside if all(name in one.beside for one in every)]
        return {name: self.joined(lambda one, name=name: one.beside[name]) for name in names}  # type: ignore[misc]

    def joined(self, of: Callable[[FoldResult], Predictions]) -> Predictions:
        """What ``of`` takes from each fold, of all finished folds, in the manifest's order."""
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

    def confusion(self, predictions: Predictions) -> NDArray[np.int64]:
        """These rows by true class and answered class, (C, C)."""
        return confusion(self.truth(predictions), predictions.probs)

    def truth(self, predictions: Predictions) -> NDArray[np.int64]:
        """The class indices (N,) of predicted train rows."""
        plan = self.plans[0]
        return plan.labels.encode(plan.manifest.train.set_index("id").loc[list(predictions.ids)]["label"])

    def calibration(self, predictions: Predictions) -> dict[str, float]:
        """What a temperature would do to these rows: calibration error and log loss, before and after.

        Of one fold alone it is not known: a fold's temperature is fitted on the others.
        """
        if len(self.folds) < 2:
            return {}
        fold = self.plans[0].folds.by_id
        folds = np.array([fold[i] for i in predictions.ids])
        return calibration_summary(predictions.probs, self.truth(predictions), folds, self.plans[0].metric)

    def per_fold(self) -> list[float]:
        """The metric of each finished fold."""
        return [self.score(self._fold(k, lambda one: one.oof)) for k in self.folds]

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
        remedy = f"comp predict {trained.folder.name} --partial asks those; {failed[0].remedy}"
        raise TrainingFailed(failed[0].rule, value, remedy)
    if out_of_time and not trained.folders:
        raise out_of_time[0]
