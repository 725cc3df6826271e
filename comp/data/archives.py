"""Zips and tars read in place: an index of their members, and any member's bytes, from any thread.

Members that leave the folder, links, devices and bombs are refused, by the name of the member.
"""

from __future__ import annotations

import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

from comp.errors import RawDataError

SUFFIXES = (".zip", ".tar")  # those whose members can be read in any order
STREAMS = (".tar.gz", ".tgz")  # those that can only be read from the front
LARGEST_RATIO = 100  # unpacked to packed; photographs have 1, text has 10
SMALL = 1 << 30  # bytes; below this an archive may shrink as well as it likes
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")


@dataclass(frozen=True)
class Member:
    """Where a file lies in its archive: ``offset`` of its header (zip) or its bytes (tar), sizes in bytes."""

    archive: Path
    name: str
    offset: int
    packed: int
    size: int
    method: int
    crc: int | None = None


@dataclass(frozen=True)
class Index:
    """The files of an archive by posix path, as they would lie after unpacking, and its folders."""

    files: dict[str, Member]
    folders: tuple[str, ...]


def index(archive: Path) -> Index:
    """The index of a .zip or .tar, kept for as long as the file stays as it is.

    Raises
    ------
    RawDataError
        If it is cut off, encrypted, or has a member that is refused.
    """
    facts = archive.stat()
    return _index(archive, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=16)
def _index(archive: Path, size: int, _modified: int) -> Index:
    try:
        found = _zip_index(archive) if archive.suffix.lower() == ".zip" else _tar_index(archive)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, struct.error, NotImplementedError) as error:
        raise _broken(archive, str(error)) from error
    except OSError as error:
        raise _broken(archive, error.strerror or str(error)) from error
    _refuse_bomb(archive, size, found)
    return found


def read(member: Member) -> bytes:
    """The bytes of a member, whole and with their checksum; opens the archive anew, so that threads and forks may.

    Raises
    ------
    RawDataError
        If the archive is cut off or damaged there.
    """
    try:
        with member.archive.open("rb") as source:
            if member.method < 0:
                source.seek(member.offset)
                content = source.read(member.size)
            else:
                content = _unzip(source, member)
    except (OSError, zlib.error, struct.error) as error:
        raise _broken(member.archive, f"{member.name}: {error}") from error
    if len(content) != member.size or (member.crc is not None and zlib.crc32(content) != member.crc):
        raise _broken(member.archive, f"{member.name} is cut off or damaged")
    return content


def read_start(member: Member, count: int) -> bytes:
    """The first ``count`` bytes of a member, or all where it has fewer; nothing of the rest is unpacked.

    Raises
    ------
    RawDataError
        If the archive is cut off or damaged there.
    """
    try:
        with member.archive.open("rb") as source:
            source.seek(member.offset)
            if member.method < 0:
                return source.read(min(count, member.size))
            _to_data(source)
            packed = source.read(min(member.packed, count + 4096))
            if member.method == zipfile.ZIP_STORED:
                return packed[:count]
            return zlib.decompressobj(-15).decompress(packed, count)
    except (OSError, zlib.error, struct.error) as error:
        raise _broken(member.archive, f"{member.name}: {error}") from error


@contextmanager
def stream(archive: Path, name: str) -> Iterator[IO[bytes]]:
    """One member of a .tar.gz as a file, read from the front without unpacking the others.

    Raises
    ------
    RawDataError
        If there is no such member, or it is a link, or a bomb.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for info in tar:
                inside = _safe(archive, info.name)
                if not info.isdir():
                    _require_file(archive, info)
                if info.size > max(SMALL, LARGEST_RATIO * archive.stat().st_size):
                    raise _refused(archive, f"{info.name} would unpack to {info.size:,} bytes")
                opened = tar.extractfile(info) if inside == name else None
                if opened is not None:
                    yield opened
                    return
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise _broken(archive, str(error)) from error
    except OSError as error:
        raise _broken(archive, error.strerror or str(error)) from error
    raise RawDataError(
        "an archive must hold what its layout says", f"{archive} has no {name}", "download it again"
    )


def is_archive(name: str) -> bool:
    """Whether a file name is that of an archive whose members can be read in place."""
    return name.lower().endswith(SUFFIXES)


def _zip_index(archive: Path) -> Index:
    files: dict[str, Member] = {}
    folders: list[str] = []
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            name = _safe(archive, _zip_name(info))
            if info.is_dir():
                folders.append(name)
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                raise _refused(archive, f"{name} is a link")
            if info.flag_bits & 1:
                raise _refused(archive, f"{name} is encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _refused(archive, f"{name} is packed by method {info.compress_type}")
            if name in files:
                raise _refused(archive, f"{name} stands in it twice")
            files[name] = Member(
                archive,
                name,
                info.header_offset,
                info.compress_size,
                info.file_size,
                info.compress_type,
                info.CRC,
            )
    return Index(files, tuple(folders))


def _tar_index(archive: Path) -> Index:
    files: dict[str, Member] = {}
    folders: list[str] = []
    with tarfile.open(archive, "r:") as opened:
        for info in opened:
            name = _safe(archive, _guess(info.name.encode("utf-8", "surrogateescape"), info.name))
            if info.isdir():
                folders.append(name)
                continue
            _require_file(archive, info)
            files[name] = Member(
                archive, name, info.offset_data, info.size, info.size, -1
            )  # the last of a name wins
    return Index(files, tuple(folders))


def _unzip(source: IO[bytes], member: Member) -> bytes:
    source.seek(member.offset)
    _to_data(source)
    packed = source.read(member.packed)
    if member.method == zipfile.ZIP_STORED:
        return packed
    return zlib.decompressobj(-15).decompress(packed, member.size + 1)  # never more than was declared


def _to_data(source: IO[bytes]) -> None:
    """From a member's local header to its bytes."""
    header = _LOCAL_HEADER.unpack(source.read(_LOCAL_HEADER.size))
    source.seek(header[-2] + header[-1], 1)  # the name and the extra field


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name of a member; without the UTF-8 flag zipfile reads it as cp437, which Windows and macOS seldom mean."""
    name = info.orig_filename.split("\0", 1)[0]
    if not info.flag_bits & 0x800:
        name = _guess(name.encode("cp437", "replace"), name)
    return name.replace("\\", "/") if "/" not in name else name


def _guess(name: bytes, otherwise: str) -> str:
    for encoding in ("utf-8", "cp949"):
        try:
            return name.decode(encoding)
        except UnicodeDecodeError:
            continue
    return otherwise


def _safe(archive: Path, name: str) -> str:
    """The posix path of a member, without ``./``; refused where it would lie outside the folder."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith("/") or ".." in parts or (len(parts[0]) == 2 and parts[0][1] == ":"):
        raise _refused(archive, f"{name} leaves the folder")
    if any(unicodedata.category(c) == "Cc" for c in name):
        raise _refused(archive, f"{name!r} has control characters")
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _require_file(archive: Path, info: tarfile.TarInfo) -> None:
    if info.issym() or info.islnk():
        raise _refused(archive, f"{info.name} is a link to {info.linkname}")
    if not info.isreg() or info.issparse():
        raise _refused(archive, f"{info.name} is no plain file")


def _refuse_bomb(archive: Path, size: int, found: Index) -> None:
    unpacked = sum(member.size for member in found.files.values())
    if unpacked > max(SMALL, LARGEST_RATIO * size):
        raise _refused(archive, f"{size:,} bytes would unpack to {unpacked:,}")


def _refused(archive: Path, value: str) -> RawDataError:
    rule = "an archive must hold plain files that stay in the folder"
    return RawDataError(
        rule, f"{archive}: {value}", "is it the competition's own? download it again, or unpack it by hand"
    )


def _broken(archive: Path, reason: str) -> RawDataError:
    return RawDataError("an archive must be readable and whole", f"{archive}: {reason}", "download it again")
