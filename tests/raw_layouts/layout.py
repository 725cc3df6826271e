"""What a layout is: a builder of a raw folder, the answers of its test rows, and the competition's rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Truth:
    """What the competition's site knows of the test rows, and what a test may want to know of the raw folder."""

    template: str  # the sample submission's path in the raw folder
    id_column: str
    columns: tuple[str, ...]  # the template's answer columns
    answers: Mapping[str, tuple[str, ...]]  # test id -> a perfect answer's cells, in the order of the columns
    train_images: int  # images that have a label
    groups: Mapping[str, str] = field(default_factory=dict)  # training id -> patient, driver, location …


@dataclass(frozen=True)
class RawLayout:
    """One competition's download, made small."""

    slug: str
    make: Callable[[Path, int], Truth]  # writes the raw folder from a seed
    metric: str  # as the competition words it
    grade: Callable[[Path, Truth], float]  # the score of a submission CSV; ValueError where Kaggle refuses it
    best: float = 1.0  # the score of a perfect answer
    higher_is_better: bool = True
