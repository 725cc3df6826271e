"""Submissions: joined by id to the template, in its order and its manner, and validated as anybody's CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp import submission
from comp.errors import InputError, InvalidSubmission
from comp.labels import LabelMap
from comp.predictions import Predictions
from comp.tables import Table, parse_table
from comp.template import Template, from_table

LABELS = LabelMap(("cat", "dog", "eel"))
KINDS = {"index": ("id", "label"), "label": ("id", "label"), "probs": ("id", "eel", "cat", "dog")}


def template_of(ids: list[str], kind: str, **manner: object) -> Template:
    header = KINDS[kind]
    rows = tuple((i, *["0"] * (len(header) - 1)) for i in ids)
    return from_table(
        Table("sample.csv", header, rows, **manner), "id", "*" if kind == "probs" else "label", kind
    )  # type: ignore[arg-type]


def predictions_of(ids: list[str], seed: int = 0) -> Predictions:
    return Predictions(tuple(ids), LABELS, np.random.default_rng(seed).dirichlet(np.ones(3), len(ids)))


def answers(text: str) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in parse_table(text.encode(), "it").rows}


IDS = st.lists(st.text("abc019 가", min_size=1, max_size=4), min_size=1, max_size=15, unique=True)


@given(IDS, st.integers(0, 999), st.sampled_from(sorted(KINDS)))
def test_order_never_changes_the_answer_of_an_id(ids: list[str], seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    found = predictions_of(ids, seed)
    order, other = rng.permutation(len(ids)), rng.permutation(len(ids))
    mixed = Predictions(tuple(ids[n] for n in order), LABELS, found.probs[order])
    straight = submission.compose(found, template_of(ids, kind))
    assert submission.compose(mixed, template_of(ids, kind)) == straight
    asked = [ids[n] for n in other]
    reordered = submission.compose(mixed, template_of(asked, kind))
    assert answers(reordered) == answers(straight)
    assert [row[0] for row in parse_table(reordered.encode(), "it").rows] == asked


def test_each_kind_of_target_is_written_as_the_template_names_it() -> None:
    found = Predictions(("x", "y"), LABELS, np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]]))
    assert (
        submission.compose(found, template_of(["y", "x"], "index")) == "id,label\ny,0\nx,2\n"
    )  # a tie: the lower
    assert submission.compose(found, template_of(["y", "x"], "label")) == "id,label\ny,cat\nx,eel\n"
    assert answers(submission.compose(found, template_of(["x", "y"], "probs")))["x"] == (
        "0.70000000",
        "0.10000000",
        "0.20000000",
    )


def test_other_columns_of_the_template_stay_as_they_are() -> None:
    table = Table("s.csv", ("label", "note", "id"), (("", " keep, this ", "x"), ("", '"q"', "y")))
    text = submission.compose(predictions_of(["y", "x"]), from_table(table, "id", "label", "label"))
    assert [row[1] for row in parse_table(text.encode(), "it").rows] == [" keep, this ", '"q"']


def test_a_template_row_without_a_prediction_is_refused() -> None:
    with pytest.raises(InputError, match="first 'z'"):
        submission.compose(predictions_of(["x"]), template_of(["x", "z"], "index"))


def test_the_file_keeps_the_templates_manner(tmp_path: Path) -> None:
    template = template_of(
        ["사과", "배"], "label", encoding="cp949", newline="\r\n", quote_all=True, final_newline=False
    )
    submission.write(predictions_of(["배", "사과"]), template, tmp_path / "s.csv")
    content = (tmp_path / "s.csv").read_bytes()
    assert content.startswith('"id","label"\r\n"사과",'.encode("cp949"))
    assert not content.endswith(b"\n")


def test_what_does_not_validate_is_not_left_behind(tmp_path: Path) -> None:
    doubled = template_of(["x", "y"], "index")
    doubled = Template(Table("s.csv", doubled.table.header, (("x", "0"), ("y", "0"))), 0, (1,), "label")
    wrong = Template(doubled.table, 0, (1,), "label")
    other = LabelMap(("cat", "dog", "eel"))
    submission.write(Predictions(("x", "y"), other, np.eye(3)[:2]), wrong, tmp_path / "good.csv")
    unquotable = Template(Table("s.csv", ("id", "label"), (("x", "0"),)), 0, (1,), "other")
    with pytest.raises(InvalidSubmission):
        submission.write(predictions_of(["x"]), unquotable_names(unquotable), tmp_path / "bad.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["good.csv"]


def unquotable_names(template: Template) -> Template:
    """A template whose rows cannot validate: the id column is also answered."""
    return Template(template.table, 0, (0,), "label")


def good(kind: str = "index") -> tuple[Table, Template]:
    template = template_of(["x", "y", "z"], kind)
    return parse_table(
        submission.compose(predictions_of(["x", "y", "z"]), template).encode(), "mine.csv"
    ), template


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_compose_writes_is_valid(kind: str) -> None:
    table, template = good(kind)
    assert submission.validate(table, template, LABELS) == []


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
        ("probs", "id,eel,cat,dog\nx,1,0,0\ny,a,0,0\nz,nan,1,0\n", "value", (3, 4)),
        ("probs", "id,eel,cat,dog\nx,1,0,0\ny,0.5,0.4,0\nz,2,-1,0\n", "row-sum", (3, 4)),
    ],
)
def test_each_fault_is_named_with_its_rows(kind: str, content: str, rule: str, rows: tuple[int, ...]) -> None:
    found = submission.validate(
        parse_table(content.encode(), "mine.csv"), template_of(["x", "y", "z"], kind), LABELS
    )
    assert [(p.rule, p.rows) for p in found] == [(rule, rows)]


def test_a_class_name_for_an_index_is_told_its_index() -> None:
    table = parse_table(b"id,label\nx,dog\ny,0\nz,0\n", "mine.csv")
    assert "write 1" in submission.validate(table, template_of(["x", "y", "z"], "index"), LABELS)[0].message
