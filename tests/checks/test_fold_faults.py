"""The checks of folds: brought or kept folds that do not cover, tear groups, or were made for other rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from made import run_comp, train_table, write_train_table


def check(workspace: Path, folds: object = 3) -> tuple[int, dict[str, dict[str, object]]]:
    """Exit code, and the error findings by check."""
    outcome = run_comp(workspace, "check", "shapes", "--folds", folds, "--json")
    return outcome.code, {f["check"]: f for f in outcome.json.get("findings", []) if f["severity"] == "error"}


def write_folds(path: Path, fold_of: dict[str, int]) -> Path:
    path.write_text("id,fold\n" + "".join(f"{i},{k}\n" for i, k in fold_of.items()))
    return path


def spread(raw: Path) -> dict[str, int]:
    """A sound deal of the rows to three folds."""
    return {row[0]: n // 3 % 3 for n, row in enumerate(train_table(raw))}


def test_sound_brought_folds_pass(workspace: Path, shapes: Path) -> None:
    assert check(workspace, write_folds(workspace / "mine.csv", spread(shapes))) == (0, {})


def test_a_torn_group_is_found(workspace: Path, shapes: Path) -> None:
    write_train_table(
        shapes, [[i, label, "g" if i in ("a0", "a3") else "", ""] for i, label, *_ in train_table(shapes)]
    )
    code, found = check(workspace, write_folds(workspace / "mine.csv", spread(shapes)))
    assert code == 1
    assert found["group-across-folds"]["count"] == 1
    assert set(found["group-across-folds"]["examples"]) <= {"g", "a0", "a3"}  # type: ignore[arg-type]


def test_a_copy_apart_from_its_parent_is_found(workspace: Path, shapes: Path) -> None:
    write_train_table(
        shapes, [[i, label, "", "a0" if i == "a3" else ""] for i, label, *_ in train_table(shapes)]
    )
    code, found = check(workspace, write_folds(workspace / "mine.csv", spread(shapes)))
    assert code == 1
    assert {"group-across-folds", "copy-across-folds"} & set(found)


@pytest.mark.parametrize("change", ["a row less", "a row more", "another label", "a new group"])
def test_kept_folds_of_other_rows_are_stale(workspace: Path, shapes: Path, change: str) -> None:
    rows = train_table(shapes)
    if change == "a row more":
        write_train_table(shapes, rows[:-1])
    assert check(workspace) == (0, {})
    if change == "a row less":
        write_train_table(shapes, rows[:-1])
    elif change == "another label":
        write_train_table(shapes, [["a0", "square", "", ""], *rows[1:]])
    elif change == "a new group":
        write_train_table(shapes, [[i, label, "g" if i in ("a0", "a4") else "", ""] for i, label, *_ in rows])
    else:
        write_train_table(shapes, rows)
    code, found = check(workspace)
    assert code == 1
    assert {"stale-folds", "fold-coverage"} & set(found)
    assert "folds/shapes" in str(found["stale-folds"]["remedy"])


def test_reordered_rows_keep_their_folds(workspace: Path, shapes: Path) -> None:
    assert check(workspace) == (0, {})
    kept = next((workspace / "folds" / "shapes").glob("*.csv")).read_bytes()
    write_train_table(shapes, train_table(shapes)[::-1])
    assert check(workspace) == (0, {})
    assert next((workspace / "folds" / "shapes").glob("*.csv")).read_bytes() == kept
