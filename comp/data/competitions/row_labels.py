"""The label cell of each row of a table: from a column, from columns of 0 and 1, or from names in one cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comp.config import finite_number
from comp.data.competitions.data_facts import DataFacts
from comp.data.csv_table import NOTHING, Table, clean, listed, number_of
from comp.data.images.raw_tree import nfc
from comp.data.task import SEPARATOR
from comp.errors import InputError

if TYPE_CHECKING:
    from comp.data.competitions.facts import CompetitionConfig

ReadColumn = Callable[[Table, str, str], list[str]]
_LISTS = (".json", ".jsonl", ".ndjson", ".parquet")  # tables whose cells can be lists, read with | between


_SIGNS = (",", ";", "|")  # that tables write between names


def _are_lists(names: Sequence[str], sign: str) -> bool:
    """Whether names are lists with a sign between: the parts of all that have it are names by themselves or of others."""
    lists = [[clean(part) for part in name.split(sign)] for name in names if sign in name]
    counts = Counter(part for parts in lists for part in parts)
    alone = set(names)
    return len(lists) > 1 and all(part in alone or counts[part] > 1 for parts in lists for part in parts)


@dataclass(frozen=True)
class RowLabels:
    """How a table's rows are labelled; ``used`` are columns that ``onehot = "*"`` leaves out."""

    facts: CompetitionConfig
    data: DataFacts
    table: Table
    column: ReadColumn
    used: Sequence[str]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of 0 and 1, each named as its class."""
        if self.data.onehot == "*":
            used = {clean(name).lower() for name in self.used}
            return tuple(clean(name) for name in self.table.header if clean(name).lower() not in used)
        return tuple(map(clean, self.data.onehot))

    def cells(self) -> list[str]:
        """The label cell of each row, as a manifest has it.

        Raises
        ------
        InputError
            Naming table, row and column, for cells that are no 0 or 1, a row that is not of one class, a class with the
            sign that separates names, a target that is no number, or facts that do not fit the task.
        """
        task, data = self.facts.task, self.data
        several = isinstance(data.label, tuple) and len(data.label) > 1
        if task == "regression" and (data.onehot or data.labels):
            key = "onehot" if data.onehot else "labels"
            raise self._refused(
                "a regression has numbers as labels", f"{key} is given", "name the columns in label"
            )
        if several and task != "regression":
            value = f"label names {len(data.label)} columns"
            raise self._refused(
                f"a {task} label is in one column", value, "use onehot for columns of 0 and 1"
            )
        if data.labels and task != "multi-label":
            raise self._refused(
                f"a {task} row has one label", "labels is given", 'task = "multi-label", or label'
            )
        if data.onehot:
            return self._of_onehot()
        if data.labels:
            return self._of_one_cell()
        names, columns = self._names(), self.columns_of_labels()
        if task == "regression":
            return self._of_numbers(names, columns)
        cells = [nfc(cell) for cell in columns[0]]
        if task == "multi-label":
            cells = [clean(cell) for cell in cells]
            self._require_separable(cells)
        return cells

    def columns_of_labels(self) -> list[list[str]]:
        """The cells of each column that says labels, as they stand."""
        return [self.column(self.table, name, key) for name, key in self.named_columns()]

    def named_columns(self) -> list[tuple[str, str]]:
        """The columns that say labels, each with the key of [data] that names it."""
        if self.data.onehot:
            return [(name, "onehot") for name in self.columns]
        if self.data.labels:
            return [(self.data.labels, "labels")]
        return [(name, "label") for name in self._names()]

    def _names(self) -> tuple[str, ...]:
        label = self.data.label
        names = label if isinstance(label, tuple) else (label or self._default(),)
        return self._as_targets(names) if self.facts.task == "regression" else names

    def _as_targets(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The label columns of a regression in the order of the template's target columns: paired by name where they have
        the same names, by place where no name is that of another target.
        """
        target = self.facts.template.target
        if target == "*":
            if len(names) > 1:
                raise self._refused(
                    "a regression names its target columns",
                    f"label = {list(names)} beside target = '*'",
                    "name them",
                )
            return names
        targets = (target,) if isinstance(target, str) else target
        if len(names) != len(targets):
            value = f"label = {list(names)} beside target = {list(targets)}"
            raise self._refused(
                "a regression has a label column for each target column", value, "correct either"
            )
        plain, wanted = ([clean(name).casefold() for name in some] for some in (names, targets))
        if set(plain) == set(wanted) and len(set(plain)) == len(plain):
            return tuple(names[plain.index(name)] for name in wanted)
        crossed = [name for n, name in enumerate(plain) if name in wanted and wanted.index(name) != n]
        if crossed:
            value = f"label = {list(names)} beside target = {list(targets)}"
            raise self._refused(f"{crossed[0]!r} is one column", value, "give both in one order")
        return names

    def _default(self) -> str:
        """The label column where none is stated: the template's target, COCO's category, or the only one left."""
        target = self.facts.template.target
        if isinstance(target, str) and self.table.has(target):
            return target
        if self.table.has("annotation_id") and self.table.has("category_id"):
            return "category_id"
        used = {clean(name).lower() for name in self.used}
        rest = [name for name in self.table.header if clean(name).lower() not in used]
        if len(rest) == 1:
            return rest[0]
        value = f"{self.table.name} has {listed(map(clean, rest), 12)} beside the id"
        raise self._refused(
            "[data] says where labels come from", value, "add label, onehot, labels or pattern"
        )

    def _of_onehot(self) -> list[str]:
        names = self.columns
        many = self.facts.task == "multi-label"
        if len(names) < 2:
            raise self._refused("onehot has a column for each class", f"it has {listed(names)}", "use label")
        if many:
            self._require_separable(names, "column")
        columns = [self.column(self.table, name, "onehot") for name in names]
        cells = []
        for number, row in enumerate(zip(*columns, strict=True), start=2):
            hot = [name for name, cell in zip(names, row, strict=True) if self._is_one(cell, name, number)]
            if not many and len(hot) != 1:
                value = f"{self.table.name}, row {number}: {listed(hot) if hot else 'no column'} is 1"
                raise self._refused(
                    "a single-label row has exactly one 1", value, 'correct the row, or task = "multi-label"'
                )
            cells.append(SEPARATOR.join(hot))
        return cells

    def _is_one(self, cell: str, name: str, number: int) -> bool:
        if cell in ("0", "1"):
            return cell == "1"
        value = {"true": 1, "false": 0}.get(clean(cell).lower(), number_of(cell))
        if value not in (0, 1):
            told = f"{self.table.name}, row {number}, column {name!r}: {cell!r}"
            raise self._refused(
                "a column of onehot has 0 and 1", told, "correct it, or name the class columns"
            )
        return value == 1

    def _of_one_cell(self) -> list[str]:
        separator = self.data.separator
        if self.table.name.lower().endswith(_LISTS) and separator == " ":
            separator = SEPARATOR
        empty = {"", clean(self.facts.template.empty)}
        cells = []
        for cell in self.column(self.table, self.data.labels, "labels"):
            parts = cell.split() if separator == " " else cell.split(separator)
            names = dict.fromkeys(nfc(clean(part)) for part in parts)
            cells.append([name for name in names if name not in empty])
        self._require_separated(cells, separator)
        if separator != SEPARATOR:
            self._require_separable([name for names in cells for name in names])
        return [SEPARATOR.join(names) for names in cells]

    def _require_separated(self, cells: Sequence[Sequence[str]], separator: str) -> None:
        """Refuses names that another sign separates: lists in each of which the stated one stands nowhere, or words that
        end in a sign.
        """
        names = sorted({name for row in cells for name in row})
        other = ""
        if separator == " " and any(len(row) > 1 for row in cells):
            ends = {name[-1] for row in cells for name in row[:-1] if name[-1] in _SIGNS}
            other = min(ends, default="")
        elif all(len(row) < 2 for row in cells):
            other = next((sign for sign in _SIGNS if _are_lists(names, sign)), "")
        if other:
            shown = next(name for name in names if other in name)
            value = f"{self.table.name}: separator = {separator!r} leaves the name {shown!r}"
            remedy = f"state separator = {other!r} in [data], and in [template] as the site has it"
            raise self._refused("separator is what stands between names", value, remedy)

    def _of_numbers(self, names: Sequence[str], columns: Sequence[Sequence[str]]) -> list[str]:
        for name, cells in zip(names, columns, strict=True):
            for number, cell in enumerate(cells, start=2):
                if finite_number(clean(cell)) is None:
                    told = "empty" if clean(cell).lower() in NOTHING else repr(cell)
                    value = f"{self.table.name}, row {number}, column {name!r}: {told}"
                    raise self._refused(
                        "a label of a regression is a finite number", value, "correct that row"
                    )
        return [SEPARATOR.join(map(clean, row)) for row in zip(*columns, strict=True)]

    def _require_separable(self, names: Sequence[str], what: str = "label") -> None:
        wrong = next((name for name in names if SEPARATOR in name), None)
        if wrong is not None:
            value = f"{self.table.name}: {what} {wrong!r}"
            raise self._refused(f"a class of several has no {SEPARATOR!r} in its name", value, "rename it")

    def _refused(self, rule: str, value: str, remedy: str) -> InputError:
        return InputError(rule, f"competition.toml: [data] {value}", remedy)
