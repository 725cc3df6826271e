"""What people read, drawn to strings; stdout stays clean for one JSON document."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from comp import console, events
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


WIDTHS = [40, 60, 80, 100, 140]
RUNS = (
    ("run", "competition", "state", "model", "folds", "metric", "OOF", "CSV"),
    [
        (
            "20261127-190226-336f",
            "art-classification",
            "done quick",
            "scratch test_resnet",
            5,
            "accuracy",
            0.11,
            "yes",
        ),
        (
            "20261127-190226-336e",
            "digits",
            "unfinished",
            "finetune efficientnet_lite0",
            5,
            "macro_f1",
            "–",
            "",
        ),
    ],
)


def words(*texts: object) -> set[str]:
    return {word for text in texts for word in str(text).split()}


@pytest.mark.parametrize("width", WIDTHS)
def test_no_cell_of_a_table_is_broken_within_a_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    header, rows = RUNS
    console.table("", header, rows, drop=("CSV", "metric", "folds", "model", "state"))
    captured = capsys.readouterr()
    assert max(map(len, captured.out.splitlines())) <= width
    hidden = captured.err.partition("no room for: ")[2].partition(" (")[0].split(", ")
    shown = [n for n, name in enumerate(header) if name not in hidden]
    wanted = words(*(f"{row[n]:.4f}" if isinstance(row[n], float) else row[n] for row in rows for n in shown))
    assert wanted <= words(captured.out.replace(":", " "))
    assert {"run", "competition", "OOF"} & set(hidden) == set()  # they are never left out


def test_columns_go_in_their_order_and_no_more_than_need_be(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    console.table("", *RUNS, drop=("CSV", "metric", "folds", "model", "state"))
    captured = capsys.readouterr()
    assert captured.err == "  no room for: CSV, metric, folds, model (a wider terminal shows all)\n"
    assert captured.out.split()[:4] == ["run", "competition", "state", "OOF"]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_word_longer_than_the_screen_stays_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    path = "/a/folder" * 20
    console.table("", ("competition", ""), [("raw folder", f"{path}: complete"), ("page", "none")])
    out = capsys.readouterr().out
    assert f"{path}:" in out.split()
    assert {"raw", "folder", "page", "none", "complete"} <= words(out.replace(":", " "))


def test_a_pipe_gets_every_column(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    header = [f"name-of-{n}-{'x' * 20}" for n in range(9)]
    console.table("", header, [["value"] * 9], drop=header)
    captured = capsys.readouterr()
    assert captured.out.split()[:9] == header
    assert captured.err == ""


def test_wide_letters_count_as_two_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    console.table(
        "", ("name", "title"), [("가나다라마바사아자차카타파하", "한글제목한글제목")], drop=("title",)
    )
    captured = capsys.readouterr()
    assert "가나다라마바사아자차카타파하" in captured.out.split()
    assert "no room for: title" in captured.err


OF_FOLD = ("r", "s", "fold-0", 0, 5, "efficientnet_lite0")


@pytest.mark.parametrize("metric", ["accuracy", "f1", "macro_f1_of_a_very_long_name"])
def test_the_line_of_an_epoch_fits_80_columns(capsys: pytest.CaptureFixture[str], metric: str) -> None:
    listener = console.ConsoleListener()
    listener.on_epoch(
        events.EpochEnded(*OF_FOLD, 12, 300, 0.6931, 0.7012, metric, 0.9123, 1e-3, 1563.0, 10.0, 100.0)
    )
    line = capsys.readouterr().err.rstrip("\n")
    assert line.startswith("  fold 0  epoch 12/300  loss 0.6931")
    assert f"{metric} 0.9123" in line
    assert len(line) <= 80


def test_a_long_time_left_is_said_before_the_speed(capsys: pytest.CaptureFixture[str]) -> None:
    listener = console.ConsoleListener()
    listener._pace = events.RunPace(lambda: 0.0)
    listener._pace.__dict__["_done_here"] = 1.0
    listener._pace.__dict__.update(_began=-7500.0, _whole={(0, 0): 2.0}, _at={(0, 0): 1.0})
    ended = events.EpochEnded(*OF_FOLD, 34, 5000, 0.9876, 1.0882, "accuracy", 0.3333, 1e-3, 15.0, 10.0, 1.0)
    listener.on_epoch(ended)
    line = "  fold 0  epoch 34/5000  loss 0.9876  accuracy 0.3333  2:05:00 left"
    assert capsys.readouterr().err.rstrip("\n") == line


def test_the_time_of_the_whole_run_is_said_within_the_first_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    listener = console.ConsoleListener()
    listener._pace = events.RunPace(lambda: now[0])
    listener.on_run_start(
        events.RunStarted("r", "s", "f", 5, (0, 1, 2, 3, 4), ("a",), (10,), ("what",), "accuracy", "max")
    )
    listener.on_fold_start(events.FoldStarted(*OF_FOLD, 10))
    listener.on_task_start(events.TaskStarted("t", "fold 0", 1000))
    listener.on_task_advance(events.TaskAdvanced("t", "fold 0", 0, 1000, ""))
    now[0] = 6.0
    listener.on_task_advance(events.TaskAdvanced("t", "fold 0", 50, 1000, ""))
    said = capsys.readouterr().err
    assert "  about 9 min 54 s of training left, all folds and models\n" in said
    listener.on_task_advance(events.TaskAdvanced("t", "fold 0", 60, 1000, ""))
    assert capsys.readouterr().err == ""


def test_a_total_that_was_wrong_is_corrected(capsys: pytest.CaptureFixture[str]) -> None:
    class Seen(events.RunListener):
        last = (0, 0)

        def on_task_advance(self, event: events.TaskAdvanced) -> None:
            self.last = (event.done, event.total)

    seen = Seen()
    with events.listening(seen), events.task("test rows", 1870) as bar:
        bar.expect(10)
        bar.advance(1880)
    assert seen.last == (1880, 1880)


def test_warnings_are_gathered_with_their_remedies(capsys: pytest.CaptureFixture[str]) -> None:
    console.new_command()
    events.log("  warning: odd-size: 3 images", "look at them")
    events.warn_once("a folder is slow")
    events.log("  a line")
    capsys.readouterr()
    console.closing([("comp run digits", "a full run")])
    assert capsys.readouterr().err.splitlines() == [
        "",
        "2 warnings:",
        "  odd-size: 3 images",
        "    → look at them",
        "  a folder is slow",
        "next:",
        "  comp run digits  a full run",
    ]
    console.closing([])
    assert capsys.readouterr().err == ""
