"""Tables of tensors in files, written by torch, with what the disk says about it."""

from __future__ import annotations

from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import IO, Any, cast

import torch

from comp.files import atomic, sha256_of


def save_tensors(path: Path, table: dict[str, Any], announce: Callable[[str], None] | None = None) -> str:
    """Writes what ``torch.load(path, weights_only=True)`` reads back, all or nothing; returns the file's SHA-256.

    ``announce`` is given the SHA-256 before the file replaces an older one.

    Raises
    ------
    InputError
        If the disk does not take all of it, with the disk's own reason.
    """
    with atomic(path) as part:
        with FileIO(part, "wb") as file:
            out = _Listening(file)
            try:
                torch.save(table, cast("IO[bytes]", out))
            except RuntimeError:
                if out.failure is not None:
                    raise out.failure from None
                raise
        sha256 = sha256_of(part)
        if announce is not None:
            announce(sha256)
    return sha256


class _Listening:
    """A file that remembers why it could not be written: torch says "unexpected pos" whatever it was."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self.failure: OSError | None = None

    def write(self, content: Any) -> int:
        left = memoryview(content).cast("B")
        size = len(left)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self.failure = error
            raise
        return size

    def flush(self) -> None:
        self._file.flush()
