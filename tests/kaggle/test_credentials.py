"""Which credential is used: the client's own order, told without the secret; loose files are pointed out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from comp.kaggle.credentials import find_credential, readable_by_others, scrub
from kaggle_server import LoopbackKaggle
from made import KAGGLE_KEY, KAGGLE_TOKEN, KAGGLE_USER, SIGNED, clean_environment, run_comp

NAMES = ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR", "XDG_CONFIG_HOME")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without any credential."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    (folder / ".kaggle").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    return folder


def keep_key(path: Path, mode: int = 0o600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"username": KAGGLE_USER, "key": KAGGLE_KEY}))
    path.chmod(mode)


def test_none_is_none(home: Path) -> None:
    assert find_credential() is None


def test_the_order_is_the_clients(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one that is added goes before all the earlier ones."""
    kinds = []

    def now() -> str:
        found = find_credential()
        assert found is not None
        assert len(found.passed_over) == len(kinds)
        kinds.append(found.kind)
        return found.source

    login = {"refresh_token": KAGGLE_TOKEN, "username": KAGGLE_USER}
    (home / ".kaggle" / "credentials.json").write_text(json.dumps(login))
    assert now().endswith("credentials.json")
    keep_key(home / ".kaggle" / "kaggle.json")
    assert now().endswith("kaggle.json")
    (home / ".kaggle" / "access_token").write_text(KAGGLE_TOKEN + "\n")
    assert now().endswith("access_token")
    monkeypatch.setenv("KAGGLE_API_TOKEN", KAGGLE_TOKEN)
    assert now() == "the variable KAGGLE_API_TOKEN"
    assert kinds == ["oauth", "key", "token", "token"]


def test_tokens_are_those_that_the_client_finds(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kagglesdk import get_access_token_from_env

    def same() -> bool:
        found = find_credential()
        return get_access_token_from_env()[0] == (found.secret if found else None)

    assert same()
    (home / ".kaggle" / "access_token.txt").write_text("of-the-text-file")
    assert same()
    (home / ".kaggle" / "access_token").write_text("of-the-file\n")
    assert same()
    kept = home / "kept"
    kept.write_text("of-another-file")
    monkeypatch.setenv("KAGGLE_API_TOKEN", str(kept))
    assert same()
    kept.write_text("")
    assert same(), "an empty file hides the others"
    monkeypatch.setenv("KAGGLE_API_TOKEN", KAGGLE_TOKEN)
    assert same()


@pytest.mark.slow  # imports the whole kaggle package, in a process for each arrangement
@pytest.mark.parametrize("arrangement", ["environment", "file", "mixed", "xdg", "folder", "token"])
def test_the_kaggle_package_signs_in_with_the_same(
    home: Path, kaggle: LoopbackKaggle, monkeypatch: pytest.MonkeyPatch, arrangement: str
) -> None:
    keep_key(home / ".kaggle" / "kaggle.json")
    given: dict[str, str] = {}
    if arrangement == "environment":
        given = {"KAGGLE_USERNAME": "other", "KAGGLE_KEY": KAGGLE_KEY}
    elif arrangement == "mixed":
        given = {"KAGGLE_USERNAME": "other"}
    elif arrangement == "xdg":
        (home / ".kaggle" / "kaggle.json").unlink()
        (home / ".kaggle").rmdir()
        keep_key(home / ".config" / "kaggle" / "kaggle.json")
    elif arrangement == "folder":
        keep_key(home / "elsewhere" / "kaggle.json")
        given = {"KAGGLE_CONFIG_DIR": str(home / "elsewhere")}
    elif arrangement == "token":
        given = {"KAGGLE_API_TOKEN": KAGGLE_TOKEN}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    ours = find_credential()
    assert ours is not None
    program = (
        "import json, kaggle; c = kaggle.api.config_values;"
        "print(json.dumps([c.get('token') or c['key'], c['username'], c['auth_method']]))"
    )
    here = {n: v for n, v in kaggle.environment(home).items() if n not in NAMES} | given
    base = {n: v for n, v in clean_environment().items() if n not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", program], env=base | here, capture_output=True, text=True, check=True
    )
    secret, username, _ = json.loads(done.stdout.splitlines()[-1])
    assert secret == ours.secret
    assert ours.kind == "token" or username == ours.username


def test_doctor_names_the_credential_and_a_file_that_others_can_read(home: Path, workspace: Path) -> None:
    path = home / ".kaggle" / "kaggle.json"
    keep_key(path, 0o644)
    told = run_comp(workspace, "doctor", "--json")
    assert told.json["kaggle"]["source"] == str(path)
    assert f"the key of '{KAGGLE_USER}' in {path} would be used" in told.err
    assert told.code == 1
    assert any(f"chmod 600 {path}" in problem for problem in told.json["problems"])
    path.chmod(0o600)
    assert readable_by_others() == []
    assert "chmod" not in run_comp(workspace, "doctor").out


def test_what_comes_from_elsewhere_is_scrubbed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_key(home / ".kaggle" / "kaggle.json")
    monkeypatch.setenv("KAGGLE_API_TOKEN", KAGGLE_TOKEN)
    text = f"bad {KAGGLE_TOKEN}\x1b[2J and {KAGGLE_KEY}\n at http://a.b/c?sig={SIGNED} Basic dGVzdGVyOmZha2U="
    assert scrub(text) == "bad *** [2J and *** at http://a.b/c?… Basic ***"
    found = find_credential()
    assert KAGGLE_TOKEN not in repr(found)
