"""Corrected labels: rows train with them, and everything else goes by the original ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comp.data.competitions.competition import find_competition
from comp.data.corrected_labels import corrections_sha256, settled, with_corrections
from comp.data.dataset import read_dataset
from comp.data.folds import folds_sha256, make_folds
from comp.data.labels import LabelMap
from comp.data.manifest import TRAINING, Manifest, Sample
from comp.data.task import Task
from comp.errors import InputError
from comp.training.plan import rows_of_fold
from comp.workspace import Workspace
from made import planned, write_shapes

NAMES = ("a", "b", "c")
LABELS = LabelMap(NAMES)


def rows(task: str = "single-label") -> Manifest:
    label = (lambda n: f"{n % 3}") if task == "regression" else (lambda n: NAMES[n % 3])
    samples = [Sample(f"r{n}", f"all#{n}", "train", label(n)) for n in range(12)]
    samples += [Sample("e0", "all#12", "extra", label(0)), Sample("t0", "all#13", "test")]
    return Manifest.from_samples(samples)


def test_a_manifest_is_written_with_corrected_and_original_label_and_read_back(tmp_path: Path) -> None:
    corrected = settled(with_corrections(rows(), {"r1": "c", "r2": "a"}), LABELS)
    (tmp_path / "m.csv").write_text(corrected.to_csv())
    lines = (tmp_path / "m.csv").read_text().splitlines()
    assert lines[0] == "id,path,split,label,original_label,group,parent"
    assert lines[2] == "r1,all#1,train,c,b,,"
    back = settled(Manifest.read_csv(tmp_path / "m.csv"), LABELS)
    assert back.corrections == {"r1": "c", "r2": "a"}
    assert back.table.equals(corrected.table)
    assert list(back.train["label"][:3]) == ["a", "b", "c"]


def test_folds_and_fingerprints_go_by_the_original_labels() -> None:
    plain, corrected = rows(), settled(with_corrections(rows(), {"r1": "c"}), LABELS)
    assert corrected.fingerprint("train") == plain.fingerprint("train")
    assert folds_sha256(make_folds(corrected, 3)) == folds_sha256(make_folds(plain, 3))
    assert corrections_sha256(plain) is None
    assert corrections_sha256(corrected) not in (
        None,
        corrections_sha256(settled(with_corrections(rows(), {"r1": "a"}), LABELS)),
    )


def test_a_row_trains_with_its_corrected_label_and_is_scored_by_its_own() -> None:
    manifest = settled(with_corrections(rows(), {"r1": "c", "e0": "b"}), LABELS)
    folds = make_folds(manifest, 3)
    plan = replace(planned(manifest, folds), labels=LABELS)
    plain = replace(planned(rows(), folds), labels=LABELS)
    for k in range(3):
        part = rows_of_fold(plan, k)
        place = {i: n for n, i in enumerate(part.table["id"])}
        held = place["r1"] in part.held_out
        assert held == (folds.by_id["r1"] == k)
        assert NAMES[part.targets[place["r1"]]] == ("b" if held else "c")
        assert NAMES[part.targets[place["e0"]]] == "b"
        others = [n for i, n in place.items() if i not in ("r1", "e0")]
        assert (part.targets[others] == rows_of_fold(plain, k).targets[others]).all()
        assert (np.sort(part.held_out) == np.sort(rows_of_fold(plain, k).held_out)).all()
    assert plan.key(0) != plain.key(0), "a fold that was trained with other labels is another"


def test_rows_without_a_change_are_no_corrections_whatever_their_spelling() -> None:
    found = settled(with_corrections(rows(), {"r0": "a", "r1": " B ", "t0": "c", "nobody": "a"}), LABELS)
    assert TRAINING not in found.table
    assert found.corrections == {}
    assert found.notes == ()


@pytest.mark.parametrize(
    ("label", "rule", "value"),
    [
        ("zebra", "a corrected label is a class of the label map", "'zebra'"),
        ("", "a corrected label is a class of the label map", "''"),
    ],
)
def test_a_label_that_is_no_class_is_refused_with_row_and_classes(label: str, rule: str, value: str) -> None:
    with pytest.raises(InputError) as caught:
        settled(with_corrections(rows(), {"r4": label}), LABELS, "c.csv")
    assert caught.value.rule == rule
    assert caught.value.value == f"c.csv, row 'r4' has {value}"
    assert "'a', 'b', 'c'" in caught.value.remedy


def test_a_row_whose_original_label_was_emptied_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        "id,path,split,label,original_label\nr0,a.png,train,a,\nr1,b.png,train,b,b\n"
    )
    with pytest.raises(InputError, match="a row keeps its label in original_label"):
        settled(Manifest.read_csv(tmp_path / "m.csv"), LABELS)


def test_several_labels_and_numbers_can_be_corrected_by_hand() -> None:
    several = LabelMap(NAMES, Task("multi-label"))
    found = settled(with_corrections(rows(), {"r1": "C|a", "r2": ""}), several)
    assert found.corrections == {"r1": "c|a", "r2": ""}
    numbers = LabelMap(("x",), Task("regression", (0.0,), (2.0,)))
    assert settled(with_corrections(rows("regression"), {"r1": "1.5"}), numbers).corrections == {"r1": "1.5"}
    with pytest.raises(InputError, match="lies within the range"):
        settled(with_corrections(rows("regression"), {"r1": "7"}), numbers)
    with pytest.raises(InputError, match="finite number"):
        settled(with_corrections(rows("regression"), {"r1": "seven"}), numbers)


def test_a_score_by_other_labels_than_the_competitions_is_said(tmp_path: Path) -> None:
    raw = write_shapes(tmp_path)
    competition = find_competition("shapes", Workspace.find(tmp_path))
    plain = competition.read(raw)
    file = tmp_path / "labels.csv"
    file.write_text(plain.to_csv())
    assert not read_dataset(competition, raw, file).manifest.notes
    table = plain.table.copy()
    table.loc[table["id"] == "a1", "label"] = "square"
    file.write_text(replace(plain, table=table).to_csv())
    (note,) = read_dataset(competition, raw, file).manifest.notes
    assert note.startswith("1 of 18 labels of labels.csv are not the competition's, first of 'a1'")
