"""Standard output belongs to the answer of the command, whatever Ray prints and when."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from comp import events
from comp.training.cluster.connection import connected


def said(*lines: str) -> Any:
    """A function that prints like Ray's threads, in colours."""
    return lambda **_: [print(f"\x1b[33m(raylet)\x1b[0m {line}") for line in lines]


def test_what_ray_prints_is_told_until_it_is_shut_down(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = SimpleNamespace(
        is_initialized=lambda: False, init=said("began"), shutdown=said("Raylet is terminated.")
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    heard = []
    monkeypatch.setattr(events, "log", heard.append)
    with connected("10.0.0.1:6379"):
        print("in between")
    assert heard == ["(raylet) began", "in between", "(raylet) Raylet is terminated."]
    assert capsys.readouterr().out == ""
    print("an answer")
    assert capsys.readouterr().out == "an answer\n"
