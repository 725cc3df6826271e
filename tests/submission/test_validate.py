"""Validation: every fault of a CSV is named with its rows, all at once, and what is right stays silent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.csv_table import Table, parse_table
from comp.data.dataset import from_table
from comp.data.labels import LabelMap
from comp.data.predictions import Predictions
from comp.data.task import Task
from comp.submission import write as submission
from comp.submission.validate import Problem, validate
from made_templates import KINDS, LABELS, template_of


def found(content: str, kind: str = "index", ids: tuple[str, ...] = ("x", "y", "z")) -> list[Problem]:
    table = parse_table(content.encode(), "mine.csv")
    return validate(table, replace(template_of(list(ids), kind), k=2), LABELS)


IDS = st.lists(st.text("abc019 가", min_size=1, max_size=4), min_size=1, max_size=15, unique=True)


@given(IDS, st.integers(0, 999), st.sampled_from(sorted(KINDS)), st.integers(1, 12))
def test_what_compose_writes_is_valid(ids: list[str], seed: int, kind: str, decimals: int) -> None:
    probs = np.random.default_rng(seed).dirichlet(np.ones(3), len(ids))
    template = replace(template_of(ids, kind), decimals=decimals)
    text = submission.compose(Predictions(tuple(ids), LABELS, probs), template)
    assert validate(parse_table(text.encode(), "mine.csv"), template, LABELS) == []


@given(IDS, st.integers(0, 999))
def test_rows_in_another_order_are_always_told(ids: list[str], seed: int) -> None:
    order = [ids[n] for n in np.random.default_rng(seed).permutation(len(ids))]
    rules = [p.rule for p in found("id,label\n" + "".join(f"{i},0\n" for i in order), ids=tuple(ids))]
    assert rules == ([] if order == ids else ["order"])


@pytest.mark.parametrize(
    ("kind", "content", "rule", "rows"),
    [
        ("index", "ID,label\nx,0\ny,0\nz,0\n", "header", (1,)),
        ("index", "id,label\nx,0\nx,0\ny,0\nz,0\n", "doubled-id", (2, 3)),
        ("index", "id,label\nx,0\nz,0\n", "missing-id", ()),
        ("index", "id,label\nx,0\ny,0\nz,0\nq,0\n", "extra-id", (5,)),
        ("index", "id,label\ny,0\nx,0\nz,0\n", "order", (2, 3)),
        ("index", "id,label\nx,0\ny,3\nz,0\n", "value", (3,)),
        ("index", "id,label\nx,0\ny,0.0\nz,dog\n", "value", (3, 4)),
        ("index", "id,label\nx,0\ny,\nz,0\n", "value", (3,)),
        ("label", "id,label\nx,dog\ny,Dog\nz,cat\n", "value", (3,)),
        ("topk", "id,label\nx,dog cat\ny,dog dog\nz,cat eel dog\n", "value", (3, 4)),
        ("topk", "id,label\nx,dog\ny,dog  cat\nz,cat ele\n", "value", (3, 4)),
        ("probs", "id,eel,cat,dog\nx,1,0,0\ny,a,0,0\nz,nan,1,0\n", "value", (3, 4)),
        ("probs", "id,eel,cat,dog\nx,1,0,0\ny,0.5,0.4,0\nz,2,-1,0\n", "row-sum", (3, 4)),
        ("probs", "id,eel,cat,dog\nx,1,0,0\ny,0.33333,0.33333,0.33333\nz,0,0,1.000001\n", "row-sum", (3, 4)),
    ],
)
def test_each_fault_is_named_with_its_rows(kind: str, content: str, rule: str, rows: tuple[int, ...]) -> None:
    assert [(p.rule, p.rows) for p in found(content, kind)] == [(rule, rows)]


@pytest.mark.parametrize(
    ("kind", "cell", "told"),
    [
        ("index", "dog", "a class name, write 1"),
        ("index", "2.0", "write 2"),
        ("index", " 2", "write 2"),
        ("index", "02", "write 2"),
        ("index", "1.5", "no whole number"),
        ("index", "-1", "out of range"),
        ("index", "3.0", "out of range"),
        ("index", "NaN", "empty"),
        ("index", "dogg", "did you mean 'dog', class 1?"),
        ("index", "inf", "no whole number"),
        ("label", " dog", "write 'dog'"),
        ("label", "DOG", "write 'dog'"),
        ("label", "1", "an index, write 'dog'"),
        ("label", "dgo", "did you mean 'dog'?"),
        ("label", "", "empty"),
        ("label", "qqqqqq", "unknown"),
    ],
)
def test_a_wrong_answer_is_told_what_to_write(kind: str, cell: str, told: str) -> None:
    good = "0" if kind == "index" else "cat"
    (problem,) = found(f"id,label\nx,{good}\ny,{cell}\nz,{good}\n", kind)
    assert problem.rule == "value"
    assert problem.rows == (3,)
    assert told in problem.message


@pytest.mark.parametrize(
    ("wanted", "ours", "told"),
    [
        (("007", "010"), ("7", "10"), "leading zeros"),
        (("1", "2"), ("1.0", "2.0"), ".0 added"),
        (("a", "b"), ("a ", "b"), "spaces"),
        (("\uac00", "b"), ("\u1100\u1161", "b"), "Unicode form"),
        (("a.jpg", "b.jpg"), ("a", "b"), "suffix"),
        (("a", "b"), ("a.png", "b"), "suffix"),
        (("Ab", "b"), ("AB", "b"), "case"),
    ],
)
def test_ids_that_a_program_changed_are_told_apart(
    wanted: tuple[str, ...], ours: tuple[str, ...], told: str
) -> None:
    (problem,) = found("id,label\n" + "".join(f"{i},0\n" for i in ours), ids=wanted)
    assert problem.rule == "damaged-id"
    assert told in problem.message
    assert f"{ours[0]!r} for {wanted[0]!r}" in problem.message
    assert problem.count == sum(a != b for a, b in zip(wanted, ours, strict=True))


def test_a_spelling_that_could_be_two_ids_is_no_damage() -> None:
    rules = [p.rule for p in found("id,label\n7,0\nq,0\n", ids=("07", "007"))]
    assert rules == ["missing-id", "extra-id"]


def test_all_faults_are_told_at_once() -> None:
    problems = found("label,Id,more\n0,y,1\n5,x,1\n0,x,1\n,q,1\n")
    assert [p.rule for p in problems] == ["header", "doubled-id", "missing-id", "extra-id", "order", "value"]
    header = problems[0].message
    assert "no column 'id', 'Id' looks like it" in header
    assert "'more' is not asked for" in header
    assert problems[-1].rows == (3, 5)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("label,id\n0,x\n0,y\n0,z\n", "another order"),
        ("id,lable\nx,0\ny,0\nz,0\n", "no column 'label', 'lable' looks like it"),
        ("id;label\nx;0\ny;0\nz;0\n", "not by semicolons"),
        ("id,label,label\nx,0,0\ny,0,0\nz,0,0\n", "'label' comes 2 times"),
        ("x,0\ny,0\nz,0\n", "no column 'id'"),
    ],
)
def test_what_is_wrong_with_a_header_is_said(content: str, told: str) -> None:
    problems = found(content)
    assert problems[0].rule == "header"
    assert told in problems[0].message


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ("utf-8-sig", "utf-8", "begins with a byte order mark"),
        ("utf-8", "utf-8-sig", "the template begins with a byte order mark"),
        ("utf-8", "cp949", "the file is utf-8 text, the template cp949"),
        ("cp949", "utf-8", "the file is cp949 text, the template utf-8"),
    ],
)
def test_another_encoding_is_told(ours: str, theirs: str, told: str) -> None:
    template = template_of(["사과"], "index", encoding=theirs)
    table = parse_table("id,label\n사과,0\n".encode(ours), "mine.csv")
    (problem,) = validate(table, template, LABELS)
    assert (problem.rule, problem.rows) == ("encoding", (1,))
    assert told in problem.message


def test_plain_ascii_is_cp949_too() -> None:
    table = parse_table(b"id,label\nx,0\n", "mine.csv")
    assert validate(table, template_of(["x"], "index", encoding="cp949"), LABELS) == []


def test_ids_that_are_missing_or_too_many_are_counted_with_their_first_rows() -> None:
    wanted = tuple("abcdefgh")
    (missing,) = found("id,label\na,0\nb,0\n", ids=wanted)
    assert (missing.rule, missing.count, missing.rows) == ("missing-id", 6, ())
    assert missing.message == "6 missing ids: 'c', 'd', 'e', 'f', 'g' …, first in the template's row 4"
    content = "id,label\n" + "".join(f"{i},0\n" for i in (*wanted, "p", "q"))
    (extra,) = found(content, ids=wanted)
    assert (extra.rule, extra.count, extra.rows) == ("extra-id", 2, (10, 11))
    assert extra.message == "2 extra ids: 'p', 'q'"
    (one,) = found("id,label\nx,0\ny,0\n")
    assert one.message == "1 missing id: 'z', first in the template's row 4"


def test_of_many_rows_the_first_five_are_named_and_all_are_counted() -> None:
    wanted = tuple("abcdefg")
    (order,) = found("id,label\n" + "".join(f"{i},0\n" for i in reversed(wanted)), ids=wanted)
    assert (order.rule, order.count, order.rows) == ("order", 6, (2, 3, 4, 6, 7))  # d stands where it should
    assert "6 rows stand in another order than the template's, first row 2: 'g' for 'a'" in order.message
    (value,) = found("id,label\n" + "".join(f"{i},9\n" for i in wanted), ids=wanted)
    assert (value.rule, value.count, value.rows) == ("value", 7, (2, 3, 4, 5, 6))


def test_a_doubled_id_does_not_make_the_order_wrong() -> None:
    (problem,) = found("id,label\nx,0\ny,0\nx,0\nz,0\n")
    assert (problem.rule, problem.rows) == ("doubled-id", (2, 4))


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ("dgo eel x", "did you mean 'dog'?"),  # the first that is wrong
        ("dog eel cat", "3 names"),
        ("dog dog", "a name comes twice"),
        ("dog cat dog", "3 names"),
        ("qqqq", "unknown"),
    ],
)
def test_a_row_of_names_is_told_its_first_fault(cells: str, told: str) -> None:
    table = parse_table(f'id,label\nx,"{cells}"\ny,dog cat\nz,eel\n'.encode(), "mine.csv")
    (problem,) = validate(table, replace(template_of(["x", "y", "z"], "topk"), k=2), LABELS)
    assert (problem.rule, problem.rows) == ("value", (2,))
    assert problem.message == (
        f"1 answers are not 1 to 2 class names with a space between them, first in row 2: {cells!r}, {told}"
    )


@pytest.mark.parametrize("cell", ["1_0", "+1", "1.0e0", "٣", "1" * 5_000, "1e400", "-0", "0x1"])
def test_an_index_is_written_in_plain_digits(cell: str) -> None:
    (problem,) = found(f"id,label\nx,0\ny,{cell}\nz,2\n")
    assert (problem.rule, problem.rows) == ("value", (3,))


@pytest.mark.parametrize(
    ("cells", "rules"),
    [
        ("0,0,1", []),
        ("0.5,0,0.500000999", []),
        ("0.5,0,0.5000011", ["row-sum"]),
        ("0,0,0.9999989", ["row-sum"]),
        ("1e-7,0,0.9999999", []),
        ("-1e-9,0,1", ["row-sum"]),
        ("0.5,0.6,-0.1", ["row-sum"]),
        ("1_0,0,0", ["value"]),
        ("inf,0,0", ["value"]),
        (",0,1", ["value"]),
        ("1e400,0,0", ["value"]),
        ("٠,0,1", ["value"]),
        ("0" * 5_000 + ",0,1", ["value"]),
    ],
)
def test_probabilities_are_plain_numbers_that_sum_to_one(cells: str, rules: list[str]) -> None:
    problems = found(f"id,eel,cat,dog\nx,1,0,0\ny,0,1,0\nz,{cells}\n", "probs")
    assert [(p.rule, p.rows) for p in problems] == [(rule, (4,)) for rule in rules]


SEVERAL = LabelMap(("cat", "dog", "eel"), Task("multi-label"))
TWO = LabelMap(("no", "yes"))
SCALE = LabelMap(("0", "1", "2"), Task("ordinal"))
NUMBER = LabelMap(("y",), Task("regression", (0.0,), (10.0,)))


def problems(content: str, labels: LabelMap, kind: str, **manner: object) -> list[Problem]:
    """What is said of a CSV against a template of x, y and z of a task and kind."""
    header = content.splitlines()[0].split(",")
    table = Table("sample.csv", tuple(header), tuple((i, *["0"] * (len(header) - 1)) for i in "xyz"))
    template = replace(from_table(table, "id", tuple(header[1:]), kind), **manner)  # type: ignore[arg-type]
    return validate(parse_table(content.encode(), "mine.csv"), template, labels)


@pytest.mark.parametrize(
    ("labels", "kind", "manner", "content"),
    [
        (SEVERAL, "labels", {}, "id,l\nx,cat dog\ny,\nz,eel\n"),
        (SEVERAL, "labels", {"separator": "|", "empty": "none"}, "id,l\nx,cat|dog\ny,none\nz,eel\n"),
        (SEVERAL, "probs", {}, "id,eel,cat,dog\nx,1,1,1\ny,0,0,0\nz,0.2,0.9,0.5\n"),
        (SEVERAL, "topk", {"k": 2}, "id,l\nx,cat dog\ny,eel\nz,dog eel\n"),
        (TWO, "prob", {}, "id,p\nx,0\ny,1\nz,1e-3\n"),
        (SCALE, "index", {}, "id,l\nx,0\ny,2\nz,1\n"),
        (NUMBER, "number", {}, "id,y\nx,-3\ny,1e9\nz,0.5\n"),
        (NUMBER, "number", {"bounds": (0.0, 10.0)}, "id,y\nx,0\ny,10\nz,0.5\n"),
    ],
)
def test_answers_of_every_task_and_kind_are_valid(
    labels: LabelMap, kind: str, manner: dict[str, object], content: str
) -> None:
    assert problems(content, labels, kind, **manner) == []


@pytest.mark.parametrize(
    ("labels", "kind", "manner", "content", "told", "rows"),
    [
        (SEVERAL, "labels", {}, "id,l\nx,cat dgo\ny,cat\nz,eel\n", "did you mean 'dog'?", (2,)),
        (SEVERAL, "labels", {}, "id,l\nx,cat cat\ny,cat\nz,eel\n", "a name comes twice", (2,)),
        (SEVERAL, "labels", {}, "id,l\nx,cat\ny,0 1\nz,eel\n", "an index", (3,)),
        (SEVERAL, "labels", {"empty": "none"}, "id,l\nx,none\ny,\nz,eel\n", "or 'none' for none", (3,)),
        (SEVERAL, "labels", {"separator": "|"}, "id,l\nx,cat dog\ny,eel\nz,eel\n", "'|' between them", (2,)),
        (SEVERAL, "probs", {}, "id,cat,dog,eel\nx,1.2,0,0\ny,0,-0.1,0\nz,0,0,0\n", "outside 0 … 1", (2, 3)),
        (TWO, "prob", {}, "id,p\nx,1.5\ny,0\nz,yes\n", "'yes' is no number", (4,)),
        (TWO, "prob", {}, "id,p\nx,1.5\ny,0\nz,1\n", "outside 0 … 1, first row 2", (2,)),
        (SCALE, "index", {}, "id,l\nx,1.5\ny,3\nz,0\n", "no whole number", (2, 3)),
        (NUMBER, "number", {}, "id,y\nx,nan\ny,inf\nz,\n", "3 rows have a cell that is no number", (2, 3, 4)),
        (NUMBER, "number", {"bounds": (0.0, 10.0)}, "id,y\nx,-1\ny,11\nz,5\n", "outside 0 … 10", (2, 3)),
    ],
)
def test_faults_of_every_task_and_kind_are_told_with_their_rows(
    labels: LabelMap,
    kind: str,
    manner: dict[str, object],
    content: str,
    told: str,
    rows: tuple[int, ...],
) -> None:
    found = problems(content, labels, kind, **manner)
    assert [(one.rule, one.rows) for one in found if told in one.message] == [("value", rows)], found
