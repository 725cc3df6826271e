"""What killed processes left half written: ``.NAME.PID.part`` beside the file that it was to become."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_NAME = re.compile(r"^\.(?:.+\.(?P<part>\d{1,10})\.part|writable-(?P<probe>\d{1,10}))$", re.DOTALL)


def remove_leftovers(folder: Path, below: bool = False) -> None:
    """Removes from ``folder``, and with ``below`` from what is in it, what processes that no longer live left there.

    Nothing that a live process may still be writing is touched; this one must not be writing anything there itself.
    What cannot be removed stays: it is in nobody's way.
    """
    if os.name == "nt" or not folder.is_dir():  # there a process cannot be asked whether it lives
        return
    for path in _files(folder, below):
        found = _NAME.match(path.name)
        if found and not _lives(int(found["part"] or found["probe"])):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()


def _files(folder: Path, below: bool) -> Iterable[Path]:
    return list(folder.rglob(".*") if below else folder.glob(".*"))


def _lives(pid: int) -> bool:
    """Whether another process has this number; one that had ours before us is gone."""
    if pid in (0, os.getpid()):
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
