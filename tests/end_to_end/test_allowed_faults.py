"""Faults that a user allows with a reason: what then happens is said wherever the score stands."""

from __future__ import annotations

import csv
from pathlib import Path

from made import run_comp

RUN = ("run", "shapes", "--folds", "2")


def test_an_unreadable_test_image_is_answered_with_the_class_prior(workspace: Path, shapes: Path) -> None:
    (shapes / "test" / "t2.png").write_bytes(b"no image")
    (shapes / "train" / "a2.png").write_bytes(b"no image")
    refused = run_comp(workspace, *RUN, "--json")
    assert refused.code == 1
    done = run_comp(workspace, *RUN, "--allow", "unreadable-image=two scans are broken", "--json")
    assert done.code == 0, done.err
    assert done.json["unread"] == ["t2"]
    assert "two scans are broken" in done.err
    with Path(done.json["submission"]).open(newline="") as rows:
        assert len(list(csv.DictReader(rows))) == 12


def test_control_rows_cannot_be_allowed(workspace: Path, shapes: Path) -> None:
    refused = run_comp(workspace, *RUN, "--allow", "control-rows=I am in a hurry")
    assert refused.code == 2
    assert "cannot be allowed" in refused.err


def test_file_names_need_not_be_utf8(workspace: Path, shapes: Path) -> None:
    (shapes / "train" / "odd-\udcff.txt").write_text("not an image")
    found = run_comp(
        workspace,
        "check",
        "shapes",
        "--folds",
        "2",
        "--fix",
        workspace / "fix.csv",
        "--html",
        workspace / "page.html",
    )
    assert found.code == 0, found.err
    assert (workspace / "fix.csv").is_file()
