"""The label map, class names in index order, and labels as people type them, made to agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from comp.data.csv_table import clean, in_order, listed, same_number, whole_of
from comp.data.manifest import Manifest, Remark
from comp.data.task import SEPARATOR, SINGLE_LABEL, Task, numbers
from comp.errors import InputError, UnknownName
from comp.metrics import Metric

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelMap:
    """Class name ↔ index, one to one; for a regression the names of its target columns.

    Parameters
    ----------
    names : sequence of str
        C class names; a name's place is its index.
    task : Task
        What the names are used for.

    Raises
    ------
    InputError
        For fewer than two classes, an empty name, or a name that comes twice.
    """

    names: tuple[str, ...]
    task: Task
    _index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __init__(self, names: Sequence[str], task: Task = SINGLE_LABEL) -> None:
        object.__setattr__(self, "names", tuple(names))
        object.__setattr__(self, "task", task)
        object.__setattr__(self, "_index", {name: i for i, name in enumerate(self.names)})
        if len(self._index) != len(self.names):
            twice = sorted({n for n in self.names if self.names.count(n) > 1})
            raise InputError(
                "class names must differ", f"twice in the label map: {', '.join(twice)}", "correct `classes`"
            )
        least = 2 if task.one_class_a_row else 1
        if len(self.names) < least:
            rule = "a label map needs two classes or more" if least == 2 else "a label map needs a class"
            raise InputError(rule, f"found {list(self.names)}", "see `comp show SLUG`")
        if any(not name for name in self.names):
            raise InputError(
                "a class name must not be empty", f"in {list(self.names)[:5]}", "correct `classes`"
            )
        joined = [name for name in self.names if SEPARATOR in name] if task.name == "multi-label" else []
        if joined:
            value = f"{joined[0]!r} has one"
            raise InputError(f"no class of several has a {SEPARATOR} in its name", value, "rename the class")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    @property
    def width(self) -> int:
        """D, the columns of predictions."""
        return self.task.width(len(self))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names (D,) of the columns of predictions; the one of a scale is its steps, so that another order has another."""
        return (" < ".join(self.names),) if self.task.name == "ordinal" else self.names

    def index(self, name: str) -> int:
        """The index of a class; UnknownName for a name that is not one."""
        try:
            return self._index[name]
        except KeyError:
            raise UnknownName("class", name, self.names, "see `comp show SLUG`") from None

    def encode(self, labels: Iterable[str]) -> NDArray[Any]:
        """The truth of label cells as the task has it: class indices int64 (N,), or float64 (N, C or D)."""
        return self.task.truth(labels, self._index)

    def shares(self, truth: NDArray[Any]) -> NDArray[np.float64]:
        """The share of rows that each class has: (C,), of class indices (N,) or several labels (N, C); of a regression
        nothing, (0,).
        """
        import numpy as np

        if self.task.one_class_a_row:
            return np.bincount(truth, minlength=len(self)) / max(len(truth), 1)
        return truth.mean(axis=0) if self.task.has_classes else np.zeros(0)

    def scaled(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Predictions or truth (N, D) on the scale of 0 to 1 that a network answers on."""
        low, high = self.task.bounds(len(self))
        return _floats((values - low) / (high - low))

    @property
    def span(self) -> NDArray[np.float64]:
        """How far the values of each column can be apart, (D,): 1 of probabilities."""
        low, high = self.task.bounds(len(self))
        return _floats(high - low)

    def unscaled(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The reverse of ``scaled``."""
        low, high = self.task.bounds(len(self))
        return _floats(low + values * (high - low))

    @classmethod
    def discover(cls, labels: Iterable[str], task: Task = SINGLE_LABEL) -> LabelMap:
        """The label map of a table without one: its distinct labels, numbers first and as numbers (2 before 10)."""
        return cls(in_order({name for label in labels for name in task.parts(label)}), task)


def regression_labels(
    names: Sequence[str], rows: pd.DataFrame, bounds: tuple[float, float] | None
) -> LabelMap:
    """The label map of a regression: its target columns, bounded by the facts or else by the labels of training rows.

    Raises
    ------
    InputError
        For a label that is no number, one outside of ``bounds``, or labels that are all one number.
    """
    import numpy as np

    values = np.zeros((len(rows), len(names)))
    for n, (sample, cell) in enumerate(zip(rows["id"], rows["label"], strict=True)):
        try:
            values[n] = numbers(cell.split(SEPARATOR), len(names))
        except InputError as error:
            raise InputError(error.rule, f"row {sample!r} has {error.value}", error.remedy) from None
    low, high = values.min(axis=0), values.max(axis=0)
    if bounds is not None:
        if low.min() < bounds[0] or high.max() > bounds[1]:
            value = (
                f"labels go from {low.min():g} to {high.max():g}, `range` from {bounds[0]:g} to {bounds[1]:g}"
            )
            raise InputError("labels lie within `range` of competition.toml", value, "correct `range`")
        low, high = np.full(len(names), bounds[0]), np.full(len(names), bounds[1])
    if (low == high).any():
        value = (
            f"every label of {names[int((low == high).argmax())]!r} is {low[int((low == high).argmax())]:g}"
        )
        raise InputError("labels of a regression differ", value, "correct the labels, or state `range`")
    return LabelMap(names, Task("regression", tuple(low.tolist()), tuple(high.tolist())))


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


SLIP = 0.1  # a single row in a spelling with under a tenth of the rows of another is taken for a slip of it


def tidy_labels(manifest: Manifest, classes: Sequence[str] | None, task: Task = SINGLE_LABEL) -> Manifest:
    """A manifest whose labels are spelled as the label map has them; what was changed is in its notes, and in its
    remarks where two spellings that both have rows became one class.

    Parameters
    ----------
    manifest : Manifest
    classes : sequence of str or None
        The label map; None where it is the distinct labels of the rows themselves. Then a spelling that differs
        in case alone is taken for a slip only where a single row has it and many rows have the other.
    task : Task
        Of several names in a cell each is looked at; numbers stay as they are.
    """
    if not task.has_classes:
        return manifest
    counts = Counter(part for label in manifest.table["label"] for part in task.parts(label))
    spelling = spellings(counts, classes)
    changed = {label: to for label, to in spelling.items() if to != label}
    if not changed:
        return manifest
    cells = [respelled(label, spelling, task) for label in manifest.table["label"]]
    table = manifest.table.assign(label=cells)
    rows = sum(counts[label] for label in changed)
    shown = ", ".join(f"{label!r} as {to!r}" for label, to in list(changed.items())[:4])
    note = f"{rows} labels read in another spelling: {shown}" + (" …" if len(changed) > 4 else "")
    remarks = [*manifest.remarks, *_joined(manifest, counts, changed, task)]
    return replace(manifest, table=table, notes=(*manifest.notes, note), remarks=tuple(remarks))


def respelled(label: str, spelling: dict[str, str], task: Task) -> str:
    """A label cell with the names in it spelled otherwise."""
    return SEPARATOR.join(spelling.get(part, part) for part in task.parts(label))


def without_test_labels(manifest: Manifest) -> Manifest:
    """A manifest whose test rows have no labels; that they had some is a remark for the check ``test-labels``."""
    table = manifest.table
    told = (table["split"] == "test") & (table["label"] != "")
    if not told.any():
        return manifest
    rows = tuple(table.loc[told, "id"])
    message = f"{len(rows)} of {int((table['split'] == 'test').sum())} test rows came with a label, which was dropped: where does it come from?"
    remedy = "leave labels of test rows out of the adapter or the manifest; published ones belong in answers(raw), for `comp score`"
    blank = table.assign(label=table["label"].where(~told, ""))
    remark = Remark("test-labels", rows, message, remedy)
    return replace(manifest, table=blank, remarks=(*manifest.remarks, remark))


def spellings(counts: Counter[str], classes: Sequence[str] | None) -> dict[str, str]:
    """How each label that there is (with its number of rows) is to be spelled."""
    if classes is not None:
        exact = {clean(name): name for name in classes}
        loose = _unambiguous(classes, lambda name: clean(name).casefold())
        numbers = _unambiguous(classes, same_number)
        return {
            label: exact.get(clean(label))
            or loose.get(clean(label).casefold())
            or numbers.get(same_number(label))
            or label
            for label in counts
        }
    cleaned: Counter[str] = Counter()
    for label, rows in counts.items():
        cleaned[clean(label)] += rows
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for label, _ in cleaned.most_common():
        alike[label.casefold()].append(label)
    found = {}
    for label in counts:
        plain = clean(label)
        usual = alike[plain.casefold()][0]
        found[label] = usual if cleaned[plain] == 1 and cleaned[usual] * SLIP > 1 else plain
    return found


def _joined(
    manifest: Manifest, counts: Counter[str], changed: dict[str, str], task: Task
) -> Iterable[Remark]:
    """A remark on each class that has rows in several spellings, stray spaces apart."""
    by_class: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for label, rows in counts.items():
        by_class[changed.get(label, label)][clean(label)] += rows
    for name, spelled in by_class.items():
        others = {label: rows for label, rows in spelled.items() if label != clean(name)}
        if len(spelled) < 2 or not others:
            continue
        told = ", ".join(f"{label!r} ({_rows(rows)})" for label, rows in others.items())
        message = f"{told} read as {name!r} ({_rows(spelled[clean(name)])})"
        ids = [
            sample
            for sample, label in zip(manifest.table["id"], manifest.table["label"], strict=True)
            if any(clean(part) in others for part in task.parts(label))
        ]
        remedy = "correct the labels; if they are two classes, name both in `classes` in competition.toml"
        yield Remark("label-spelling", tuple(ids), message, remedy)


def _floats(values: Any) -> NDArray[np.float64]:
    import numpy as np

    return np.asarray(values, dtype=np.float64)


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"


def _unambiguous(names: Iterable[str], key: Callable[[str], Hashable]) -> dict[Hashable, str]:
    """The names that have a key of their own, by it; no key (None) is none."""
    alike: defaultdict[Hashable, list[str]] = defaultdict(list)
    for name in names:
        alike[key(name)].append(name)
    return {key: found[0] for key, found in alike.items() if len(found) == 1 and key is not None}
