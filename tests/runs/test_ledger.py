"""The ledger: entries beside what a run came to, one place each, nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.errors import InputError, Refusal
from comp.kaggle.reconcile import matching_submissions
from comp.kaggle.types import Submission
from comp.runs import ledger
from comp.runs.ledger import SubmissionEntry
from comp.workspace import Workspace


def test_entries_stand_beside_what_the_run_came_to_and_survive_its_rewriting(workspace: Path) -> None:
    path = ledger.page_of(Workspace(workspace), "shapes", "r1", Path("r1.csv"), "0" * 64)
    ledger.keep_entries(path, {"run": "r1", "oof": {"score": 0.5}})
    assert json.loads(path.read_text()) == {
        "run": "r1",
        "oof": {"score": 0.5},
        "message": None,
        "submitted": None,
    }
    first = ledger.write_entry(path, SubmissionEntry(run="r1", message="one"))
    second = ledger.write_entry(path, SubmissionEntry(run="r1", message="two"))
    ledger.write_entry(path, first.model_copy(update={"state": ledger.SUBMITTED, "ref": 7}))
    ledger.keep_entries(path, {"run": "r1", "oof": {"score": 0.6}})
    kept = json.loads(path.read_text())
    assert kept["oof"] == {"score": 0.6}
    assert [one["ref"] for one in kept["submitted"]] == [7, 0]
    assert ledger.entries_of(path) == (first.model_copy(update={"state": ledger.SUBMITTED, "ref": 7}), second)


def test_a_file_without_a_run_has_a_page_of_its_own(workspace: Path) -> None:
    place = Workspace(workspace)
    one = ledger.page_of(place, "shapes", "", Path("../a b.csv"), "12345678" + "0" * 56)
    assert one == place.submissions("shapes") / "a-b-12345678.json"
    other = ledger.page_of(place, "shapes", "", Path("../a b.csv"), "87654321" + "0" * 56)
    assert one != other


def test_other_documents_of_the_folder_are_left_alone(workspace: Path) -> None:
    folder = Workspace(workspace).submissions("shapes")
    folder.mkdir(parents=True)
    (folder / "looks.json").write_text("[1, 2]")
    assert ledger.entries(Workspace(workspace), "shapes") == []
    with pytest.raises(InputError, match="readable"):
        ledger.write_entry(folder / "looks.json", SubmissionEntry())
    (folder / "bad.json").write_text('{"submitted": [3]}')
    assert ledger.entries(Workspace(workspace), "shapes") == [], "one that is damaged hides no other"
    for content in (
        '{"submitted": [3]}',
        '{"submitted": 7}',
        '{"submitted": [{"at": 5}]}',
        "",
        "[[" * 99_999,
    ):
        (folder / "bad.json").write_text(content)
        with pytest.raises(InputError, match="readable"):
            ledger.entries_of(folder / "bad.json")


def test_one_at_a_time(workspace: Path) -> None:
    place = Workspace(workspace)
    with ledger.submit_lock(place, "shapes"):
        with pytest.raises(Refusal, match="one submission at a time"), ledger.submit_lock(place, "shapes"):
            pass
        with ledger.submit_lock(place, "other"):
            pass
    with ledger.submit_lock(place, "shapes"):
        pass


words = st.sampled_from(["", "a.csv", "b.csv", "first", "second"])


@given(st.lists(st.tuples(st.integers(1, 50), words, words), max_size=8), words, words)
def test_only_submissions_of_the_same_name_and_message_are_alike(
    listed: list[tuple[int, str, str]], file: str, message: str
) -> None:
    rows = [Submission(n, "PENDING", None, None, "", f, m, "", None) for n, f, m in listed]
    found = matching_submissions(SubmissionEntry(file=f"submissions/shapes/{file}", message=message), rows)
    assert [one.ref for one in found] == sorted(one.ref for one in found)
    assert all(one.file in ("", file) and one.message in ("", message) for one in found)
    assert all(one in found for one in rows if (one.file, one.message) == (file, message))
