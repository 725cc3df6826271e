"""A raw folder as one tree of files, zips and tars in it included, and what names of files say."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import unicodedata
from functools import cached_property
from pathlib import Path

from comp.data import archives
from comp.data.archives import Index, Member
from comp.data.limits import TABLES, read_file, require_size
from comp.errors import ImageError, RawDataError

IGNORED_FILES = {".ds_store", "thumbs.db", "desktop.ini", "__macosx"}
_MAYBE_IGNORED = re.compile(r"\._|\.db|\.ini|_store|_macosx", re.IGNORECASE)
_SUFFIXES = (
    ".jpg .jpeg .jpe .jif .jfif .png .apng .webp .bmp .dib .tif .tiff .gif .avif "
    ".jp2 .j2k .jpf .jpx .ppm .pgm .pbm .pnm .tga"
)
IMAGE_SUFFIXES = frozenset(_SUFFIXES.split())
ARRAY_SUFFIXES = frozenset({".npy", ".npz", ".dcm", ".dicom"})  # where a pattern ends in one of them
FIRST_BYTES = 32
DEEPEST = 3  # archives within archives
_IN_SHARD = re.compile(r"\.(tar|lmdb|mdb)/|\.parquet#[0-9]+$", re.IGNORECASE)
_STARTS = (
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|II[*+]\0|MM\0[*+]|....ftypavi[fs]"  # JPEG to AVIF
    rb"|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51|BM....\0\0\0\0"  # JPEG 2000, its bare stream, BMP
)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which ``img2`` comes before ``img10``.

    Numbers of any length compare as numbers and text as NFC text; names that differ only in leading zeros fall back on
    text.
    """
    parts = re.split(r"(\d+)", nfc(name))
    key = [_number(part) if part.isdecimal() else (1, 0, part) for part in parts if part]
    return (*key, (2, 0, name))


def _number(digits: str) -> tuple[int, int, str]:
    """Digits of any script so that more of them are more, and as many compare one by one."""
    plain = digits if digits.isascii() else "".join(str(unicodedata.decimal(digit)) for digit in digits)
    plain = plain.lstrip("0")
    return (0, len(plain), plain)


def is_image_name(name: str) -> bool:
    """Whether a file name has an image's suffix, in either case."""
    return suffix_of(name).lower() in IMAGE_SUFFIXES


def is_array_name(name: str) -> bool:
    """Whether a file name has the suffix of an array or a DICOM, which [images] says how to read."""
    return suffix_of(name).lower() in ARRAY_SUFFIXES


def name_of(path: str) -> str:
    """The last part of a path: ``PurePosixPath(path).name`` of a path of a tree, for millions of them."""
    return path[path.rfind("/") + 1 :]


def suffix_of(path: str) -> str:
    """The suffix of a file with its dot, empty where it has none: ``PurePosixPath(path).suffix`` of a path of a tree."""
    dot = path.rfind(".")
    return path[dot:] if path.rfind("/") + 1 < dot < len(path) - 1 else ""


def is_image_start(content: bytes) -> bool:
    """Whether a file that begins like this is an image of a kind that can be read, whatever it is called."""
    return re.match(_STARTS, content, re.DOTALL) is not None


def without_suffix(name: str) -> str:
    """A name without its suffix, if that is an image's; folders before it stay."""
    return name.rpartition(".")[0] if is_image_name(name) or is_array_name(name) else name


def is_ignored(path: str) -> bool:
    """Whether a path is an operating system's litter: .DS_Store, Thumbs.db, desktop.ini, __MACOSX, ``._`` twins."""
    if not _MAYBE_IGNORED.search(path):
        return False
    parts = path.replace("\\", "/").split("/")
    return any(p.lower() in IGNORED_FILES for p in parts) or parts[-1].startswith("._")


def is_array_row(path: str) -> bool:
    """Whether a manifest's path is a row of an array, ``NAME#17``, or of a parquet file; a file may well have a # in its
    name.
    """
    return "#" in path and re.fullmatch(r"[^/#]+#[0-9]+|.+\.parquet#[0-9]+", path, re.IGNORECASE) is not None


def is_in_shard(path: str) -> bool:
    """Whether a manifest's path looks like a row of a shard, ``train-0.parquet#17`` or ``train-0.tar/KEY.jpg``."""
    return _IN_SHARD.search(path) is not None


def nfc(text: str) -> str:
    """Composed Unicode: names zipped on macOS are decomposed, tables are not."""
    return unicodedata.normalize("NFC", text)


def in_tree(path: str) -> str:
    """A path of a table as a raw folder spells it: composed, without ``./`` or ``/`` in front, and with / for \\."""
    name = nfc(path).strip().replace("\\", "/")
    while name.startswith(("./", "/")):
        name = name.removeprefix(".").removeprefix("/")
    return name


class RawTree:
    """The files of a raw folder, by posix path relative to it, sorted by their NFC names.

    A .zip, .tar, .tar.gz (or .7z, where py7zr is installed) at the top of the folder counts as unpacked there, and so
    does one that lies in it: ``train.zip`` gives ``train/…`` whether or not its members carry that folder. Where the
    unpacked folder lies beside it, the archive is left alone.
    Operating systems' litter (.DS_Store, Thumbs.db, __MACOSX …) is left out and counted in ``ignored``.
    It is pickled as its folder alone, which is listed again.
    """

    gives_files = True  # as they lie: a file whose size and times are known need not be read again

    def __init__(self, raw: Path) -> None:
        self.raw = raw
        self._base = os.fspath(raw)
        self.ignored = 0

    def __reduce__(self) -> tuple[type[RawTree], tuple[Path]]:
        return type(self), (self.raw,)

    @cached_property
    def files(self) -> tuple[str, ...]:
        found = [*self._walk(), *self.archived]
        if all(map(str.isascii, found)):
            return tuple(sorted(found))
        return tuple(sorted(found, key=lambda name: (nfc(name), name)))

    @cached_property
    def archived(self) -> dict[str, Member]:
        """The files that lie in archives, by their path in the tree."""
        found: dict[str, Member] = {}
        for prefix, contents in self._contents:
            for name, member in contents.files.items():
                path = prefix + name
                if is_ignored(path):
                    self.ignored += 1
                elif not (self.raw / path.split("/", 1)[0]).exists():
                    found.setdefault(path, member)
        return found

    @cached_property
    def _contents(self) -> list[tuple[str, Index]]:
        """What the archives hold, each with the place where it unpacks to; archives within them too."""
        found: list[tuple[str, Index]] = []
        waiting = [(archive, "", 0) for archive in reversed(self._archives)]
        while waiting:
            archive, at, depth = waiting.pop()
            contents = archives.index(archive)
            prefix = at + _prefix(archive, contents)
            within = [name for name in contents.files if depth < DEEPEST and archives.is_archive(name)]
            rest = dict(contents.files)
            for name in reversed(within):
                path = prefix + name
                folder = archives.stem_of(path)
                beside = any(one.startswith(f"{archives.stem_of(name)}/") for one in contents.files)
                if not is_ignored(path) and not beside and not (self.raw / folder).exists():
                    above = "".join(path.rpartition("/")[:2])
                    waiting.append((archives.unpacked(rest.pop(name)), above, depth + 1))
            found.append((prefix, Index(rest, contents.folders)))
        return found

    @property
    def notes(self) -> list[str]:
        """What people should know of how the folder was read."""
        _ = self.files
        read = sorted({one.archive.name for one in self.archived.values() if one.archive in self._archives})
        told = [f"{', '.join(read)} read without unpacking"] if read else []
        cached = sorted({_archive_name(one) for one in self.archived.values()} - set(read))
        told += [f"{', '.join(cached)} unpacked into the cache"] if cached else []
        return [*told, *([f"{self.ignored} files of the operating system ignored"] if self.ignored else [])]

    def glob(self, pattern: str) -> list[str]:
        """Files that match, part by part (``train/*/*`` has three parts), whatever the case of the suffix."""
        parts = pattern.split("/")
        parts[-1] = _lower_suffix(parts[-1])
        folders = {"": len(parts) == 1}  # whether a folder fits, which many files share
        found = []
        for path in self.files:
            folder, _, name = path.rpartition("/")
            fits = folders.get(folder)
            if fits is None:
                fits = folders[folder] = _matches([*folder.split("/"), ""], [*parts[:-1], ""])
            if fits and (parts[-1] == "*" or _matches([name], parts[-1:])):
                found.append(path)
        return found

    def images(self, pattern: str) -> list[str]:
        """Files that match and are images: by their suffix, or without a known one by their first bytes."""
        return [path for path in self.glob(pattern) if self.is_image(path)]

    def is_image(self, path: str) -> bool:
        """Whether a file is an image: by its suffix, or without a known one by its first bytes."""
        return is_image_name(path) or is_image_start(self._first_bytes(path))

    def folders(self, pattern: str) -> list[str]:
        """Folders that match, with or without files in them: a class folder without images must not vanish."""
        parts = pattern.split("/")
        found = {
            str(p.relative_to(self.raw)).replace(os.sep, "/") for p in self.raw.glob(pattern) if p.is_dir()
        }
        inside = {f.rsplit("/", 1)[0] for f in self.files if "/" in f}
        for prefix, contents in self._contents:
            inside.update(prefix + name for name in contents.folders)
        for folder in inside:
            here = folder.split("/")
            if len(here) >= len(parts) and _matches(here[: len(parts)], parts):
                found.add("/".join(here[: len(parts)]))
        return sorted((f for f in found if not is_ignored(f)), key=lambda name: (nfc(name), name))

    def has(self, path: str) -> bool:
        """Whether a manifest's path names a file in this folder. A row of an array (``NAME#i``) is none."""
        return self._place(path) is not None

    def identity(self, path: str) -> object:
        """What is equal for two paths that lead to one file: device and inode, or the place in an archive; of a row of
        an array, its name and number.
        """
        if self._inside(path):
            try:
                facts = os.stat(os.path.join(self._base, path))
                if facts.st_ino and stat.S_ISREG(facts.st_mode):
                    return (facts.st_dev, facts.st_ino)
            except (OSError, ValueError):
                pass
        if is_in_shard(path):
            return path  # a sample of a tar is no file of an archive that counts as unpacked
        place = self._place(path)
        if place is None and is_array_row(path):
            name, _, row = path.rpartition("#")
            return (name, row.lstrip("0"))
        if isinstance(place, Member):
            return (str(place.archive), place.offset)
        full = place or self.raw / path
        try:
            facts = os.stat(full)
        except (OSError, ValueError):
            return os.path.normcase(os.path.normpath(full))
        return (facts.st_dev, facts.st_ino) if facts.st_ino else os.path.normcase(os.path.realpath(full))

    def read(self, path: str) -> bytes:
        """The bytes of a file, on disk or in an archive.

        Raises
        ------
        RawDataError
            If it is not there, cannot be read, or is too large for what its name says it is.
        """
        place = self._place(path)
        if place is None:
            raise RawDataError("a file must be there", f"{self.raw} has no {path}", "complete the download")
        if isinstance(place, Member):
            require_size(path, place.size)
            return archives.read(place)
        try:
            return read_file(place, path)
        except OSError as error:
            raise RawDataError(
                "a file must be readable", f"{place}: {error.strerror}", "check its permissions"
            ) from error

    def load(self, path: str) -> bytes:
        """The bytes of an image's file.

        Raises
        ------
        ImageError
            If it is not there, cannot be read, or is too large.
        """
        try:
            return self.read(path)
        except RawDataError as error:
            told = error.value if error.value.startswith(path) else f"{path}: {error.value}"
            raise ImageError(
                "an image must be readable", told, error.remedy or "restore the file, then `comp check`"
            ) from error

    def _first_bytes(self, path: str) -> bytes:
        """The first bytes of a file; none where it cannot be read, which whoever reads it will say."""
        place = self._place(path)
        try:
            if isinstance(place, Member):
                return archives.read_start(place, FIRST_BYTES)
            if place is not None:
                with place.open("rb") as opened:
                    return opened.read(FIRST_BYTES)
        except (RawDataError, OSError):
            pass
        return b""

    @cached_property
    def _archives(self) -> list[Path]:
        """The archives at the top of the folder, in the order of their names."""
        try:
            names = sorted(os.listdir(self.raw))
        except OSError:
            return []
        found = [self.raw / name for name in names if archives.is_archive(name) and not is_ignored(name)]
        return [path for path in found if path.is_file()]

    @cached_property
    def _by_nfc(self) -> dict[str, str]:
        return {nfc(name): name for name in self.files}

    def _place(self, path: str) -> Path | Member | None:
        """The file behind a path; a name in another Unicode form than the file's own is found too.

        None for a path that leaves the folder: what lies elsewhere is no part of this competition's data.
        """
        if not self._inside(path):
            return None
        full = os.path.join(self._base, path)
        if os.path.isfile(full):  # False too for a name that no file can have
            return Path(full)
        if path in self.archived:
            return self.archived[path]
        if path.isascii():
            return None
        own = self._by_nfc.get(nfc(path))
        return None if own is None else self.archived.get(own) or self.raw / own

    def _inside(self, path: str) -> bool:
        if ".." not in path and not os.path.isabs(path):
            return True
        whole = os.path.normpath(self.raw / path)
        return whole.startswith(os.path.normpath(self.raw) + os.sep)

    def _walk(self) -> list[str]:
        found: list[str] = []
        seen: set[tuple[int, int]] = set()
        base = str(self.raw)
        own = {archive.name for archive in self._archives}
        for folder, subfolders, names in os.walk(base, followlinks=True):
            facts = os.stat(folder)
            if (
                facts.st_dev,
                facts.st_ino,
            ) in seen and facts.st_ino:  # a link that leads back: a loop without end
                subfolders.clear()
                continue
            seen.add((facts.st_dev, facts.st_ino))
            inside = os.path.relpath(folder, base).replace(os.sep, "/")
            prefix = "" if inside == "." else inside + "/"
            for name in names:
                if is_ignored(prefix + name):
                    self.ignored += 1
                elif prefix or name not in own:
                    found.append(prefix + name)
        return found


def _prefix(archive: Path, contents: Index) -> str:
    """Where an archive unpacks to: a folder of its name, unless it carries that folder or is a whole raw folder."""
    names = [name for name in contents.files if not is_ignored(name)]
    tops = {name.split("/", 1)[0] for name in names}
    at_top = [name for name in names if "/" not in name]
    whole = tops & {"train", "test"} or any(name.lower().endswith(TABLES) for name in at_top)
    stem = archives.stem_of(archive.name)
    return "" if whole or nfc(stem) in {nfc(top) for top in tops} else stem + "/"


def _archive_name(member: Member) -> str:
    """The name of the archive that a member comes from, when that lies unpacked in the cache."""
    parts = member.archive.parts
    return next((part for part in reversed(parts) if archives.is_archive(part)), parts[-1])


def _matches(path: list[str], pattern: list[str]) -> bool:
    return len(path) == len(pattern) and all(
        fnmatch.fnmatchcase(a, b) or (last and fnmatch.fnmatchcase(_lower_suffix(a), b))
        for a, b, last in zip(path, pattern, [False] * (len(path) - 1) + [True], strict=True)
    )


def _lower_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}{dot}{suffix.lower()}" if dot else name
