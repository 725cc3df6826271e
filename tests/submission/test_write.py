"""Submissions: joined by id to the template, in its order and its manner, and validated as anybody's CSV."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.csv_table import Table, parse_table
from comp.data.dataset import Template, from_table
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest, Sample
from comp.data.predictions import Predictions
from comp.errors import InputError, InvalidSubmission
from comp.submission import write
from comp.submission.answers import decimal_rows
from comp.submission.validate import validate
from made_templates import KINDS, LABELS, template_of


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
    straight = write.compose(found, template_of(ids, kind))
    assert write.compose(mixed, template_of(ids, kind)) == straight
    asked = [ids[n] for n in other]
    reordered = write.compose(mixed, template_of(asked, kind))
    assert answers(reordered) == answers(straight)
    assert [row[0] for row in parse_table(reordered.encode(), "it").rows] == asked


def test_each_kind_of_target_is_written_as_the_template_names_it() -> None:
    found = Predictions(("x", "y"), LABELS, np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]]))
    assert (
        write.compose(found, template_of(["y", "x"], "index")) == "id,label\ny,0\nx,2\n"
    )  # a tie: the lower
    assert write.compose(found, template_of(["y", "x"], "label")) == "id,label\ny,cat\nx,eel\n"
    assert answers(write.compose(found, template_of(["x", "y"], "probs")))["x"] == (
        "0.70000000",
        "0.10000000",
        "0.20000000",
    )


def test_other_columns_of_the_template_stay_as_they_are() -> None:
    table = Table("s.csv", ("label", "note", "id"), (("", " keep, this ", "x"), ("", '"q"', "y")))
    text = write.compose(predictions_of(["y", "x"]), from_table(table, "id", "label", "label"))
    assert [row[1] for row in parse_table(text.encode(), "it").rows] == [" keep, this ", '"q"']


@given(
    st.integers(0, 9999),
    st.integers(1, 12),
    st.integers(2, 40),
    st.sampled_from([0.01, 0.3, 1.0, 50.0]),
)
def test_rounded_rows_sum_to_one_exactly_and_keep_their_order(
    seed: int, decimals: int, classes: int, spread: float
) -> None:
    probs = np.random.default_rng(seed).dirichlet(np.full(classes, spread), 5)
    for row, cells in zip(probs, decimal_rows(probs, decimals), strict=True):
        written = [Decimal(cell) for cell in cells]
        assert sum(written) == 1
        assert all(len(cell) == decimals + 2 for cell in cells)
        assert np.abs(np.array(written, dtype=float) - row / row.sum()).max() <= 10.0**-decimals
        for a in range(classes):
            assert all(written[a] >= written[b] for b in range(classes) if row[a] > row[b])


def test_thirds_are_rounded_to_the_lower_index() -> None:
    assert decimal_rows(np.full((1, 3), 1 / 3), 2) == [["0.34", "0.33", "0.33"]]
    assert decimal_rows(np.array([[1.0, 0.0, 0.0]]), 3) == [["1.000", "0.000", "0.000"]]


def test_decimals_are_the_templates_own() -> None:
    template = replace(template_of(["x"], "probs"), decimals=3)
    found = Predictions(("x",), LABELS, np.array([[0.1, 0.2, 0.7]]))
    assert write.compose(found, template) == "id,eel,cat,dog\nx,0.700,0.100,0.200\n"


def test_the_likeliest_names_come_first_and_ties_to_the_lower_index() -> None:
    template = replace(template_of(["y", "x"], "topk"), k=2)
    found = Predictions(("x", "y"), LABELS, np.array([[0.1, 0.2, 0.7], [0.25, 0.5, 0.25]]))
    assert write.compose(found, template) == "id,label\ny,dog cat\nx,eel dog\n"
    spaced = Predictions(("x", "y"), LabelMap(("a cat", "dog", "eel")), found.probs)
    with pytest.raises(InputError, match="puts spaces between"):
        write.compose(spaced, template)


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (("id", "eel", "cat"), "no column for 'dog'"),
        (("id", "eel", "cat", "dgo"), "did you mean 'dog'"),
        (("id", "eel", "cat", "dog", "total"), "'total'"),
    ],
)
def test_a_probs_template_has_the_classes_as_columns(header: tuple[str, ...], told: str) -> None:
    table = Table("s.csv", header, (("x", *["0"] * (len(header) - 1)),))
    with pytest.raises(InputError) as refused:
        write.compose(predictions_of(["x"]), from_table(table, "id", "*", "probs"))
    assert told in str(refused.value)


def test_columns_may_carry_stray_spaces() -> None:
    table = Table("s.csv", ("id", " eel", "cat ", "dog"), (("x", "", "", ""),))
    found = Predictions(("x",), LABELS, np.array([[0.1, 0.2, 0.7]]))
    text = write.compose(found, from_table(table, "id", "*", "probs"))
    assert text.splitlines()[1] == "x,0.70000000,0.10000000,0.20000000"


@pytest.mark.parametrize(
    ("ids", "told"), [([], "has none"), (["x", ""], "row 3 has none"), (["x", "x"], "'x' 2 times")]
)
def test_a_template_that_cannot_be_answered_is_refused(ids: list[str], told: str) -> None:
    with pytest.raises(InputError) as refused:
        write.compose(predictions_of(["x"]), template_of(ids, "label"))
    assert told in refused.value.value


def test_a_class_that_the_templates_encoding_lacks_is_refused(tmp_path: Path) -> None:
    found = Predictions(("x",), LabelMap(("chat", "🐍")), np.array([[0.1, 0.9]]))
    with pytest.raises(InputError, match="keeps its template's encoding"):
        write.write(found, template_of(["x"], "label", encoding="cp949"), tmp_path / "s.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_template_row_without_a_prediction_is_refused() -> None:
    with pytest.raises(InputError, match="first 'z'"):
        write.compose(predictions_of(["x"]), template_of(["x", "z"], "index"))


def test_the_file_keeps_the_templates_manner(tmp_path: Path) -> None:
    template = template_of(
        ["사과", "배"],
        "label",
        encoding="cp949",
        newline="\r\n",
        quoted=(frozenset({0, 1}), frozenset({0, 1})),
        end="",
    )
    write.write(predictions_of(["배", "사과"]), template, tmp_path / "s.csv")
    content = (tmp_path / "s.csv").read_bytes()
    assert content.startswith('"id","label"\r\n"사과",'.encode("cp949"))
    assert not content.endswith(b"\n")


def test_what_does_not_validate_is_not_written_and_leaves_an_older_file_alone(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("an older one")
    both = Template(
        Table("s.csv", ("id", "label"), (("x", "0"),)), 0, (0,), "label"
    )  # the id is also answered
    with pytest.raises(InvalidSubmission):
        write.write(predictions_of(["x"]), both, tmp_path / "s.csv")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["an older one"]


FAULTY = [
    (template_of(["x"], "probs"), LabelMap(("cat", "dog", "eel", "fox")), "no column for 'fox'"),
    (template_of(["x"], "probs"), LabelMap(("cat", "dog", "owl")), "'eel' is no class"),
    (template_of(["x"], "topk"), LabelMap(("cat", "dog", "an eel")), "'an eel' has ' ' in it"),
    (template_of(["x"], "label", encoding="cp949"), LabelMap(("사과", "배", "né")), "'é' is not in cp949"),
    (
        template_of(["x", "y"], "topk", encoding="cp949"),
        LabelMap(("a", "b", "c", "\u00ef")),
        "is not in cp949",
    ),
]


@pytest.mark.parametrize(("template", "labels", "told"), FAULTY)
def test_what_would_be_refused_after_training_is_refused_in_a_rehearsal(
    template: Template, labels: LabelMap, told: str
) -> None:
    with pytest.raises(InputError) as refused:
        write.rehearse(template, labels)
    assert told in refused.value.value


@pytest.mark.parametrize("kind", ["index", "label", "probs", "topk"])
def test_a_rehearsal_passes_every_template_that_can_be_answered(kind: str) -> None:
    write.rehearse(template_of(["x", "y"], kind), LABELS)
    write.rehearse(template_of([], kind), LABELS)  # rows are judged elsewhere
    write.rehearse(template_of(["x", "x", ""], kind), LABELS)


def test_a_rehearsal_takes_names_that_need_quotes() -> None:
    write.rehearse(template_of(["x"], "label"), LabelMap(("a,b", 'say "hi"', "two\nlines", " space ")))


def test_a_submission_is_not_judged_against_columns_that_are_no_classes() -> None:
    template = template_of(["x"], "probs")
    table = Table("mine.csv", template.table.header, (("x", "0.2", "0.3", "0.5"),))
    assert validate(table, template, LABELS) == []
    with pytest.raises(InputError, match="a column for each class"):
        validate(table, template, LabelMap(("circle", "cross", "square")))


def test_the_table_of_answers_has_the_file_and_the_likeliest_class_of_each_test_row() -> None:
    manifest = Manifest.from_samples(
        [Sample("a", "a.png", "train", "cat"), Sample("x", "t/1.png", "test"), Sample("y", "t/0.png", "test")]
    )
    probs = np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]])
    found = Predictions(("y", "x"), LABELS, probs)
    assert write.row_table(found, manifest) == "id,path,answer\ny,t/0.png,eel\nx,t/1.png,cat\n"


@pytest.mark.parametrize("rows", [1, 2, 300, 700])
@pytest.mark.parametrize("at", [0, 255, 256, 257, 599])
def test_a_rehearsal_tries_every_class_however_few_the_rows(rows: int, at: int) -> None:
    names = [f"c{n}" for n in range(600)]
    template = template_of([f"r{n}" for n in range(rows)], "label", encoding="cp949")
    write.rehearse(template, LabelMap(names))
    names[at] = "né"
    with pytest.raises(InputError, match="'é' is not in cp949"):
        write.rehearse(template, LabelMap(names))


def test_probabilities_are_written_of_what_they_sum_to() -> None:
    assert decimal_rows(np.array([[1.0, 1.0], [0.5, 1.5]]), 1) == [["0.5", "0.5"], ["0.3", "0.7"]]
    assert decimal_rows(np.array([[0.25, 0.75]]), 1) == [["0.3", "0.7"]]  # equal parts: the lower index
    assert decimal_rows(np.array([[0.16, 0.84]]), 1) == [["0.2", "0.8"]]
