"""The entry point: the first line at once, and one place where errors become exit codes.

What the commands need is imported only after the first line is shown.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from comp import console, events
from comp._version import __version__
from comp.errors import CompError, InputError, shortened

# What a disk, a limit or a path that was named can say wherever a file is touched: no fault of the program's.
_OF_THE_SYSTEM = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.ELOOP,
    errno.EMFILE,
    errno.ENAMETOOLONG,
    errno.ENFILE,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}

# Verbs that take a while before they have an answer, and the library that they wait for first.
_SLOW = {
    **dict.fromkeys(
        (
            "run",
            "predict",
            "merge",
            "neighbours",
            "pseudo",
            "ensemble",
            "import",
            "lr",
            "bench",
            "tune",
            "report",
            "labels",
        ),
        "torch",
    ),
    **dict.fromkeys(("check", "validate", "compare", "score"), "pandas"),
}
_GOES_ALONG = (
    "--workspace",
    "--manifest",
    "--allow",
    "--only",
)  # what a run that goes on has to be told again


class _UnderWay(events.RunListener):
    """The run that a command has begun and not ended."""

    def __init__(self) -> None:
        self.run: events.RunStarted | None = None

    def on_run_start(self, event: events.RunStarted) -> None:
        self.run = event

    def on_run_end(self, event: events.RunEnded) -> None:
        if not event.failure:
            self.run = None


def __getattr__(name: str) -> Any:
    """``app``, the typer app of all verbs, which is imported when it is asked for."""
    if name == "app":
        from comp.cli.app import app

        return app
    raise AttributeError(name)


def main(arguments: list[str] | None = None) -> None:
    """Runs a command and exits: 0 done, 1 a check or submission said no, 2 wrong usage or input, 3 a bug, 130 interrupted."""
    # torch's OpenMP threads spin while they wait; on a machine with anything else to do that costs up to three
    # times the wall time (measured, docs/benchmarks.md), and next to nothing on a quiet one
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:] if arguments is None else arguments
    console.settings.json = "--json" in arguments
    console.settings.quiet = False
    console.settings.workspace = _named(arguments, "--workspace")
    console.new_command()
    under_way = _UnderWay()
    try:
        with _terminated_as_interrupted(), events.listening(under_way):
            code = _run(arguments, under_way)
    finally:
        console.settings.wording = str
    sys.exit(code)


def _say_title(arguments: list[str]) -> None:
    """The first line, before anything heavy is imported: people look whether something happens."""
    verb = arguments[0] if arguments else ""
    if verb not in _SLOW or "--help" in arguments:
        return
    console.title(shortened(shlex.join(["comp", *arguments])))
    if _SLOW[verb] not in sys.modules:
        console.log(f"loading {_SLOW[verb]}…")


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does; in a process that was forked it ends the process, as it always did."""
    process = os.getpid()

    def end(*_: object) -> None:
        if os.getpid() == process:
            raise KeyboardInterrupt
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    is_ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if not is_ours:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run(arguments: list[str], under_way: _UnderWay) -> int:
    try:
        _say_title(arguments)
        import typer

        from comp.cli.app import app
        from comp.cli.wording import in_options, options_of

        console.settings.wording = in_options(options_of(app, arguments))
        command: Any = typer.main.get_command(app)
        console.settings.verbs = frozenset(command.commands)
        code = command.main(args=arguments, prog_name="comp", standalone_mode=False)
        if code == 130:  # typer turns Ctrl-C into this code without a word
            return _interrupted(arguments, under_way)
        return int(code) if isinstance(code, int) else 0
    except CompError as problem:
        return _told(problem)
    except KeyboardInterrupt:
        return _interrupted(arguments, under_way)
    except SystemExit as left:
        return _left(left, arguments)
    except BrokenPipeError:
        return _unread()
    except Exception as error:
        if type(error).__name__ == "Abort":
            return _interrupted(arguments, under_way)
        return _foreign(error)


def _left(left: SystemExit, arguments: list[str]) -> int:
    """The code of a SystemExit: 0 where the reader of a help text went away, which click makes one of; else it comes
    from a competition's own code, and is said.
    """
    if isinstance(left.__context__, BrokenPipeError) and "--help" in arguments:
        return 0
    if isinstance(left.__context__, OSError):
        return _unread()
    asks_completion = {"--show-completion", "--install-completion"} & set(arguments[:1])
    if "_COMP_COMPLETE" in os.environ or asks_completion:  # typer leaves once it has answered
        return left.code if isinstance(left.code, int) else 0
    return _told(InputError("an adapter or model raises errors, and does not exit", str(left), "correct it"))


def _unread() -> int:
    """The reader went away in the middle (comp runs | head): nothing more is written, and it is no success."""
    with suppress(OSError):  # a stdout without a file descriptor is not the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _told(problem: CompError) -> int:
    with suppress(OSError):  # a full disk takes no message either
        console.error(problem)
    if console.settings.json:
        told = {
            k: console.settings.wording(v) if isinstance(v, str) else v for k, v in problem.as_json().items()
        }
        console.print_json({"error": told})
    return problem.exit_code


def _foreign(error: Exception) -> int:
    """Errors of the command-line parser (2) and of the system (2), and bugs of ours (3)."""
    kind = type(error).__name__
    if kind == "RuntimeError" and "home directory" in str(
        error
    ):  # pathlib's, of an argument or a variable with ~
        return _told(InputError("~ stands for a home folder", str(error), "write the folder out"))
    if (problem := _by_the_system(error)) is not None:
        return _told(problem)
    if hasattr(error, "show") and hasattr(
        error, "exit_code"
    ):  # click's usage errors, whichever click typer brings
        if hasattr(error, "message"):
            error.message = shortened(str(error.message))
        _print_as_json("UsageError", "wrong usage", str(error), "comp --help", 2)
        error.show(file=sys.stderr)
        return 2
    if hasattr(error, "exit_code"):
        return int(error.exit_code)
    traceback.print_exc()
    _print_as_json(kind, "a bug of comp", str(error), "please report it", 3)
    print(
        f"\ncomp {__version__}: this is a bug of ours; please report it with the lines above", file=sys.stderr
    )
    return 3


def _by_the_system(error: Exception) -> InputError | None:
    """The one-line error for what a disk, a limit or a path says; None for anything else."""
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(
        error
    ):  # tempfile's, on a full disk
        remedy = "free some space, or name a folder in TMPDIR"
        return InputError("temporary files must be writable", error.strerror or str(error), remedy)
    if isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM:
        value = f"{error.filename or 'a file'}: {os.strerror(error.errno)}"
        remedy = "check its name, its permissions and the disk that it is on"
        return InputError("files must be usable", value, remedy)
    return None


def _interrupted(arguments: list[str], under_way: _UnderWay) -> int:
    """Says how to go on: with the very command, where a run had begun."""
    resume = "" if under_way.run is None else _resume_command(arguments, under_way.run)
    if console.settings.going_on is not None:  # a sweep, which knows its runs' arguments
        slug, name = console.settings.going_on
        words = ["comp", "run", slug, "--resume", name]
        workspace = console.settings.workspace
        resume = shlex.join([*words, *(["--workspace", workspace] if workspace else [])])
    if not resume and _named(arguments, "--resume"):  # stopped again, before it went on
        resume = shlex.join(["comp", *arguments])
    said = f"Resume: {resume}" if resume else ""
    if not resume and arguments[:1] == ["run"]:
        said = "no run was begun that could be resumed"
    if arguments[:1] == ["tune"]:
        said = "the same command goes on with the study"
    with suppress(OSError):
        print("\n".join(["interrupted", *([said] if said else [])]), file=sys.stderr)
    _print_as_json("Interrupted", "interrupted", "", resume or said, 130)
    return 130


def _named(arguments: list[str], option: str) -> str:
    """What a command line gives for an option; empty where it does not."""
    for n, word in enumerate(arguments):
        name, sign, value = word.partition("=")
        if name == option:
            return value if sign else "".join(arguments[n + 1 : n + 2])
    return ""


def _resume_command(arguments: list[str], run: events.RunStarted) -> str:
    """The command that goes on with a run, as it can be pasted into a shell."""
    words = ["comp", "run", run.slug, "--resume", run.run]
    for n, word in enumerate(arguments):
        name, sign, _ = word.partition("=")
        if name in _GOES_ALONG:
            words += [word] if sign else arguments[n : n + 2]
    return shlex.join(words)


def _print_as_json(kind: str, rule: str, value: str, remedy: str, code: int) -> None:
    """What ended the command, as the one JSON document where --json was given."""
    if console.settings.json:
        error = {"kind": kind, "rule": rule, "value": value, "remedy": remedy, "exit_code": code}
        console.print_json({"error": error})


if __name__ == "__main__":
    main()
