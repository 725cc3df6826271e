"""One process at a time: a file that a process holds for as long as it lives, and that a killed one lets go."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from comp import console
from comp.errors import Refusal
from comp.files import unwritable

TRIES, PAUSE_SECONDS = 5, 0.02  # who only asks whether it is held (``is_held``) has it for a moment


@contextmanager
def alone(path: Path, rule: str, value: str, remedy: str) -> Iterator[None]:
    """Holds ``path`` for this process; the file is removed at the end.

    A lock of the system (flock): whatever becomes of the process, a killed one holds nothing. ``{pid}`` in ``value``
    stands for the number of the process that has it.

    Raises
    ------
    Refusal
        With ``rule``, ``value`` and ``remedy``, if another process has it.
    """
    if os.name == "nt":  # no flock there
        yield
        return
    file = _locked(path, rule, value, remedy)
    try:
        yield
    finally:
        if file is not None:
            with suppress(OSError):
                path.unlink()
            file.close()


def is_held(path: Path) -> bool | None:
    """Whether a process holds ``path``; None where that cannot be known: a system or a file system without such locks."""
    if os.name == "nt":
        return None
    import fcntl

    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError) as error:
        return isinstance(error, BlockingIOError)
    except OSError:
        return None
    return False


def _locked(path: Path, rule: str, value: str, remedy: str) -> IO[str] | None:
    """The open and locked file; None where the file system knows no locks."""
    import fcntl

    tries = 0
    while True:
        tries += 1
        try:
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise unwritable(path, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read(20).strip() or "unknown"
            file.close()
            if tries < TRIES:
                time.sleep(PAUSE_SECONDS)
                continue
            raise Refusal(rule, value.format(pid=owner), remedy) from error
        except OSError as error:
            file.close()
            console.log(f"  {path.parent} cannot be locked ({error.strerror}): use it from one process alone")
            return None
        if _is_at(file, path):
            with suppress(OSError):  # the number is for people
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
            return file
        file.close()  # its holder removed it between open and lock: once more


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except OSError:
        return False
