"""Where competitions, raw data, runs, submissions and the cache live, and how files are written there."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comp.documents import json_text, parse_json
from comp.errors import InputError

_MOST_LINKS = 40
_OPEN_FILES = re.compile(r"/dev/(stdin|stdout|stderr|fd/.*)$|/proc/")
_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EFBIG: "raise the limit on the size of files (`ulimit -f`), or choose another disk",
    errno.EIO: "check the disk, or choose another",
}
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


@dataclass(frozen=True)
class Workspace:
    """A folder of work: ``--workspace``, else ``COMP_WORKSPACE``, else the current folder."""

    root: Path

    @classmethod
    def find(cls, given: str | Path | None = None) -> Workspace:
        """The workspace that was asked for.

        Raises
        ------
        InputError
            If the folder does not exist.
        """
        root = Path(given or os.environ.get("COMP_WORKSPACE") or ".").expanduser().absolute()
        if not root.is_dir():
            raise InputError(
                "the workspace must be a folder", f"{root} is not one", "make it, or name another --workspace"
            )
        return cls(root)

    @property
    def competitions(self) -> Path:
        return self.root / "competitions"

    def raw(self, slug: str) -> Path:
        """The raw folder of a competition unless ``--data`` names another."""
        return self.root / "data" / slug

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def folds(self, slug: str) -> Path:
        return self.root / "folds" / slug

    def submissions(self, slug: str) -> Path:
        return self.root / "submissions" / slug

    @property
    def features(self) -> Path:
        return self.root / "features"

    @property
    def fingerprints(self) -> Path:
        return self.root / "fingerprints"

    def weight_folders(self) -> list[Path]:
        """Where ``weights = "default"`` is looked for before the hub: ``COMP_WEIGHTS``, then ``weights/``."""
        given = os.environ.get("COMP_WEIGHTS")
        return [Path(p).expanduser() for p in (given.split(os.pathsep) if given else [])] + [
            self.root / "weights"
        ]

    def shown(self, path: Path) -> str:
        """A path as people want to read it: relative to the current folder where that is shorter."""
        try:
            relative = os.path.relpath(path)
        except ValueError:  # another drive on Windows
            return str(path)
        return relative if len(relative) < len(str(path)) else str(path)


def make_folder(path: Path) -> Path:
    """Makes a folder and its parents, or says in one line why that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def unwritable(path: Path | str, error: OSError) -> InputError:
    """The one-line error for a place that cannot be written to."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    remedy = _REMEDIES.get(error.errno or 0, "choose another --workspace, or change its permissions")
    return InputError("the place must be writable", f"{path}: {reason}", remedy)


def require_output(path: str | Path | None) -> Path | None:
    """The plain file that an output option names, judged before the work whose result it is to take; None for None.

    Nothing is left behind, and no folder is made yet.

    Raises
    ------
    InputError
        If it is a folder, a device, a pipe or a socket, its name is too long, or it could not be written.
    """
    if path is None:
        return None
    named = Path(path).expanduser()
    target = _plain_file(named)
    try:
        there = target.parent
        while not there.exists() and there != there.parent:
            there = there.parent
        part = there / _part_name(target)
        part.touch()
        part.unlink()
    except OSError as error:
        raise unwritable(named, error) from error
    return named


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that becomes ``path`` when the block ends well, and vanishes when not.

    What a link leads to is written, and the link stays. Only a plain file is ever replaced.

    Raises
    ------
    InputError
        If the place is a folder, a device, a pipe or a socket, or cannot be written to: a full disk, a quota, a limit on
        the size of files, a name that is too long, a folder that is not one.
    """
    target = _plain_file(path)
    part = target.with_name(_part_name(target))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    try:
        yield part
        os.replace(part, target)
    except OSError as error:
        if error.filename not in (None, str(part), part):
            raise  # of another file, which the block reads
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _part_name(target: Path) -> str:
    return f".{target.name}.{os.getpid()}.part"


def _plain_file(path: Path) -> Path:
    """The file behind a path and its links, which is there as a plain file or not at all.

    Raises
    ------
    InputError
        For anything else that is there, a loop of links, and the open files of a process (/dev/stdout), which are
        plain files at times, but never to be replaced.
    """
    rule, remedy = "an output is a plain file", "name another file"
    try:
        for _ in range(_MOST_LINKS):
            path = Path(os.path.realpath(path.parent)) / path.name
            if _OPEN_FILES.match(str(path)):
                raise InputError(
                    rule, f"{path} is an open file of a process", "write to a file, then read that"
                )
            if not path.is_symlink():
                break
            path = path.parent / os.readlink(path)
        mode = path.stat().st_mode
    except FileNotFoundError:
        return path
    except (OSError, ValueError) as error:
        raise unwritable(path, error if isinstance(error, OSError) else OSError(str(error))) from error
    kind = next((name for is_it, name in _KINDS if is_it(mode)), None)
    if kind is not None:
        raise InputError(rule, f"{path} is {kind}", remedy)
    return path


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text with its line ends kept as they are, all or nothing."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))  # file names need not be UTF-8


def write_bytes(path: Path, content: bytes) -> None:
    """Writes bytes, all or nothing."""
    with atomic(path) as part:
        part.write_bytes(content)


def cache_folder() -> Path:
    """Where things lie that can always be made again: ``COMP_CACHE``, else the user's cache folder."""
    named = os.environ.get("COMP_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "comp"


def write_json(path: Path, value: Any) -> None:
    """Writes an indented JSON document, all or nothing."""
    write_text(path, json_text(value) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON document.

    Raises
    ------
    InputError
        If it is missing, unreadable or not JSON.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            "a file of the run is missing", str(path), "was the run finished? see `comp runs`"
        ) from error
    except OSError as error:
        raise InputError("the file must be readable", f"{path}: {error.strerror}", "restore it") from error
    except ValueError as error:
        raise InputError("the file must be JSON", f"{path}: {error}", "restore it, or run again") from error
