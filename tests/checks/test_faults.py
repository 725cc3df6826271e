"""Every check: a planted fault makes it speak, with the right rows and exit code 1; clean data is silent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from comp.checks.runner import DATA_CHECKS, FOLD_CHECKS
from made import run_comp, train_table, write_train_table


def duplicate_id(raw: Path) -> set[str]:
    rows = train_table(raw)
    write_train_table(raw, [*rows, rows[4]])
    return {"a4"}


def same_id_in_train_and_test(raw: Path) -> set[str]:
    shutil.copy(raw / "train" / "a3.png", raw / "test" / "a3.png")
    (raw / "sample_submission.csv").write_text((raw / "sample_submission.csv").read_text() + "a3,circle\n")
    return {"a3"}


def hard_link(raw: Path) -> set[str]:
    (raw / "train" / "a5.png").unlink()
    os.link(raw / "train" / "a2.png", raw / "train" / "a5.png")
    return {"train/a2.png", "train/a5.png"}


def symbolic_link(raw: Path) -> set[str]:
    (raw / "train" / "a5.png").unlink()
    (raw / "train" / "a5.png").symlink_to("a2.png")
    return {"train/a2.png", "train/a5.png"}


def every_path_one_file(raw: Path) -> set[str]:
    """The fault behind 100 % validation accuracy: every row of train.csv names the same image."""
    for number in range(1, 18):
        (raw / "train" / f"a{number}.png").unlink()
        (raw / "train" / f"a{number}.png").symlink_to("a0.png")
    return {"train/a0.png"}


def missing_train_file(raw: Path) -> set[str]:
    (raw / "train" / "a7.png").unlink()
    return {"train/a7.png"}


def unknown_label(raw: Path) -> set[str]:
    rows = train_table(raw)
    rows[4][1] = "Squares"
    write_train_table(raw, rows)
    return {"a4"}


def no_label(raw: Path) -> set[str]:
    rows = train_table(raw)
    rows[4][1] = ""
    write_train_table(raw, rows)
    return {"a4"}


def absent_class(raw: Path) -> set[str]:
    write_train_table(raw, [row for row in train_table(raw) if row[1] != "cross"])
    return {"cross"}


def small_class(raw: Path) -> set[str]:
    squares = [row for row in train_table(raw) if row[1] == "square"]
    write_train_table(raw, [row for row in train_table(raw) if row[1] != "square" or row in squares[:2]])
    return {"square"}


def one_group_class(raw: Path) -> set[str]:
    rows = [[i, label, "one" if label == "square" else "", ""] for i, label, *_ in train_table(raw)]
    write_train_table(raw, rows)
    return {"square"}


def file_among_train(raw: Path) -> set[str]:
    (raw / "test" / "t6.png").unlink()
    os.link(raw / "train" / "a1.png", raw / "test" / "t6.png")
    return {"test/t6.png"}


def image_gone(raw: Path) -> set[str]:
    (raw / "test" / "t6.png").unlink()
    return {"t6"}


def image_unasked(raw: Path) -> set[str]:
    shutil.copy(raw / "test" / "t6.png", raw / "test" / "stray.png")
    return {"stray"}


def template_doubled(raw: Path) -> set[str]:
    (raw / "sample_submission.csv").write_text((raw / "sample_submission.csv").read_text() + "t3,circle\n")
    return {"t3"}


def cut_off(raw: Path) -> set[str]:
    for path in (raw / "train" / "a2.png", raw / "test" / "t1.png"):
        path.write_bytes(path.read_bytes()[:-40])
    return {"train/a2.png", "test/t1.png"}


def zero_bytes(raw: Path) -> set[str]:
    (raw / "train" / "a2.png").write_bytes(b"")
    return {"train/a2.png"}


def not_an_image(raw: Path) -> set[str]:
    (raw / "train" / "a2.png").write_text("<html>404</html>")
    return {"train/a2.png"}


FAULTS: list[tuple[str, Callable[[Path], set[str]]]] = [
    ("duplicate-id", duplicate_id),
    ("duplicate-id", same_id_in_train_and_test),
    ("duplicate-path", hard_link),
    ("duplicate-path", symbolic_link),
    ("duplicate-path", every_path_one_file),
    ("missing-file", missing_train_file),
    ("unknown-label", unknown_label),
    ("unknown-label", no_label),
    ("label-map", absent_class),
    ("class-too-small", small_class),
    ("class-too-small", one_group_class),
    ("train-test-overlap", file_among_train),
    ("template-mismatch", image_gone),
    ("template-mismatch", image_unasked),
    ("template-mismatch", template_doubled),
    ("unreadable-image", cut_off),
    ("unreadable-image", zero_bytes),
    ("unreadable-image", not_an_image),
]


@pytest.mark.parametrize(("check", "plant"), FAULTS, ids=[plant.__name__ for _, plant in FAULTS])
def test_a_planted_fault_is_found(
    workspace: Path, shapes: Path, check: str, plant: Callable[[Path], set[str]]
) -> None:
    rows = plant(shapes)
    outcome = run_comp(workspace, "check", "shapes", "--folds", 3, "--json")
    assert outcome.code == 1, outcome.err
    assert outcome.json["status"] == "fail"
    found = [f for f in outcome.json["findings"] if f["check"] == check]
    assert [f["severity"] for f in found] == ["error"], outcome.json["findings"]
    assert rows <= set(found[0]["examples"])
    assert found[0]["count"] >= len(rows)
    assert found[0]["remedy"]


@pytest.mark.parametrize(("check", "plant"), [FAULTS[0], FAULTS[5]], ids=["duplicate-id", "missing-file"])
def test_a_run_stops_at_the_gate(
    workspace: Path, shapes: Path, check: str, plant: Callable[[Path], set[str]]
) -> None:
    plant(shapes)
    outcome = run_comp(workspace, "run", "shapes", "--folds", 3)
    assert outcome.code == 1
    assert check in outcome.err
    assert "comp check shapes" in outcome.err
    assert not (workspace / "runs").exists()
    assert not (workspace / "submissions").exists()


def test_clean_data_is_silent(workspace: Path, shapes: Path) -> None:
    outcome = run_comp(workspace, "check", "shapes", "--folds", 3, "--json")
    assert outcome.code == 0, outcome.out
    assert outcome.json["status"] == "pass"
    assert [
        f
        for f in outcome.json["findings"]
        if f["check"] in {*DATA_CHECKS, *FOLD_CHECKS} and f["severity"] == "error"
    ] == []
    assert (
        outcome.json["stats"]["train"],
        outcome.json["stats"]["test"],
        outcome.json["stats"]["classes"],
    ) == (18, 12, 3)


def test_every_check_of_the_manifest_family_has_a_planted_fault() -> None:
    skeleton = {
        "duplicate-id",
        "duplicate-path",
        "missing-file",
        "unknown-label",
        "label-map",
        "class-too-small",
        "train-test-overlap",
        "template-mismatch",
        "unreadable-image",
    }
    assert {check for check, _ in FAULTS} == skeleton
    assert skeleton <= set(DATA_CHECKS)


def test_an_allowed_error_is_a_warning_with_its_reason(workspace: Path, shapes: Path) -> None:
    not_an_image(shapes)
    outcome = run_comp(
        workspace, "check", "shapes", "--folds", 3, "--json", "--allow", "unreadable-image=one scan is lost"
    )
    assert outcome.code == 0, outcome.err
    found = next(f for f in outcome.json["findings"] if f["check"] == "unreadable-image")
    assert (found["severity"], found["allowed"]) == ("warning", "one scan is lost")


@pytest.mark.parametrize(
    "allow", ["unreadable-image", "unreadable-image=", "unreadable-image=  ", "unreadable-imag=why"]
)
def test_allowing_takes_a_known_check_and_a_reason(workspace: Path, shapes: Path, allow: str) -> None:
    outcome = run_comp(workspace, "check", "shapes", "--folds", 3, "--allow", allow)
    assert outcome.code == 2
    assert "CHECK=REASON" in outcome.err or "reason" in outcome.err
