"""What people read: lines, tables, progress, errors. The only importer of rich.

In a terminal progress is live; elsewhere it is a line now and then. Everything goes to stderr, except the tables
and lines that are a command's answer, which go to stdout unless stdout is to hold one JSON document.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from comp import events
from comp.errors import CompError, InputError, counted
from comp.events import RunPace, model_of
from comp.files import json_text
from comp.text_table import PIPE_WIDTH, draw, wrapped

QUIET_SECONDS = 15.0  # between lines of progress when the output is no terminal


_live: list[Any] = []


@dataclass
class Settings:
    """How to speak: ``json`` keeps stdout for one document, ``quiet`` says only what is asked and what is wrong.

    ``workspace`` is the one that the command line named and ``verbs`` are all commands, to say which may come next; ``going_on`` are the competition and what `resume` takes, where that is not the run under way. ``began`` is when the command did (``time.monotonic``): a limit of it counts its imports. ``wording`` is what the command line does to texts of the library: arguments in backticks become options.
    """

    json: bool = False
    quiet: bool = False
    wording: Callable[[str], str] = str
    workspace: str = ""
    verbs: frozenset[str] = frozenset()
    going_on: tuple[str, str] | None = None
    began: float = 0.0


settings = Settings()


def is_terminal() -> bool:
    """Whether a person watches stderr live."""
    return sys.stderr.isatty()


def log(text: str) -> None:
    """A line on what is being done (stderr)."""
    if settings.quiet:
        return
    text = settings.wording(text)
    style = _style_of(text)
    if style and (width := screen_width(sys.stderr)):
        text = "\n".join(wrapped(text.strip(), width - 1, "  ", "    "))
    if _live:  # above the bars, not through them
        _live[-1].console.print(text, markup=False, highlight=False, style=style, soft_wrap=True)
    else:
        _put(_coloured(text, style), sys.stderr)


_STYLES = {"warning": "yellow", "error": "red"}
_CODES = {"bold": "\x1b[1m", "yellow": "\x1b[33m", "red": "\x1b[31m", "dim": "\x1b[2m"}


def _style_of(text: str) -> str | None:
    """The colour of a line by its first word."""
    return _STYLES.get(text.lstrip().partition(":")[0])


def _coloured(text: str, style: str | None) -> str:
    return f"{_CODES[style]}{text}\x1b[0m" if style and has_colours(sys.stderr) else text


def title(text: str) -> None:
    """The line that names a command, before it has anything to say (stderr)."""
    if not settings.quiet:
        _put(_coloured(text, "bold"), sys.stderr)


def has_colours(stream: Any) -> bool:
    """Whether colours are wanted on a stream: a terminal, and no NO_COLOR or dumb one."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def new_command() -> None:
    """A command begins: every warning is new to its reader."""
    events.forget_warnings()
    _warnings.clear()
    settings.going_on = None
    settings.began = time.monotonic()


_warnings: dict[str, str] = {}  # what a command warned of, with the remedies, to be said once more at its end


def closing(then: Sequence[tuple[str, str]]) -> None:
    """The last lines of a command (stderr): what it warned of, with remedies, and the commands that may come next, each
    with what it does.
    """
    if settings.quiet:
        return
    lines, width = [], screen_width(sys.stderr) or PIPE_WIDTH
    if _warnings:
        lines.append(counted(len(_warnings), "warning") + ":")
        for text, remedy in _warnings.items():
            lines += [_coloured(line, "yellow") for line in wrapped(text, width, "  ", "    ")]
            lines += wrapped(f"→ {remedy}", width, "    ", "      ") if remedy else []
        _warnings.clear()
    if then:
        longest = max(len(command) for command, _ in then)
        beside = max(longest + len(why) for _, why in then) + 4 <= width
        between = "  " if beside else "\n      "
        lines += ["next:"]
        lines += [f"  {command:<{longest if beside else 0}}{between}{why}".rstrip() for command, why in then]
    if lines:
        _put(settings.wording("\n".join(["", *lines])), sys.stderr)


def print_result(text: str) -> None:
    """A line of a command's answer: stdout, or stderr beside a JSON document."""
    _put(settings.wording(text), sys.stderr if settings.json else sys.stdout)


def print_json(value: Any) -> None:
    """The one JSON document of a command that was asked for JSON (stdout)."""
    _put(json_text(value), sys.stdout)


def _put(text: str, stream: Any) -> None:
    """Prints a text; what the stream cannot spell is escaped, as JSON does it (file names need not be UTF-8).

    Where the reader went away (comp runs | head) the command goes on, to end with its own exit code.
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except BrokenPipeError:
        _write_no_more(stream)
    except OSError as failed:
        _write_no_more(stream)
        raise InputError(
            "the output must be writable",
            os.strerror(failed.errno or 0),
            "free some space, or send it elsewhere",
        ) from failed


def _write_no_more(stream: Any) -> None:
    """Sends what is still to come nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def table(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    styles: Sequence[str] | None = None,
    drop: Sequence[str] = (),
) -> None:
    """A table; numbers stand to the right. ``styles`` has a colour (red, yellow) or nothing for each row.

    Cells are wrapped between words and never within one. Where that does not fit a terminal (or ``COLUMNS``), the
    columns of ``drop`` are left out, in their order, and what is left out is said; where that is not enough,
    each row becomes a block of lines. A pipe gets every column.
    """
    stream = sys.stderr if settings.json else sys.stdout
    numeric = [_is_numeric([row[n] for row in rows]) for n in range(len(header))]
    coloured = styles is not None and has_colours(stream)
    codes = [_CODES.get(style, "") for style in styles or ()] if coloured else []
    cells = [[_cell(cell) for cell in row] for row in rows]
    drawn = draw(title, header, cells, numeric, codes, drop, screen_width(stream))
    _put(drawn.text, stream)
    if drawn.hidden:
        log(f"  no room for: {', '.join(drawn.hidden)} (a wider terminal shows all)")


def screen_width(stream: Any) -> int | None:
    """How many columns people see of a stream: those of its terminal, or ``COLUMNS``; None where neither is known."""
    if (given := os.environ.get("COLUMNS", "")).isdecimal() and 0 < len(given) < 6:
        return int(given) or None
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError, AttributeError):
        return None


def _is_numeric(column: Sequence[object]) -> bool:
    return bool(column) and all(isinstance(cell, (int, float)) or cell in ("", "–") for cell in column)


def error(problem: CompError) -> None:
    """A user's mistake: rule, value and remedy, a line each (stderr).

    On a screen rule and value are wrapped between words; a remedy stays one line, as commands in it are copied.
    """
    width = screen_width(sys.stderr) or 10**6
    bold = (_CODES["bold"] + _CODES["red"], "\x1b[0m") if has_colours(sys.stderr) else ("", "")
    first = wrapped("error: " + settings.wording(problem.rule), width, "", "  ")
    lines = [first[0].replace("error:", f"{bold[0]}error:{bold[1]}", 1), *first[1:]]
    for lead, text in (("found", problem.value), ("remedy", problem.remedy)):
        if text:
            for number, line in enumerate(settings.wording(text).splitlines()):
                start = f"  {lead + ':':<8}" if number == 0 else " " * 10
                lines += wrapped(line, width, start, " " * 10) if lead == "found" else [start + line]
    _put("\n".join(lines), sys.stderr)


class Task:
    """One thing under way: ``advance`` by what was done, with facts (loss, metric, images/s) to show beside it.

    ``left`` gives the seconds that are left, where its own pace does not tell.
    """

    def __init__(
        self, title: str, total: int, live: Any, left: Callable[[], float | None] | None = None
    ) -> None:
        self.title = title
        self.total = total
        self.done = 0
        self.started = self._said = time.monotonic()
        self._from = 0  # what an earlier command had done, which says nothing of the pace
        self._left = left
        self._live = live
        self._id = live.add_task(title, total=total, facts="", left="") if live else None

    def advance(self, n: int = 1, facts: str = "", total: int | None = None) -> None:
        now = time.monotonic()
        if not self.done and now - self.started < events.ADVANCE_SECONDS:
            self._from = n
        self.done += n
        self.total = self.total if total is None else total
        if self._live:
            left = self.seconds_left(now)
            facts = self._fitted(facts)
            shown = {
                "left": "" if left is None else f"{_clock(left)} left",
                **({"facts": facts} if facts else {}),
            }
            self._live.update(self._id, completed=self.done, total=self.total, **shown)
        elif now - self._said >= QUIET_SECONDS and self.done < self.total:
            self._said = now
            left = self.seconds_left(now)
            log(
                f"  {self.title}: {self.done}/{self.total}"
                + (f", {duration(left)} left" if left is not None else "")
                + (f", {facts}" if facts else "")
            )

    def seconds_left(self, now: float) -> float | None:
        """What the rest takes; None while nothing was done here."""
        if self._left is not None:
            return self._left()
        here = self.done - self._from
        return (now - self.started) / here * max(0, self.total - self.done) if here > 0 else None

    def _fitted(self, facts: str) -> str:
        """The facts that fit beside a bar; the last go first."""
        room = (
            _bars_width()
            - len(self.title)
            - 2 * len(str(self.total))
            - _bar_width()
            - len("  1:23:45 left    ")
        )
        parts = facts.split("  ")
        while len(parts) > 1 and len("  ".join(parts)) > room:
            parts.pop()
        return "  ".join(parts)

    def close(self) -> None:
        if self._live:
            self._live.remove_task(self._id)


@contextmanager
def progress() -> Iterator[None]:
    """Live bars for every ``task`` inside, where there is a terminal."""
    if _live or settings.quiet or not is_terminal():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=_bar_width()),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[facts]}", style="dim"),
    )
    bars = Progress(
        *columns, console=Console(file=sys.stderr, width=_bars_width()), transient=True, redirect_stdout=False
    )
    _live.append(bars)
    try:
        with bars:
            yield
    finally:
        _live.pop()


def _bars_width() -> int:
    """How wide a line of bars may be: a line as wide as the screen would make some terminals go to the next."""
    return (screen_width(sys.stderr) or 80) - 1


def _bar_width() -> int:
    return 30 if _bars_width() >= 100 else 8


@contextmanager
def task(title: str, total: int) -> Iterator[Task]:
    """A bar with an ETA, or lines now and then."""
    with progress():
        one = open_task(title, total)
        try:
            yield one
        finally:
            one.close()


def open_task(title: str, total: int, left: Callable[[], float | None] | None = None) -> Task:
    """A task of the bars that are shown, if any are; to be closed by who opens it."""
    return Task(title, total, None if settings.quiet or not _live else _live[-1], left)


@contextmanager
def waiting(title: str) -> Iterator[Callable[[str], None]]:
    """A live line on something that others do; elsewhere a line whenever it changes, or now and then."""
    from rich.console import Console

    said, when = "", 0.0
    live = (
        Console(file=sys.stderr).status(title) if is_terminal() and not settings.quiet and not _live else None
    )

    def tell(news: str) -> None:
        nonlocal said, when
        if live is not None:
            live.update(f"{title}: {duration(time.monotonic() - started)}, {news}")
        elif news != said or time.monotonic() - when >= QUIET_SECONDS:
            said, when = news, time.monotonic()
            log(f"  {title}: {news}")

    started = time.monotonic()
    with live or nullcontext():
        yield tell


def confirm(question: str) -> bool | None:
    """Whether a person says yes (stderr, stdin); None where there is nobody to ask."""
    if not (sys.stdin and sys.stdin.isatty() and is_terminal()):
        return None
    print(f"{settings.wording(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _clock(seconds: float) -> str:
    """Seconds as a clock shows them: 0:08, 3:20, 2:05:00."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 8 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 6000:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def _cell(cell: object) -> str:
    return f"{cell:.4f}" if isinstance(cell, float) else settings.wording(str(cell))


class ConsoleListener(events.RunListener):
    """Shows events: lines as they come, tasks as bars (or lines now and then), and a line for each epoch and fold.

    How long the whole run still trains is said once as soon as its pace tells, and then with each epoch.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._bars = ExitStack()
        self._pace = RunPace()
        self._models = 1
        self._is_estimated = False

    def on_message(self, event: events.Message) -> None:
        log(event.text)
        text = event.text.strip()
        if text.startswith("warning: "):
            _warnings.setdefault(text.removeprefix("warning: "), event.remedy)

    def on_task_start(self, event: events.TaskStarted) -> None:
        self._pace.task_start(event)
        if not self._tasks:
            self._bars.enter_context(progress())
        left = (lambda: self._pace.seconds_left) if event.title == "folds" else None
        self._tasks[event.task] = open_task(event.title, event.total, left)

    def on_task_advance(self, event: events.TaskAdvanced) -> None:
        self._pace.task_advance(event)
        if (shown := self._tasks.get(event.task)) is not None:
            shown.advance(event.done - shown.done, event.facts, event.total)
        self._estimate()

    def on_task_end(self, event: events.TaskEnded) -> None:
        self._pace.task_end(event)
        if (shown := self._tasks.pop(event.task, None)) is not None:
            shown.close()
        if not self._tasks:
            self._bars.close()

    def on_run_start(self, event: events.RunStarted) -> None:
        self._pace.run_start(event)
        self._models, self._is_estimated = len(event.models), False
        for summary in event.summaries:
            log(f"run {event.run}: {summary}")

    def on_fold_start(self, event: events.FoldStarted) -> None:
        self._pace.fold_start(event)

    def on_epoch(self, event: events.EpochEnded) -> None:
        self._is_estimated = True  # the line says it
        left = self._pace.seconds_left
        model = f"model {model_of(event)}  " if self._models > 1 else ""
        is_all = event.name == events.ALL_ROWS
        log(
            _fitting(
                f"  {model}{event.name}  epoch {event.epoch}/{event.epochs}  loss {event.train_loss:.4f}",
                "" if is_all else f"valid {event.valid_loss:.4f}",
                "" if is_all else f"{event.metric} {event.score:.4f}",
                f"{event.images_per_second:.0f} images/s",
                f"{_clock(left)} left" if left else "",
            )
        )

    def on_fold_end(self, event: events.FoldEnded) -> None:
        self._pace.fold_end(event)
        if event.is_stopped:
            log(f"  the time limit was reached in {event.failure}")
        elif event.failure:
            log(f"  {event.name} failed: {event.failure}")
        elif event.score is None:
            took = "finished before" if event.finished_before else duration(event.seconds)
            log(f"  trained on {counted(event.rows, 'row')}, {took}")
        elif event.finished_before:
            log(f"  fold {event.fold}: {event.metric} {event.score:.4f}, finished before")
        else:
            told = f"{event.metric} {event.score:.4f} on {counted(event.rows, 'held-out row')}"
            log(f"  fold {event.fold}: {told}, {duration(event.seconds)}")

    def _estimate(self) -> None:
        """The first word on how long the run trains, within its first epoch."""
        if not self._is_estimated and (left := self._pace.seconds_left) is not None:
            self._is_estimated = True
            log(f"  about {duration(left)} of training left, all folds and models")


def _fitting(first: str, valid: str, score: str, speed: str, left: str) -> str:
    """The line of an epoch within 80 columns, or those of a narrower screen: what is least missed goes first."""
    width = min(screen_width(sys.stderr) or 80, 80)
    for parts in (
        (valid, score, speed, left),
        (valid, score, left),
        (score, left),
        (score,),
    ):
        line = "  ".join(part for part in (first, *parts) if part)
        if len(line) <= width:
            return line
    return line


_first = ConsoleListener()
events.add_listener(_first)
listener: events.RunListener | None = _first  # None where a notebook shows events instead
