"""File names: their natural order, Unicode forms, images, and the litter of operating systems."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

IGNORED_FILES = {".ds_store", "thumbs.db", "desktop.ini", "__macosx"}
_SUFFIXES = (
    ".jpg .jpeg .jpe .jif .jfif .png .apng .webp .bmp .dib .tif .tiff .gif .avif "
    ".jp2 .j2k .jpf .jpx .ppm .pgm .pbm .pnm .tga"
)
IMAGE_SUFFIXES = frozenset(_SUFFIXES.split())
FIRST_BYTES = 32
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
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def is_image_start(content: bytes) -> bool:
    """Whether a file that begins like this is an image of a kind that can be read, whatever it is called."""
    return re.match(_STARTS, content, re.DOTALL) is not None


def without_suffix(name: str) -> str:
    """A name without its suffix, if that is an image's; folders before it stay."""
    return name.rpartition(".")[0] if is_image_name(name) else name


def is_ignored(path: str) -> bool:
    """Whether a path is an operating system's litter: .DS_Store, Thumbs.db, desktop.ini, __MACOSX, ``._`` twins."""
    parts = path.replace("\\", "/").split("/")
    return any(p.lower() in IGNORED_FILES for p in parts) or parts[-1].startswith("._")


def is_array_row(path: str) -> bool:
    """Whether a manifest's path is a row of an array, ``NAME#17``; a file may well have a # in its name."""
    return re.fullmatch(r"[^/#]+#[0-9]+", path) is not None


def nfc(text: str) -> str:
    """Composed Unicode: names zipped on macOS are decomposed, tables are not."""
    return unicodedata.normalize("NFC", text)
