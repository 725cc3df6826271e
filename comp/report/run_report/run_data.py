"""What the page of a run is drawn from: rows by id with truth and answers, folds, epochs, other runs and findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comp.checks.label_errors import LikelyWrong
from comp.data.labels import LabelMap
from comp.metrics import Metric, nearest_places, one_hot_places
from comp.submission.answers import answer_texts
from comp.task_scores import answered_sets, likeliest

if TYPE_CHECKING:
    from comp.data.images.source import ImageSource

Floats = NDArray[np.float64]


def p_true(truth: NDArray[Any], probs: Floats, labels: LabelMap) -> Floats:
    """How much each row (N,) of predictions gives to the truth: its probability, of several labels the mean over classes of
    that of the right side; of numbers 1 minus the mean error, as a share of the span of the labels.
    """
    task = labels.task
    if task.is_single_label:
        return np.asarray(probs[np.arange(len(probs)), truth], dtype=np.float64)
    if not task.is_numeric:
        return np.asarray(np.where(truth > 0, probs, 1 - probs).mean(axis=1))
    low, high = task.bounds(len(labels))
    apart = np.abs(probs - np.asarray(truth, dtype=np.float64).reshape(probs.shape))
    return np.asarray(1 - (apart / np.maximum(high - low, 1e-12)).mean(axis=1))


@dataclass(frozen=True, eq=False)
class OofRows:
    """The OOF rows of a run: ``truth`` and ``probs`` as the task has them (see ``comp.data.task.Task``), ``plain`` as they
    were predicted, before what the run learned to move them by; ``fold`` (N,), ``group`` the group of each row, ``cells``
    the labels as the manifest has them.
    """

    ids: tuple[str, ...]
    paths: tuple[str, ...]
    cells: tuple[str, ...]
    truth: NDArray[Any]
    probs: Floats
    plain: Floats
    fold: NDArray[np.int64]
    group: tuple[str, ...]
    labels: LabelMap

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def answer_names(self) -> list[str]:
        """What each row answers, as people read it."""
        return answer_texts(self.probs, self.labels)

    @cached_property
    def wide(self) -> Floats:
        """Probabilities (N, C); of a scale the step that is answered as a row of zeros and a one."""
        return one_hot_places(self.probs, len(self.labels)) if self.labels.task.is_numeric else self.probs

    @cached_property
    def answered(self) -> NDArray[np.int64]:
        """The class index (N,) that each row answers, of a task with one class a row."""
        if self.labels.task.is_numeric:
            return nearest_places(self.probs)
        return np.asarray(likeliest(self.probs), dtype=np.int64)

    @cached_property
    def p_true(self) -> Floats:
        """How much each row (N,) gives to the truth, see ``p_true``."""
        return p_true(self.truth, self.probs, self.labels)

    @cached_property
    def is_wrong(self) -> NDArray[np.bool_]:
        """Which rows (N,) are answered otherwise than labelled; of numbers none is right, and none counts as wrong."""
        task = self.labels.task
        if task.one_class_a_row:
            return np.asarray(self.answered != self.truth)
        if task.has_classes:
            return np.asarray((answered_sets(self.probs) != (self.truth > 0)).any(axis=1))
        return np.zeros(len(self), dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class TestRows:
    """The test rows of a run; ``by_fold`` (K, N, D) are the predictions of each fold, where they are kept."""

    __test__ = False  # no test, whatever pytest thinks of the name

    ids: tuple[str, ...]
    paths: tuple[str, ...]
    probs: Floats
    by_fold: Floats | None
    labels: LabelMap

    @cached_property
    def answer_names(self) -> list[str]:
        return answer_texts(self.probs, self.labels)


@dataclass(frozen=True)
class FoldEpochs:
    """What each epoch of a fold came to, a table each: epoch, loss, valid_loss, valid_metric, lr; none of a probe."""

    fold: int
    model: str
    epochs: tuple[dict[str, float], ...]


@dataclass(frozen=True, eq=False)
class OtherRun:
    """Another run of the competition. ``probs`` are its predictions of the same OOF rows, in their order; None where it has
    others. ``changes`` are the keys of its recipe that differ, as (key, its value, this run's value).
    """

    id: str
    score: float
    model: str
    seconds: float
    earlier: bool
    marks: tuple[str, ...]
    changes: tuple[tuple[str, str, str], ...]
    probs: Floats | None


@dataclass(frozen=True)
class PairRow:
    """A row of a look-alike pair; ``fold`` is empty for a test row, whose ``label`` is what it is answered."""

    id: str
    path: str
    label: str
    fold: str


@dataclass(frozen=True)
class AlikePair:
    """Two rows that look alike, their similarity, and what is usual for the nearest neighbours of either."""

    first: PairRow
    second: PairRow
    similarity: float
    usual: float

    @property
    def disagrees(self) -> bool:
        """Whether they have two labels, or a label and another answer."""
        return self.first.label != self.second.label


@dataclass(frozen=True, eq=False)
class FeatureSide:
    """What the features of a run's frozen network said. ``folds`` and ``train_test`` are pairs, with ``counts`` of all that
    there are; ``drift`` are the numbers of ``features.json``, empty where test rows were not judged; ``likeness`` of training
    rows to test rows, by id.
    """

    network: str
    rows: int
    compared: int
    has_test: bool
    counts: tuple[int, int]
    folds: tuple[AlikePair, ...]
    train_test: tuple[AlikePair, ...]
    drift: Mapping[str, Any] = field(default_factory=dict)
    likeness: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RunData:
    """One run, with everything that its page shows. ``record`` is the document of ``comp run --json``, empty for a run that is
    not finished; ``started`` what was known when it began; ``beside`` are sets of OOF predictions judged otherwise, by name.
    """

    run: str
    slug: str
    title: str
    record: Mapping[str, Any]
    started: Mapping[str, Any]
    metric: Metric
    oof: OofRows
    test: TestRows | None
    folds: int
    fold_scores: Mapping[int, float]
    epochs: Sequence[FoldEpochs]
    recipe: Mapping[str, Any]
    findings: Sequence[Mapping[str, Any]]
    checks: Sequence[str]
    source: ImageSource
    looks: Floats | None = (
        None  # (N, 3) of the OOF rows' images: width and height in pixels, mean grey 0 … 255
    )
    others: Sequence[OtherRun] = ()
    submitted: Sequence[Mapping[str, Any]] = ()
    training_shares: Floats = field(default_factory=lambda: np.zeros(0))
    doubts: LikelyWrong | None = None
    mosaics: Sequence[tuple[str, str, bytes]] = ()
    has_controls: bool = False
    features: FeatureSide | None = None

    @property
    def labels(self) -> LabelMap:
        return self.oof.labels

    @property
    def marks(self) -> list[str]:
        return [str(mark) for mark in (self.record or self.started).get("marks", [])]
