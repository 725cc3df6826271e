"""Arrays too large for memory, kept in a file without a name and read back by slices."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from comp.files import unwritable

Halves = NDArray[np.float16]


class Spilled:
    """A list of float16 arrays (n, D) on disk, for a `with` block: append them, then read slices of each.

    The file lies in `folder`, which is made if need be, and has no name: whatever becomes of the process, nothing is
    left. It is read rather than mapped, so that its pages are no memory of the process, and a full disk is an error
    instead of a signal. For one thread at a time.

    Raises InputError (one line) where the folder or its disk does not take it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pieces: list[tuple[int, int, int]] = []  # first byte, rows, width
        self._end = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise unwritable(folder, error) from error

    def __enter__(self) -> Spilled:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._pieces)

    def append(self, array: Halves) -> None:
        """Write one more array (n, D)."""
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        try:
            self._file.seek(self._end)
            while len(content):
                content = content[self._file.write(content) :]
        except OSError as error:
            raise unwritable(self._folder, error) from error
        self._pieces.append((self._end, *array.shape))
        self._end += array.nbytes

    def part(self, piece: int, low: int = 0, high: int | None = None) -> Halves:
        """Rows `low` to `high` of the array that was appended as number `piece`."""
        start, rows, width = self._pieces[piece]
        low, high, _ = slice(low, high).indices(rows)
        out = np.empty((max(0, high - low), width), np.float16)
        content = out.reshape(-1).view(np.uint8).data
        try:
            self._file.seek(start + low * width * out.itemsize)
            while len(content):
                got = self._file.readinto(content)
                if not got:
                    raise OSError("the file has become shorter")
                content = content[got:]
        except OSError as error:
            raise unwritable(self._folder, error) from error
        return out
