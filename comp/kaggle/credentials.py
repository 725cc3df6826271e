"""Which Kaggle credential would be used, and from where: found in the client's own order, without the client.

What is secret stays in ``Credential.secret``, which no message, record or ``repr`` shows; ``scrub`` takes it out of text
that comes from elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

SETTINGS = "https://www.kaggle.com/settings/api"
_AUTHORIZATION = re.compile(r"\b(Basic|Bearer)\s+[\w.~+/=:-]+", re.IGNORECASE)
_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]+")


@dataclass(frozen=True)
class Credential:
    """``kind`` is "token", "key" or "oauth"; ``source`` says where it stands; ``passed_over`` what it goes before."""

    kind: str
    source: str
    username: str = ""
    secret: str = field(default="", repr=False)
    passed_over: tuple[str, ...] = ()

    @property
    def fits_a_header(self) -> bool:
        """Whether the secret is of letters that HTTP may carry; what is not would be repeated in errors of libraries."""
        return self.secret.isascii() and self.secret.isprintable() and " " not in self.secret

    @property
    def described(self) -> str:
        """The credential in words, without what is secret."""
        names = {"token": "the API token", "key": f"the key of {self.username!r}", "oauth": "the OAuth login"}
        return f"{names[self.kind]} in {self.source}"


def find_credential() -> Credential | None:
    """The credential that the client takes, or None where there is none."""
    every = list(_every())
    if not every:
        return None
    return replace(every[0], passed_over=tuple(one.source for one in every[1:]))


def readable_by_others() -> list[Path]:
    """Credential files that other users of this machine can read."""
    if os.name == "nt":
        return []
    files = [config_folder() / "kaggle.json", *_home_files()]
    return [path for path in dict.fromkeys(files) if path.is_file() and path.stat().st_mode & 0o044]


def scrub(text: str) -> str:
    """Text of a server or a library without secrets, signed addresses and control characters, on one line."""
    for secret in sorted(_secrets(), key=len, reverse=True):
        text = text.replace(secret, "***")
    text = _AUTHORIZATION.sub(r"\1 ***", text)
    text = _QUERY.sub(r"\1?…", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def config_folder() -> Path:
    """Where the client looks for kaggle.json: ``KAGGLE_CONFIG_DIR``, ``~/.kaggle``, or on Linux the XDG folder."""
    named = os.environ.get("KAGGLE_CONFIG_DIR")
    if named:
        return Path(named)
    old = _home() / ".kaggle"
    if sys.platform.startswith("linux") and not old.exists():
        return Path(os.environ.get("XDG_CONFIG_HOME") or _home() / ".config") / "kaggle"
    return old


def _every() -> Iterator[Credential]:
    """All credentials there are, in the client's order."""
    yield from _tokens()
    yield from _keys()
    login = _json(_home() / ".kaggle" / "credentials.json")
    if login.get("refresh_token"):
        source = str(_home() / ".kaggle" / "credentials.json")
        yield Credential("oauth", source, str(login.get("username") or ""), str(login["refresh_token"]))


def _tokens() -> Iterator[Credential]:
    notebook = os.environ.get("KAGGLE_API_V1_TOKEN")
    if notebook and "KAGGLE_KERNEL_RUN_TYPE" in os.environ and "KAGGLE_DATA_PROXY_URL" in os.environ:
        token = _text(Path(notebook))
        if token:
            yield Credential("token", "this Kaggle notebook", secret=token)
    named = os.environ.get("KAGGLE_API_TOKEN", "").strip()
    if named:
        if _is_path(named):
            token = _text(Path(named))
            if token:
                yield Credential("token", f"{named}, the file that KAGGLE_API_TOKEN names", secret=token)
            return  # the client then looks at no other token
        yield Credential("token", "the variable KAGGLE_API_TOKEN", secret=named)
    for name in ("access_token", "access_token.txt"):
        path = _home() / ".kaggle" / name
        token = _text(path)
        if token:
            yield Credential("token", str(path), secret=token)


def _keys() -> Iterator[Credential]:
    """Username and key: each from the environment, else from kaggle.json."""
    path = config_folder() / "kaggle.json"
    kept = _json(path)
    places = {}
    values = {}
    for name in ("username", "key"):
        variable = f"KAGGLE_{name.upper()}"
        if variable in os.environ:
            values[name], places[name] = os.environ[variable], f"the variable {variable}"
        elif kept.get(name):
            values[name], places[name] = str(kept[name]), str(path)
    if values.get("username") and values.get("key"):
        source = " and ".join(dict.fromkeys(places.values()))
        yield Credential("key", source, values["username"].strip(), values["key"].strip())


def _secrets() -> set[str]:
    found = {one.secret for one in _every()}
    found |= {os.environ.get("KAGGLE_KEY", ""), str(_json(config_folder() / "kaggle.json").get("key") or "")}
    login = _json(_home() / ".kaggle" / "credentials.json")
    found |= {str(login.get(name) or "") for name in ("access_token", "refresh_token")}
    pieces = {piece for one in found for piece in one.split()}  # libraries show line ends as they like
    return {one for one in found | pieces if len(one) >= 4}


def _home_files() -> list[Path]:
    folder = _home() / ".kaggle"
    return [folder / name for name in ("kaggle.json", "access_token", "access_token.txt", "credentials.json")]


def _home() -> Path:
    return Path(os.path.expanduser("~"))


def _is_path(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # a token longer than a file name may be
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
