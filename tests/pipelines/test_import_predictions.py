"""Imported predictions are a run like any other, and faulty ones leave nothing behind."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import comp
from comp.data.folds import Folds
from comp.data.predictions import Predictions
from comp.errors import InputError
from made import run_comp, train_table, write_shapes

CLASSES = ["circle", "cross", "square"]
Rows = list[list[str]]


def predicted(raw: Path) -> dict[str, Rows]:
    """OOF rows that are right, with folds, and test rows, both in an order of their own."""
    rng = np.random.default_rng(3)
    oof = [
        [f"a{n}", str(n // 3 % 2), *("0.8" if name == label else "0.1" for name in CLASSES)]
        for n, (_, label, *_) in enumerate(train_table(raw))
    ]
    test = [[f"t{n}", *map(str, rng.dirichlet(np.ones(3)).round(6))] for n in range(12)]
    rng.shuffle(oof)
    rng.shuffle(test)
    return {"oof": [["id", "fold", *CLASSES], *oof], "test": [["id", *CLASSES], *test]}


def write(folder: Path, rows: dict[str, Rows]) -> list[object]:
    """Writes both files; the arguments that name them."""
    for kind, table in rows.items():
        with (folder / f"{kind}.csv").open("w", newline="") as out:
            csv.writer(out).writerows(table)
    return ["--oof", folder / "oof.csv", "--test", folder / "test.csv", "--fold-column", "fold"]


def test_it_is_a_run_like_any_other(workspace: Path, shapes: Path) -> None:
    rows = predicted(shapes)
    done = run_comp(workspace, "import", "shapes", *write(workspace, rows), "--name", "theirs", "--json")
    assert done.code == 0, done.err
    assert done.json["oof"]["score"] == 1.0
    assert done.json["oof"]["per_fold"] == [1.0, 1.0]
    folder = workspace / "runs" / done.json["run"]
    started = json.loads((folder / "started.json").read_text())
    assert (started["mode"], started["model"], started["folds"]) == ("import", "theirs", 2)
    assert started["folds_assumed"] is False
    folds = Folds.load(folder / "folds.csv")
    assert folds.by_id == {row[0]: int(row[1]) for row in rows["oof"][1:]}
    for kind, skip in (("oof", 2), ("test", 1)):
        found = Predictions.load(folder / f"{kind}.npz")
        for row in rows[kind][1:]:
            values = np.array(row[skip:], dtype=float)
            assert found.select([row[0]]).probs[0] == pytest.approx(values / values.sum())
    assert Predictions.load(folder / "test.npz").fingerprint == started["test_sha256"]
    assert run_comp(workspace, "validate", "shapes", done.json["submission"]).code == 0
    (shown,) = run_comp(workspace, "runs", "--json").json
    assert (shown["state"], shown["mode"], shown["oof"]) == ("done", "import", 1.0)


def test_a_run_of_ours_comes_back_as_it_was(workspace: Path, shapes: Path) -> None:
    ours = comp.run("shapes", 2, workspace=workspace)
    back = comp.import_(
        "shapes",
        ours.folder / "oof.npz",
        ours.folder / "test.npz",
        folds=ours.folder / "folds.csv",
        workspace=workspace,
    )
    assert (back.score, back.per_fold) == (ours.score, ours.per_fold)
    assert back.submission.read_bytes() == ours.submission.read_bytes()
    for name in ("oof.npz", "test.npz", "manifest.csv", "folds.csv", "confusion.csv", "rows.csv"):
        assert (back.folder / name).read_bytes() == (ours.folder / name).read_bytes(), name


def test_the_order_of_rows_columns_and_files_changes_no_byte(workspace: Path, shapes: Path) -> None:
    rows = predicted(shapes)
    first = run_comp(workspace, "import", "shapes", *write(workspace, rows), "--json").json
    turned = {
        kind: [[row[0], *reversed(row[1:])] for row in [table[0], *reversed(table[1:])]]
        for kind, table in rows.items()
    }
    second = run_comp(workspace, "import", "shapes", *write(workspace, turned), "--json").json
    assert Path(first["submission"]).read_bytes() == Path(second["submission"]).read_bytes()
    for name in ("oof.npz", "test.npz", "folds.csv"):
        one, other = (workspace / "runs" / done["run"] / name for done in (first, second))
        assert one.read_bytes() == other.read_bytes(), name


def test_folds_that_nobody_named_are_said_to_be_assumed(workspace: Path, shapes: Path) -> None:
    rows = predicted(shapes)
    rows["oof"] = [[row[0], *row[2:]] for row in rows["oof"]]
    files = write(workspace, rows)[:4]
    done = run_comp(workspace, "import", "shapes", *files, "--folds", 3, "--json")
    assert done.code == 0, done.err
    assert "assumed-folds" in done.err
    assert len(done.json["oof"]["per_fold"]) == 3
    ours = comp.run("shapes", 3, workspace=workspace)
    assumed, made = (
        Folds.load(folder / "folds.csv") for folder in (workspace / "runs" / done.json["run"], ours.folder)
    )
    assert assumed.by_id == made.by_id


@pytest.mark.parametrize(
    "arguments",
    [["predict", "RUN"], ["run", "shapes", "--resume", "RUN"], ["merge", "RUN", "RUN2"]],
    ids=lambda a: a[0],
)
def test_what_needs_checkpoints_says_so(workspace: Path, shapes: Path, arguments: list[str]) -> None:
    files = write(workspace, predicted(shapes))
    names = {
        n: run_comp(workspace, "import", "shapes", *files, "--json").json["run"] for n in ("RUN", "RUN2")
    }
    refused = run_comp(workspace, *(names.get(word, word) for word in arguments))
    assert refused.code == 2
    assert "this needs checkpoints" in refused.err


def change(kind: str, place: int, column: int, value: str) -> Any:
    return lambda rows: rows[kind][place].__setitem__(column, value)


FAULTS: dict[str, tuple[Any, str]] = {
    "oof lacks an id": (lambda rows: rows["oof"].pop(4), "1 of 18 samples have no row"),
    "test lacks an id": (lambda rows: rows["test"].pop(4), "1 of 12 samples have no row"),
    "an extra id": (lambda rows: rows["test"].append(["t99", "1", "0", "0"]), "1 rows are of no sample"),
    "a doubled id": (lambda rows: rows["oof"].append(list(rows["oof"][1])), "in rows 2, 20"),
    "the files swapped": (
        lambda rows: rows.update(
            oof=[[r[0], str(n % 2) if n else "fold", *r[1:]] for n, r in enumerate(rows["test"])]
        ),
        "samples have no row",
    ),
    "another class": (change("test", 0, 1, "triangle"), "triangle"),
    "a class twice": (change("test", 0, 1, "cross"), "no column for 'circle'"),
    "another column": (lambda rows: [row.append("0") for row in rows["test"]], "'0'"),
    "NaN": (change("test", 3, 2, "nan"), "row 4, 'cross': 'nan'"),
    "a gap": (change("oof", 3, 3, ""), "row 4, 'cross': ''"),
    "a sum": (change("oof", 3, 2, "0.55"), "sums to"),
    "logits": (change("test", 3, 1, "-2.5"), "logits"),
    "a fold alone": (lambda rows: [row.__setitem__(1, "0") for row in rows["oof"][1:]], "'fold' has [0]"),
    "no fold": (change("oof", 3, 1, ""), "oof.csv, row 4: ''"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_file_is_refused_in_three_lines_and_leaves_nothing(
    workspace: Path, shapes: Path, name: str
) -> None:
    spoil, told = FAULTS[name]
    rows = predicted(shapes)
    spoil(rows)
    refused = run_comp(workspace, "import", "shapes", *write(workspace, rows), "--json")
    assert refused.code == 2, refused.err
    assert told in refused.json["error"]["value"]
    assert "Traceback" not in refused.err
    assert not (workspace / "runs").exists()
    assert list(workspace.glob("submissions/**/*.csv")) == []


def test_predictions_of_another_label_map_are_refused(workspace: Path, shapes: Path) -> None:
    ours = comp.run("shapes", 2, workspace=workspace)
    found = Predictions.load(ours.folder / "test.npz")
    turned = type(found.labels)(found.labels.names[::-1])
    Predictions(found.ids, turned, found.probs).save(workspace / "t.npz")
    with pytest.raises(InputError, match="share a label map"):
        comp.import_("shapes", ours.folder / "oof.npz", workspace / "t.npz", workspace=workspace)
    assert len(list((workspace / "runs").iterdir())) == 1


def test_groups_that_the_folds_split_are_refused(workspace: Path) -> None:
    raw = write_shapes(workspace)
    lines = (
        (raw / "train.csv")
        .read_text()
        .replace("a0,circle,,", "a0,circle,g,")
        .replace("a3,circle,,", "a3,circle,g,")
    )
    (raw / "train.csv").write_text(lines)
    refused = run_comp(workspace, "import", "shapes", *write(workspace, predicted(raw)))
    assert refused.code == 1
    assert "group-across-folds" in refused.err
    assert not (workspace / "runs").exists()


@pytest.mark.parametrize("name", ["oof.npz", "submission.csv", "record.json"])
def test_an_interrupted_import_leaves_nothing(
    workspace: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    replace = os.replace

    def stop(source: str | Path, target: str | Path) -> None:
        if Path(target).name == name:
            raise KeyboardInterrupt
        replace(source, target)

    files = write(workspace, predicted(shapes))
    monkeypatch.setattr(os, "replace", stop)
    assert run_comp(workspace, "import", "shapes", *files).code == 130
    assert list((workspace / "runs").iterdir()) == []
    assert [file for file in (workspace / "submissions").rglob("*") if file.is_file()] == []
    monkeypatch.undo()
    assert run_comp(workspace, "import", "shapes", *files).code == 0
