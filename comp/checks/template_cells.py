"""What the cells of a template say against its kind and the label map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from comp.checks.context import Severity
from comp.data.csv_table import NOTHING, clean, folded, listed, number_of, same_number, whole_of
from comp.data.dataset import Template
from comp.data.labels import LabelMap
from comp.submission.answers import names_in

KIND = "correct `kind` in [template]"
_SINGULAR = {"are": "is", "have": "has", "name": "names"}


@dataclass(frozen=True)
class Cells:
    """What is said of some cells; ``rows`` are the template's ids."""

    severity: Severity
    rows: tuple[str, ...]
    message: str
    remedy: str


def judge_cells(template: Template, labels: LabelMap) -> list[Cells]:
    """What a template's answers say against its kind and the label map; nothing of empty cells."""
    if template.made:
        return []
    cells = _distinct(template)
    if not cells:
        return []
    return _JUDGES[template.kind](_Judged(template, labels, cells))


def _distinct(template: Template) -> dict[str, list[str]]:
    """Each distinct cell that is not empty, with the ids of its rows."""
    found: dict[str, list[str]] = {}
    for row in template.table.rows:
        for place in template.target_places:
            found.setdefault(row[place], []).append(row[template.id_place])
    return {cell: ids for cell, ids in found.items() if clean(cell)}


@dataclass(frozen=True)
class _Judged:
    template: Template
    labels: LabelMap
    cells: dict[str, list[str]]

    @property
    def given(self) -> list[str]:
        """The distinct cells that say something: a class, or no word that tables write for nothing."""
        return [cell for cell in self.cells if cell in self.labels or clean(cell).lower() not in NOTHING]

    def say(
        self, severity: Severity, cells: Sequence[str], what: str, remedy: str, classes: bool = True
    ) -> list[Cells]:
        """One sentence on some distinct cells, with the classes beside them."""
        if not cells:
            return []
        ids = tuple(i for cell in cells for i in self.cells[cell])
        count, verb = f"{len(ids)} answers", what
        if len(ids) == 1:
            first, _, rest = what.partition(" ")
            count, verb = "1 answer", f"{_SINGULAR[first]} {rest}"
        beside = f"; the classes are {listed(self.labels.names, 8)}" if classes else ""
        message = f"{count} of {self.template.table.name} {verb}: {listed(cells)}{beside}"
        return [Cells(severity, ids, message, remedy)]


def _of_index(one: _Judged) -> list[Cells]:
    classes = len(one.labels)
    kinds: dict[str, list[str]] = {"word": [], "beyond": [], "below": [], "spelled": []}
    for cell in one.given:
        whole = whole_of(cell)
        if number_of(cell) is None:
            kinds["word"].append(cell)
        elif whole is None or whole >= classes:
            kinds["beyond"].append(cell)
        elif whole < 0:
            kinds["below"].append(cell)
        elif not (clean(cell).isascii() and clean(cell).isdigit()):
            kinds["spelled"].append(cell)
    stated, span = "where kind = 'index' is stated", f"no class index 0…{classes - 1}"
    ask = "look whether the site asks for the class index"
    other = "are spelled otherwise than the whole numbers that are written"
    return [
        *one.say("error", kinds["word"], f"are words, {stated}", KIND),
        *one.say("error", kinds["beyond"], f"are {span}, {stated}", KIND),
        *one.say("warning", kinds["below"], f"are {span}", ask),
        *one.say("warning", kinds["spelled"], other, "look how the site wants numbers written"),
    ]


def _of_label(one: _Judged) -> list[Cells]:
    several = {cell for cell in one.given if _is_several(cell, one.labels, " ")}
    rest = [cell for cell in one.given if cell not in several]
    found = one.say("error", sorted(several), "name several classes, where kind = 'label' is stated", KIND)
    return found + _names(one, rest, lambda cell: [cell])


def _of_topk(one: _Judged) -> list[Cells]:
    k = one.template.k
    commas = {cell for cell in one.given if _is_several(cell, one.labels, ",")}
    rest = [cell for cell in one.given if cell not in commas]
    counts = {cell: len(cell.split()) for cell in rest}
    longer = [cell for cell in rest if counts[cell] > k]
    told = f"have another number of names than k = {k} in [template]"
    fewer = rest if rest and 1 < max(counts.values()) < min(k, len(one.labels)) else []
    return [
        *one.say("error", sorted(commas), "have commas between names, where topk writes spaces", KIND),
        *one.say("warning", [*longer, *fewer], told, "state `k` in [template] as the site asks", False),
        *_names(one, rest, str.split),
    ]


def _names(one: _Judged, cells: Sequence[str], words: Callable[[str], list[str]]) -> list[Cells]:
    """Cells of class names that are none: in another spelling, by their index, or unknown."""
    spellings = _Spellings(one.labels)
    strange = {
        cell: [word for word in words(cell) if word not in one.labels and clean(word).lower() not in NOTHING]
        for cell in cells
    }
    unknown = [cell for cell in cells if strange[cell]]
    respelled = [cell for cell in unknown if any(spellings.of(word) for word in strange[cell])]
    pairs = {word: spellings.of(word) for cell in respelled for word in strange[cell]}
    shown = [f"{word!r} for {name!r}" for word, name in pairs.items() if name][:5]
    state = "name the classes as the site does: `classes` in competition.toml; labels are then read as those"
    found = one.say("error", respelled, f"are classes in another spelling ({', '.join(shown)})", state)
    close = set(respelled)
    rest = [cell for cell in unknown if cell not in close]
    if _are_indices([word for cell in rest for word in strange[cell]], one.labels):
        return found + one.say(
            "error", rest, f"are class indices, where kind = {one.template.kind!r} is stated", KIND
        )
    remedy = "placeholders may be anything; else correct the labels, `classes` or `kind` in competition.toml"
    return found + one.say("warning", rest, "are no class", remedy)


def _of_probs(one: _Judged) -> list[Cells]:
    numbers = {cell: _float(cell) for cell in one.given}
    booleans = [cell for cell in numbers if clean(cell).lower() in ("true", "false")]
    words = [cell for cell, number in numbers.items() if number is None and cell not in booleans]
    outside = [cell for cell, number in numbers.items() if number is not None and not 0 <= number <= 1]
    return [
        *one.say(
            "error", words, f"are no numbers, where kind = {one.template.kind!r} is stated", KIND, False
        ),
        *one.say(
            "warning", booleans, "are true or false", "look whether the site asks for probabilities", False
        ),
        *one.say(
            "warning",
            outside,
            "are no probabilities 0 … 1",
            "look what the site asks for in each column",
            False,
        ),
    ]


def _of_numbers(one: _Judged) -> list[Cells]:
    words = [cell for cell in one.given if _float(cell) is None]
    return one.say(
        "error", words, f"are no numbers, where kind = {one.template.kind!r} is stated", KIND, False
    )


def _of_labels(one: _Judged) -> list[Cells]:
    template = one.template
    given = [cell for cell in one.given if cell != template.empty]
    strange = [cell for cell in given if any(name not in one.labels for name in names_in(cell, template))]
    others = [sign for sign in (",", ";", "|", " ") if sign != template.separator]
    apart = {sign: [cell for cell in strange if _is_several(cell, one.labels, sign)] for sign in others}
    other = max(others, key=lambda sign: len(apart[sign]))
    wrong = f"have {other!r} between names, where {template.separator!r} is stated"
    rest = [cell for cell in given if cell not in set(apart[other])]
    return [
        *one.say("error", apart[other], wrong, "correct `separator` in [template]"),
        *_names(one, rest, lambda cell: names_in(cell, template)),
    ]


_JUDGES: dict[str, Callable[[_Judged], list[Cells]]] = {
    "index": _of_index,
    "label": _of_label,
    "prob": _of_probs,
    "probs": _of_probs,
    "topk": _of_topk,
    "labels": _of_labels,
    "number": _of_numbers,
}


class _Spellings:
    """The class that a word is in another spelling: of case, spaces, Unicode form or number."""

    def __init__(self, labels: LabelMap) -> None:
        self._by_text: dict[str, str] = {}
        self._by_number: dict[object, str] = {}
        for name in labels:
            self._by_text.setdefault(folded(name), name)
            number = same_number(name)
            if number is not None:
                self._by_number.setdefault(number, name)

    def of(self, word: str) -> str:
        """The class, "" where there is none."""
        number = same_number(word)
        by_number = "" if number is None else self._by_number.get(number, "")
        return by_number or self._by_text.get(folded(word), "")


def _is_several(cell: str, labels: LabelMap, between: str) -> bool:
    """Whether a cell that is no class itself names two classes or more."""
    if cell in labels:
        return False
    words = [word.strip() for word in cell.split(between)]
    return sum(word in labels for word in words) > 1


def _are_indices(words: Sequence[str], labels: LabelMap) -> bool:
    """Whether words that are no classes are their indices: several whole numbers within 0 … C-1, classes that are none."""
    if len(set(words)) < 2 or any(number_of(name) is not None for name in labels):
        return False
    found = [whole_of(word) for word in words]
    return all(whole is not None and 0 <= whole < len(labels) for whole in found)


def _float(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
