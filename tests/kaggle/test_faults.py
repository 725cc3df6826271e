"""The real client, unpatched, in a process of its own against a loopback Kaggle: what is said, and the exit code."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comp.kaggle.reconcile import matching_submissions
from comp.kaggle.types import Submission
from comp.runs.ledger import SubmissionEntry
from kaggle_server import GONE, Fault, LoopbackKaggle, wait_until
from kaggle_worker import worker
from made import KAGGLE_KEY, KAGGLE_TOKEN, KAGGLE_USER

SUBMIT = ("submit", "shapes", "--run", "latest", "-m", "first try")


def written(workspace: Path) -> list[dict[str, Any]]:
    """The entries of the one run's ledger."""
    (path,) = (workspace / "submissions" / "shapes").glob("*.json")
    return json.loads(path.read_text()).get("submitted") or []


def test_submit_waits_for_the_score_and_tells_it(submittable: Path, kaggle: LoopbackKaggle) -> None:
    kaggle.statuses = ["PENDING", "PENDING", "COMPLETE"]
    done = kaggle.comp(submittable, *SUBMIT, "--json")
    assert done.code == 0, done.err
    assert kaggle.count("GetSubmission") == 3
    assert done.json["status"] == "COMPLETE"
    assert (done.json["public"], done.json["rank"], done.json["left_today"]) == (0.8125, 2, 3)
    assert done.json["oof"] > 0
    assert "submission 4000: PENDING" in done.err
    (csv,) = (submittable / "submissions" / "shapes").glob("*.csv")
    assert kaggle.blobs["blob1"] == csv.read_bytes()
    assert kaggle.submissions[0]["description"] == "first try"
    assert kaggle.submissions[0]["fileName"] == csv.name
    (entry,) = written(submittable)
    assert (entry["state"], entry["ref"], entry["status"]) == ("submitted", 4000, "COMPLETE")
    assert kaggle.calls[[m for m, _ in kaggle.calls].index("blob")][1]["authorization"] is None
    key = base64.b64encode(f"{KAGGLE_USER}:{KAGGLE_KEY}".encode()).decode()
    assert set(kaggle.authorization) == {f"Basic {key}"}


def test_what_kaggle_cannot_score_is_told_in_its_words(submittable: Path, kaggle: LoopbackKaggle) -> None:
    kaggle.statuses = ["PENDING", "ERROR"]
    done = kaggle.comp(submittable, *SUBMIT)
    assert done.code == 1
    assert "Submission must have 12 rows" in done.err
    assert written(submittable)[0]["status"] == "ERROR"
    again = kaggle.comp(submittable, *SUBMIT)
    assert again.code == 1
    assert "could not score (Submission must have 12 rows): submit it again" in again.err


@pytest.mark.parametrize("nested", [True, False], ids=["nested", "flat"])
def test_400_says_the_servers_own_reason(submittable: Path, kaggle: LoopbackKaggle, nested: bool) -> None:
    inner = {"code": 400, "message": "You have reached the daily limit of 5", "status": "FAILED"}
    kaggle.faults["CreateSubmission"] = [Fault(400, {"error": inner} if nested else inner)]
    done = kaggle.comp(submittable, *SUBMIT)
    assert done.code == 1
    assert "You have reached the daily limit of 5" in done.err
    assert kaggle.count("CreateSubmission") == 1
    assert written(submittable)[0]["state"] == "refused"


def test_the_daily_limit_is_asked_before_the_upload(submittable: Path, kaggle: LoopbackKaggle) -> None:
    kaggle.limits = {"numToday": 5, "numTotal": 9}
    done = kaggle.comp(submittable, *SUBMIT)
    assert done.code == 1
    assert "5 were made" in done.err
    assert not kaggle.count("StartSubmissionUpload")
    kaggle.limits = {}  # all 0: in no team yet
    assert kaggle.comp(submittable, *SUBMIT).code == 0


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"userHasEntered": False}, "competitions/three-shapes/rules"),
        ({"isKernelsSubmissionsOnly": True}, "notebooks only"),
        ({"submissionsDisabled": True}, "takes no submissions any more"),
    ],
)
def test_what_kaggle_would_refuse_is_said_before_the_upload(
    submittable: Path, kaggle: LoopbackKaggle, facts: dict[str, bool], said: str
) -> None:
    kaggle.competition.update(facts)
    done = kaggle.comp(submittable, *SUBMIT)
    assert done.code == 1
    assert said in done.err
    assert not kaggle.count("StartSubmissionUpload")
    assert not written(submittable)


def test_a_deadline_that_has_passed_is_said(submittable: Path, kaggle: LoopbackKaggle) -> None:
    kaggle.competition["deadline"] = "2020-01-02T23:59:00Z"
    late = kaggle.comp(submittable, *SUBMIT, "--dry-run")
    assert late.code == 0
    assert "was 2020-01-02: what is submitted now does not count" in late.err
    kaggle.competition["deadline"] = "2999-01-02T23:59:00Z"
    assert "deadline" not in kaggle.comp(submittable, *SUBMIT, "--dry-run").err


def test_403_names_the_rules_and_near_names(submittable: Path, kaggle: LoopbackKaggle) -> None:
    kaggle.faults["GetCompetition"] = [Fault(403, {"code": 403, "message": "Permission denied"})]
    kaggle.found = [{"ref": "https://www.kaggle.com/competitions/three-shape"}]
    done = kaggle.comp(submittable, *SUBMIT)
    assert done.code == 1
    for said in (
        "Permission denied",
        "competitions/three-shapes/rules",
        "did you mean three-shape (the key kaggle of competition.toml",
    ):
        assert said in done.err


def test_404_is_a_wrong_name(submittable: Path, kaggle: LoopbackKaggle) -> None:
    kaggle.faults["GetCompetition"] = [Fault(404, "<html>not here</html>")]
    done = kaggle.comp(submittable, *SUBMIT, "--kaggle", "nothing", "--json")
    assert done.code == 2
    assert done.json["error"]["kind"] == "KaggleError"
    assert "404" in done.err
    assert "nothing" in done.err


def test_a_bad_token_goes_before_a_good_key_and_that_is_said(
    submittable: Path, kaggle: LoopbackKaggle
) -> None:
    kaggle.refused_keys = {KAGGLE_TOKEN}
    done = kaggle.comp(submittable, *SUBMIT, KAGGLE_API_TOKEN=KAGGLE_TOKEN)
    assert done.code == 2
    for said in ("401", "the variable KAGGLE_API_TOKEN", "before the variable KAGGLE_USERNAME"):
        assert said in done.err, done.err
    assert set(kaggle.authorization) == {f"Bearer {KAGGLE_TOKEN}"}


def test_without_a_credential_it_is_said_how_to_get_one(submittable: Path, kaggle: LoopbackKaggle) -> None:
    done = kaggle.comp(submittable, *SUBMIT, KAGGLE_KEY=GONE, KAGGLE_USERNAME=GONE)
    assert done.code == 2
    assert "https://www.kaggle.com/settings/api" in done.err
    assert not kaggle.calls


def test_429_is_waited_out_and_never_uploads_twice(submittable: Path, kaggle: LoopbackKaggle) -> None:
    busy = Fault(429, {"code": 429, "message": "Too many"}, headers={"Retry-After": "86400"})
    kaggle.faults = {name: [busy] for name in ("GetCompetition", "CreateSubmission", "GetSubmission")}
    done = kaggle.comp(submittable, *SUBMIT)
    assert done.code == 0, done.err
    assert (kaggle.count("blob"), len(kaggle.submissions)) == (1, 1)
    kaggle.faults = {"GetCompetition": [busy] * 9}
    given_up = kaggle.comp(submittable, *SUBMIT, "--again")
    assert given_up.code == 2
    assert "429" in given_up.err
    assert len(kaggle.faults["GetCompetition"]) == 4


@pytest.mark.parametrize(
    "fault", [Fault(503, "<html>down</html>"), Fault(403, ""), Fault(kind="cut")], ids=str
)
def test_an_upload_that_fails_is_an_error_and_can_be_tried_again(
    submittable: Path, kaggle: LoopbackKaggle, fault: Fault
) -> None:
    kaggle.faults["blob"] = [fault]
    done = kaggle.comp(submittable, *SUBMIT)
    assert done.code == 2, done.err
    assert "nothing was submitted" in done.err
    assert (kaggle.count("blob"), kaggle.count("CreateSubmission")) == (1, 0)
    assert written(submittable)[0]["state"] == "broken"
    assert kaggle.comp(submittable, *SUBMIT).code == 0
    assert len(kaggle.submissions) == 1


def test_a_connection_cut_in_the_middle_of_an_upload(submittable: Path, kaggle: LoopbackKaggle) -> None:
    """A file of more than any socket holds, cut after ten bytes: told, kept, sent once, and sent whole by the next call."""
    csv = submittable / "large.csv"
    csv.write_text("id,label\n" + "".join(f"{n:0>120},circle\n" for n in range(40_000)))
    (submittable / "data" / "shapes" / "sample_submission.csv").write_bytes(csv.read_bytes())
    kaggle.faults["blob"] = [Fault(kind="cut")]
    done = kaggle.comp(submittable, "submit", "shapes", "--file", csv, "-m", "x")
    assert done.code == 2
    assert "the connection was cut" in done.err
    assert "nothing was submitted" in done.err
    assert (kaggle.count("blob"), kaggle.count("CreateSubmission")) == (1, 0)
    assert kaggle.comp(submittable, "submit", "shapes", "--file", csv, "-m", "x").code == 0
    assert kaggle.blobs["blob2"] == csv.read_bytes()


@pytest.mark.parametrize("method", ["GetCompetition", "blob"])
def test_a_server_that_never_answers_is_left(submittable: Path, kaggle: LoopbackKaggle, method: str) -> None:
    kaggle.faults[method] = [Fault(kind="silent")] * 9
    done = kaggle.comp(submittable, *SUBMIT, COMP_KAGGLE_TIMEOUT="0.3")
    assert done.code == 2
    assert "no answer within 0.3 s" in done.err
    assert not kaggle.submissions
    repeated = "competition 'three-shapes': no answer within 0.3 s; again in 0.01 s"
    assert (repeated in done.err) is (method == "GetCompetition")


def test_a_submission_whose_answer_is_lost_is_found_in_the_list(
    submittable: Path, kaggle: LoopbackKaggle
) -> None:
    kaggle.faults["created"] = [Fault(503, {"message": "overloaded"})]
    done = kaggle.comp(submittable, *SUBMIT)
    assert done.code == 0, done.err
    assert "it was submitted as 4000" in done.err
    assert (kaggle.count("blob"), len(kaggle.submissions)) == (1, 1)


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("five  folds, seed 1", True),
        ("five folds", True),
        ("", True),
        ("five folds, seed 10", False),
        ("x", False),
    ],
)
def test_a_message_that_is_listed_cut_off_is_known_again(listed: str, found: bool) -> None:
    entry = SubmissionEntry(file="submissions/shapes/a.csv", message="five folds, seed 1")
    one = Submission(7, "PENDING", None, None, "", "a.csv", listed, "", None)
    assert matching_submissions(entry, [one]) == ([one] if found else [])
    assert matching_submissions(entry, [replace(one, file="b.csv")]) == []


def test_a_submission_that_was_never_made_is_uploaded_by_the_next_call(
    submittable: Path, kaggle: LoopbackKaggle
) -> None:
    kaggle.faults["CreateSubmission"] = [Fault(502, "<html>bad gateway</html>")]
    done = kaggle.comp(submittable, *SUBMIT)
    assert done.code == 2
    assert "looks there again before it uploads" in done.err
    assert kaggle.count("CreateSubmission") == 1
    assert kaggle.comp(submittable, *SUBMIT).code == 0
    assert len(kaggle.submissions) == 1


def test_killed_after_the_upload_it_is_found_and_not_uploaded_again(
    submittable: Path, kaggle: LoopbackKaggle
) -> None:
    kaggle.faults["created"] = [Fault(kind="late")]
    pid = kaggle.start(submittable, *SUBMIT)
    wait_until(kaggle.reached.is_set)
    os.kill(pid, signal.SIGKILL)
    assert worker().end(pid, submittable).code == -signal.SIGKILL
    kaggle.released.set()
    assert written(submittable)[0]["state"] == "sent"
    assert written(submittable)[0]["ref"] == 0
    done = kaggle.comp(submittable, *SUBMIT)
    assert done.code == 0, done.err
    assert "is on Kaggle as 4000" in done.err
    assert "nothing is uploaded again" in done.err
    assert (kaggle.count("blob"), kaggle.count("CreateSubmission"), len(kaggle.submissions)) == (1, 1, 1)
    (entry,) = written(submittable)
    assert (entry["ref"], entry["status"], entry["public"]) == (4000, "COMPLETE", 0.8125)


def test_an_older_submission_of_the_same_name_is_not_taken_for_a_lost_one(
    submittable: Path, kaggle: LoopbackKaggle
) -> None:
    assert kaggle.comp(submittable, *SUBMIT, "--no-wait").code == 0
    kaggle.faults["CreateSubmission"] = [Fault(kind="silent")]
    pid = kaggle.start(submittable, *SUBMIT, "--again")
    wait_until(kaggle.reached.is_set)
    os.kill(pid, signal.SIGKILL)
    assert worker().end(pid, submittable).code == -signal.SIGKILL
    kaggle.released.set()
    done = kaggle.comp(submittable, *SUBMIT, "--again")
    assert done.code == 0, done.err
    assert "is not on Kaggle" in done.err
    assert [entry["ref"] for entry in written(submittable)] == [4000, 0, 4001]


def test_kaggle_that_cannot_be_reached_is_said(submittable: Path, kaggle: LoopbackKaggle) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    done = kaggle.comp(submittable, *SUBMIT, http_proxy=nobody)
    assert done.code == 2
    assert "are you online?" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "body", ["[]", "{", '{"userHasEntered": "yes", "deadline": "soon"}', '{"code": "x"}']
)
def test_an_answer_that_is_no_answer_is_said(submittable: Path, kaggle: LoopbackKaggle, body: str) -> None:
    kaggle.faults["GetCompetition"] = [Fault(200, json.loads(body) if body != "{" else body)] * 2
    done = kaggle.comp(submittable, *SUBMIT)
    assert done.code in (1, 2)
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("status", "code", "state", "said"),
    [
        (400, 1, "refused", "competitions/three-shapes says what is allowed"),
        (403, 1, "refused", "accept its rules at"),
        (401, 2, "broken", "nothing was submitted and"),
    ],
)
def test_a_submission_that_is_not_taken_says_where_to_look(
    submittable: Path, kaggle: LoopbackKaggle, status: int, code: int, state: str, said: str
) -> None:
    kaggle.faults["CreateSubmission"] = [Fault(status, {"code": status, "message": "No, not now"})]
    done = kaggle.comp(submittable, *SUBMIT)
    assert done.code == code, done.err
    assert "No, not now" in done.err or status == 401
    assert said.lower() in done.err.lower()
    assert written(submittable)[0]["state"] == state
    assert kaggle.count("CreateSubmission") == 1


def test_a_file_that_waits_for_its_score_twice_is_the_last_of_them(
    submittable: Path, kaggle: LoopbackKaggle
) -> None:
    assert kaggle.comp(submittable, *SUBMIT, "--no-wait", "--json").json["ref"] == 4000
    second = kaggle.comp(submittable, *SUBMIT, "--no-wait", "--again", "--json")
    assert (second.json["ref"], second.json["left_today"]) == (4001, 3)
    third = kaggle.comp(submittable, *SUBMIT, "--json")
    assert third.code == 0, third.err
    assert "as 4001: nothing is uploaded again" in third.err
    assert (third.json["ref"], third.json["left_today"]) == (4001, 4)
    assert kaggle.count("blob") == 2
