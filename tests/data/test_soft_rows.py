"""Extra rows with weights and probabilities: what is read, refused, written and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.extra_rows import with_extra
from comp.data.labels import LabelMap
from comp.data.manifest import TRAINING, Manifest, Sample
from comp.data.soft_rows import settled_soft, shares, weights, with_class_names
from comp.data.task import Task
from comp.errors import InputError

ROWS = [
    Sample("r0", "0.png", "train", "a"),
    Sample("r1", "1.png", "train", "b"),
    Sample("t0", "2.png", "test"),
]
PLAIN = Manifest.from_samples(ROWS)
LABELS = LabelMap(("a", "b", "c"))
SEVERAL = Task("multi-label")


def read(folder: Path, text: str, task: Task | None = None) -> Manifest:
    (folder / "extra.csv").write_text(text)
    return with_extra(PLAIN, folder / "extra.csv", task or Task())


def test_probabilities_and_weights_are_read_and_only_extra_rows_have_them(tmp_path: Path) -> None:
    found = read(tmp_path, "path,weight,prob:b,Prob: a,prob:c\nx.png,2,0.25,0.5,0.25\ny.png,,0,0,1\n")
    assert list(found.extra["label"]) == ["a", "c"], "the most probable class, where no label is given"
    found = with_class_names(found, LABELS)
    assert list(found.extra["prob:a"]) == ["0.5", "0"]
    assert set(found.train["prob:a"]) == set(found.test["weight"]) == {""}
    assert "2 with probabilities, 1 with weights 2 to 2" in found.notes[-1]
    table = found.table[found.table["split"] != "test"].reset_index(drop=True)
    targets = LABELS.encode(table["label"])
    answered = shares(table, targets, LABELS)
    assert answered is not None
    assert answered.tolist() == [[1, 0, 0], [0, 1, 0], [0.5, 0.25, 0.25], [0, 0, 1]]
    weighed = weights(table)
    assert weighed is not None
    assert weighed.tolist() == [1, 1, 2, 1]


def test_a_label_beside_probabilities_stays_and_a_contradiction_is_told(tmp_path: Path) -> None:
    found = read(tmp_path, "path,label,prob:a,prob:b,prob:c\nx.png,B,0.5,0.25,0.25\ny.png,c,,,\n")
    assert list(found.extra["label"]) == ["B", "c"]
    assert "1 whose label is not their most probable class" in found.notes[-1]


def test_rows_of_several_labels_need_no_sum(tmp_path: Path) -> None:
    found = read(tmp_path, "path,prob:a,prob:b,prob:c\nx.png,0.9,0.5,0.1\ny.png,0,0.2,0\n", SEVERAL)
    assert list(found.extra["label"]) == ["a|b", ""]
    labels = LabelMap(("a", "b", "c"), SEVERAL)
    answered = shares(found.extra, labels.encode(found.extra["label"]), labels)
    assert answered is not None
    assert np.allclose(answered, [[0.9, 0.5, 0.1], [0, 0.2, 0]])


@pytest.mark.parametrize(
    ("header", "row", "told"),
    [
        ("weight", "0", "row 'extra:x.png', weight '0'"),
        ("weight", "-1", "above 0"),
        ("weight", "heavy", "'heavy'"),
        ("weight", "nan", "'nan'"),
        ("weight", "inf", "'inf'"),
        ("weight", "1e-50", "above 0"),
        ("prob:a,prob:b,prob:c", "0.5,0.5,0.1", "they sum to 1.1"),
        ("prob:a,prob:b,prob:c", "0.5,0.6,-0.1", "prob:c '-0.1'"),
        ("prob:a,prob:b,prob:c", "0.5,nan,0.5", "prob:b 'nan'"),
        ("prob:a,prob:b,prob:c", "0.5,0.5,", "prob:c is empty"),
        ("prob:a,prob:b,prob:a", "0.5,0.2,0.3", "a table has a column once"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_line(tmp_path: Path, header: str, row: str, told: str) -> None:
    with pytest.raises(InputError) as error:
        read(tmp_path, f"path,label,{header}\nx.png,a,{row}\n")
    shown = f"{error.value.rule}: {error.value.value}"
    assert told in shown
    assert "\n" not in shown
    assert "extra.csv" in shown


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("prob:a,prob:b", "'prob:c' is not there"),
        ("prob:a,prob:b,prob:hexagon", "'prob:hexagon' is no class"),
        ("prob:a,prob:b,prob:B,prob:c", "are one class twice"),
    ],
)
def test_probabilities_are_of_every_class(tmp_path: Path, header: str, told: str) -> None:
    cells = ["1", *"0" * header.count(",")]
    with pytest.raises(InputError) as error:
        with_class_names(read(tmp_path, f"path,{header}\nx.png,{','.join(cells)}\n"), LABELS)
    assert told in error.value.value


def test_numbers_have_weights_and_no_probabilities(tmp_path: Path) -> None:
    task = Task("regression", (0.0,), (1.0,))
    assert list(read(tmp_path, "path,label,weight\nx.png,0.5,3\n", task).extra["weight"]) == ["3"]
    with pytest.raises(InputError, match="probabilities are of classes"):
        read(tmp_path, "path,label,prob:a\nx.png,0.5,1\n", task)


def test_a_column_of_that_name_in_train_rows_is_no_weight(tmp_path: Path) -> None:
    """A table of patients may well say what they weigh."""
    path = tmp_path / "manifest.csv"
    path.write_text("id,path,split,label,weight\nr0,0.png,train,a,80\nt0,1.png,test,,71\n")
    assert "weight" not in Manifest.read_csv(path).table


def test_a_corrected_label_counts_more_than_probabilities() -> None:
    columns = {f"prob:{name}": ["0.5", "0.5"] for name in "ab"} | {"prob:c": ["0", "0"]}
    table = pd.DataFrame({"label": ["a", "a"], TRAINING: ["a", "c"], **columns})
    table = with_class_names(Manifest(table), LABELS).table
    answered = shares(table, LABELS.encode(["a", "c"]), LABELS)
    assert answered is not None
    assert answered.tolist() == [[0.5, 0.5, 0], [0, 0, 1]]


probs = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(lambda p: [v / sum(p) for v in p])
some = st.lists(st.tuples(probs, st.floats(1e-3, 1e3)), min_size=1, max_size=5)


@given(some)
def test_what_is_written_is_read_back_with_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[list[float], float]]
) -> None:
    folder = tmp_path_factory.mktemp("soft")
    lines = [f"{n}.png,{weight!r},{','.join(map(repr, p))}" for n, (p, weight) in enumerate(rows)]
    first = with_class_names(
        read(folder, "path,weight,prob:a,prob:b,prob:c\n" + "\n".join(lines) + "\n"), LABELS
    )
    (folder / "manifest.csv").write_text(first.to_csv())
    again = with_class_names(with_extra(PLAIN, folder / "manifest.csv"), LABELS)
    assert again.fingerprint("extra") == first.fingerprint("extra")
    assert Manifest.read_csv(folder / "manifest.csv").fingerprint("extra") == first.fingerprint("extra")
    for found in (first, again):
        answered = shares(found.extra, LABELS.encode(found.extra["label"]), LABELS)
        assert answered is not None
        assert np.allclose(answered, [p for p, _ in rows], atol=1e-6)
    one, other = weights(first.extra), weights(again.extra)
    assert one is not None
    assert other is not None
    assert one.tobytes() == other.tobytes()


def test_the_fingerprint_knows_them_and_that_of_other_rows_does_not_change(tmp_path: Path) -> None:
    head = "path,label,weight,prob:a,prob:b,prob:c\n"
    first, heavier, surer = (
        read(tmp_path, head + row)
        for row in ("x.png,a,1,0.6,0.4,0\n", "x.png,a,2,0.6,0.4,0\n", "x.png,a,1,0.7,0.3,0\n")
    )
    assert len({one.fingerprint("extra") for one in (first, heavier, surer)}) == 3
    plain = read(tmp_path, "path,label\nx.png,a\n")
    assert len({one.fingerprint("train") for one in (first, heavier, plain, PLAIN)}) == 1
    assert read(tmp_path, "path,label,weight\nx.png,a,\n").fingerprint("extra") == plain.fingerprint("extra")


def test_rows_without_any_stay_as_they_are() -> None:
    rows, told = settled_soft(PLAIN.table, Task(), "manifest.csv")
    assert rows.equals(PLAIN.table)
    assert told == ""
    assert shares(PLAIN.train, LABELS.encode(PLAIN.train["label"]), LABELS) is None
    assert weights(PLAIN.train) is None
