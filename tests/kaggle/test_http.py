"""Every failure of the client becomes one of ours: no foreign error passes, pauses are capped, stdout stays clean."""

from __future__ import annotations

import ast
import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import HTTPError as PoolError

from comp.errors import CompError, InputError, KaggleError, KaggleRefusal
from comp.kaggle import http
from comp.kaggle.credentials import Credential
from comp.kaggle.http import RetryPolicy, ask, by_status, reason_of, status_of, translated
from made import KAGGLE_KEY, KAGGLE_USER, REPOSITORY

ONE = Credential("key", "a test", KAGGLE_USER, KAGGLE_KEY)
QUICK = RetryPolicy(timeout=1, pause=0.0, poll=0.0, wait=1.0)


def answer(status: int, body: Any, headers: dict[str, str] | None = None) -> requests.Response:
    """An answer as the client has it."""
    found = requests.Response()
    found.status_code = status
    found._content = body if isinstance(body, bytes) else json.dumps(body).encode()
    found.headers.update(headers or {})
    return found


FOREIGN = [
    requests.ConnectionError("refused"),
    requests.Timeout("slow"),
    requests.exceptions.ChunkedEncodingError("IncompleteRead"),
    requests.exceptions.InvalidURL("none"),
    requests.HTTPError("no response"),
    PoolError("pool"),
    OSError("disk"),
    ValueError("value"),
    KeyError("key"),
    TypeError("kind"),
    ImportError("no kagglesdk"),
    SystemExit(1),
    SystemExit(),
]


@pytest.mark.parametrize("error", FOREIGN, ids=repr)
def test_every_foreign_error_is_translated(error: BaseException) -> None:
    def call() -> None:
        print("help that the client prints")
        raise error

    with pytest.raises(KaggleError) as raised:
        ask(call, "a call", ONE, QUICK)
    assert raised.value.remedy
    assert raised.value.unsure


def test_what_the_client_prints_is_not_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    ask(lambda: print("help"), "a call", ONE, QUICK)
    assert capsys.readouterr().out == ""


def test_an_interrupt_is_not_translated() -> None:
    def call() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(call, "a call", ONE, QUICK)


@given(st.integers(400, 599), st.text(max_size=30))
def test_every_status_is_told_with_its_reason(status: int, text: str) -> None:
    problem = by_status(status, text, "a call", ONE)
    assert status_of(problem) == status
    for part in re.split(r"[\x00-\x1f\x7f]", text):  # which are written as escapes
        assert part in problem.value
    assert str(status) in problem.value
    assert problem.remedy
    assert problem.exit_code == (1 if isinstance(problem, KaggleRefusal) else 2)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"error": {"code": 403, "message": "nested"}}, "nested"),
        ({"code": 403, "message": "flat"}, "flat"),
        ({"error": "a word"}, "a word"),
        ({"error": None}, ""),
        ([1], ""),
        (b"<html>", ""),
        (b"\xff\xfe", ""),
    ],
    ids=str,
)
def test_the_reason_is_the_servers_own(body: Any, reason: str) -> None:
    assert reason_of(answer(403, body)) == (403, reason)


def test_an_error_in_an_answer_of_200_has_its_own_code() -> None:
    error = requests.HTTPError("x", response=answer(200, {"code": 401, "message": "who?"}))
    problem = translated(error, "a call", ONE, QUICK)
    assert (status_of(problem), type(problem)) == (401, KaggleError)


@pytest.mark.parametrize(
    ("status", "attempts"), [(429, 5), (503, 5), (500, 5), (400, 1), (401, 1), (403, 1), (404, 1)]
)
def test_only_what_may_pass_is_asked_again(status: int, attempts: int) -> None:
    calls: list[int] = []
    with pytest.raises(CompError):
        ask(failing(calls, status), "a call", ONE, QUICK)
    assert len(calls) == attempts


def failing(calls: list[int], status: int, **headers: str) -> Callable[[], None]:
    def call() -> None:
        calls.append(status)
        raise requests.HTTPError("no", response=answer(status, {"message": "no"}, headers))

    return call


@pytest.mark.parametrize(
    ("after", "longest"),
    [("86400", 30.0), ("3", 30.0), ("Wed, 21 Oct 2099 07:28:00 GMT", 30.0), ("-1", 30.0)],
)
def test_pauses_are_capped_whatever_retry_after_says(
    monkeypatch: pytest.MonkeyPatch, after: str, longest: float
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    call = failing([], 429, **{"Retry-After": after})
    with pytest.raises(KaggleError):
        ask(call, "a call", ONE, RetryPolicy(timeout=1, pause=8.0, poll=0, wait=0))
    own = [8.0, 16.0, 30.0, 30.0]
    assert pauses == own
    assert max(pauses) <= longest


def test_a_sane_retry_after_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    with pytest.raises(KaggleError):
        ask(
            failing([], 429, **{"Retry-After": "7"}),
            "a call",
            ONE,
            RetryPolicy(timeout=1, pause=1, poll=0, wait=0),
        )
    assert pauses == [7.0, 7.0, 7.0, 8.0]


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_patience_is_in_seconds(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("COMP_KAGGLE_POLL", text)
    with pytest.raises(InputError, match="COMP_KAGGLE_POLL"):
        RetryPolicy()


def test_every_session_has_a_timeout() -> None:
    """No request leaves this package but through a session on which the timed adapter is mounted."""
    for name in ("client", "download", "http"):
        tree = ast.parse((REPOSITORY / "comp" / "kaggle" / f"{name}.py").read_text())
        calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert not {"requests.get", "requests.post", "requests.put", "requests.request"} & set(calls)
    assert http.timed_adapter(QUICK).start == 0
