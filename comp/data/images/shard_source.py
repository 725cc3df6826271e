"""Images in shards (parquet files, tars of samples, LMDBs), each read where it lies: which shards there are, and a source."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from threading import Lock

from comp.data.images.raw_tree import is_ignored, natural_key
from comp.data.images.shard import Shard
from comp.data.limits import require_size
from comp.errors import ImageError, InputError, RawDataError

KINDS = {".parquet": "parquet", ".tar": "tar", ".lmdb": "lmdb", ".mdb": "lmdb"}
PACKED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz", ".zip")
_LOCKS = ("-lock", "lock.mdb")  # which LMDB writes beside its data
_NUMBERED = re.compile(r"(?P<before>.*)-(?P<number>\d+)-of-(?P<total>\d+)(?P<after>[^/]*)")
_WILD = "*?["


class ShardSource:
    """The images of some shards of a raw folder, by path: ``train-0.parquet#17``, ``train-0.tar/KEY.jpg``, ``x.lmdb/KEY``.

    Parameters
    ----------
    raw : Path
    patterns : sequence of str
        Globs of shards, relative to the raw folder.
    image : str
        The column, or in a tar the suffix, that images have; empty where each row has but one image.

    Safe for threads. It is pickled as these, and opens its shards again.
    """

    gives_files = True  # a row of a shard whose size and times are known need not be read again

    def __init__(self, raw: Path, patterns: Sequence[str], image: str = "") -> None:
        self.raw = raw
        self.patterns = tuple(patterns)
        self.image = image
        self._open: dict[str, Shard] = {}
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[ShardSource], tuple[Path, tuple[str, ...], str]]:
        return type(self), (self.raw, self.patterns, self.image)

    @cached_property
    def names(self) -> frozenset[str]:
        """The shards that are there, by path in the raw folder."""
        found: list[str] = []
        for pattern in self.patterns:
            # a folder may have the rows to predict alone; whoever reads the rows judges that
            with suppress(RawDataError):
                found += list_shards(self.raw, pattern)
        return frozenset(found)

    def shard(self, name: str) -> Shard:
        """A shard by its name, opened once."""
        with self._lock:
            found = self._open.get(name)
            if found is None:
                found = self._open[name] = open_shard(self.raw, name, self.image)
        return found

    def file_of(self, path: str) -> str:
        """The file whose size and times change when a row does; the path itself where no shard has it."""
        name = self._name_of(path)
        return _file(self.raw, name) if name else path

    def has(self, path: str) -> bool:
        """Whether there is a row of that path."""
        name = self._name_of(path)
        try:
            return bool(name) and self.shard(name).has(path)
        except InputError:
            return False

    def load(self, path: str) -> bytes:
        """The bytes of an image's file.

        Raises
        ------
        ImageError
            If there is no such row, or it cannot be read or is too large.
        """
        name = self._name_of(path)
        try:
            if not name:
                raise RawDataError(
                    "an image must be there", f"{path}: no shard has it", "complete the download"
                )
            content = self.shard(name).load(path)
            require_size(path, len(content))
        except RawDataError as error:
            told = error.value if path in error.value else f"{path}: {error.value}"
            remedy = error.remedy or "restore the shard, then `comp check`"
            raise ImageError("an image must be readable", told, remedy) from error
        return content

    def _name_of(self, path: str) -> str:
        """The shard that a path names first; empty where it names none."""
        row = path.rpartition("#")[0]
        if row in self.names:
            return row
        ends = (place.start() for place in re.finditer("/", path))
        return next((path[:end] for end in ends if path[:end] in self.names), "")


def open_shard(raw: Path, name: str, image: str = "") -> Shard:
    """The shard of that name in a raw folder.

    Raises
    ------
    InputError
        If it cannot be read, has no images, or wants a package that is not installed.
    """
    kind = kind_of(raw / name)
    if kind == "parquet":
        from comp.data.images.parquet_shard import ParquetShard

        return ParquetShard(raw / name, name, image)
    if kind == "lmdb":
        from comp.data.images.lmdb_shard import LmdbShard

        return LmdbShard(raw / name, name)
    from comp.data.images.tar_shard import TarShard

    return TarShard(raw / name, name, image)


def kind_of(path: Path) -> str:
    """What kind of shard a path is, ``parquet``, ``tar`` or ``lmdb``; empty for what is none."""
    if path.is_dir():
        return "lmdb" if (path / "data.mdb").is_file() else ""
    return KINDS.get(path.suffix.lower(), "")


def list_shards(raw: Path, pattern: str) -> list[str]:
    """The shards of a glob in natural order of their names (2 before 10), by path in the raw folder.

    Raises
    ------
    RawDataError
        If there are none, files that are no shards, several kinds, or fewer than their names say there are.
    """
    paths = raw.glob(pattern) if set(pattern) & set(_WILD) else [raw / pattern]
    found = [path.relative_to(raw).as_posix() for path in paths if path.exists()]
    found = [name for name in found if not is_ignored(name) and not name.endswith(_LOCKS)]
    names = [name for name in found if (raw / name).is_file() or kind_of(raw / name)]
    rule = "shards are parquet files, tars or LMDBs in the raw folder"
    if not names:
        raise RawDataError(rule, f"{raw}: {pattern} finds none", "complete the download, or correct the glob")
    kinds = {name: kind_of(raw / name) for name in names}
    wrong = next((name for name, kind in kinds.items() if not kind), None)
    if wrong is not None:
        packed = wrong.lower().endswith(PACKED)
        remedy = "unpack it to a plain .tar: rows are read in any order" if packed else "narrow the glob"
        raise RawDataError(rule, f"{pattern} finds {wrong}", remedy)
    if len(set(kinds.values())) > 1:
        value = f"{pattern} finds {' and '.join(sorted(set(kinds.values())))}"
        raise RawDataError("the shards of a set are of one kind", value, "narrow the glob")
    _require_all(raw, names)
    return sorted(names, key=natural_key)


def _require_all(raw: Path, names: Sequence[str]) -> None:
    """RawDataError where names such as ``train-00000-of-00004`` say that there are more shards."""
    sets: defaultdict[tuple[str, str, str], set[int]] = defaultdict(set)
    for name in names:
        if match := _NUMBERED.fullmatch(name):
            sets[match["before"], match["total"], match["after"]].add(int(match["number"]))
    for (before, total, after), numbers in sets.items():
        count, first = int(total), min(numbers)
        if len(numbers) < count or numbers != set(range(min(first, 1), min(first, 1) + count)):
            value = f"{raw}: {before}-*-of-{total}{after} are {len(numbers)} of {count}"
            raise RawDataError("all shards of a set must be there", value, "complete the download")


def _file(raw: Path, name: str) -> str:
    return f"{name}/data.mdb" if (raw / name / "data.mdb").is_file() else name
