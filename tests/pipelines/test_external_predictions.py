"""Other people's predictions: rows and columns in any order mean the same, and what could misalign is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from comp.data.labels import LabelMap
from comp.data.predictions import ROW_SUM_TOLERANCE, Predictions
from comp.errors import CompError, InputError
from comp.pipelines.external_predictions import ExternalPredictions, predictions_of, read_rows

NAMES = st.text(alphabet="abxyzé사0189 .-_", min_size=1, max_size=6).filter(lambda s: s.strip() == s)
CLASSES = st.lists(
    st.text(alphabet="abcdefgé사", min_size=1, max_size=4), min_size=2, max_size=5, unique=True
)


@st.composite
def files(draw: st.DrawFn) -> tuple[LabelMap, list[str], np.ndarray]:
    """A label map, ids, and a row of probabilities for each."""
    labels = LabelMap(draw(CLASSES))
    ids = draw(st.lists(NAMES, min_size=1, max_size=10, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    return labels, ids, rng.dirichlet(np.ones(len(labels)), len(ids))


def table(ids: list[str], columns: list[str], probs: np.ndarray) -> ExternalPredictions:
    cells = tuple(tuple(repr(float(p)) for p in row) for row in probs)
    return ExternalPredictions("theirs.csv", tuple(ids), tuple(columns), cells)


def by_id(found: Predictions) -> dict[str, dict[str, float]]:
    return {
        i: dict(zip(found.labels, row, strict=True)) for i, row in zip(found.ids, found.probs, strict=True)
    }


@given(files(), st.booleans(), st.integers(0, 999))
def test_the_order_of_rows_columns_and_samples_never_changes_an_answer(
    made: tuple[LabelMap, list[str], np.ndarray], indices: bool, seed: int
) -> None:
    labels, ids, probs = made
    rng = np.random.default_rng(seed)
    rows, columns, asked = (rng.permutation(n) for n in (len(ids), len(labels), len(ids)))
    names = [str(c) if indices else labels.names[c] for c in columns]
    mixed = table([ids[r] for r in rows], names, probs[rows][:, columns])
    found = predictions_of(mixed, labels, [ids[a] for a in asked], "rows")
    assert found.ids == tuple(ids[a] for a in asked)
    assert found.labels == labels
    expected = Predictions(tuple(ids), labels, probs)
    for one, row in by_id(found).items():
        assert row == pytest.approx(by_id(expected)[one], abs=1e-15)


@given(files(), st.integers(0, 9))
def test_missing_and_extra_ids_are_refused_and_named(
    made: tuple[LabelMap, list[str], np.ndarray], at: int
) -> None:
    labels, ids, probs = made
    assume(len(ids) > 1)
    gone = ids[at % len(ids)]
    rest = [i for i in ids if i != gone]
    kept = np.array([i != gone for i in ids])
    with pytest.raises(InputError, match=r"answer each row once|means one sample") as missing:
        predictions_of(table(rest, list(labels), probs[kept]), labels, ids, "")
    assert repr(gone) in str(missing.value)
    with pytest.raises(InputError, match=r"answer each row once|means one sample") as extra:
        predictions_of(table(ids, list(labels), probs), labels, rest, "")
    assert repr(gone) in str(extra.value)


@given(files(), st.integers(0, 9), st.data())
def test_a_doubled_id_is_refused_with_its_rows(
    tmp_path_factory: pytest.TempPathFactory,
    made: tuple[LabelMap, list[str], np.ndarray],
    at: int,
    data: st.DataObject,
) -> None:
    labels, ids, probs = made
    twice = ids[at % len(ids)]
    place = data.draw(st.integers(0, len(ids)))
    rows = [*ids[:place], twice, *ids[place:]]
    file = tmp_path_factory.mktemp("twice") / "t.csv"
    lines = [",".join(["id", *labels]), *(",".join([i, *map(str, probs[0])]) for i in rows)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="predicted once") as refused:
        read_rows(file, "id")
    first, second = [n for n, i in enumerate(rows, start=2) if i == twice]
    assert f"rows {first}, {second}" in str(refused.value)


@given(files(), CLASSES)
def test_another_label_map_is_refused(
    made: tuple[LabelMap, list[str], np.ndarray], others: list[str]
) -> None:
    labels, ids, _ = made
    assume(set(others) != set(labels))
    probs = np.full((len(ids), len(others)), 1 / len(others))
    with pytest.raises(CompError):
        predictions_of(table(ids, others, probs), labels, ids, "")


LABELS = LabelMap(("cat", "dog", "3"))


def read(folder: Path, text: str, normalise: bool = False, fold: str | None = None) -> Predictions:
    file = folder / "t.csv"
    file.write_text(text, encoding="utf-8")
    return predictions_of(read_rows(file, "key", fold), LABELS, ["x", "y"], "", normalise)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,cat,dog,3\nx,1,0,0\ny,,1,0\n", "row 3, 'cat': ''"),
        ("id,cat,dog,3\nx,1,0,0\ny,nan,1,0\n", "row 3, 'cat': 'nan'"),
        ("id,cat,dog,3\nx,1,0,0\ny,inf,1,0\n", "'inf'"),
        ("id,cat,dog,3\nx,1,0,0\ny,high,1,0\n", "'high'"),
        ("id,cat,dog,3\nx,1,0,0\ny,0.3,0.3,0.3\n", "('y') sums to 0.9"),
        ("id,cat,dog,3\nx,-5,-1,0.5\ny,0.3,0.3,0.4\n", "logits"),
        ("id,cat,dog,3\nx,1,0,0\ny,5,-1,0.5\n", "('y') has -1"),
        ("id,cat,dog\nx,1,0\ny,0,1\n", "no column for '3'"),
        ("id,cat,dog,3,truth\nx,1,0,0,cat\ny,0,1,0,dog\n", "'truth'"),
        ("id,cat,dgo,3\nx,1,0,0\ny,0,1,0\n", "dog"),
        ("id,0,1,3\nx,1,0,0\ny,0,1,0\n", "'3'"),
        ("id,0,1,01\nx,1,0,0\ny,0,1,0\n", "no column for '3'"),
        ("id,cat,dog,3\n,1,0,0\ny,0,1,0\n", "row 2 has none"),
        ("id,cat,dog,3\n", "has none"),
    ],
)
def test_faults_are_refused_in_a_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(CompError) as refused:
        read(tmp_path, text)
    assert told in str(refused.value)
    assert "\n" not in refused.value.value


def test_sums_are_mended_as_far_as_the_decimals_explain_and_no_further(tmp_path: Path) -> None:
    found = read(tmp_path, "id,cat,dog,3\nx,0.333,0.333,0.333\ny,0.501,0.25,0.25\n")
    assert np.abs(found.probs.sum(axis=1) - 1).max() <= ROW_SUM_TOLERANCE
    assert found.probs[0] == pytest.approx([1 / 3] * 3)
    with pytest.raises(InputError, match="`normalise=True`"):
        read(tmp_path, "id,cat,dog,3\nx,0.333333,0.333333,0.333\ny,0.5,0.25,0.25\n")
    scaled = read(tmp_path, "id,cat,dog,3\nx,2,1,1\ny,0,3,1\n", normalise=True)
    assert scaled.probs.tolist() == [[0.5, 0.25, 0.25], [0, 0.75, 0.25]]
    with pytest.raises(InputError, match="divide by"):
        read(tmp_path, "id,cat,dog,3\nx,2,1,1\ny,0,0,0\n", normalise=True)


def test_ids_may_lack_their_suffix_and_stand_in_any_column(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("cat,key,dog,3\n1,y,0,0\n0,x,1,0\n")
    found = predictions_of(read_rows(file, "key"), LABELS, ["x.png", "y.png"], "")
    assert found.ids == ("x.png", "y.png")
    assert found.probs.tolist() == [[0, 1, 0], [1, 0, 0]]


def test_folds_are_whole_numbers_of_a_column_that_is_there(tmp_path: Path) -> None:
    text = "id,cat,dog,3,part\nx,1,0,0,{}\ny,0,1,0,1.0\n"
    file = tmp_path / "t.csv"
    file.write_text(text.format("0"))
    rows = read_rows(file, "id", "part")
    assert rows.folds == (0, 1)
    assert rows.columns == ("cat", "dog", "3")
    for bad in ("", "a", "-1", "0.5"):
        file.write_text(text.format(bad))
        with pytest.raises(InputError, match="a fold is a whole number"):
            read_rows(file, "id", "part")
    with pytest.raises(InputError, match="different columns"):
        read_rows(file, "id", "id")
    with pytest.raises(CompError, match="fold"):
        read_rows(file, "id", "fold")


def test_columns_of_numbers_must_not_mean_two_things() -> None:
    """Classes 1 … 3 under columns 0 … 2: column 1 could be class 1 or the class of index 1."""
    probs = np.full((1, 3), 1 / 3)
    labels = LabelMap(("1", "2", "3"))
    with pytest.raises(InputError, match="class names or indices") as refused:
        predictions_of(table(["x"], ["0", "1", "2"], probs), labels, ["x"], "rows")
    assert "has '0', '1', '2': '1' is a class, and another's index" in refused.value.value
    assert predictions_of(table(["x"], ["3", "1", "2"], probs), labels, ["x"], "rows").labels == labels
    digits = LabelMap(("0", "1", "2"))
    assert predictions_of(table(["x"], ["2", "0", "1"], probs), digits, ["x"], "rows").labels == digits


@pytest.mark.parametrize("header", ["id,id,a,b", "id,fold,fold,a,b"])
def test_an_id_or_fold_column_that_comes_twice_is_refused(tmp_path: Path, header: str) -> None:
    file = tmp_path / "oof.csv"
    cells = ["x", *["0"] * (header.count(",") - 2), "0.5", "0.5"]
    file.write_text(f"{header}\n{','.join(cells)}\n")
    with pytest.raises(InputError, match="a table has a column once"):
        read_rows(file, "id", "fold" if "fold" in header else None)
