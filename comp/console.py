"""What people read: lines, tables, progress, errors. The only importer of rich.

In a terminal progress is live; elsewhere it is a line now and then. Everything goes to stderr, except the tables
and lines that are a command's answer, which go to stdout unless stdout is to hold one JSON document.
"""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from comp import events
from comp.errors import CompError, InputError
from comp.files import json_text

QUIET_SECONDS = 15.0  # between lines of progress when the output is no terminal


_live: list[Any] = []


@dataclass
class Settings:
    """How to speak: ``json`` keeps stdout for one document, ``quiet`` says only what is asked and what is wrong.

    ``wording`` is what the command line does to texts of the library: arguments in backticks become options.
    """

    json: bool = False
    quiet: bool = False
    wording: Callable[[str], str] = str


settings = Settings()


def is_terminal() -> bool:
    """Whether a person watches stderr live."""
    return sys.stderr.isatty()


def log(text: str) -> None:
    """A line on what is being done (stderr)."""
    if settings.quiet:
        return
    text = settings.wording(text)
    if _live:  # above the bars, not through them
        _live[-1].console.print(text, markup=False, highlight=False)
    else:
        _put(text, sys.stderr)


def title(text: str) -> None:
    """The line that names a command, before it has anything to say (stderr)."""
    if not settings.quiet:
        _put(f"\x1b[1m{text}\x1b[0m" if has_colours() else text, sys.stderr)


def has_colours() -> bool:
    """Whether colours are wanted on stderr: a terminal, and no NO_COLOR or dumb one."""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def new_command() -> None:
    """A command begins: every warning is new to its reader."""
    events.forget_warnings()


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


PIPE_WIDTH = 120  # what a table is wrapped to where nobody says how wide the screen is
_GAP = 3  # columns of a table stand two spaces and a margin apart


def table(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    styles: Sequence[str] | None = None,
    drop: Sequence[str] = (),
) -> None:
    """A table; numbers stand to the right. ``styles`` has one rich style a row.

    Cells are wrapped between words and never within one. Where that does not fit a terminal (or ``COLUMNS``), the
    columns of ``drop`` are left out, in their order, and what is left out is said; where that is not enough,
    each row becomes a block of lines. A pipe gets every column.
    """
    stream = sys.stderr if settings.json else sys.stdout
    width = screen_width(stream)
    cells = [[_cell(cell) for cell in row] for row in rows]
    hidden = _hidden(header, cells, drop, width)
    shown = [n for n, name in enumerate(header) if name not in hidden]
    widths = _column_widths([[header[n], *(row[n] for row in cells)] for n in shown], width or PIPE_WIDTH)
    if width and sum(widths) + _GAP * len(widths) - 1 > width and cells:
        hidden = []
        _put(_blocks(title, header, cells, width), stream)
    else:
        numeric = [_is_numeric([row[n] for row in rows]) for n in shown]
        _put(
            _drawn(title, header, cells, styles, list(zip(shown, widths, numeric, strict=True)), stream),
            stream,
        )
    if hidden:
        log(f"  no room for: {', '.join(hidden)} (a wider terminal shows all)")


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


def _longest_word(texts: Sequence[str]) -> int:
    from rich.cells import cell_len

    return max((cell_len(word) for text in texts for word in text.split()), default=1)


def _hidden(
    header: Sequence[str], cells: Sequence[Sequence[str]], drop: Sequence[str], width: int | None
) -> list[str]:
    """The columns of ``drop`` that have to go so that no word is broken, in the order of ``drop``."""
    needed = {name: _longest_word([name, *(row[n] for row in cells)]) for n, name in enumerate(header)}
    hidden: list[str] = []
    for name in drop if width else ():
        left = [needed[other] for other in header if other not in hidden]
        if width is None or sum(left) + _GAP * len(left) - 1 <= width:
            break
        hidden.append(name)
    return hidden


def _column_widths(columns: Sequence[Sequence[str]], width: int) -> list[int]:
    """The widths of columns of texts (header first): what they want, or the widest ones narrower, each at least its
    longest word.
    """
    from rich.cells import cell_len

    least = [_longest_word(texts) for texts in columns]
    wanted = [
        max(cell_len(line) for text in texts for line in text.splitlines() or [""]) for texts in columns
    ]
    room = width - _GAP * len(columns) + 1
    while sum(wanted) > room:
        widest = max(
            (n for n in range(len(wanted)) if wanted[n] > least[n]), key=lambda n: wanted[n], default=None
        )
        if widest is None:
            break
        wanted[widest] -= 1
    return [max(one, small, 1) for one, small in zip(wanted, least, strict=True)]


def _drawn(
    title: str,
    header: Sequence[str],
    cells: Sequence[Sequence[str]],
    styles: Sequence[str] | None,
    columns: Sequence[tuple[int, int, bool]],
    stream: Any,
) -> str:
    """A table as text; ``columns`` are those shown: number, width, whether numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title or None, box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for n, width, numeric in columns:
        justify: Any = "right" if numeric else "left"
        drawn.add_column(Text(header[n]), justify=justify, width=width)
    for number, row in enumerate(cells):
        texts = (Text(row[n]) for n, _, _ in columns)
        drawn.add_row(*texts, style=styles[number] if styles else None)
    whole = sum(width + _GAP for _, width, _ in columns) + 2
    console = Console(file=stream, width=max(whole, len(title)), highlight=False)
    with console.capture() as drawing:
        console.print(drawn, end="")
    return "\n".join(line.rstrip() for line in drawing.get().splitlines())


def _blocks(title: str, header: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> str:
    """A table too wide for the screen: each row as lines of name and cell, wrapped between words."""
    lines = [title] if title else []
    for row in cells:
        lines.append("")
        for name, cell in zip(header, row, strict=True):
            lead, text = ("", f"{name}: {cell}") if name else ("  ", cell)
            lines += textwrap.wrap(
                text,
                width,
                initial_indent=lead,
                subsequent_indent="  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
    return "\n".join([*lines, ""])


def error(problem: CompError) -> None:
    """A user's mistake: rule, value and remedy, a line each (stderr)."""
    from rich.console import Console
    from rich.text import Text

    out = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    out.print(Text("error: ", style="bold red") + Text(settings.wording(problem.rule)))
    for lead, text in (("found", problem.value), ("remedy", problem.remedy)):
        if text:
            lines = settings.wording(text).splitlines()
            out.print(Text(f"  {lead + ':':<8}", style="dim") + Text(lines[0]))
            for line in lines[1:]:
                out.print(Text(" " * 10 + line))


class Task:
    """One thing under way: ``advance`` by what was done, with facts (loss, metric, images/s) to show beside it."""

    def __init__(self, title: str, total: int, live: Any) -> None:
        self.title = title
        self.total = total
        self.done = 0
        self.started = self._said = time.monotonic()
        self._live = live
        self._id = live.add_task(title, total=total, facts="") if live else None

    def advance(self, n: int = 1, facts: str = "") -> None:
        self.done += n
        if self._live:
            self._live.update(self._id, advance=n, **({"facts": facts} if facts else {}))
        elif time.monotonic() - self._said >= QUIET_SECONDS and self.done < self.total:
            self._said = time.monotonic()
            left = (self._said - self.started) / self.done * (self.total - self.done)
            log(
                f"  {self.title}: {self.done}/{self.total}, {duration(left)} left"
                + (f", {facts}" if facts else "")
            )

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
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}"),
    )
    bars = Progress(*columns, console=Console(file=sys.stderr), transient=True, redirect_stdout=False)
    _live.append(bars)
    try:
        with bars:
            yield
    finally:
        _live.pop()


@contextmanager
def task(title: str, total: int) -> Iterator[Task]:
    """A bar with an ETA, or lines now and then."""
    with progress():
        one = open_task(title, total)
        try:
            yield one
        finally:
            one.close()


def open_task(title: str, total: int) -> Task:
    """A task of the bars that are shown, if any are; to be closed by who opens it."""
    return Task(title, total, None if settings.quiet or not _live else _live[-1])


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
    """Shows events: lines as they come, tasks as bars (or lines now and then), and a line for each epoch and fold."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._bars = ExitStack()

    def on_message(self, event: events.Message) -> None:
        log(event.text)

    def on_task_start(self, event: events.TaskStarted) -> None:
        if not self._tasks:
            self._bars.enter_context(progress())
        self._tasks[event.task] = open_task(event.title, event.total)

    def on_task_advance(self, event: events.TaskAdvanced) -> None:
        if (shown := self._tasks.get(event.task)) is not None:
            shown.advance(event.done - shown.done, event.facts)

    def on_task_end(self, event: events.TaskEnded) -> None:
        if (shown := self._tasks.pop(event.task, None)) is not None:
            shown.close()
        if not self._tasks:
            self._bars.close()

    def on_run_start(self, event: events.RunStarted) -> None:
        for summary in event.summaries:
            log(f"run {event.run}: {summary}")

    def on_epoch(self, event: events.EpochEnded) -> None:
        log(
            f"  fold {event.fold}  epoch {event.epoch}/{event.epochs}  loss {event.train_loss:.4f}  "
            f"valid loss {event.valid_loss:.4f}  valid {event.metric} {event.score:.4f}  {event.images_per_second:.0f} images/s"
        )

    def on_fold_end(self, event: events.FoldEnded) -> None:
        if event.is_stopped:
            log(f"  the time limit was reached in {event.failure}")
        elif event.failure:
            log(f"  fold {event.fold} failed: {event.failure}")
        elif event.finished_before:
            log(f"  fold {event.fold}: {event.metric} {event.score:.4f}, finished before")
        else:
            told = f"{event.metric} {event.score:.4f} on {event.rows} held-out rows"
            log(f"  fold {event.fold}: {told}, {duration(event.seconds)}")


events.add_listener(ConsoleListener())
