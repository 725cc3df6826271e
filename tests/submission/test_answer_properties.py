"""Of every task and kind of template: the answer of an id depends on nothing but its prediction, and what is written and
read back is what was predicted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.csv_table import Table, parse_table
from comp.data.dataset import Template, from_table
from comp.data.labels import LabelMap
from comp.data.predictions import Predictions
from comp.data.task import Task
from comp.errors import CompError, InputError, InvalidSubmission
from comp.submission.answers import KINDS_OF, answer_texts, positive_index, read_back, require_kind
from comp.submission.validate import validate
from comp.submission.write import compose, rehearse

SLOTS = [(task, kind) for task, kinds in KINDS_OF.items() for kind in kinds]


@dataclass(frozen=True)
class Case:
    """Predictions and a template that asks for them."""

    found: Predictions
    template: Template

    @property
    def labels(self) -> LabelMap:
        return self.found.labels


def labels_of(task: str, kind: str, classes: int, rng: np.random.Generator) -> LabelMap:
    """A label map in no order of its names; of a regression with bounds of its own for each column."""
    if kind == "prob":
        return LabelMap(("no", "yes"))
    names = [f"c{n}" for n in rng.permutation(classes)]
    if task != "regression":
        return LabelMap(names, Task(task))  # type: ignore[arg-type]
    low = rng.normal(0, 50, classes)
    return LabelMap(names, Task("regression", tuple(low), tuple(low + rng.uniform(0.5, 90, classes))))


def predicted(labels: LabelMap, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Predictions (N, D); of numbers some at the ends of their bounds. No two classes of a row are equally likely: the
    order of the label map decides between those.
    """
    if labels.task.is_single_label:
        return rng.dirichlet(np.full(len(labels), rng.choice([0.05, 1.0])), rows)
    shares = rng.random((rows, labels.width))
    return labels.unscaled(np.clip(2 * shares - 0.5, 0, 1) if labels.task.is_numeric else shares)


@st.composite
def cases(draw: st.DrawFn, task: str, kind: str) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    ids = draw(st.lists(st.text("ab019 가", min_size=1, max_size=3), min_size=1, max_size=8, unique=True))
    labels = labels_of(task, kind, draw(st.integers(2, 5)), rng)
    columns = list(rng.permutation(labels.names)) if kind in ("probs", "number") else ["answer"]
    header = ["note", "id", *columns]
    table = Table("s.csv", tuple(header), tuple(("?", i, *["0"] * len(columns)) for i in ids))
    template = replace(
        from_table(table, "id", tuple(columns), kind),
        decimals=draw(st.integers(1, 8)),
        k=draw(st.integers(1, 6)),
        separator=draw(st.sampled_from([" ", ",", ";", "|"])) if kind == "labels" else " ",
        empty=draw(st.sampled_from(["", "none", "healthy"])),
    )
    return Case(Predictions(tuple(ids), labels, predicted(labels, len(ids), rng)), template)


def by_id(text: str, template: Template) -> dict[str, dict[str, str]]:
    """The cells of each id by their column's name."""
    table = parse_table(text.encode(), "mine.csv")
    place = table.header.index(template.id_column)
    return {row[place]: dict(zip(table.header, row, strict=True)) for row in table.rows}


def with_rows(template: Template, order: list[int]) -> Template:
    table = template.table
    return replace(template, table=replace(table, rows=tuple(table.rows[n] for n in order)))


def with_columns(template: Template, order: list[int]) -> Template:
    """The same template with its columns in another order."""
    table = template.table
    header = tuple(table.header[n] for n in order)
    rows = tuple(tuple(row[n] for n in order) for row in table.rows)
    return replace(
        template,
        table=replace(table, header=header, rows=rows),
        id_place=order.index(template.id_place),
        target_places=tuple(order.index(place) for place in template.target_places),
    )


@pytest.mark.parametrize(("task", "kind"), SLOTS)
@given(data=st.data(), seed=st.integers(0, 999))
def test_no_order_changes_the_answer_of_an_id(task: str, kind: str, data: st.DataObject, seed: int) -> None:
    case = data.draw(cases(task, kind))
    found, template = case.found, case.template
    straight = by_id(compose(found, template), template)
    rng = np.random.default_rng(seed)
    rows = [int(n) for n in rng.permutation(len(found))]
    mixed = Predictions(tuple(found.ids[n] for n in rows), found.labels, found.probs[rows])
    assert compose(mixed, template) == compose(found, template)
    other = with_rows(template, [int(n) for n in rng.permutation(len(found))])
    assert by_id(compose(mixed, other), template) == straight
    turned = with_columns(template, [int(n) for n in rng.permutation(len(template.table.header))])
    assert by_id(compose(mixed, turned), template) == straight


@pytest.mark.parametrize(("task", "kind"), [slot for slot in SLOTS if slot[1] not in ("index", "prob")])
@given(data=st.data(), seed=st.integers(0, 999))
def test_the_order_of_classes_changes_no_answer(task: str, kind: str, data: st.DataObject, seed: int) -> None:
    """The same predictions under a label map in another order; of a scale the order is what it means."""
    if task == "ordinal":
        return
    case = data.draw(cases(task, kind))
    order = np.random.default_rng(seed).permutation(len(case.labels))
    one = case.labels.task
    turned = LabelMap(
        [case.labels.names[n] for n in order],
        replace(one, low=tuple(one.low[n] for n in order), high=tuple(one.high[n] for n in order))
        if one.low
        else one,
    )
    other = Predictions(case.found.ids, turned, case.found.probs[:, order])
    straight = by_id(compose(case.found, case.template), case.template)
    again = by_id(compose(other, case.template), case.template)
    if kind == "labels":  # the names of a cell stand in the order of the label map
        column = case.template.table.header[case.template.target_places[0]]
        for cells in (*straight.values(), *again.values()):
            cells[column] = case.template.separator.join(sorted(cells[column].split(case.template.separator)))
    assert again == straight


@pytest.mark.parametrize(("task", "kind"), SLOTS)
@given(data=st.data())
def test_what_is_written_and_read_back_is_what_was_predicted(
    task: str, kind: str, data: st.DataObject
) -> None:
    case = data.draw(cases(task, kind))
    found, template = case.found, case.template
    table = parse_table(compose(found, template).encode(), "mine.csv")
    assert validate(table, template, case.labels) == []
    back = read_back(table, template, case.labels)
    assert back.shape == (len(found), case.labels.width)
    probs = found.select(template.samples).probs
    half_unit = 0.5 * 10.0**-template.decimals
    if kind == "number" or (kind == "probs" and task == "multi-label") or kind == "prob":
        assert np.abs(back - probs).max() <= half_unit + 1e-12
    elif kind == "probs":
        assert np.abs(back - probs).max() < 2 * half_unit
        assert np.allclose(back.sum(axis=1), 1)
    elif kind == "labels":
        assert ((back == 1) == (probs >= 0.5)).all()
    elif kind == "topk":
        places = min(template.k, len(case.labels))
        best = np.argsort(-probs, axis=1, kind="stable")[:, :places]
        assert (np.argsort(-back, axis=1, kind="stable")[:, :places] == best).all()
        assert ((back > 0).sum(axis=1) == places).all()
    elif task == "ordinal":
        assert (back[:, 0] == np.floor(probs[:, 0] + 0.5)).all()
    else:
        assert (back.argmax(axis=1) == probs.argmax(axis=1)).all()
        assert (back.sum(axis=1) == 1).all()
    Predictions(found.ids, case.labels, np.clip(back, *case.labels.task.bounds(len(case.labels))))


@pytest.mark.parametrize(("task", "kind"), SLOTS)
@given(data=st.data())
def test_a_rehearsal_passes_what_can_be_answered(task: str, kind: str, data: st.DataObject) -> None:
    case = data.draw(cases(task, kind))
    try:
        rehearse(case.template, case.labels)
    except CompError as refused:
        pytest.fail(f"{case.template.kind} can be answered: {refused}")


@given(
    st.floats(-100, 100),
    st.floats(0.5, 100),
    st.integers(1, 8),
    st.lists(st.floats(0, 1), min_size=1, max_size=6),
)
def test_rounding_takes_no_number_out_of_the_competitions_range(
    low: float, span: float, decimals: int, shares: list[float]
) -> None:
    labels = LabelMap(("y",), Task("regression", (low,), (low + span,)))
    ids = tuple(f"t{n}" for n in range(len(shares) + 2))
    table = Table("s.csv", ("id", "y"), tuple((i, "0") for i in ids))
    stated = replace(from_table(table, "id", "y", "number"), decimals=decimals, bounds=(low, low + span))
    rehearse(stated, labels)
    probs = labels.unscaled(np.array([[0.0], [1.0], *([share] for share in shares)]))
    probs = np.clip(probs, low, low + span)
    text = parse_table(compose(Predictions(ids, labels, probs), stated).encode(), "mine.csv")
    assert validate(text, stated, labels) == []
    assert np.abs(read_back(text, stated, labels) - probs).max() <= 10.0**-decimals


def number_template(decimals: int, bounds: tuple[float, float] | None) -> Template:
    table = Table("s.csv", ("id", "y"), (("a", "0"), ("b", "0")))
    return replace(from_table(table, "id", "y", "number"), decimals=decimals, bounds=bounds)


def test_the_ends_of_a_range_are_written_as_they_are_where_they_can_be() -> None:
    labels = LabelMap(("y",), Task("regression", (0.01,), (0.29,)))
    found = Predictions(("a", "b"), labels, np.array([[0.01], [0.29]]))
    assert compose(found, number_template(2, (0.01, 0.29))) == "id,y\na,0.01\nb,0.29\n"
    assert (
        compose(found, number_template(1, (0.01, 0.29))) == "id,y\na,0.1\nb,0.2\n"
    )  # 0.0 and 0.3 lie outside
    assert compose(found, number_template(1, None)) == "id,y\na,0.0\nb,0.3\n"


def test_a_range_without_a_number_of_so_many_decimals_is_refused_before_training() -> None:
    labels = LabelMap(("y",), Task("regression", (0.21,), (0.29,)))
    with pytest.raises(InvalidSubmission, match="a submission must answer its template"):
        rehearse(number_template(1, (0.21, 0.29)), labels)


def test_hard_answers_have_no_decimals() -> None:
    """With ``decimals = 0`` a probability is answered as the class that all other commands answer, also at a tie."""
    two = LabelMap(("no", "yes"))
    table = Table("s.csv", ("id", "p"), tuple((i, "0") for i in "abc"))
    hard = replace(from_table(table, "id", "p", "prob"), decimals=0)
    found = Predictions(("a", "b", "c"), two, np.array([[0.5, 0.5], [0.4, 0.6], [0.6, 0.4]]))
    assert compose(found, hard) == "id,p\na,0\nb,1\nc,0\n"
    assert answer_texts(found.probs, two) == ["no", "yes", "no"]
    several = LabelMap(("x", "y"), Task("multi-label"))
    columns = replace(
        from_table(Table("s.csv", ("id", "y", "x"), (("a", "0", "0"),)), "id", ("y", "x"), "probs"),
        decimals=0,
    )
    both = Predictions(("a",), several, np.array([[0.5, 0.49]]))
    assert compose(both, columns) == "id,y,x\na,0,1\n"
    assert answer_texts(both.probs, several) == ["x"]


@pytest.mark.parametrize("empty", ["", "none"])
def test_a_row_of_no_class_is_written_as_the_template_says(empty: str) -> None:
    labels = LabelMap(("x", "y"), Task("multi-label"))
    table = Table("s.csv", ("id", "l"), (("a", "x"), ("b", "x")))
    template = replace(from_table(table, "id", "l", "labels"), separator="|", empty=empty)
    found = Predictions(("a", "b"), labels, np.array([[0.1, 0.2], [0.9, 0.8]]))
    text = compose(found, template)
    assert text == f"id,l\na,{empty}\nb,x|y\n"
    assert read_back(parse_table(text.encode(), "s"), template, labels).tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        (task, kind)
        for task in KINDS_OF
        for kind in ("index", "label", "prob", "probs", "topk", "labels", "number")
    ],
)
def test_a_template_of_another_task_is_refused_with_those_that_fit(task: str, kind: str) -> None:
    if kind in KINDS_OF[task]:
        return
    labels = labels_of(task, "any", 2, np.random.default_rng(0))
    columns = labels.names if kind in ("probs", "number") else ("answer",)
    table = Table("s.csv", ("id", *columns), (("a", *["0"] * len(columns)),))
    template = from_table(table, "id", columns, kind)
    with pytest.raises(InputError, match="a template of this task is") as error:
        require_kind(template, labels)
    assert all(other in error.value.rule for other in KINDS_OF[task])
    assert repr(kind) in error.value.value


@pytest.mark.parametrize(
    ("classes", "positive", "told"),
    [
        (("no", "yes"), "", None),
        (("0", "1"), "", None),
        (("cat", "dog"), "dog", None),
        (("benign", "malignant"), "malignant", None),
        (("cat", "dog"), "", "state positive in [template]"),
        (("1", "0"), "", "state positive in [template]"),
        (("cat", "dog"), "cat", "state `classes` with 'cat' last"),
        (("cat", "dog"), "cow", "positive = 'cow'"),
        (("a", "b", "c"), "c", "kind = 'prob' is for two classes"),
    ],
)
def test_it_is_known_whose_probability_is_asked_for(
    classes: tuple[str, ...], positive: str, told: str | None
) -> None:
    table = Table("s.csv", ("id", "p"), (("a", "0"),))
    template = replace(from_table(table, "id", "p", "prob"), positive=positive)
    if told is None:
        assert positive_index(template, LabelMap(classes)) == 1
        return
    with pytest.raises(InputError) as error:
        positive_index(template, LabelMap(classes))
    assert told in str(error.value)


@pytest.mark.parametrize("separator", [" ", ",", "|"])
def test_names_that_hold_the_separator_are_refused(separator: str) -> None:
    labels = LabelMap(("x", "y;z" if separator == "|" else f"y{separator}z"), Task("multi-label"))
    table = Table("s.csv", ("id", "l"), (("a", "x"),))
    template = replace(
        from_table(table, "id", "l", "labels"), separator=separator if separator != "|" else ";"
    )
    with pytest.raises(InputError, match="between class names"):
        rehearse(template, labels)
