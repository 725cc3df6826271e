"""The label map: class names in index order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from comp.data.spelling import in_order, listed, whole_of
from comp.errors import InputError, UnknownName
from comp.metrics import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelMap:
    """Class name ↔ index, one to one.

    Parameters
    ----------
    names : sequence of str
        C class names; a name's place is its index.

    Raises
    ------
    InputError
        For fewer than two classes, an empty name, or a name that comes twice.
    """

    names: tuple[str, ...]
    _index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __init__(self, names: Sequence[str]) -> None:
        object.__setattr__(self, "names", tuple(names))
        object.__setattr__(self, "_index", {name: i for i, name in enumerate(self.names)})
        if len(self._index) != len(self.names):
            twice = sorted({n for n in self.names if self.names.count(n) > 1})
            raise InputError(
                "class names must differ", f"twice in the label map: {', '.join(twice)}", "correct `classes`"
            )
        if len(self.names) < 2:
            raise InputError(
                "a label map needs two classes or more", f"found {list(self.names)}", "see `comp show SLUG`"
            )
        if any(not name for name in self.names):
            raise InputError(
                "a class name must not be empty", f"in {list(self.names)[:5]}", "correct `classes`"
            )

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def index(self, name: str) -> int:
        """The index of a class; UnknownName for a name that is not one."""
        try:
            return self._index[name]
        except KeyError:
            raise UnknownName("class", name, self.names, "see `comp show SLUG`") from None

    def encode(self, labels: Iterable[str]) -> NDArray[np.int64]:
        """Class names to indices, int64 (N,)."""
        import numpy as np

        return np.fromiter((self.index(label) for label in labels), dtype=np.int64)

    @classmethod
    def discover(cls, labels: Iterable[str]) -> LabelMap:
        """The label map of a table without one: its distinct labels, numbers first and as numbers (2 before 10)."""
        return cls(in_order(set(labels)))


@dataclass(frozen=True)
class Disorder:
    """Why a metric of order cannot be trusted with a label map; ``grave`` where it would score another thing."""

    message: str
    grave: bool = True


def disorder(metric: Metric, names: Sequence[str], stated: bool) -> Disorder | None:
    """What is wrong with the order of classes for a metric that measures distances between them; None where nothing is.

    Whole numbers must follow one another by ones. Words must be ``stated`` in their order: sorted as text they mean
    nothing. Of two classes either order is the same.
    """
    if not metric.ordered or len(names) < 3:
        return None
    numbers = [whole for name in names if (whole := whole_of(name)) is not None]
    if len(numbers) < len(names):
        if stated:
            return None
        return Disorder(
            f"{metric.name} goes by the order of the classes, and they are neither stated nor whole numbers: {listed(names, 8)}"
        )
    steps = {b - a for a, b in pairwise(numbers)}
    if steps in ({1}, {-1}):
        return None
    told = f"{metric.name} counts the steps between classes, and these numbers do not follow by ones: {listed(names, 12)}"
    rising = all(step > 0 for step in steps) or all(step < 0 for step in steps)
    return Disorder(told, grave=not (stated and rising))


def is_sorted(names: Sequence[str]) -> bool:
    """Whether names stand as a listing sorts them, so that their order may mean nothing."""
    return list(names) in (sorted(names), in_order(names))
