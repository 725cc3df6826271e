"""The proposed manifest: what it would do with every row, that it passes, and that nothing raw is touched."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from comp.checks.proposed_manifest import proposed
from contract import contents
from gallery import Gallery, clean_gallery, texture
from made import draw, run_comp, save_image, train_table, write_train_table


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return clean_gallery(tmp_path / "raw", per_class=4, tests=4)


def decided(gallery: Gallery) -> dict[str, tuple[str, str]]:
    """Action and reason by id."""
    table = pd.read_csv(io.StringIO(proposed(gallery.context())), dtype=str, keep_default_na=False)
    assert list(table["id"]) == [sample.id for sample in gallery.samples]
    return {i: (action, why) for i, action, why in table[["id", "action", "why"]].to_numpy()}


def but_kept(decisions: dict[str, tuple[str, str]]) -> dict[str, str]:
    assert all(bool(why) == (action != "keep") for action, why in decisions.values())
    return {sample: action for sample, (action, _) in decisions.items() if action != "keep"}


def test_clean_rows_are_kept(gallery: Gallery) -> None:
    assert but_kept(decided(gallery)) == {}


def test_exact_copies_are_dropped_but_the_first_by_path(gallery: Gallery) -> None:
    gallery.replace("train/a3.png", texture(0))
    gallery.replace("train/a6.png", texture(0))
    decisions = decided(gallery)
    assert but_kept(decisions) == {"a0": "group", "a3": "drop", "a6": "drop"}
    assert decisions["a3"][1] == "the same pixels as train/a0.png"


def test_versions_are_grouped_and_their_exact_copies_dropped(gallery: Gallery) -> None:
    gallery.replace("train/a3.png", texture(0)[:, ::-1])
    gallery.replace("train/a6.png", texture(0)[:, ::-1])
    assert but_kept(decided(gallery)) == {"a0": "group", "a3": "group", "a6": "drop"}


def test_one_image_under_two_labels_is_for_a_person_to_look_at(gallery: Gallery) -> None:
    gallery.replace("train/a1.png", texture(0))
    decisions = decided(gallery)
    assert but_kept(decisions) == {"a0": "look", "a1": "look"}
    assert "cat, dog" in decisions["a0"][1]


def test_labelled_copies_of_test_rows_are_dropped_and_the_test_row_stays(gallery: Gallery) -> None:
    gallery.replace("test/t2.png", texture(0)[:, ::-1])
    decisions = decided(gallery)
    assert but_kept(decisions) == {"a0": "drop"}
    assert "test/t2.png" in decisions["a0"][1]


def test_broken_images_are_dropped_from_train_and_looked_at_in_test(gallery: Gallery) -> None:
    gallery.replace("train/a3.png", b"broken")
    (gallery.raw / "train" / "a4.png").unlink()
    gallery.replace("test/t2.png", b"broken")
    assert but_kept(decided(gallery)) == {"a3": "drop", "a4": "drop", "t2": "look"}


def test_the_proposal_passes_and_raw_files_are_untouched(workspace: Path, shapes: Path) -> None:
    """Faults of every kind that the proposal can mend, with awkward names."""
    rows = train_table(shapes)
    for name in ("a1 copy", "a99", "a98"):
        rows.append([name, "cross", "", ""])
        save_image(shapes / "train" / f"{name}.png", draw("cross", 1))
    (shapes / "train" / "a2.png").write_bytes(b"broken")
    for number in range(7):
        save_image(shapes / "test" / f"t{number}.png", draw(rows[3 + number][1], 3 + number)[:, ::-1])
    write_train_table(shapes, rows)
    before = contents(shapes)
    out = workspace / "proposal.csv"
    refused = run_comp(workspace, "check", "shapes", "--folds", 2, "--fix", out, "--json")
    assert refused.code == 1
    assert {f["check"] for f in refused.json["findings"] if f["severity"] == "error"} == {
        "unreadable-image",
        "train-test-duplicate",
    }
    actions = pd.read_csv(out, dtype=str, keep_default_na=False).set_index("id")["action"]
    assert dict(actions[actions == "drop"]).keys() == {
        "a2",
        "a98",
        "a99",
        "a1 copy",
        *(f"a{n}" for n in range(3, 10)),
    }
    passed = run_comp(workspace, "check", "shapes", "--folds", 2, "--manifest", out, "--json")
    assert passed.code == 0, passed.err
    assert passed.json["stats"]["train"] == len(rows) - (actions == "drop").sum()
    assert passed.json["stats"]["test"] == 12
    assert contents(shapes) == before
