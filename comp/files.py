"""Files and documents: written all or nothing, read so that no content stops the reader, and held by one process at a time."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from comp import events
from comp.errors import InputError, RecipeError, Refusal

DEEPEST = 64  # tables and lists within one another; readers and validators walk them by recursion
LARGEST_TOML = 16 << 20  # bytes; a hundred thousand class names are two million
_INT64 = 2**63


class Unreadable(ValueError):
    """A text that is no document of its format; says why in one line."""


class TooMuch(Unreadable):
    """A document that is one, but nested too deep, or with a whole number too long."""


def json_text(value: Any) -> str:
    """An indented JSON document; what is no number (a score that is undefined) is null, as strict readers want it."""
    return json.dumps(_finite(value), indent=1, ensure_ascii=False, default=str, allow_nan=False)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON document.

    Raises
    ------
    Unreadable
        If it is no JSON or not UTF-8; TooMuch if it is nested more than 64 deep, or has a whole number of thousands of
        digits.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise TooMuch(f"nested more than {DEEPEST} deep") from None
    except ValueError as error:
        raise _unreadable(error) from error
    _require_shallow(value)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """The table of a TOML document.

    Raises
    ------
    Unreadable
        If it is no TOML; TooMuch if it is nested more than 64 deep (dotted keys count), or has a whole number beyond
        64 bits.
    """
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise TooMuch(f"nested more than {DEEPEST} deep") from None
    except ValueError as error:  # a number of 5,000 digits is one that is no TOMLDecodeError
        raise _unreadable(error) from error
    _require_shallow(table)
    for path, value in _leaves(table):
        if type(value) is int and not -_INT64 <= value < _INT64:
            raise TooMuch(f"{path}: a whole number has at most 64 bits, this one has {value.bit_length()}")
    return table


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The table of a TOML file; ``what`` names the kind of file in errors, "a recipe".

    Raises
    ------
    InputError
        If it is not there, or no file.
    RecipeError
        If it is not UTF-8, over 16 MiB, or ``parse_toml`` cannot read it.
    """
    try:
        with path.open("rb") as file:  # no stat: `--recipe <(…)` is a pipe
            content = file.read(LARGEST_TOML + 1)
    except FileNotFoundError as error:
        raise InputError(f"{what} must exist", f"{path} is not there", "check the path") from error
    except IsADirectoryError as error:
        raise InputError(f"{what} is a TOML file", f"{path} is a folder", "check the path") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RecipeError(f"{what} must be readable TOML", f"{path}: {reason}", "check the path") from error
    rule, remedy = f"{what} must be readable TOML", "correct the file"
    if len(content) > LARGEST_TOML:
        raise RecipeError(rule, f"{path} has more than {LARGEST_TOML >> 20} MiB", remedy)
    try:
        return parse_toml(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        value = f"{path}: byte {error.start} ({content[error.start]:#04x}) is not UTF-8"
        raise RecipeError(rule, value, "save it as UTF-8") from error
    except Unreadable as error:
        raise RecipeError(rule, f"{path}: {error}", remedy) from error


def _unreadable(error: ValueError) -> Unreadable:
    if "integer string conversion" in str(error):  # Python's own limit on what `int` reads
        return TooMuch("a whole number of thousands of digits")
    return Unreadable(str(error))


def _require_shallow(value: Any) -> None:
    """Unreadable for a value nested too deep; level by level, so that the depth is no matter here."""
    level, depth = [value], 0
    while level := [one for held in level for one in _held(held) if isinstance(one, dict | list)]:
        depth += 1
        if depth >= DEEPEST:
            raise TooMuch(f"nested more than {DEEPEST} deep")


def _held(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """What stands in the tables and lists of a document, with dotted paths."""
    if not isinstance(value, dict | list):
        yield path, value
        return
    for key, one in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(one, f"{path}.{key}".lstrip("."))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value


SEAL = "sha256"  # the key of a document's own SHA-256
_BLOCK = 1 << 20  # bytes


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read a block at a time; OSError where it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document with the SHA-256 of everything else in it, as it will be read back."""
    plain = {key: value for key, value in document.items() if key != SEAL}
    return {**plain, SEAL: _digest(json.loads(json_text(plain)))}


def is_intact(document: Mapping[str, Any]) -> bool:
    """Whether a document that was read is as ``sealed`` made it; one without a SHA-256 of its own is not judged."""
    return SEAL not in document or document[SEAL] == _digest(
        {key: value for key, value in document.items() if key != SEAL}
    )


def _digest(plain: Mapping[str, Any]) -> str:
    text = json.dumps(plain, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


_NAME = re.compile(r"^\.(?:.+\.(?P<part>\d{1,10})\.part|writable-(?P<probe>\d{1,10}))$", re.DOTALL)


def remove_leftovers(folder: Path, below: bool = False) -> None:
    """Removes from ``folder``, and with ``below`` from what is in it, what processes that no longer live left there.

    Nothing that a live process may still be writing is touched; this one must not be writing anything there itself.
    What cannot be removed stays: it is in nobody's way.
    """
    if os.name == "nt" or not folder.is_dir():  # there a process cannot be asked whether it lives
        return
    for path in _files(folder, below):
        if is_leftover(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()


def is_leftover(path: Path) -> bool:
    """Whether a file or folder is one that a process wrote which no longer lives, and did not finish."""
    found = _NAME.match(path.name)
    return os.name != "nt" and found is not None and not lives(int(found["part"] or found["probe"]))


def _files(folder: Path, below: bool) -> Iterable[Path]:
    return list(folder.rglob(".*") if below else folder.glob(".*"))


def lives(pid: int) -> bool:
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
    remedy = _REMEDIES.get(error.errno or 0, "choose another `workspace`, or change its permissions")
    return InputError("the place must be writable", f"{path}: {reason}", remedy)


def require_output(path: str | Path | None) -> Path | None:
    """The plain file that an output option names, judged before the work whose result it is to take; None for None.

    Nothing is left behind, and no folder is made yet. Folders that are missing are made later, but none at the top of a
    disk.

    Raises
    ------
    InputError
        If it is a folder, a device, a pipe or a socket, its name is too long, its folder is missing, or it could not be
        written.
    """
    if path is None:
        return None
    named = Path(path).expanduser()
    target = _plain_file(named)
    try:
        there, missing = target.parent, 0
        while not there.exists() and there != there.parent:
            there, missing = there.parent, missing + 1
        _require_near(target, there, missing)
        part = there / _part_name(target)
        part.touch()
        part.unlink()
    except OSError as error:
        raise unwritable(named, error) from error
    return named


def _require_near(target: Path, there: Path, missing: int) -> None:
    """InputError for an output whose folders would begin at the top of a disk: a path mistyped."""
    top = there.absolute()
    if missing and top == top.parent:
        value = f"{target.parent} is not there"
        raise InputError("the folder of an output must be there", value, "make it, or correct the path")


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
            events.log(f"  {path.parent} cannot be locked ({error.strerror}): use it from one process alone")
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
