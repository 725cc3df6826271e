"""What people read, drawn to strings; stdout stays clean for one JSON document."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from comp import console
from comp.errors import InputError


@pytest.fixture(autouse=True)
def fresh_settings() -> Iterator[None]:
    console.settings.json, console.settings.quiet = False, False
    yield
    console.settings.json, console.settings.quiet = False, False


def test_an_error_is_a_line_each_of_rule_value_and_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    console.error(InputError("the rule", "one\ntwo [not markup]", "`comp list`"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(maxsplit=1) for line in captured.err.splitlines()] == [
        ["error:", "the rule"],
        ["found:", "one"],
        ["two", "[not markup]"],
        ["remedy:", "`comp list`"],
    ]


def test_beside_json_tables_and_answers_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.settings.json = True
    console.table("", ("name", "score"), [("a", 0.5)])
    console.print_result("an answer")
    console.log("a word")
    console.print_json({"score": 0.5})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"score": 0.5}
    assert all(text in captured.err for text in ("name", "0.5000", "an answer", "a word"))


def test_what_is_no_number_is_null_in_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"score": float("nan")})
    assert json.loads(capsys.readouterr().out) == {"score": None}


def test_a_table_shows_every_cell_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("", ("name", "n"), [("[bold]x[/bold]", 3), ("y", "–")], ["red", ""])
    out = capsys.readouterr().out
    assert "[bold]x[/bold]" in out
    assert "–" in out
    assert "\x1b" not in out  # no colours where nobody watches


def test_progress_without_a_terminal_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "QUIET_SECONDS", 0.0)
    with console.task("rows", 4) as bar:
        bar.advance(2, "loss 0.5")
        bar.advance(2)
    err = capsys.readouterr().err
    assert "rows: 2/4" in err
    assert "loss 0.5" in err
    assert "4/4" not in err


def test_quiet_says_nothing_of_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "QUIET_SECONDS", 0.0)
    console.settings.quiet = True
    with console.progress(), console.task("rows", 2) as bar:
        bar.advance()
    console.log("nothing")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(8.2, "8 s"), (99.4, "99 s"), (200, "3 min 20 s"), (5999, "99 min 59 s"), (7500, "2 h 05 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert console.duration(seconds) == said
