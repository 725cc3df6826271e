"""How Kaggle is asked: a timeout on every call, capped backoff, and every foreign error translated here.

The client has no timeout and drops the server's reason; see docs/decisions/0009-submit.md.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from comp import events
from comp.errors import CompError, InputError, KaggleError, KaggleRefusal
from comp.kaggle.credentials import SETTINGS, Credential, scrub

T = TypeVar("T")
LONGEST_PAUSE = 30.0  # seconds, whatever Retry-After says
SILENT = 2  # attempts at a server that does not answer at all
SHOWN = 400  # characters of a server's reason
BUSY = (429, 500, 502, 503, 504)


def _seconds(name: str, otherwise: float) -> float:
    text = os.environ.get(name, "")
    try:
        value = float(text) if text else otherwise
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InputError(f"{name} is a number of seconds", repr(text), f"for example {name}={otherwise:g}")
    return value


@dataclass(frozen=True)
class RetryPolicy:
    """How long Kaggle is waited for, in seconds; each has its variable.

    ``timeout`` is without a byte (COMP_KAGGLE_TIMEOUT), ``pause`` before the second attempt, doubled each time
    (COMP_KAGGLE_PAUSE), ``poll`` between looks at a submission (COMP_KAGGLE_POLL), ``wait`` for its score
    (COMP_KAGGLE_WAIT).
    """

    timeout: float = field(default_factory=lambda: _seconds("COMP_KAGGLE_TIMEOUT", 30.0) or 30.0)
    pause: float = field(default_factory=lambda: _seconds("COMP_KAGGLE_PAUSE", 1.0))
    poll: float = field(default_factory=lambda: _seconds("COMP_KAGGLE_POLL", 5.0))
    wait: float = field(default_factory=lambda: _seconds("COMP_KAGGLE_WAIT", 3600.0))
    attempts: int = 5


def ask(
    call: Callable[[], T],
    what: str,
    credential: Credential,
    patience: RetryPolicy,
    *,
    repeat: Callable[[CompError], bool] | None = None,
) -> T:
    """Carries out a call of the client; busy and silent servers are asked again, with growing pauses.

    Parameters
    ----------
    call : callable
    what : str
        What is asked, for errors.
    repeat : callable, optional
        Whether a call may be repeated after an error; by default where the server was busy, silent or away.

    Raises
    ------
    KaggleError, KaggleRefusal
        Every failure, with the server's own reason.
    """
    may_repeat = repeat or _passing
    for attempt in range(1, patience.attempts + 1):
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the client may print there
                return call()
        except (Exception, SystemExit) as error:
            problem = translated(error, what, credential, patience)
            most = patience.attempts if status_of(problem) else min(SILENT, patience.attempts)
            if isinstance(error, CompError) or attempt >= most or not may_repeat(problem):
                raise problem from error
            pause = _pause(error, attempt, patience)
        events.log(f"  {problem.value}; again in {pause:.3g} s")
        time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def status_of(problem: CompError) -> int:
    """The HTTP status of an error of Kaggle's; 0 where it has none."""
    return problem.status if isinstance(problem, KaggleError | KaggleRefusal) else 0


def _passing(problem: CompError) -> bool:
    """Whether an error may pass by itself."""
    return isinstance(problem, KaggleError) and (problem.status in BUSY or problem.rule in (_SILENT, _AWAY))


_SILENT = "Kaggle must answer"
_AWAY = "Kaggle must be reachable"


def _pause(error: BaseException, attempt: int, patience: RetryPolicy) -> float:
    """Doubled each time; Retry-After counts where it is a sane number."""
    own = min(patience.pause * 2.0 ** (attempt - 1), LONGEST_PAUSE)
    response = getattr(error, "response", None)
    text = response.headers.get("Retry-After", "") if response is not None else ""
    asked = float(text) if text.isdecimal() and len(text) < 4 else 0.0
    return max(own, asked) if asked <= LONGEST_PAUSE else own


def translated(error: BaseException, what: str, credential: Credential, patience: RetryPolicy) -> CompError:
    """Any error of the client as one of ours, without anything secret."""
    if isinstance(error, CompError):
        return error
    if isinstance(error, ImportError):
        value = scrub(str(error))
        return KaggleError(
            "the kaggle package must be installed", value, "pip install imgcomp; `comp doctor`"
        )
    import requests

    response = getattr(error, "response", None)
    if isinstance(error, requests.HTTPError) and response is not None:
        status, reason = reason_of(response)
        return by_status(status, reason, what, credential)
    reason = scrub(str(error))[:SHOWN] or type(error).__name__
    lost = isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError)
    if isinstance(error, requests.Timeout) or (lost and "timed out" in reason):
        value = f"{what}: no answer within {patience.timeout:g} s"
        return KaggleError(_SILENT, value, "try again later; COMP_KAGGLE_TIMEOUT waits longer")
    if lost:
        return KaggleError(_AWAY, f"{what}: {_short(reason)}", "are you online? then try again later")
    if isinstance(error, SystemExit):
        return KaggleError(
            "the kaggle client must work", f"{what}: it stopped with {reason}", "`comp doctor`"
        )
    value = f"{what}: {type(error).__name__}: {reason}"
    return KaggleError(
        "Kaggle's answer must be readable", value, "is the kaggle package up to date? `comp doctor`"
    )


def _short(reason: str) -> str:
    """What urllib3 says of a lost connection, without its objects and addresses."""
    for sign, words in (
        ("Connection refused", "the connection was refused"),
        ("Name or service not known", "its name cannot be found"),
        ("name resolution", "its name cannot be found"),
        ("Cannot connect to proxy", "the proxy cannot be reached"),
        ("without response", "the connection was cut before an answer came"),
        ("reset by peer", "the connection was cut"),
        ("Broken pipe", "the connection was cut in the middle of the upload"),
        ("IncompleteRead", "the connection broke off"),
        ("certificate", "its certificate cannot be checked"),
    ):
        if sign.lower() in reason.lower():
            return words
    return reason[:SHOWN]


def by_status(status: int, reason: str, what: str, credential: Credential) -> CompError:
    """The error for an HTTP status, with the server's own reason."""
    value = f"{status} for {what}" + (f": {reason}" if reason else "")
    if status == 401:
        said = f"401 for {credential.described}" + (f": {reason}" if reason else "")
        over = f"; it goes before {', '.join(credential.passed_over)}" if credential.passed_over else ""
        remedy = f"make a new one at {SETTINGS}, or remove it there{over}; `comp doctor` says which is used"
        return KaggleError("Kaggle must know the credential", said, remedy, status=401)
    if status == 403:
        remedy = "accept the competition's rules on its page, and look at the spelling of its name"
        return KaggleRefusal("Kaggle must let this account in", value, remedy, status=403)
    if status == 404:
        remedy = "look at the spelling; `kaggle` names another competition"
        return KaggleError("Kaggle must have what is asked for", value, remedy, status=404)
    if status == 429:
        return KaggleError(
            "Kaggle answers so many calls only", value, "wait some minutes, then again", status=429
        )
    if status >= 500:
        remedy = "it is on Kaggle's side; the same command later tries again"
        return KaggleError("Kaggle must be up", value, remedy, status=status)
    return KaggleRefusal("Kaggle must take what is sent", value, "see the competition's page", status=status)


def reason_of(response: Any) -> tuple[int, str]:
    """Status and reason of an answer: ``{"error": {"message"}}``, ``{"message"}``, or the status line's words."""
    status = int(response.status_code)
    try:
        said = response.json()
    except Exception:  # no JSON, no text, or a connection that broke while it was read
        return status, scrub(str(response.reason or ""))[:SHOWN]
    inner = said.get("error", said) if isinstance(said, dict) else {}
    if isinstance(inner, str):
        return status, scrub(inner)[:SHOWN]
    inner = inner if isinstance(inner, dict) else {}
    if status < 400 and isinstance(inner.get("code"), int):
        status = int(inner["code"])
    message = inner.get("message") or (said.get("message") if isinstance(said, dict) else "")
    return status, scrub(str(message or response.reason or ""))[:SHOWN]


def timed_adapter(patience: RetryPolicy) -> Any:
    """An HTTPAdapter with a timeout; ``start`` > 0 asks for the rest of a file that a call leads to."""
    from requests.adapters import HTTPAdapter

    class Timed(HTTPAdapter):  # type: ignore[misc]
        start = 0

        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            kwargs["timeout"] = kwargs.get("timeout") or patience.timeout
            if self.start and request.method == "GET":
                request.headers["Range"] = f"bytes={self.start}-"
            return super().send(request, *args, **kwargs)

    return Timed()
