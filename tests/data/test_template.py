"""The template: its rows are paired with samples only where there is one way to do it, and its spelling stays."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from comp.data.competitions.competition import Competition
from comp.data.competitions.facts import CompetitionConfig
from comp.data.csv_table import Table
from comp.data.dataset import (
    Template,
    from_table,
    ids_apart,
    load_template,
    made_template,
    match_ids,
    read_submission,
)
from comp.data.images.raw_tree import nfc, without_suffix
from comp.data.manifest import Manifest, Sample
from comp.errors import InputError

NAMES = st.lists(st.text("ab0é.가", min_size=1, max_size=4), min_size=1, max_size=10, unique_by=nfc)


def spelled(name: str, way: int) -> str:
    """A name in another spelling: with a suffix, decomposed, or both."""
    return unicodedata.normalize("NFD" if way & 1 else "NFC", name) + (".jpg" if way & 2 else "")


@given(NAMES, st.integers(0, 3), st.integers(0, 3), st.integers(0, 999))
def test_each_id_finds_its_own_sample_in_any_order(
    names: list[str], ours: int, theirs: int, seed: int
) -> None:
    assume(not any(name.endswith(".") for name in names))  # "a." and "a" with a suffix are two names still
    rng = np.random.default_rng(seed)
    samples = [spelled(name, ours) for name in names]
    asked = [names[n] for n in rng.permutation(len(names))]
    found = match_ids([spelled(name, theirs) for name in asked], samples, "t.csv")
    assert found == [spelled(name, ours) for name in asked]


@given(
    st.lists(st.sampled_from(["a", "a.jpg", "a.png", "b", "b.JPG", "é", "é.jpg"]), min_size=1, max_size=5),
    st.lists(st.sampled_from(["a", "a.jpg", "a.png", "b", "b.JPG", "é.jpg"]), min_size=1, max_size=5),
)
def test_a_pairing_is_one_to_one_or_none(ids: list[str], samples: list[str]) -> None:
    try:
        found = match_ids(ids, samples, "t.csv")
    except InputError:
        return
    if found == ids:  # nothing was paired; the checks say what is missing
        return
    assert len(set(found)) == len(ids)
    assert set(found) <= set(samples)
    for one, other in zip(ids, found, strict=True):
        assert nfc(without_suffix(one)) == nfc(without_suffix(other))


@pytest.mark.parametrize(
    ("ids", "samples", "found"),
    [
        (["a", "b"], ["b", "a"], ["a", "b"]),
        (["a", "b"], ["b.jpg", "a.png"], ["a.png", "b.jpg"]),
        (["a.jpg", "b.png"], ["b", "a"], ["a", "b"]),
        (["a", "b.jpg"], ["b.jpg", "a.jpg"], ["a.jpg", "b.jpg"]),
        (["a", "c"], ["b.jpg", "a.jpg"], ["a", "c"]),  # c has none: nothing is guessed
        (["a.jpg"], ["a.png"], ["a.jpg"]),
        (["007"], ["7"], ["007"]),
        (["a "], ["a"], ["a "]),
        (["A"], ["a"], ["A"]),
        (["x/a"], ["x/a.jpg", "y/a.jpg"], ["x/a.jpg"]),
        (["a.b"], ["a.b.jpg", "a"], ["a.b.jpg"]),
        (["a", "a", "b"], ["a.jpg", "b.jpg"], ["a", "a", "b"]),  # a doubled id is said where rows are judged
        (["b", "a", "b"], ["a", "b"], ["b", "a", "b"]),
        (["a", "b.jpg", "c"], ["c.png", "b", "a", "d"], ["a", "b", "c.png"]),
        (["a", "b.jpg"], ["a", "a.jpg", "b"], ["a", "b"]),  # exact before loose
    ],
)
def test_spellings(ids: Sequence[str], samples: Sequence[str], found: list[str]) -> None:
    assert match_ids(ids, samples, "t.csv") == found


@pytest.mark.parametrize(
    ("ids", "samples", "told"),
    [
        (["a"], ["a.jpg", "a.png"], "'a' fits 'a.jpg', 'a.png'"),
        (["a", "a.jpg"], ["a.jpg", "b.jpg"], "'a' and 'a.jpg' both fit 'a.jpg'"),
        (["a.jpg", "a.png"], ["a", "b"], "both fit 'a'"),
    ],
)
def test_what_could_mean_several_samples_is_refused(
    ids: Sequence[str], samples: Sequence[str], told: str
) -> None:
    with pytest.raises(InputError) as refused:
        match_ids(ids, samples, "t.csv")
    assert told in refused.value.value


WIDE = ("note", "id", "eel", "cat", "dog")


def table_of(header: Sequence[str], *rows: Sequence[str]) -> Table:
    return Table("t.csv", tuple(header), tuple(tuple(row) for row in rows))


@pytest.mark.parametrize(
    ("target", "places"),
    [
        ("*", (0, 2, 3, 4)),  # every column but the id, in the table's order
        ("dog", (4,)),
        (("dog", "eel"), (4, 2)),  # in the order that is stated
        ((" CAT ",), (3,)),
    ],
)
def test_the_target_columns_are_those_stated(target: str | tuple[str, ...], places: tuple[int, ...]) -> None:
    table = table_of(WIDE, ("n", "x", "1", "2", "3"), ("n", "w", "4", "5", "6"))
    template = from_table(table, "id", target, "probs")
    assert template.target_places == places
    assert (template.id_place, template.id_column, template.ids) == (1, "id", ("x", "w"))


@pytest.mark.parametrize(
    ("header", "target"),
    [
        (("id",), "*"),  # no column is left
        (("id", "label"), "id"),
        (("id", "label"), ("label", "id")),
        (("id", "label"), ("label", "label")),
        (("id", "label"), ("label", " Label")),
        (("id", "label"), ()),
    ],
)
def test_an_id_and_each_target_are_columns_of_their_own(
    header: tuple[str, ...], target: str | tuple[str, ...]
) -> None:
    with pytest.raises(InputError, match="different columns"):
        from_table(table_of(header, header), "id", target, "label")


def test_a_star_leaves_no_column_twice() -> None:
    with pytest.raises(InputError, match="a table has a column once"):
        from_table(table_of(("id", "cat", "cat "), ("x", "", "")), "id", "*", "probs")


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ([], "t.csv has none"),
        ([""], "t.csv, row 2 has none"),
        (["x", "", "y", ""], "t.csv, row 3 has none"),
        (["x", "y", "y"], "t.csv has 'y' 2 times"),
        (["z", "x", "y", "x", "y", "y"], "t.csv has 'y' 3 times"),  # the one that comes most often
    ],
)
def test_rows_that_cannot_be_answered_are_refused(ids: list[str], told: str) -> None:
    template = from_table(table_of(("label", "id"), *(("", i) for i in ids)), "id", "label", "label")
    with pytest.raises(InputError) as refused:
        template.require_rows()
    assert refused.value.value == told


def test_rows_that_can_be_answered_are_not_refused() -> None:
    several = from_table(table_of(("id", "label"), ("x", ""), ("X", ""), ("x ", "")), "id", "label", "label")
    several.require_rows()
    assert several.ids == ("x", "X", "x "), "three ids, as they are spelled"
    one = from_table(table_of(("id", "label"), ("x", "")), "id", "label", "label")
    one.require_rows()
    assert one.ids == ("x",)


def test_a_template_made_of_the_test_rows_has_their_ids_and_empty_answers() -> None:
    template = made_template(["t2", "t1"], "image", "class", "index")
    assert template.table.header == ("image", "class")
    assert template.table.rows == (("t2", ""), ("t1", ""))
    assert template.made
    assert (template.ids, template.samples) == (("t2", "t1"), ("t2", "t1"))
    assert (template.id_column, template.target_places, template.kind) == ("image", (1,), "index")


def loaded(raw: Path, facts: dict[str, object], tests: Sequence[str], file: Path | None = None) -> Template:
    """The template of a competition with these facts and test rows."""
    rows = [Sample(i, f"{i}.png", "test") for i in tests]
    given = CompetitionConfig.model_validate({"slug": "x", "title": "x", "template": facts})
    return load_template(Competition(raw, given), raw, Manifest.from_samples(rows), file)


@pytest.mark.parametrize("name", ["made.csv", "aaa.csv", "zzz.csv"])
def test_the_template_is_the_file_that_is_stated(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("label,id,note\n?,b,one\n?,a,two\n")
    facts = {"file": name, "kind": "topk", "k": 2, "decimals": 3}
    template = loaded(tmp_path, facts, ["a", "b"])
    assert not template.made
    assert (template.ids, template.samples) == (("b", "a"), ("b", "a"))
    assert (template.id_place, template.target_places) == (1, (0,))
    assert (template.kind, template.k, template.decimals, template.sample_ids) == ("topk", 2, 3, ())


@pytest.mark.parametrize(
    ("target", "header"), [("class", ("id", "class")), (("cat", "dog"), ("id", "label"))]
)
def test_a_template_that_no_file_gives_is_made_of_the_test_rows(
    tmp_path: Path, target: object, header: tuple[str, ...]
) -> None:
    facts = {"file": "made", "target": target, "kind": "topk", "k": 2, "decimals": 3}
    template = loaded(tmp_path, facts, ["t10", "t9"])
    assert template.made
    assert template.table.header == header
    assert (template.ids, template.k, template.decimals) == (("t10", "t9"), 2, 3)


def test_a_file_that_is_named_goes_before_what_is_made(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("id,label\nb.png,\na.png,\n")
    template = loaded(tmp_path, {"file": "made"}, ["a", "b"], tmp_path / "other.csv")
    assert not template.made
    assert template.ids == ("b.png", "a.png")
    assert template.samples == ("b", "a")  # what the rows ask for, in the template's order


def test_without_other_facts_a_row_of_topk_names_five_and_probabilities_have_eight_decimals() -> None:
    template = from_table(table_of(("id", "label"), ("x", "")), "id", "label", "topk")
    assert (template.k, template.decimals, template.made, template.sample_ids) == (5, 8, False, ())


def test_a_submission_is_read_as_text_cells(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(b"id,label\r\n007,01\r\n")
    table = read_submission(tmp_path / "s.csv")
    assert (table.name, table.rows, table.newline) == ("s.csv", (("007", "01"),), "\r\n")
    with pytest.raises(InputError, match="the submission must exist"):
        read_submission(tmp_path / "gone.csv")
    with pytest.raises(InputError, match="the submission must exist"):
        read_submission(tmp_path)


def test_how_two_lists_of_ids_differ() -> None:
    assert ids_apart(["a", "b", "c"], ["c", "x"], "have no row", "rows are of no sample") == (
        "2 have no row, first 'a'; 1 rows are of no sample, first 'x'"
    )
    assert ids_apart(["a", "b"], ["b"], "have no row", "are too many") == "1 have no row, first 'a'"
    assert ids_apart(["b"], iter(["a", "b"]), "have no row", "are too many") == "1 are too many, first 'a'"
    assert ids_apart(["a", "b"], ["b", "a"], "have no row", "are too many") == ""
