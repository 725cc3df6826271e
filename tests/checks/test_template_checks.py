"""What stands in a template's answers: nothing of placeholders, errors of contradictions, else a warning with both lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from comp.checks.template_cells import judge_cells
from comp.data.csv_table import Table
from comp.data.dataset import Template, from_table, made_template
from comp.data.labels import LabelMap
from comp.data.task import Task

ANIMALS = ("cat", "dog", "eel")
DIGITS = ("0", "1", "2")


def template_of(kind: str, cells: Sequence[str], columns: Sequence[str] = ("label",)) -> Template:
    """A template of a file with these answers, one a row, in each of its columns."""
    rows = tuple((f"t{n}", *[cell] * len(columns)) for n, cell in enumerate(cells))
    return from_table(Table("sample.csv", ("id", *columns), rows), "id", tuple(columns), kind)


def judged(kind: str, classes: Sequence[str], cells: Sequence[str]) -> list[tuple[str, str]]:
    """Severity and message of what is said."""
    columns = classes if kind == "probs" else ("label",)
    found = judge_cells(template_of(kind, cells, columns), LabelMap(classes))
    return [(one.severity, one.message) for one in found]


@pytest.mark.parametrize(
    ("kind", "classes", "cells"),
    [
        ("label", ANIMALS, ["dog", "dog", "dog"]),
        ("label", ANIMALS, ["", "", ""]),
        ("label", ANIMALS, ["nan", "NaN", " "]),
        ("label", ANIMALS, ["cat", "eel", "cat"]),
        ("label", DIGITS, ["0", "0", "0"]),
        ("label", ("none", "some"), ["none", "none"]),
        ("label", ("big cat", "dog"), ["big cat", "dog"]),
        ("index", ANIMALS, ["0", "0", "0"]),
        ("index", ANIMALS, ["2", "0", "1"]),
        ("index", ANIMALS, ["", "nan", ""]),
        ("probs", ANIMALS, ["0", "0.5", "1"]),
        ("probs", ANIMALS, ["", "nan", "1e-3"]),
        ("probs", ANIMALS, ["0.33333", "0.3", ".5"]),
        ("topk", ANIMALS, ["cat dog eel", "eel cat dog"]),
        ("topk", ANIMALS, ["cat", "cat"]),
        ("topk", ANIMALS, ["", ""]),
    ],
)
def test_placeholders_of_real_templates_are_passed_in_silence(
    kind: str, classes: Sequence[str], cells: Sequence[str]
) -> None:
    assert judged(kind, classes, cells) == []


@pytest.mark.parametrize(
    ("kind", "classes", "cells", "told"),
    [
        ("index", ANIMALS, ["cat", "cat"], "2 answers of sample.csv are words, where kind = 'index'"),
        ("index", ANIMALS, ["healthy", "0"], "1 answer of sample.csv is words, where kind = 'index'"),
        ("index", ANIMALS, ["1", "3"], "1 answer of sample.csv is no class index 0…2"),
        ("index", ANIMALS, ["0.5", "0.5"], "no class index 0…2, where kind = 'index' is stated: '0.5'"),
        ("index", ANIMALS, ["9" * 5000], "no class index 0…2"),
        ("label", ANIMALS, ["cat dog", "eel dog"], "2 answers of sample.csv name several classes"),
        ("label", ANIMALS, ["Dog", "Dog"], "in another spelling ('Dog' for 'dog')"),
        ("label", ANIMALS, ["dog", " dog"], "in another spelling (' dog' for 'dog')"),
        ("label", ("big cat", "dog"), ["big_cat"], "in another spelling ('big_cat' for 'big cat')"),
        ("label", DIGITS, ["1.0", "0.0"], "('1.0' for '1', '0.0' for '0')"),
        ("label", ("0.0", "1.0"), ["0", "0"], "('0' for '0.0')"),
        ("label", DIGITS, ["\uff11"], "for '1')"),
        ("label", ("True", "False"), ["true"], "('true' for 'True')"),
        ("label", ANIMALS, ["0", "2", "1"], "are class indices, where kind = 'label' is stated"),
        ("probs", ANIMALS, ["cat"], "are no numbers, where kind = 'probs' is stated: 'cat'"),
        ("topk", ANIMALS, ["cat,dog", "eel,dog"], "have commas between names"),
        ("topk", ANIMALS, ["0 1 2", "2 1 0"], "are class indices, where kind = 'topk' is stated"),
        ("topk", ANIMALS, ["Cat dog eel"], "('Cat' for 'cat')"),
    ],
)
def test_what_contradicts_the_kind_or_is_a_class_but_for_its_spelling_is_an_error(
    kind: str, classes: Sequence[str], cells: Sequence[str], told: str
) -> None:
    found = judged(kind, classes, cells)
    assert [severity for severity, _ in found] == ["error"], found
    assert told in found[0][1]
    assert kind == "probs" or f"the classes are {classes[0]!r}" in found[0][1]


@pytest.mark.parametrize(
    ("kind", "classes", "cells", "told"),
    [
        ("label", ANIMALS, ["0", "0"], "are no class: '0'; the classes are 'cat', 'dog', 'eel'"),
        ("label", ANIMALS, ["0.5", "0.5"], "are no class: '0.5'"),
        ("label", ANIMALS, ["healthy"], "is no class: 'healthy'"),
        ("label", ANIMALS, ["not sure"], "is no class: 'not sure'"),
        ("label", ANIMALS, ["cat", "fox", "dog"], "1 answer of sample.csv is no class: 'fox'"),
        ("label", DIGITS, ["mild", "mild"], "are no class: 'mild'; the classes are '0', '1', '2'"),
        ("label", ("1", "2"), ["01", "02"], "are no class: '01', '02'"),
        ("index", ANIMALS, ["-1", "-1"], "are no class index 0…2: '-1'"),
        ("index", ANIMALS, ["0.0", "1.0"], "are spelled otherwise than the whole numbers"),
        ("probs", ANIMALS, ["5"], "are no probabilities 0 … 1: '5'"),
        ("topk", ("a", "b", "c", "d", "e", "f"), ["a b c"], "has another number of names than k = 5"),
        ("topk", ("a", "b", "c", "d", "e", "f"), ["a b c d e f"], "has another number of names than k = 5"),
    ],
)
def test_anything_else_is_a_warning_with_both_lists(
    kind: str, classes: Sequence[str], cells: Sequence[str], told: str
) -> None:
    found = judged(kind, classes, cells)
    assert [severity for severity, _ in found] == ["warning"], found
    assert told in found[0][1]


def test_the_rows_are_named_and_a_made_template_has_no_cells() -> None:
    found = judge_cells(template_of("label", ["cat", "Dog", "eel", "Dog"]), LabelMap(ANIMALS))
    assert [one.rows for one in found] == [("t1", "t3")]
    assert judge_cells(made_template(["x"], "id", "label", "label"), LabelMap(ANIMALS)) == []


def judged_task(
    task: str, kind: str, cells: Sequence[str], classes: Sequence[str] = ANIMALS, **manner: str
) -> list[tuple[str, str]]:
    """Severity and message of what is said of a template of another task."""
    columns = classes if kind in ("probs", "number") else ("label",)
    template = replace(template_of(kind, cells, columns), **manner)  # type: ignore[arg-type]
    bounds = ((0.0,) * len(classes), (1.0,) * len(classes)) if task == "regression" else ()
    found = judge_cells(template, LabelMap(classes, Task(task, *bounds)))  # type: ignore[arg-type]
    return [(one.severity, one.message) for one in found]


@pytest.mark.parametrize(
    ("task", "kind", "cells", "manner"),
    [
        ("multi-label", "labels", ["cat dog", "eel", ""], {}),
        ("multi-label", "labels", ["cat;dog", "none"], {"separator": ";", "empty": "none"}),
        ("multi-label", "labels", ["cat", "cat"], {}),
        ("multi-label", "labels", ["nan", " "], {}),
        ("multi-label", "probs", ["0", "0.5", "1"], {}),
        ("multi-label", "topk", ["cat dog eel", "eel cat dog"], {}),
        ("single-label", "prob", ["0.5", "0", "1e-3"], {}),
        ("single-label", "prob", ["", "nan"], {}),
        ("regression", "number", ["0", "-3.5", "1e9", ""], {}),
        ("ordinal", "index", ["0", "2"], {}),
        ("ordinal", "label", ["cat", "eel"], {}),
    ],
)
def test_placeholders_of_other_tasks_are_passed_in_silence(
    task: str, kind: str, cells: Sequence[str], manner: dict[str, str]
) -> None:
    assert judged_task(task, kind, cells, **manner) == []


@pytest.mark.parametrize(
    ("task", "kind", "cells", "manner", "severity", "told"),
    [
        (
            "multi-label",
            "labels",
            ["cat dog", "eel dog"],
            {"separator": "|"},
            "error",
            "have ' ' between names, where '|' is stated",
        ),
        ("multi-label", "labels", ["cat,dog"], {}, "error", "has ',' between names, where ' ' is stated"),
        ("multi-label", "labels", ["Cat dog"], {}, "error", "('Cat' for 'cat')"),
        ("multi-label", "labels", ["0 1", "2"], {}, "error", "are class indices, where kind = 'labels'"),
        ("multi-label", "labels", ["cat fox"], {}, "warning", "is no class: 'cat fox'"),
        ("multi-label", "labels", ["none"], {"empty": "healthy"}, "", ""),
        ("single-label", "prob", ["cat"], {}, "error", "is no numbers, where kind = 'prob' is stated"),
        ("single-label", "prob", ["5", "0"], {}, "warning", "is no probabilities 0 … 1: '5'"),
        ("multi-label", "probs", ["-1"], {}, "warning", "are no probabilities 0 … 1: '-1'"),
        ("regression", "number", ["tall"], {}, "error", "are no numbers, where kind = 'number' is stated"),
    ],
)
def test_cells_of_other_tasks_that_contradict_their_kind(
    task: str, kind: str, cells: Sequence[str], manner: dict[str, str], severity: str, told: str
) -> None:
    found = judged_task(task, kind, cells, **manner)
    assert [one for one, _ in found] == ([severity] if severity else []), found
    assert not told or told in found[0][1]
