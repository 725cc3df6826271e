"""Where an image's bytes or pixels come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from comp.errors import ImageError, RawDataError
from comp.images.tree import RawTree as RawTree
from comp.names import is_ignored

Pixels = NDArray[np.uint8]


class ImageSource(Protocol):
    """Loads what a manifest's ``path`` names: a file's bytes, or pixels uint8 (H, W, 3) from an array."""

    def load(self, path: str) -> bytes | Pixels: ...


@dataclass(frozen=True)
class ArraySource:
    """Images held in one array: path ``NAME#i`` is row i of ``arrays[NAME]``, uint8 (N, H, W, 3), any strides."""

    arrays: dict[str, Pixels]

    def load(self, path: str) -> Pixels:
        name, _, row = path.partition("#")
        try:
            return np.ascontiguousarray(self.arrays[name][int(row)])
        except (KeyError, ValueError, IndexError) as error:
            raise ImageError("an array path is NAME#row", repr(path), "correct the adapter") from error


@dataclass(frozen=True)
class WithFiles:
    """A competition's own source, and beside it files by absolute path (the rows of ``--extra``)."""

    own: ImageSource

    def load(self, path: str) -> bytes | Pixels:
        if not Path(path).is_absolute():
            return self.own.load(path)
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise ImageError(
                "an image must be readable", f"{path}: {error.strerror}", "correct the --extra table"
            ) from error


def describe_folder(raw: Path, limit: int = 6) -> str:
    """What lies at the top of a raw folder, in one line."""
    try:
        names = sorted(p.name + ("/" if p.is_dir() else "") for p in raw.iterdir() if not is_ignored(p.name))
    except OSError as error:
        raise RawDataError(
            "the raw folder must be readable", f"{raw}: {error.strerror}", "check --data"
        ) from error
    return (
        ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
        if names
        else "nothing"
    )
