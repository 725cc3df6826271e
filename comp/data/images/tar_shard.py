"""A tar of samples as webdataset writes them: KEY.jpg with KEY.cls, KEY.json or KEY.txt beside it is one sample."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.data import archives
from comp.data.csv_table import flat_record
from comp.data.images.raw_tree import is_ignored, is_image_name, nfc
from comp.data.images.shard import KEY
from comp.errors import RawDataError, shortened
from comp.files import Unreadable, parse_json

MOST_OPEN = 4096  # tars whose members are remembered, at some 50 bytes a member
LONGEST_CELL = 1 << 20  # bytes of a member that is a label
_SAMPLE = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL)
_NEVER_READ = ("pickle", "pkl", "pyd", "pth", "pt", "npy", "npz", "ten", "tb")  # code, or no text


@dataclass(frozen=True)
class TarIndex:
    """Where the M members of a tar lie.

    ``text`` has their names with a line end between, ``offsets`` and ``sizes`` int64 (M,) are in bytes, ``hashes``
    uint64 (M,) rising with ``order`` the member of each: names by themselves would take the memory several times over.
    """

    text: str
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    order: NDArray[np.int64]
    stamp: tuple[int, int]  # size in bytes and time of change in ns of the tar

    @property
    def names(self) -> list[str]:
        return self.text.split("\n") if self.text else []

    def find(self, name: str) -> int:
        """The number of a member, -1 where there is none of that name."""
        wanted = _hash(name)
        at = int(np.searchsorted(self.hashes, wanted))
        return int(self.order[at]) if at < len(self.hashes) and self.hashes[at] == wanted else -1


def tar_index(file: Path) -> TarIndex:
    """The members of a tar, by one walk over their headers; kept for as long as the file stays as it is.

    Raises
    ------
    RawDataError
        If it is cut off or damaged, or two members have one name.
    """
    try:
        facts = file.stat()
    except OSError as error:
        raise RawDataError("a shard must be readable", f"{file}: {error.strerror}", "restore it") from error
    return _index(file, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=MOST_OPEN)
def _index(file: Path, size: int, modified: int) -> TarIndex:
    members = [one for one in archives.tar_files(file) if not is_ignored(one[0])]
    names = [nfc(name) for name, _, _ in members]
    hashes = np.array([_hash(name) for name in names], np.uint64)
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    twice = np.flatnonzero(hashes[1:] == hashes[:-1])
    if len(twice):
        value = f"{file} has {names[order[twice[0]]]} more than once"
        raise RawDataError("a member of a shard has a name of its own", value, "write the shard again")
    offsets = np.array([offset for _, offset, _ in members], np.int64)
    sizes = np.array([length for *_, length in members], np.int64)
    return TarIndex("\n".join(names), offsets, sizes, hashes, order, (size, modified))


def _hash(name: str) -> np.uint64:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest))


class TarShard:
    """The samples of a tar, in the order in which the first member of each lies.

    The key of a sample is a member's path up to the first dot of its name, its columns are the rest of the names:
    ``cls``, ``txt``, and ``json.FIELD`` for the fields of a json. What pickles and arrays hold is never read.
    """

    def __init__(self, file: Path, name: str, image: str = "") -> None:
        self.file = file
        self.name = name
        self.image = image.lower().lstrip(".")
        self.index = tar_index(file)
        self.notes: list[str] = []
        self._kinds: dict[str, bool] = {}
        self.classes: Mapping[str, tuple[str, ...]] = {}
        self.layout: Mapping[str, str] = {}

    @cached_property
    def _samples(self) -> dict[str, dict[str, int]]:
        """The members of each sample by suffix, by key; the image's under the empty suffix.

        Raises
        ------
        RawDataError
            For a sample without an image, or with two.
        """
        samples: dict[str, dict[str, int]] = {}
        for number, member in enumerate(self.index.names):
            match = _SAMPLE.fullmatch(member)
            if match is None:
                self.notes.append(f"{self.name}/{member} is left out: its name has no key and suffix")
                continue
            key, suffix = match[1], match[2].lower()
            parts = samples.setdefault(key, {})
            if not self._is_image(suffix):
                parts[suffix] = number
            elif "" in parts:
                first = self.index.names[parts[""]]
                value = f"{self.name}: {first} and {member} are both of {key!r}"
                remedy = 'state which suffix images have, as in image = "jpg" in [data]'
                raise RawDataError("a sample of a shard has one image", value, remedy)
            else:
                parts[""] = number
        bare = next((key for key, parts in samples.items() if "" not in parts), None)
        if bare is not None:
            has = ", ".join(f"{bare}.{suffix}" for suffix in samples[bare])
            raise RawDataError(
                "a sample of a shard has an image", f"{self.name}: {bare!r} has {has}", "complete the shard"
            )
        return samples

    def _is_image(self, suffix: str) -> bool:
        known = self._kinds.get(suffix)
        if known is None:
            known = suffix == self.image if self.image else is_image_name(f"x.{suffix}")
            self._kinds[suffix] = known
        return known

    @cached_property
    def columns(self) -> tuple[str, ...]:
        found = dict.fromkeys(suffix for parts in self._samples.values() for suffix in parts if suffix)
        names: list[str] = []
        for suffix in found:
            if suffix == "json":
                names += self._fields()
            elif suffix.rpartition(".")[2] not in _NEVER_READ and not is_image_name(f"x.{suffix}"):
                names.append(suffix)
        return tuple(names)

    def _fields(self) -> list[str]:
        """The columns of the first sample's json."""
        number = next(parts["json"] for parts in self._samples.values() if "json" in parts)
        (content,) = self._texts([number])
        document = self._parsed(str(content), number)
        return [f"json.{name}" for name in flat_record(document)]

    def paths(self) -> list[str]:
        names = self.index.names
        return [f"{self.name}/{names[parts['']]}" for parts in self._samples.values()]

    def values(self, column: str) -> list[Any]:
        if column == KEY:
            return list(self._samples)
        if not column.startswith("json."):
            return self._texts([parts.get(column, -1) for parts in self._samples.values()])
        numbers = [parts.get("json", -1) for parts in self._samples.values()]
        field = column.removeprefix("json.")
        return [
            None if text is None else flat_record(self._parsed(text, number)).get(field)
            for text, number in zip(self._texts(numbers), numbers, strict=True)
        ]

    def has(self, path: str) -> bool:
        return self.index.find(path.removeprefix(f"{self.name}/")) >= 0

    def load(self, path: str) -> bytes:
        number = self.index.find(path.removeprefix(f"{self.name}/"))
        if number < 0:
            raise RawDataError(
                "an image must be there", f"{path}: {self.file} has no such member", "complete the shard"
            )
        (content,) = self._read([number])
        return content

    def _read(self, numbers: Sequence[int]) -> list[bytes]:
        """The bytes of some members; the file is opened anew, so that threads and forks may."""
        found = []
        try:
            with self.file.open("rb", buffering=0 if len(numbers) == 1 else -1) as opened:
                facts = os.fstat(opened.fileno())
                if (facts.st_size, facts.st_mtime_ns) != self.index.stamp:
                    value = f"{self.file} has changed since it was looked at"
                    raise RawDataError("a shard stays as it is while it is read", value, "begin again")
                for number in numbers:
                    size = int(self.index.sizes[number])
                    opened.seek(int(self.index.offsets[number]))
                    content = opened.read(size)
                    if len(content) < size:
                        raise RawDataError("a shard must be whole", f"{self.file} is cut off", "restore it")
                    found.append(content)
        except OSError as error:
            raise RawDataError(
                "a shard must be readable", f"{self.file}: {error.strerror}", "restore it"
            ) from error
        return found

    def _texts(self, numbers: Sequence[int]) -> list[str | None]:
        """The texts of members; None for the number -1.

        Raises
        ------
        RawDataError
            For what is no text in UTF-8, or longer than a label.
        """
        there = [number for number in numbers if number >= 0]
        large = next((number for number in there if self.index.sizes[number] > LONGEST_CELL), None)
        if large is not None:
            value = f"{self.name}/{self.index.names[large]}: {self.index.sizes[large]:,} bytes"
            raise RawDataError("a label of a sample is short", value, "name another column")
        contents = iter(self._read(there))
        return [None if number < 0 else self._decoded(next(contents), number) for number in numbers]

    def _decoded(self, content: bytes, number: int) -> str:
        try:
            return content.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            value = f"{self.name}/{self.index.names[number]}: {shortened(repr(content), 60)}"
            raise RawDataError(
                "a label of a sample is text in UTF-8", value, "write the shard again"
            ) from error

    def _parsed(self, text: str, number: int) -> Mapping[str, Any]:
        try:
            document = parse_json(text)
        except Unreadable as error:
            value = f"{self.name}/{self.index.names[number]}: {error}"
            raise RawDataError("the json of a sample must be readable", value, "restore the shard") from error
        return document if isinstance(document, dict) else {"": document}
