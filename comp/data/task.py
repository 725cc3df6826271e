"""What a competition asks of an image: one class, several, a number, or a step on a scale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from comp.errors import InputError, shortened

if TYPE_CHECKING:
    from numpy.typing import NDArray

TaskName = Literal["single-label", "multi-label", "ordinal", "regression"]
TASKS: tuple[str, ...] = get_args(TaskName)
SEPARATOR = "|"  # between the names or numbers in a manifest's label cell


@dataclass(frozen=True)
class Task:
    """The kind of answer; it alone decides how labels are read, what predictions hold and how they become answers.

    ==============  ==========================  ==============  ====================================
    name            a label cell                truth           predictions (N, D)
    ==============  ==========================  ==============  ====================================
    single-label    a class name                int64 (N,)      D = C probabilities that sum to one
    multi-label     names with ``|`` between,   float64 (N, C)  D = C probabilities of 0 to 1
                    none for no class           of 0 and 1
    ordinal         a class name                int64 (N,)      D = 1, a place of 0 to C - 1
    regression      numbers with ``|`` between  float64 (N, D)  D numbers, one for each target column
    ==============  ==========================  ==============  ====================================

    ``low`` and ``high`` bound the numbers of a regression; None where nothing bounds them.
    """

    name: TaskName = "single-label"
    low: float | None = None
    high: float | None = None

    @property
    def has_classes(self) -> bool:
        """Whether an answer names classes; a regression's are numbers."""
        return self.name != "regression"

    @property
    def sums_to_one(self) -> bool:
        """Whether a row's predictions are shares of one whole."""
        return self.name == "single-label"

    @property
    def is_numeric(self) -> bool:
        """Whether predictions are places or numbers, not probabilities."""
        return self.name in ("ordinal", "regression")

    @property
    def one_class_a_row(self) -> bool:
        """Whether a row's truth is one class: a single label, or a step of a scale."""
        return self.name in ("single-label", "ordinal")

    def width(self, names: int) -> int:
        """D, the columns of predictions, for so many names in the label map."""
        return 1 if self.name == "ordinal" else names

    def bounds(self, names: int) -> tuple[float, float]:
        """The lowest and highest value that a prediction can have."""
        if self.name == "ordinal":
            return 0.0, float(names - 1)
        if self.name == "regression":
            infinite = float("inf")
            return (-infinite if self.low is None else self.low), (
                infinite if self.high is None else self.high
            )
        return 0.0, 1.0

    def parts(self, cell: str) -> list[str]:
        """The names or numbers in a manifest's label cell."""
        if self.name in ("multi-label", "regression"):
            return [part for part in cell.split(SEPARATOR) if part]
        return [cell] if cell else []

    def truth(self, cells: Iterable[str], index: dict[str, int]) -> NDArray[Any]:
        """The truth of label cells as the table above says, for the names of a label map by their index.

        Raises
        ------
        InputError
            For a name that the label map lacks, or a cell that is not as many finite numbers as it has names.
        """
        import numpy as np

        if self.one_class_a_row:
            return np.array([_index(cell, index) for cell in cells], dtype=np.int64)
        rows = [self.parts(cell) for cell in cells]
        truth = np.zeros((len(rows), len(index)))
        for n, row in enumerate(rows):
            if self.name == "regression":
                truth[n] = numbers(row, len(index))
            else:
                truth[n, [_index(name, index) for name in row]] = 1.0
        return truth

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "low": self.low, "high": self.high}

    @classmethod
    def of_json(cls, facts: dict[str, Any] | None) -> Task:
        """What ``as_json`` gave; what older files do not say is a single label."""
        return cls(**facts) if facts else cls()


SINGLE_LABEL = Task()


def numbers(parts: Sequence[str], count: int) -> list[float]:
    """Texts as ``count`` finite numbers; InputError for anything else."""
    values = []
    for part in parts:
        try:
            values.append(float(part))
        except ValueError:
            values.append(float("nan"))
    if len(values) != count or not all(abs(value) < float("inf") for value in values):
        value = shortened(repr(SEPARATOR.join(parts)), 100)
        raise InputError(
            f"a label of a regression is {count} finite number{'s' if count > 1 else ''}",
            value,
            "correct that row",
        )
    return values


def _index(name: str, index: dict[str, int]) -> int:
    try:
        return index[name]
    except KeyError:
        from comp.errors import UnknownName

        raise UnknownName("class", name, index, "see `comp show SLUG`") from None
