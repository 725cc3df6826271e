"""No credential in any file or output. The look through all that the whole suite wrote is at its end (conftest.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaggle_server import Fault, LoopbackKaggle
from made import KAGGLE_KEY, KAGGLE_TOKEN, SECRETS, SIGNED, Outcome, files_with_secrets, has_secret


def test_the_look_finds_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "deep" / ".kaggle").mkdir(parents=True)
    (tmp_path / "deep" / ".kaggle" / "kaggle.json").write_text(KAGGLE_KEY)
    assert files_with_secrets(tmp_path) == []
    slip = tmp_path / "deep" / "log.bin"
    slip.write_bytes(b"\0" + KAGGLE_KEY.encode() + b"\0")
    assert files_with_secrets(tmp_path) == [slip]
    assert all(has_secret(slip, block) for block in (1, 7, 100)), "a block may end within it"
    slip.unlink()  # or the look at the end would find it


def test_an_outcome_that_says_one_fails() -> None:
    with pytest.raises(AssertionError, match="a credential was said"):
        Outcome(0, "", f"Authorization: Bearer {KAGGLE_TOKEN}")


@pytest.mark.parametrize("method", ["GetCompetition", "StartSubmissionUpload", "blob", "CreateSubmission"])
def test_a_server_that_repeats_the_credential_is_not_repeated(
    submittable: Path, kaggle: LoopbackKaggle, method: str
) -> None:
    echo = f"denied: {' '.join(SECRETS[:2])} http://localhost/upload/blob1?signature={SIGNED} Basic {SECRETS[-1]}"
    kaggle.faults[method] = [Fault(400, {"code": 400, "message": echo})] * 2
    done = kaggle.comp(submittable, "submit", "shapes", "--run", "latest", KAGGLE_API_TOKEN=KAGGLE_TOKEN)
    assert done.code in (1, 2)
    assert "denied: ***" in done.err
    assert "Traceback" not in done.err
    assert files_with_secrets(submittable) == []


def test_a_token_that_no_header_may_hold_is_not_said(submittable: Path, kaggle: LoopbackKaggle) -> None:
    token = f"{KAGGLE_TOKEN}\n{KAGGLE_TOKEN}"
    done = kaggle.comp(submittable, "submit", "shapes", "--run", "latest", KAGGLE_API_TOKEN=token)
    assert done.code == 2
    assert "the variable KAGGLE_API_TOKEN" in done.err


def test_a_verbose_client_says_nothing(submittable: Path, kaggle: LoopbackKaggle) -> None:
    done = kaggle.comp(submittable, "submit", "shapes", "--run", "latest", "--json", VERBOSE="1")
    assert done.json["status"] == "COMPLETE"
