"""An LMDB whose values are image files, by their keys; nothing in it is ever unpickled."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from comp.data.images.raw_tree import FIRST_BYTES, is_image_start, nfc
from comp.data.images.shard import KEY
from comp.errors import InputError, RawDataError, shortened

_RULE = "an LMDB shard must be readable"


class LmdbShard:
    """The images of an LMDB, a folder with ``data.mdb`` or such a file, in the order of its keys.

    Keys are text in UTF-8; those that begin with ``__`` are what writers note of the whole, and no rows.
    """

    columns: tuple[str, ...] = ()

    def __init__(self, file: Path, name: str) -> None:
        self.file = file
        self.name = name
        self.classes: Mapping[str, tuple[str, ...]] = {}
        self.layout: Mapping[str, str] = {}
        self.notes: list[str] = []
        _environment(file)

    def paths(self) -> list[str]:
        return [f"{self.name}/{key}" for key in self.values(KEY)]

    def values(self, column: str) -> list[Any]:
        """The keys, which are all that it has.

        Raises
        ------
        RawDataError
            For a key that is no text.
        """
        if column != KEY:
            raise RawDataError("an LMDB has keys alone", f"{self.file}: {column}", "name a table with labels")
        with _reading(self.file) as read, read.cursor() as cursor:
            keys = [bytes(key) for key in cursor.iternext(keys=True, values=False)]
        return [self._text(key) for key in keys if not key.startswith(b"__")]

    def has(self, path: str) -> bool:
        return self._value(path) is not None

    def load(self, path: str) -> bytes:
        content = self._value(path)
        if content is None:
            raise RawDataError(
                "an image must be there", f"{path}: {self.file} has no such key", "complete it"
            )
        self._require_image(path.removeprefix(f"{self.name}/"), content)
        return content

    def _value(self, path: str) -> bytes | None:
        key = path.removeprefix(f"{self.name}/").encode("utf-8", "surrogatepass")
        if not key or len(key) > 511:  # LMDB's own limit
            return None
        with _reading(self.file) as read:
            found = read.get(key)
            return None if found is None else bytes(found)

    def _text(self, key: bytes) -> str:
        try:
            text = key.decode("utf-8")
        except UnicodeDecodeError:
            text = ""
        if not text or not text.isprintable() or nfc(text) != text:
            value = f"{self.file}: {shortened(repr(key), 100)}"
            raise RawDataError(
                "a key of an LMDB is printable text in composed UTF-8", value, "write it again"
            )
        return text

    def _require_image(self, key: str, value: Any) -> None:
        """RawDataError for a value that does not begin as an image file does."""
        start = bytes(value[:FIRST_BYTES])
        if not is_image_start(start):
            what = "a pickle, which is never read," if start[:1] == b"\x80" else f"{start[:8]!r} …"
            told = f"{self.name}/{key} begins with {what} and no image file"
            raise RawDataError("a value of an LMDB is an image file", told, "write the bytes of image files")


_OPEN: dict[str, tuple[tuple[int, ...], Any]] = {}  # LMDB may open a file once in a process
_LOCK = Lock()


def _reading(file: Path) -> Any:
    """A transaction that reads; values are views of the mapped file while it lasts."""
    return _environment(file).begin(buffers=True)


def _environment(file: Path) -> Any:
    """The open LMDB, opened again where the file has changed, or where this process was forked."""
    try:
        import lmdb
    except ImportError as error:
        value = f"{file}: lmdb is not installed"
        raise InputError("LMDB shards need lmdb", value, 'pip install "imgcomp[shards]"') from error
    try:
        place = file / "data.mdb" if file.is_dir() else file
        facts = place.stat()
        stamp = (os.getpid(), facts.st_size, facts.st_mtime_ns, facts.st_ino)
        with _LOCK:
            known = _OPEN.get(key := os.path.realpath(place))
            if known is not None and known[0] == stamp:
                return known[1]
            if known is not None:
                known[1].close()
            opened = lmdb.open(
                str(file), readonly=True, lock=False, subdir=file.is_dir(), readahead=False, create=False
            )
            whole = (opened.info()["last_pgno"] + 1) * opened.stat()["psize"]
            if facts.st_size < whole:  # to read what is mapped beyond the end would kill the process
                opened.close()
                _OPEN.pop(key, None)
                raise RawDataError(_RULE, f"{file}: {facts.st_size:,} of {whole:,} bytes", "copy it again")
            _OPEN[key] = (stamp, opened)
            return opened
    except lmdb.Error as error:
        raise RawDataError(_RULE, f"{file}: {error}", "restore it") from error
    except OSError as error:
        raise RawDataError(_RULE, f"{file}: {error.strerror}", "restore it") from error
