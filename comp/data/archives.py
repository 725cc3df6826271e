"""Zips and tars read in place: an index of their members, and any member's bytes, from any thread.

What cannot be read in any order (a .tar.gz, a .7z, an archive in an archive) is unpacked once, into the cache.

Members that leave the folder, links, devices and bombs are refused, by the name of the member.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import IO

from comp.data.tar_headers import Unusual, plain_files
from comp.errors import RawDataError
from comp.files import atomic, make_folder
from comp.workspace import cache_folder

SUFFIXES = (".zip", ".tar")  # those whose members can be read in any order
STREAMS = (".tar.gz", ".tgz")  # those that can only be read from the front
LARGEST_RATIO = 100  # unpacked to packed; photographs have 1, text has 10
SMALL = 1 << 30  # bytes; below this an archive may shrink as well as it likes
_BLOCK = 1 << 20  # bytes
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
    """The index of an archive, kept for as long as the file stays as it is.

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
        found = _any_index(archive)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, struct.error, NotImplementedError) as error:
        raise _broken(archive, str(error)) from error
    except OSError as error:
        raise _broken(archive, error.strerror or str(error)) from error
    _refuse_bomb(archive, size, found)
    return found


def _any_index(archive: Path) -> Index:
    name = archive.name.lower()
    if name.endswith(".zip"):
        return _zip_index(archive)
    if name.endswith(".7z"):
        return _folder_index(archive, _from_7z(archive))
    return _tar_index(_plain_tar(archive) if name.endswith(STREAMS) else archive)


def unpacked(member: Member) -> Path:
    """An archive that lies in an archive, as a file of its own in the cache: it is copied once."""
    facts = member.archive.stat()
    key = (os.path.realpath(member.archive), facts.st_size, facts.st_mtime_ns, member.name)
    target = _cached(key, PurePosixPath(member.name).name)
    if not target.exists():
        with atomic(target) as part, part.open("wb") as to, member.archive.open("rb") as source:
            _copy(source, member, to)
    return target


def _cached(key: tuple[object, ...], name: str) -> Path:
    """Where the cache has what is unpacked of something; the folder is new for another size or time."""
    digest = hashlib.sha256(repr(key).encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return cache_folder() / "archives" / digest / name


def _copy(source: IO[bytes], member: Member, to: IO[bytes]) -> None:
    """The bytes of a member, a block at a time; RawDataError where it is cut off or damaged."""
    source.seek(member.offset)
    inflate = None
    if member.method >= 0:
        _to_data(source)
        inflate = None if member.method == zipfile.ZIP_STORED else zlib.decompressobj(-15)
    left, size, crc = member.packed, 0, 0
    try:
        while left and (block := source.read(min(left, _BLOCK))):
            left -= len(block)
            plain = block if inflate is None else inflate.decompress(block)
            size, crc = size + len(plain), zlib.crc32(plain, crc)
            to.write(plain)
    except zlib.error as error:
        raise _broken(member.archive, f"{member.name}: {error}") from error
    if size != member.size or (member.crc is not None and crc != member.crc):
        raise _broken(member.archive, f"{member.name} is cut off or damaged")


def _plain_tar(archive: Path) -> Path:
    """A .tar.gz as a plain tar in the cache, whose members can be read in any order."""
    facts = archive.stat()
    target = _cached((os.path.realpath(archive), facts.st_size, facts.st_mtime_ns), archive.name)
    most = max(SMALL, LARGEST_RATIO * facts.st_size)
    if not target.exists():
        try:
            with atomic(target) as part, part.open("wb") as to, gzip.open(archive, "rb") as source:
                size = 0
                while block := source.read(_BLOCK):
                    size += len(block)
                    if size > most:
                        raise _refused(archive, f"it would unpack to more than {most:,} bytes")
                    to.write(block)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _broken(archive, str(error)) from error
    return target


def _from_7z(archive: Path) -> Path:
    """The folder in the cache that a .7z was unpacked into; py7zr refuses members that leave it."""
    import importlib

    facts = archive.stat()
    target = _cached((os.path.realpath(archive), facts.st_size, facts.st_mtime_ns), archive.name)
    if (target / "whole").exists():
        return target / "files"
    shutil.rmtree(target, ignore_errors=True)
    make_folder(target / "files")
    try:
        with importlib.import_module("py7zr").SevenZipFile(archive) as opened:
            size = sum(one.uncompressed for one in opened.list())
            if size > max(SMALL, LARGEST_RATIO * facts.st_size):
                raise _refused(archive, f"{facts.st_size:,} bytes would unpack to {size:,}")
            for name in opened.getnames():
                _safe(archive, name)
            opened.extractall(target / "files")
    except RawDataError:
        raise
    except Exception as error:  # py7zr's own
        raise _broken(archive, f"{type(error).__name__}: {error}") from error
    (target / "whole").touch()
    return target / "files"


def _folder_index(archive: Path, folder: Path) -> Index:
    files: dict[str, Member] = {}
    folders = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise _refused(archive, f"{name} is a link")
        if path.is_dir():
            folders.append(name)
        else:
            size = path.stat().st_size
            files[name] = Member(path, name, 0, size, size, -1)
    return Index(files, tuple(folders))


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
    """Whether a file name is that of an archive that can be read: in place, or from a copy in the cache."""
    lowered = name.lower()
    return lowered.endswith((*SUFFIXES, *STREAMS)) or (lowered.endswith(".7z") and _reads_7z())


def stem_of(name: str) -> str:
    """The name of an archive without its suffixes: ``train`` of ``train.tar.gz``."""
    suffix = next((one for one in (*STREAMS, *SUFFIXES, ".7z") if name.lower().endswith(one)), "")
    return name[: len(name) - len(suffix)]


def how_to_unpack(name: str) -> str:
    """What to do about a packed file that cannot be read here, by its name; empty for any other."""
    lowered = name.lower()
    if lowered.endswith((".7z", ".7z.001")) and not is_archive(name):
        return f"unpack it: 7z x {name}" + ("" if lowered.endswith(".001") else " (or install py7zr)")
    if lowered.endswith(".rar"):
        return f"unpack it: unrar x {name}"
    if lowered.endswith((".zip.001", ".z01")):
        return "join its parts and unpack them: 7z x " + name
    if lowered.endswith(".bson"):
        return f"convert it: an image file for each picture in {name}, and a CSV of ids and labels"
    return ""


@lru_cache(maxsize=1)
def _reads_7z() -> bool:
    return find_spec("py7zr") is not None


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
    for name, info in _tar_members(archive):
        if info.isdir():
            folders.append(name)
        else:  # the last of a name wins
            files[name] = Member(archive, name, info.offset_data, info.size, info.size, -1)
    return Index(files, tuple(folders))


def tar_files(archive: Path) -> Iterator[tuple[str, int, int]]:
    """Path, offset of the bytes and size of each file of a tar, in the order in which they lie.

    Raises
    ------
    RawDataError
        If it is no tar, is cut off, or has a member that is refused.
    """
    try:
        with suppress(Unusual):
            members, end = plain_files(archive)
            _require_end(archive, end)
            yield from ((_safe(archive, name), offset, size) for name, offset, size in members)
            return
        for name, info in _tar_members(archive):
            if not info.isdir():
                yield name, info.offset_data, info.size
    except (tarfile.TarError, EOFError, struct.error) as error:
        raise _broken(archive, str(error)) from error
    except OSError as error:
        raise _broken(archive, error.strerror or str(error)) from error


def _tar_members(archive: Path) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """The files and folders of a tar, which ends as a tar does: cut off between two members it would only be shorter."""
    with tarfile.open(archive, "r:") as opened:
        while (info := opened.next()) is not None:
            vars(opened)["members"] = []  # which tarfile would keep all
            name = _safe(archive, _guess(info.name.encode("utf-8", "surrogateescape"), info.name))
            if not info.isdir():
                _require_file(archive, info)
            yield name, info
        end = opened.offset
    _require_end(archive, end)


def _require_end(archive: Path, end: int) -> None:
    """RawDataError where a tar's end is no mark of its end, or not the end of the file."""
    with archive.open("rb") as source:
        source.seek(end)
        mark = source.read(tarfile.BLOCKSIZE)
        if len(mark) < tarfile.BLOCKSIZE:
            raise _broken(archive, f"its end is missing after byte {end:,}: it is cut off")
        if any(mark):
            raise _broken(archive, f"damaged at byte {end:,}")
        while block := source.read(_BLOCK):
            if block.count(0) < len(block):
                value = f"something follows its end at byte {end:,}: several tars in one file?"
                raise _broken(archive, value)


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
    if not name.isprintable() and any(unicodedata.category(c) == "Cc" for c in name):
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
