"""Decisions are lines that survive a torn end, and time that is new opens what time had closed."""

from __future__ import annotations

from pathlib import Path

import pytest

from comp.errors import InputError
from comp.pipelines.engine.journal import FILE, Journal


def test_lines_come_back_and_a_torn_one_is_written_again(workspace: Path) -> None:
    first = Journal.of(workspace)
    first.write("begun", candidate="a", work=1.5)
    first.write("done", candidate="a", score=0.5)
    path = workspace / FILE
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"what": "beg')
    again = Journal.of(workspace)
    assert [one["what"] for one in again.entries] == ["begun", "done"]
    assert again.last("begun", candidate="a")["work"] == 1.5  # type: ignore[index]
    assert again.last("begun", candidate="b") is None
    assert again.elapsed >= again.before == first.entries[-1]["elapsed"]
    again.write("begun", candidate="b")
    assert len(path.read_text().splitlines()) == 3
    assert path.read_bytes().startswith(whole)


def test_a_line_in_the_middle_that_is_none_is_refused(workspace: Path) -> None:
    (workspace / FILE).write_text('{"what": "begun"}\nnonsense\n{"what": "done"}\n')
    with pytest.raises(InputError, match="line 2"):
        Journal.of(workspace)


def test_what_was_left_out_for_want_of_time_is_asked_again_once_there_is_more(workspace: Path) -> None:
    journal = Journal.of(workspace)
    journal.write("skipped", candidate="slow", why="does not fit", again=True)
    journal.write("skipped", candidate="bad", why="behind", again=False)
    killed = Journal.of(workspace)
    killed.begin_again()
    assert killed.last("skipped", candidate="slow"), "a killed command's decisions are replayed"
    journal.write("ended", why="limit", run="r")
    ended = Journal.of(workspace)
    ended.begin_again()
    assert ended.last("skipped", candidate="slow") is None
    assert ended.last("skipped", candidate="bad") is not None
