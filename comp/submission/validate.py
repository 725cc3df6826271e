"""Any CSV against a template: every way in which it does not answer it, and ids that programs changed on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from comp.config import finite_number, whole_number
from comp.data.csv_table import NOTHING, Table
from comp.data.dataset import Template
from comp.data.images.raw_tree import nfc, without_suffix
from comp.data.labels import LabelMap
from comp.errors import near_names, shortened
from comp.submission.answers import names_in, require_kind


@dataclass(frozen=True)
class IdRepair:
    """What happened to ``count`` ids, and in which file rows (the header is row 1)."""

    message: str
    count: int
    rows: tuple[int, ...]


def _whole(text: str) -> str:
    """A number as spreadsheets and data frames write it: no leading zeros, no ``.0``."""
    head, dot, tail = text.strip().partition(".")
    if not head.isdigit() or not head.isascii() or (dot and tail.strip("0")):
        return text
    return head.lstrip("0") or "0"


# from the surest to the loosest: what two spellings have in common, and what is said of the one that differs
WAYS: tuple[tuple[Callable[[str], str], str], ...] = (
    (_whole, "{} ids were read as numbers (leading zeros lost, or .0 added)"),
    (str.strip, "{} ids have spaces around them, or lost them"),
    (nfc, "{} ids are in another Unicode form (NFC or NFD)"),
    (without_suffix, "{} ids have gained or lost their file's suffix"),
    (lambda text: nfc(text).strip().casefold(), "{} ids are in another case"),
)


def damaged(ids: Sequence[str], wanted: Sequence[str]) -> tuple[dict[str, str], list[IdRepair]]:
    """Ids that the template spells otherwise: our spelling → its, and what happened to them, the surest way first.

    An id counts as damaged where exactly one missing id of the template has the same core, and no other id of ours has.
    """
    have, known = set(ids), set(wanted)
    repaired: dict[str, str] = {}
    found: list[IdRepair] = []
    for core, words in WAYS:
        found_again = have | set(repaired.values())
        missing = _by_core([i for i in dict.fromkeys(wanted) if i not in found_again], core)
        extra = _by_core([i for i in dict.fromkeys(ids) if i not in known and i not in repaired], core)
        new = {
            ours[0]: missing[key][0]
            for key, ours in extra.items()
            if len(ours) == 1 and len(missing.get(key, ())) == 1
        }
        if new:
            repaired |= new
            rows = [n for n, one in enumerate(ids, start=2) if one in new]
            first = ids[rows[0] - 2]
            message = f"{words.format(len(new))}, first row {rows[0]}: {first!r} for {new[first]!r}; keep ids as text"
            found.append(IdRepair(message, len(new), tuple(rows[:5])))
    return repaired, found


def _by_core(names: Sequence[str], core: Callable[[str], str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(core(name), []).append(name)
    return found


SHOWN = 5
SUM_TOLERANCE = 1e-6
_SLACK = 1e-9  # of adding decimals in binary


@dataclass(frozen=True, repr=False)
class Problem:
    """One way in which a submission does not answer its template; ``rows`` are file rows, the header is row 1."""

    rule: str
    message: str
    count: int = 1
    rows: tuple[int, ...] = ()

    def __repr__(self) -> str:
        more = ", …" if len(self.rows) > 3 else ""
        rows = f", rows {', '.join(map(str, self.rows[:3]))}{more}" if self.rows else ""
        return f"Problem({self.rule!r}, {shortened(self.message, 150)!r}{rows})"


def validate(table: Table, template: Template, labels: LabelMap) -> list[Problem]:
    """Every way in which ``table`` does not answer ``template``; empty when it does.

    Rules: ``encoding``, ``header``, ``doubled-id``, ``damaged-id`` (ids of the template in another spelling),
    ``missing-id``, ``extra-id``, ``order``, ``value``, ``row-sum``. Under a wrong header, columns that are known by a
    near name are judged on.

    Raises
    ------
    InputError
        If the template itself cannot be answered: no rows, or a kind or columns that are not the task's.
    """
    template.require_rows()
    require_kind(template, labels)
    found = [*_encoding_problems(table, template), *_header_problems(table, template)]
    places = _places(table.header, template.table.header)
    if template.id_place in places:
        ids = [row[places[template.id_place]] for row in table.rows]
        found += _id_problems(ids, template)
    if all(place in places for place in template.target_places):
        moved = replace(template, target_places=tuple(places[place] for place in template.target_places))
        found += _value_problems(table, moved, labels)
    return found


def _encoding_problems(table: Table, template: Template) -> list[Problem]:
    ours, theirs = table.encoding, template.table.encoding
    if ours == theirs or (theirs == "cp949" and ours == "utf-8" and _is_ascii(table)):
        return []
    if ours == "utf-8-sig":
        message = "the file begins with a byte order mark (utf-8-sig), which the template does not have"
    elif theirs == "utf-8-sig":
        message = f"the template begins with a byte order mark (utf-8-sig), the file does not ({ours})"
    else:
        message = f"the file is {ours} text, the template {theirs}"
    return [Problem("encoding", message, rows=(1,))]


def _is_ascii(table: Table) -> bool:
    return all(cell.isascii() for row in (table.header, *table.rows) for cell in row)


def _header_problems(table: Table, template: Template) -> list[Problem]:
    ours, theirs = table.header, template.table.header
    if ours == theirs:
        return []
    said = [f"the header is {','.join(ours)!r}, the template's {','.join(theirs)!r}"]
    missing = [name for name in theirs if name not in ours]
    extra = [name for name in ours if name not in theirs]
    for name in missing:
        near = [other for other in extra if _loose(other) == _loose(name)] or near_names(name, extra)
        said.append(f"no column {name!r}" + (f", {near[0]!r} looks like it" if near else ""))
    unlike = [name for name in extra if not any(_loose(name) == _loose(other) for other in missing)]
    said += [f"{name!r} is not asked for" for name in unlike]
    doubled = sorted({name for name in ours if ours.count(name) > theirs.count(name) > 0})
    said += [f"{name!r} comes {ours.count(name)} times" for name in doubled]
    if not missing and not extra and not doubled:
        said.append("the columns stand in another order")
    if len(ours) == 1 < len(theirs) and ";" in ours[0]:
        said.append("cells are separated by commas, not by semicolons")
    return [Problem("header", "; ".join(said), rows=(1,))]


def _places(ours: Sequence[str], theirs: Sequence[str]) -> dict[int, int]:
    """Template column → our column, by exact name, else by a name that differs in case and spaces alone."""
    if tuple(ours) == tuple(theirs):
        return {place: place for place in range(len(theirs))}
    found: dict[int, int] = {}
    for place, name in enumerate(theirs):
        exact = [n for n, other in enumerate(ours) if other == name]
        fits = exact or [n for n, other in enumerate(ours) if _loose(other) == _loose(name)]
        if len(fits) == 1 and fits[0] not in found.values():
            found[place] = fits[0]
    return found


def _loose(name: str) -> str:
    return "".join(nfc(name).split()).casefold().replace("_", "").replace("-", "").lstrip("\ufeff")


def _id_problems(ids: list[str], template: Template) -> list[Problem]:
    wanted = template.ids
    known = set(wanted)
    repaired, found = damaged(ids, wanted)
    problems = [Problem("damaged-id", d.message, d.count, d.rows) for d in found]
    mended = [repaired.get(i, i) for i in ids]
    have = set(mended)
    counts: dict[str, int] = {}
    for one in mended:
        counts[one] = counts.get(one, 0) + 1
    doubled = [i for i, n in counts.items() if n > 1]
    missing = [i for i in wanted if i not in have]
    extra = [i for i in counts if i not in known]
    for rule, names in (("doubled-id", doubled), ("missing-id", missing), ("extra-id", extra)):
        if names:
            first = set(names[:SHOWN])
            rows = [] if rule == "missing-id" else [n for n, i in enumerate(mended, start=2) if i in first]
            shown = ", ".join(repr(n) for n in names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
            words = f"{rule.replace('-', ' ')}{'s' if len(names) > 1 else ''}"
            where = ""
            if rule == "missing-id":
                at = wanted.index(names[0]) + 2
                where = f", first in the template's row {at}"
            problems.append(
                Problem(rule, f"{len(names)} {words}: {shown}{where}", len(names), tuple(rows[:SHOWN]))
            )
    return problems + _order_problems(mended, wanted)


def _order_problems(ids: list[str], wanted: Sequence[str]) -> list[Problem]:
    """Ids that both have, each counted once, in another order."""
    have, known = set(ids), set(wanted)
    place = {one: n for n, one in reversed(list(enumerate(ids, start=2)))}
    ours = [i for i in place if i in known]
    ours.sort(key=lambda i: place[i])
    theirs = [i for i in wanted if i in have]
    wrong = [(mine, other) for mine, other in zip(ours, theirs, strict=True) if mine != other]
    if not wrong:
        return []
    rows = tuple(place[mine] for mine, _ in wrong)
    message = (
        f"{len(wrong)} rows stand in another order than the template's, "
        f"first row {rows[0]}: {wrong[0][0]!r} for {wrong[0][1]!r}"
    )
    return [Problem("order", message, len(wrong), rows[:SHOWN])]


def _value_problems(table: Table, template: Template, labels: LabelMap) -> list[Problem]:
    if template.kind in ("prob", "probs", "number"):
        return _number_problems(table, template, labels)
    wrong: list[tuple[int, str, str]] = []
    place = template.target_places[0]
    known: dict[str, str] = {}
    for number, row in enumerate(table.rows, start=2):
        cell = row[place]
        if cell not in known:
            known[cell] = _fault(cell, template, labels)
        if known[cell]:
            wrong.append((number, cell, known[cell]))
    if not wrong:
        return []
    kind = {
        "index": f"a class index 0…{len(labels) - 1}",
        "label": "a class name",
        "topk": f"1 to {template.k} class names with a space between them",
        "labels": f"class names with {template.separator!r} between them, or {template.empty!r} for none",
    }[template.kind]
    faults = list(dict.fromkeys(fault for _, _, fault in wrong))
    number, cell, fault = wrong[0]
    message = f"{len(wrong)} answers are not {kind}, first in row {number}: {cell!r}, {fault}"
    others = [next(w for w in wrong if w[2] == other) for other in faults[1 : SHOWN + 1]]
    message += "".join(f"; row {n}: {text!r}, {why}" for n, text, why in others)
    return [Problem("value", message, len(wrong), tuple(n for n, _, _ in wrong[:SHOWN]))]


def _fault(cell: str, template: Template, labels: LabelMap) -> str:
    """What is wrong with an answer; empty where nothing is."""
    if template.kind == "index":
        return _index_fault(cell, labels)
    if template.kind == "label":
        return _label_fault(cell, labels)
    names = names_in(cell, template)
    faults = [fault for name in names if (fault := _label_fault(name, labels))]
    if not faults and template.kind == "topk" and len(names) > template.k:
        faults = [f"{len(names)} names"]
    if not faults and len(set(names)) < len(names):
        faults = ["a name comes twice"]
    return faults[0] if faults else ""


def _index_fault(cell: str, labels: LabelMap) -> str:
    index = whole_number(cell)
    if index is not None and cell == str(index):
        return "" if 0 <= index < len(labels) else "out of range"
    if cell.strip().lower() in NOTHING:
        return "empty"
    if cell in labels:
        return f"a class name, write {labels.index(cell)}"
    try:
        number = float(cell)
    except ValueError:
        near = near_names(cell.strip(), labels.names)
        return f"no number; did you mean {near[0]!r}, class {labels.index(near[0])}?" if near else "no number"
    if not number.is_integer():
        return "no whole number"
    return f"write {int(number)}" if 0 <= number < len(labels) else "out of range"


def _label_fault(cell: str, labels: LabelMap) -> str:
    if cell in labels:
        return ""
    if cell.strip().lower() in NOTHING:
        return "empty"
    spelled = [name for name in labels if _loose(name) == _loose(cell)]
    if spelled:
        return f"write {spelled[0]!r}: case, spaces and Unicode form count"
    index = whole_number(cell)
    if index is not None and 0 <= index < len(labels):
        return f"an index, write {labels.names[index]!r}"
    near = near_names(cell, labels.names)
    return f"did you mean {near[0]!r}?" if near else "unknown"


def _number_problems(table: Table, template: Template, labels: LabelMap) -> list[Problem]:
    """Cells that are no numbers, numbers outside their bounds, and rows of a single label that do not sum to one."""
    no_numbers: list[tuple[int, str]] = []
    outside: list[int] = []
    off: list[tuple[int, float]] = []
    low, high = (0.0, 1.0) if template.kind != "number" else template.bounds or (-math.inf, math.inf)
    sums_to_one = template.kind == "probs" and labels.task.is_single_label
    for number, row in enumerate(table.rows, start=2):
        cells = [row[place] for place in template.target_places]
        values = [finite_number(cell) for cell in cells]
        if None in values:
            no_numbers.append((number, cells[values.index(None)]))
            continue
        numbers = np.array(values, dtype=np.float64)
        if numbers.min() < low or numbers.max() > high:
            outside.append(number)
        if sums_to_one and abs(numbers.sum() - 1) > SUM_TOLERANCE + _SLACK:
            off.append((number, float(numbers.sum())))
    problems: list[Problem] = []
    if no_numbers:
        first, cell = no_numbers[0]
        what = "empty" if cell.strip().lower() in NOTHING else "no number"
        message = (
            f"{len(no_numbers)} rows have a cell that is no number, first row {first}: {cell!r} is {what}"
        )
        rows = tuple(n for n, _ in no_numbers[:SHOWN])
        problems.append(Problem("value", message, len(no_numbers), rows))
    if sums_to_one:
        return problems + _sum_problems(outside, off)
    if outside:
        message = f"{len(outside)} rows have a value outside {low:g} … {high:g}, first row {outside[0]}"
        problems.append(Problem("value", message, len(outside), tuple(outside[:SHOWN])))
    return problems


def _sum_problems(outside: list[int], off: list[tuple[int, float]]) -> list[Problem]:
    bad = sorted({*outside, *(n for n, _ in off)})
    if not bad:
        return []
    sums = dict(off)
    why = f"sums to {sums[bad[0]]:.8g}" if bad[0] in sums else "has a value outside 0 … 1"
    message = f"{len(bad)} rows are not probabilities that sum to one ± 1e-6, first row {bad[0]} {why}"
    if outside:
        message += (
            f"; {len(outside)} have values outside 0 … 1, first row {outside[0]}: logits need a softmax"
        )
    return [Problem("row-sum", message, len(bad), tuple(bad[:SHOWN]))]
