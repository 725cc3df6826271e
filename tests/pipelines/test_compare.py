"""Two submissions against each other: joined by id whatever their order, and refused where they cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.errors import CompError, InputError
from comp.pipelines.compare import compare
from comp.submission.comparison import Comparison
from made import run_comp

NAMES = st.lists(st.text(alphabet="abc012é사 ", min_size=1, max_size=5), min_size=1, max_size=9, unique=True)


def write(file: Path, header: list[str], rows: list[list[str]]) -> Path:
    file.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n", encoding="utf-8")
    return file


def facts(found: Comparison) -> tuple[object, ...]:
    pairs = sorted((row.id, row.one, row.other) for row in found.differing)
    return found.rows, found.agreement, pairs, found.table


@given(NAMES, st.integers(0, 999))
def test_the_order_of_rows_never_changes_what_differs(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("compare")
    said = [rng.choice(["x", "y", "z"], len(ids)) for _ in range(2)]
    files = []
    for turn in range(2):
        for which, answers in enumerate(said):
            order = rng.permutation(len(ids))
            rows = [[ids[n], str(answers[n])] for n in order]
            files.append(write(folder / f"{which}-{turn}.csv", ["id", "label"], rows))
    first, second = compare(files[0], files[1]), compare(files[2], files[3])
    assert facts(first) == facts(second)
    differ = {i for i, a, b in zip(ids, *said, strict=True) if a != b}
    assert {row.id for row in first.differing} == differ
    assert first.agreement == pytest.approx(1 - len(differ) / len(ids))
    lines = files[0].read_text(encoding="utf-8").splitlines()
    assert all(lines[row.row - 1].startswith(f"{row.id},") for row in first.differing)


def test_probabilities_are_joined_by_column_too(tmp_path: Path) -> None:
    one = write(tmp_path / "a.csv", ["id", "cat", "dog"], [["x", "0.9", "0.1"], ["y", "0.2", "0.8"]])
    other = write(tmp_path / "b.csv", ["id", "dog", "cat"], [["y", "0.4", "0.6"], ["x", "0.2", "0.8"]])
    found = compare(one, other)
    assert found.kind == "probs"
    assert [(row.id, row.row, row.one, row.other) for row in found.differing] == [("y", 3, "dog", "cat")]
    assert found.mean_difference == pytest.approx((0.1 + 0.1 + 0.4 + 0.4) / 4)
    expected = np.corrcoef([0.9, 0.1, 0.2, 0.8], [0.8, 0.2, 0.6, 0.4])[0, 1]
    assert found.correlation == pytest.approx(expected)


@pytest.mark.parametrize(
    ("header", "rows", "told"),
    [
        (["id", "label"], [["x", "a"]], "'y'"),
        (["id", "label"], [["x", "a"], ["y", "b"], ["z", "b"]], "'z'"),
        (["id", "label"], [["x", "a"], ["y", "b"], ["y", "a"]], "'y'"),
        (["id", "answer"], [["x", "a"], ["y", "b"]], "answer"),
        (["id", "label"], [["x", "a"], ["", "b"]], "row 3"),
    ],
)
def test_what_could_misalign_is_refused(
    tmp_path: Path, header: list[str], rows: list[list[str]], told: str
) -> None:
    one = write(tmp_path / "a.csv", ["id", "label"], [["x", "a"], ["y", "b"]])
    other = write(tmp_path / "b.csv", header, rows)
    for pair in ((one, other), (other, one)):
        with pytest.raises(CompError) as refused:
            compare(*pair)
        assert told in str(refused.value)


@pytest.mark.parametrize("header", ["id,a,a", "id,id,a,b", "id,a,b,a"])
def test_columns_that_come_twice_are_refused(tmp_path: Path, header: str) -> None:
    file = tmp_path / "one.csv"
    file.write_text(f"{header}\n{','.join(['x', *['0.5'] * header.count(',')])}\n")
    with pytest.raises(InputError, match="a table has a column once"):
        compare(file, file, workspace=tmp_path)


def test_probabilities_that_are_none_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "a.csv", ["id", "cat", "dog"], [["x", "0.9", "0.1"]])
    for cell in ("nan", "high", ""):
        other = write(tmp_path / "b.csv", ["id", "cat", "dog"], [["x", "0.9", cell]])
        with pytest.raises(InputError, match="must be numbers"):
            compare(one, other)


def test_the_verb_shows_the_rows_and_their_images(workspace: Path, shapes: Path) -> None:
    lines = (shapes / "sample_submission.csv").read_text().splitlines()
    (workspace / "a.csv").write_text("\n".join(lines) + "\n")
    changed = [line.replace("circle", "cross") if line.startswith(("t1,", "t4,")) else line for line in lines]
    (workspace / "b.csv").write_text("\n".join([changed[0], *reversed(changed[1:])]) + "\n")
    page = workspace / "page.html"
    files = (workspace / "a.csv", workspace / "b.csv")
    done = run_comp(workspace, "compare", *files, "--slug", "shapes", "--html", page, "--json")
    assert done.code == 0, done.err
    found = done.json
    assert (found["rows"], found["differ"], found["slug"]) == (12, 2, "shapes")
    assert {row["id"] for row in found["differing"]} == {"t1", "t4"}
    assert found["table"] == [
        {"one": "circle", "other": "circle", "rows": 10},
        {"one": "circle", "other": "cross", "rows": 2},
    ]
    text = page.read_text()
    assert text.count("<img alt=") == 2
    assert "t1, row" in text
    assert "t2, row" not in text
    alone = run_comp(workspace, "compare", *files, "--html", page)
    assert alone.code == 2
    assert "--slug" in alone.err


def test_the_competition_is_that_of_the_record_beside(workspace: Path, shapes: Path) -> None:
    for name in ("a", "b"):
        (workspace / f"{name}.csv").write_bytes((shapes / "sample_submission.csv").read_bytes())
    (workspace / "b.json").write_text(json.dumps({"slug": "shapes"}))
    done = run_comp(workspace, "compare", workspace / "a.csv", workspace / "b.csv", "--json")
    assert (done.json["slug"], done.json["agreement"]) == ("shapes", 1.0)


def test_two_headers_that_differ_are_both_named(tmp_path: Path) -> None:
    one = write(tmp_path / "a.csv", ["foo", "label"], [["x", "1"]])
    other = write(tmp_path / "b.csv", ["id", "label"], [["x", "1"]])
    with pytest.raises(InputError) as refused:
        compare(one, other)
    assert "a.csv has foo, label" in refused.value.value
    assert "b.csv has id, label" in refused.value.value


def test_runs_are_compared_by_their_submissions(submittable: Path) -> None:
    (run,) = [path.name for path in (submittable / "runs").iterdir()]
    file = submittable / "submissions" / "shapes" / f"{run}.csv"
    found = compare("latest", file, workspace=submittable)
    assert (found.agreement, found.slug, found.files) == (1.0, "shapes", (str(file), str(file)))
    assert compare(run[:15], run, workspace=submittable).rows == 12
    refused = run_comp(submittable, "compare", "latest", "nothing", "--json")
    assert refused.code == 2
    assert refused.json["error"]["value"] == "'nothing' is no file here, and no run"


def test_indices_are_shown_with_their_class_names(tmp_path: Path) -> None:
    rows = [["0", "0"], ["1", "1"], ["2", "6"]]
    one = write(tmp_path / "a.csv", ["", "answer value"], rows)
    other = write(tmp_path / "b.csv", ["", "answer value"], [*rows[:2], ["2", "3"]])
    found = compare(one, other, slug="art-classification", workspace=tmp_path)
    assert found.called("6") == "6 person"
    assert found.as_json()["names"]["3"] == "guitar"
    shown = run_comp(tmp_path, "compare", one, other, "--slug", "art-classification")
    assert "6 person" in shown.out
    assert "3 guitar" in shown.out
