"""Where an image's bytes or pixels come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from comp.config import whole_number
from comp.data.images.raw_tree import is_ignored
from comp.data.limits import read_file
from comp.errors import CompError, ImageError, RawDataError

Pixels = NDArray[np.uint8]
Inner = TypeVar("Inner")


class ImageSource(Protocol):
    """Loads what a manifest's ``path`` names: a file's bytes, or pixels uint8 (H, W, 3) from an array."""

    def load(self, path: str) -> bytes | Pixels: ...


@dataclass(frozen=True)
class ArraySource:
    """Images held in one array: path ``NAME#i`` is row i of ``arrays[NAME]``, uint8 (N, H, W, 3), any strides."""

    arrays: dict[str, Pixels]

    def load(self, path: str) -> Pixels:
        name, _, text = path.rpartition("#")
        row = whole_number(text)
        try:
            if row is None or row < 0:  # numpy would count from the end
                raise IndexError(text)
            return np.ascontiguousarray(self.arrays[name][row])
        except (KeyError, ValueError, IndexError) as error:
            has = ", ".join(f"{name} with {len(array):,} rows" for name, array in self.arrays.items())
            value = f"{path!r}; there is {has or 'no array'}"
            raise ImageError("an array path is NAME#row", value, "correct the adapter") from error


@dataclass(frozen=True)
class WithFiles:
    """A competition's own source, and beside it files by absolute path (the rows of ``extra``)."""

    own: ImageSource

    @property
    def gives_files(self) -> bool:
        return gives_files(self.own)

    def file_of(self, path: str) -> str:
        return path if Path(path).is_absolute() else file_of(self.own, path)

    def has(self, path: str) -> bool:
        return gives(self.own, path)

    def load(self, path: str) -> bytes | Pixels:
        if not Path(path).is_absolute():
            return self.own.load(path)
        try:
            return read_file(Path(path))
        except RawDataError as error:
            raise ImageError("an image must be readable", error.value, error.remedy) from error
        except OSError as error:
            raise ImageError(
                "an image must be readable", f"{path}: {error.strerror}", "correct the `extra` table"
            ) from error


class _GivesSource(Protocol):
    """What an adapter is to its images; ``file`` is for errors."""

    @property
    def file(self) -> str: ...

    def source(self, raw: Path) -> ImageSource: ...


@dataclass(frozen=True)
class AdapterSource:
    """What an adapter's ``source`` gives, held to what an image source may give.

    Nothing is converted: whether 0 … 1 or channels in front were meant cannot be seen from the numbers. It is pickled
    as the adapter and the raw folder, which give the source again: what it has open stays here.
    """

    own: ImageSource
    adapter: _GivesSource
    raw: Path
    any_array: bool = False  # [images] states a scale for what is no photograph

    def __reduce__(self) -> tuple[Any, ...]:
        return _given_again, (self.adapter, self.raw, self.any_array)

    def load(self, path: str) -> bytes | Pixels:
        """
        Raises
        ------
        RawDataError
            For anything but bytes, or an array uint8 (H, W, 3) with a pixel or more; for whatever the adapter raises.
        """
        try:
            content = self.own.load(path)
        except CompError:
            raise
        except Exception as error:
            value = f"{self.adapter.file}, {path}: {type(error).__name__}: {error}"
            raise RawDataError("a source must load every row", value, "correct the adapter") from error
        if isinstance(content, bytes) or (self.any_array and _is_numbers(content)):
            return content
        if (
            not self.any_array
            and isinstance(content, np.ndarray)
            and content.dtype == np.uint8
            and content.ndim == 3
            and content.shape[2] == 3
            and content.size
        ):
            return np.ascontiguousarray(content)
        value = f"{self.adapter.file}, {path}: found {_kind(content)}"
        if self.any_array:
            rule = "a source gives bytes of a file, or an array of numbers (H, W) or (H, W, N)"
            raise RawDataError(rule, value, "correct the adapter's source")
        remedy = "state [images] channels and range in competition.toml, or give pixels: 0 … 255, channels last, grey three times"
        raise RawDataError("a source gives bytes of a file, or pixels uint8 (H, W, 3)", value, remedy)


def _given_again(adapter: _GivesSource, raw: Path, any_array: bool = False) -> AdapterSource:
    return AdapterSource(adapter.source(raw), adapter, raw, any_array)


def _is_numbers(content: object) -> bool:
    """Whether something is an array of real numbers that may be an image."""
    is_array = isinstance(content, np.ndarray) and content.ndim in (2, 3) and bool(content.size)
    return is_array and content.dtype.kind in "biuf"  # type: ignore[attr-defined]


def layer(source: Any, kind: type[Inner]) -> Inner | None:
    """The source of that kind, around which others may lie; None where there is none."""
    while source is not None and not isinstance(source, kind):
        source = getattr(source, "own", None)
    return source


def gives_files(source: ImageSource) -> bool:
    """Whether a source gives files as they lie, so that a file whose size and times are known need not be read again."""
    return bool(getattr(source, "gives_files", False))


def file_of(source: ImageSource, path: str) -> str:
    """The file of the raw folder that an image is read from: the path itself, or the shard that has it."""
    own = getattr(source, "file_of", None)
    return path if own is None else str(own(path))


def gives(source: ImageSource, path: str) -> bool:
    """Whether a source that can tell says that there is an image of that path; False where it cannot tell."""
    own = getattr(source, "has", None)
    return own is not None and bool(own(path))


def _kind(content: object) -> str:
    """What a value is, in few words."""
    shape = getattr(content, "shape", None)
    dtype = getattr(content, "dtype", None)
    if shape is not None and dtype is not None:
        return f"{dtype} {tuple(shape)}"
    return "None" if content is None else f"a {type(content).__name__}"


def describe_folder(raw: Path, limit: int = 6) -> str:
    """What lies at the top of a raw folder, in one line."""
    try:
        names = sorted(p.name + ("/" if p.is_dir() else "") for p in raw.iterdir() if not is_ignored(p.name))
    except OSError as error:
        raise RawDataError(
            "the raw folder must be readable", f"{raw}: {error.strerror}", "check `data`"
        ) from error
    return (
        ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
        if names
        else "nothing"
    )
