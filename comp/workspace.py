"""Where competitions, raw data, runs, submissions and the cache live, and how files are written there."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comp.documents import json_text
from comp.errors import InputError


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
    remedy = (
        "free some space"
        if error.errno in (errno.ENOSPC, errno.EDQUOT)
        else "choose another --workspace, or change its permissions"
    )
    return InputError("the place must be writable", f"{path}: {reason}", remedy)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that becomes ``path`` when the block ends well, and vanishes when not."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            raise unwritable(path, error) from error
        raise
    finally:
        part.unlink(missing_ok=True)


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
        If it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            "a file of the run is missing", str(path), "was the run finished? see `comp runs`"
        ) from error
    except ValueError as error:
        raise InputError("the file must be JSON", f"{path}: {error}", "restore it, or run again") from error
