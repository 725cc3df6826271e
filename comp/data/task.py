"""What a competition asks of an image: one class, several, a number, or a step on a scale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from comp.errors import InputError, UnknownName, shortened

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TaskName = Literal["single-label", "multi-label", "ordinal", "regression"]
TASKS: tuple[str, ...] = get_args(TaskName)
SEPARATOR = "|"  # between the names or numbers in a manifest's label cell
BINS = 10  # of a regression's labels, where rows are grouped by them


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

    ``low`` and ``high`` (D,) are the lowest and highest number of each column of a regression, which predictions keep to.
    ``unknown`` is the class of a single label that stands for all that training has no class for; none where it is empty.
    """

    name: TaskName = "single-label"
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    unknown: str = ""

    @property
    def is_single_label(self) -> bool:
        return self.name == "single-label"

    @property
    def has_classes(self) -> bool:
        """Whether an answer names classes; a regression's are numbers."""
        return self.name != "regression"

    @property
    def is_numeric(self) -> bool:
        """Whether predictions are places or numbers, not probabilities."""
        return self.name in ("ordinal", "regression")

    @property
    def one_class_a_row(self) -> bool:
        """Whether a row's truth is one class: a single label, or a step of a scale."""
        return self.name in ("single-label", "ordinal")

    @property
    def takes_no_label(self) -> bool:
        """Whether an empty label is a label: no class applies."""
        return self.name == "multi-label"

    def width(self, names: int) -> int:
        """D, the columns of predictions, for so many names in the label map."""
        return 1 if self.name == "ordinal" else names

    def bounds(self, names: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The lowest and the highest value of each column of predictions, (D,) both."""
        import numpy as np

        if self.name == "regression":
            return np.array(self.low), np.array(self.high)
        width = self.width(names)
        return np.zeros(width), np.full(width, names - 1.0 if self.name == "ordinal" else 1.0)

    def parts(self, cell: str) -> list[str]:
        """The names or numbers in a manifest's label cell."""
        if self.one_class_a_row:
            return [cell] if cell else []
        return [part.strip() for part in cell.split(SEPARATOR) if part.strip()]

    def truth(self, cells: Iterable[str], index: Mapping[str, int]) -> NDArray[Any]:
        """The truth of label cells as the table above says, for the names of a label map by their index.

        Raises
        ------
        UnknownName
            For a name that the label map lacks.
        InputError
            For a cell that does not have as many finite numbers as the label map has names.
        """
        import numpy as np

        if self.one_class_a_row:
            return np.fromiter((_index(cell, index) for cell in cells), dtype=np.int64)
        rows = [self.parts(cell) for cell in cells]
        truth = np.zeros((len(rows), len(index)))
        for n, row in enumerate(rows):
            if self.name == "regression":
                truth[n] = numbers(row, len(index))
            else:
                truth[n, [_index(name, index) for name in row]] = 1.0
        return truth

    def strata(self, cells: Sequence[str]) -> list[str]:
        """One word a row by which rows are alike: the class, the rarest class of several, a tenth of all numbers.

        What asks whether something tells the labels, or is spread over them, asks these.
        """
        if self.one_class_a_row:
            return list(cells)
        if self.name == "multi-label":
            rows = [self.parts(cell) for cell in cells]
            count = Counter(name for row in rows for name in row)
            return [min(row, key=lambda name: (count[name], name), default="") for row in rows]
        return self._tenths(cells)

    def _tenths(self, cells: Sequence[str]) -> list[str]:
        """The part of all rows, by the size of their numbers, that each row is in; numbers that are equal stay together."""
        import numpy as np

        values = np.array(
            [numbers(self.parts(cell), len(self.parts(cell))) for cell in cells], dtype=np.float64
        )
        spread = values.std(axis=0)
        size = (
            (values[:, spread > 0] / spread[spread > 0]).sum(axis=1) if (spread > 0).any() else values[:, 0]
        )
        edges = np.quantile(size, np.linspace(0, 1, min(BINS, max(len(size) // 10, 2)) + 1)[1:-1])
        return [f"part {n}" for n in np.searchsorted(np.unique(edges), size, side="right")]

    def as_json(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"name": self.name, "low": list(self.low), "high": list(self.high)}
        return {**facts, "unknown": self.unknown} if self.unknown else facts

    @classmethod
    def of_json(cls, facts: Any) -> Task:
        """What ``as_json`` gave; where nothing is said it is a single label. ValueError for anything else."""
        if facts is None:
            return SINGLE_LABEL
        if facts["name"] not in TASKS:
            raise ValueError(f"no task is called {facts['name']!r}")
        low, high = (tuple(map(float, facts[key])) for key in ("low", "high"))
        return cls(facts["name"], low, high, str(facts.get("unknown", "")))


SINGLE_LABEL = Task()


def numbers(parts: Sequence[str], count: int) -> list[float]:
    """Texts as ``count`` finite numbers; InputError for anything else."""
    values = [_number(part) for part in parts]
    if len(values) != count or not count or not all(abs(value) < float("inf") for value in values):
        wanted = f"{count} finite numbers" if count > 1 else "a finite number"
        shown = shortened(repr(SEPARATOR.join(parts)), 100)
        raise InputError(f"a label of a regression is {wanted}", shown, "correct that row")
    return values


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _index(name: str, index: Mapping[str, int]) -> int:
    try:
        return index[name]
    except KeyError:
        raise UnknownName("class", name, index, "see `comp show SLUG`") from None
