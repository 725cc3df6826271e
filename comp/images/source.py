"""Raw folders as one tree of files, and where an image's bytes come from."""

from __future__ import annotations

import fnmatch
import os
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from comp.errors import ImageError, RawDataError
from comp.manifest import is_ignored

Pixels = NDArray[np.uint8]


class ImageSource(Protocol):
    """Loads what a manifest's ``path`` names: a file's bytes, or pixels uint8 (H, W, 3) from an array."""

    def load(self, path: str) -> bytes | Pixels: ...


class RawTree:
    """The files of a raw folder, by posix path relative to it, sorted by their NFC names.

    Operating systems' litter (.DS_Store, Thumbs.db, __MACOSX …) is left out and counted in ``ignored``.
    """

    def __init__(self, raw: Path) -> None:
        self.raw = raw
        self.ignored = 0

    @cached_property
    def files(self) -> tuple[str, ...]:
        found: list[str] = []
        base = str(self.raw)
        for folder, subfolders, names in os.walk(base, followlinks=True):
            subfolders.sort()
            inside = os.path.relpath(folder, base).replace(os.sep, "/")
            prefix = "" if inside == "." else inside + "/"
            for name in names:
                if is_ignored(prefix + name):
                    self.ignored += 1
                else:
                    found.append(prefix + name)
        return tuple(sorted(found, key=lambda name: (unicodedata.normalize("NFC", name), name)))

    def glob(self, pattern: str) -> list[str]:
        """Files that match, part by part (``train/*/*`` has three parts), whatever the case of the suffix."""
        parts = pattern.split("/")
        return [
            f
            for f in self.files
            if f.count("/") == len(parts) - 1
            and all(fnmatch.fnmatchcase(a, b) for a, b in zip(f.split("/"), parts, strict=True))
        ]

    def load(self, path: str) -> bytes:
        """The bytes of a file.

        Raises
        ------
        ImageError
            If it cannot be read.
        """
        try:
            return (self.raw / path).read_bytes()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise ImageError("an image must be readable", f"{path}: {reason}", "restore the file, then `comp check`") from error


@dataclass(frozen=True)
class ArraySource:
    """Images held in one array: path ``NAME#i`` is row i of ``arrays[NAME]``, uint8 (N, H, W, 3)."""

    arrays: dict[str, Pixels]

    def load(self, path: str) -> Pixels:
        name, _, row = path.partition("#")
        try:
            return self.arrays[name][int(row)]
        except (KeyError, ValueError, IndexError) as error:
            raise ImageError("an array path is NAME#row", repr(path), "correct the adapter") from error


def describe_folder(raw: Path, limit: int = 6) -> str:
    """What lies at the top of a raw folder, in one line."""
    try:
        names = sorted(p.name + ("/" if p.is_dir() else "") for p in raw.iterdir() if not is_ignored(p.name))
    except OSError as error:
        raise RawDataError("the raw folder must be readable", f"{raw}: {error.strerror}", "check --data") from error
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "") if names else "nothing"
