"""The entry point: one typer app, one place where errors become exit codes."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from contextlib import suppress

import typer

from comp import console, events
from comp._version import __version__
from comp.cli import (
    check,
    competitions,
    doctor,
    ensemble,
    kernel,
    labels,
    predict,
    run,
    runs,
    submissions,
    submit,
    tune,
)
from comp.cli.options import Verb
from comp.cli.wording import in_options, options_of
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

app = typer.Typer(
    name="comp",
    help="From a competition's raw images to a submission you can trust, in one command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and stop."
    ),
) -> None:
    """From a competition's raw images to a submission you can trust, in one command."""


for _verb in (
    competitions.list_,
    competitions.show,
    competitions.data,
    competitions.new,
    check.check,
    check.checks,
    run.run,
    predict.predict,
    ensemble.merge,
    predict.pseudo,
    labels.labels,
    ensemble.import_,
    ensemble.ensemble,
    submissions.validate,
    submissions.compare,
    submissions.score,
    kernel.kernel,
    submit.submit,
    submit.leaderboard,
    tune.lr,
    tune.bench,
    runs.runs,
    doctor.doctor,
):
    app.command(_verb.__name__.rstrip("_"), cls=Verb, no_args_is_help=False)(_verb)


def main(arguments: list[str] | None = None) -> None:
    """Runs a command and exits: 0 done, 1 a check or submission said no, 2 wrong usage or input, 3 a bug, 130 interrupted."""
    # torch's OpenMP threads spin while they wait; on a machine with anything else to do that costs up to three
    # times the wall time (measured, docs/benchmarks.md), and next to nothing on a quiet one
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:] if arguments is None else arguments
    console.settings.json = "--json" in arguments
    console.settings.quiet = False
    events.forget_warnings()
    console.settings.wording = in_options(options_of(app, arguments))
    try:
        code = _run(arguments)
    finally:
        console.settings.wording = str
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    command = typer.main.get_command(app)
    try:
        code = command.main(args=arguments, prog_name="comp", standalone_mode=False)
        if code == 130:  # typer turns Ctrl-C into this code without a word
            return _interrupted()
        return int(code) if isinstance(code, int) else 0
    except CompError as problem:
        return _told(problem)
    except KeyboardInterrupt:
        return _interrupted()
    except SystemExit as left:
        return _left(left, arguments)
    except BrokenPipeError:
        return _unread()
    except Exception as error:
        return _foreign(error)


def _left(left: SystemExit, arguments: list[str]) -> int:
    """The code of a SystemExit: 0 where the reader of a help text went away, which click makes one of; else it comes
    from a competition's own code, and is said.
    """
    if isinstance(left.__context__, BrokenPipeError) and "--help" in arguments:
        return 0
    if isinstance(left.__context__, OSError):
        return _unread()
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
    """Errors of the command-line parser (2), an abort at a question (130), and bugs of ours (3)."""
    kind = type(error).__name__
    if kind == "RuntimeError" and "home directory" in str(
        error
    ):  # pathlib's, of an argument or a variable with ~
        return _told(InputError("~ stands for a home folder", str(error), "write the folder out"))
    if kind == "Abort":
        return _interrupted()
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


def _interrupted() -> int:
    print(
        "interrupted; a run that `comp runs` shows as unfinished goes on with `comp run SLUG --resume RUN`",
        file=sys.stderr,
    )
    _print_as_json("Interrupted", "interrupted", "", "comp run SLUG --resume RUN", 130)
    return 130


def _print_as_json(kind: str, rule: str, value: str, remedy: str, code: int) -> None:
    """What ended the command, as the one JSON document where --json was given."""
    if console.settings.json:
        error = {"kind": kind, "rule": rule, "value": value, "remedy": remedy, "exit_code": code}
        console.print_json({"error": error})


if __name__ == "__main__":
    main()
