"""What is written in an image file beside its pixels: EXIF, XMP, IPTC, comments, text chunks, names of profiles.

A network never sees it, so a label that stands there is no help to it; but it says how the images were collected, and
the check of shortcuts reads it all. Only headers are read: nothing is decoded, nothing is unpacked without a limit.
"""

from __future__ import annotations

import hashlib
import io
import re
import zlib
from array import array
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from PIL import ExifTags, Image, IptcImagePlugin
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import IFDRational

from comp.data.images.jpeg import START, read_frame

ENCODING = "encoding"  # before the names of tags that say how pixels are packed: density, tables
_SUBFILE = 254  # TIFF's tag of what a page is; its lowest bit says a reduced version of another
LONGEST = 1000  # letters kept of one value; of a longer one its SHA-256 stands behind them
MOST = 8000  # letters kept of one image
_UNPACKED = 1 << 16  # bytes of a packed text chunk
_XMP = 1 << 16
_PARTS = (0x8769, 0x8825, 0xA005, 1)  # Exif, GPS, Interoperability, thumbnail
# where the pixels lie and how they are packed, or what is read elsewhere: size, profile, XMP, IPTC
_STRUCTURE = {
    *(254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339),
    *(347, 513, 514, 530, 531, 532, 700, 33723, 34377, 34675, 40962, 40963, *_PARTS),
}
_ELSEWHERE = {
    *("exif", "icc_profile", "xmp", "photoshop", "XML:com.adobe.xmp", "Raw profile type exif"),
    *("transparency", "mp", "mpoffset", "jfif", "comment_pos"),
}
_READ_BY_NAME = ("JFIF", "Exif", "http:", "ICC_PROFILE", "Photoshop", "Adobe", "MPF")
_IPTC = {
    (2, 5): "title",
    (2, 25): "keywords",
    (2, 55): "date created",
    (2, 80): "byline",
    (2, 116): "copyright",
    (2, 120): "caption",
}
_TAG = re.compile(r"<(/?)([\w.-]+:[\w.-]+)([^<>]*?)(/?)>([^<]*)", re.DOTALL)
_ATTRIBUTE = re.compile(r"([\w.-]+:[\w.-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_PRINTABLE = re.compile(rb"[\x20-\x7e]{4,}")


class Header(NamedTuple):
    """What an image file says before its pixels: format and mode ("JPEG RGB"), tags (name → text), and how many pages
    or frames it has.
    """

    kind: str
    tags: dict[str, str]
    pages: int


NO_HEADER = Header("", {}, 1)
_ALIKE = (
    2048  # bytes of a JPEG's header up to which it is likely that others have the same: tables, and no EXIF
)
_AFTER = "bytes after the image"


def read_header(content: bytes) -> Header:
    """Format and mode of an image file, its tags, and the number of its pages.

    Names say where a text stands: "EXIF Artist", "XMP dc:subject", "PNG Comment", or "encoding dpi". Values are cut at ``LONGEST``
    letters, all together at ``MOST``. A file that is no image, or damaged, gives what could be read.
    """
    frame = read_frame(content) if content.startswith(START) else None
    if frame is None or frame.scan > _ALIKE or b"MPF" in content[: frame.scan]:
        return _read(content)
    length = int.from_bytes(content[frame.scan + 2 : frame.scan + 4], "big")
    header = _read_alike(content[: frame.scan + 2 + length])
    after = _short(_text(_after(content)))
    return header._replace(tags=header.tags | ({_AFTER: after} if after else {}))


@lru_cache(maxsize=4096)
def _read_alike(start: bytes) -> Header:
    """What a JPEG says up to its pixels: a set often has few of these, and Pillow takes longer than a small image's decoder."""
    return _read(start)


def _read(content: bytes) -> Header:
    kind, letters, pages = "", 0, 1
    tags: dict[str, str] = {}
    try:
        with Image.open(io.BytesIO(content)) as image:
            kind = f"{image.format} {image.mode}"
            pages = _pages(image)
            for name, value in _tags(image, content):
                text = _short(_text(value))
                letters += len(text)
                if letters > MOST:
                    break
                if text:
                    tags[name] = f"{tags[name]} | {text}"[: LONGEST + 20] if name in tags else text
    except Exception:  # whatever is wrong with it, decoding will say
        return Header(kind, tags, pages)
    return Header(kind, tags, pages)


def _pages(image: Image.Image) -> int:
    """How many images a file shows; previews do not count: those that cameras put behind a JPEG, reduced TIFF pages."""
    if image.format == "MPO" or not getattr(image, "is_animated", False):
        return 1
    try:
        count = int(getattr(image, "n_frames", 1))
        if image.format == "TIFF":
            for page in range(1, count):
                image.seek(page)
                count -= int(getattr(image, "tag_v2", {}).get(_SUBFILE, 0)) & 1
        image.seek(0)
    except Exception:  # damaged behind the first, which decoding judges alone
        return 2
    return count


def _tags(image: Image.Image, content: bytes) -> Iterator[tuple[str, Any]]:
    """Every tag with its value as it is; a part that cannot be read does not hide the others."""
    for part in (_exif, _xmp, _iptc, _profile, _info, _segments):
        yield from _as_far_as_read(part(image))
    if image.format == "PNG":
        yield from _as_far_as_read(_chunks(content))
    if image.format == "JPEG":
        yield _AFTER, _after(content)


def _after(content: bytes) -> bytes:
    """What follows the end of a JPEG."""
    end = content.rfind(b"\xff\xd9")
    return content[end + 2 :].strip(b"\0")[: 4 * LONGEST] if 0 < end < len(content) - 2 else b""


def _as_far_as_read(tags: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    while True:
        try:
            yield next(tags)
        except StopIteration:
            return
        except Exception:  # a damaged part: Pillow raises many kinds
            return


def _exif(image: Image.Image) -> Iterator[tuple[str, Any]]:
    exif = image.getexif()
    for tag, value in exif.items():
        if tag not in _STRUCTURE:
            yield f"EXIF {ExifTags.TAGS.get(tag, tag)}", _wide(tag, value)
    if not exif:
        return
    for part in _PARTS:
        names = ExifTags.GPSTAGS if part == 0x8825 else ExifTags.TAGS
        inside = "thumbnail " if part == 1 else ""
        for tag, value in exif.get_ifd(part).items():
            if part == 0x8825 or tag not in _STRUCTURE:
                yield f"EXIF {inside}{names.get(tag, tag)}", _wide(tag, value)


def _wide(tag: int, value: Any) -> Any:
    """The text of the tags that Windows writes in UTF-16; all others as they are."""
    if not 0x9C9B <= tag <= 0x9C9F:
        return value
    raw = bytes(value) if isinstance(value, tuple) else value
    return raw.decode("utf-16-le", "replace") if isinstance(raw, bytes) else raw


def _xmp(image: Image.Image) -> Iterator[tuple[str, Any]]:
    """Properties of an XMP packet, by a look for tags alone: a parser of XML would unpack what a packet asks for."""
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if packet is None and hasattr(image, "tag_v2"):
        packet = image.tag_v2.get(700)
    if not packet:
        return
    text = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else str(packet)
    above: list[str] = []
    for closes, name, attributes, empty, words in _TAG.findall(text[:_XMP]):
        if closes:
            above = above[: above.index(name)] if name in above else above
            continue
        for key, one, other in _ATTRIBUTE.findall(attributes):
            if not key.startswith(("xmlns:", "xml:", "rdf:")):
                yield f"XMP {key}", one or other
        if not empty:
            above.append(name)
        named = next((n for n in reversed([*above, name]) if not n.startswith("rdf:")), name)
        if words.strip():
            yield f"XMP {named}", words.strip()


def _iptc(image: Image.Image) -> Iterator[tuple[str, Any]]:
    if "photoshop" not in image.info and image.format != "TIFF":
        return
    found = IptcImagePlugin.getiptcinfo(image) if isinstance(image, ImageFile) else None
    for place, value in (found or {}).items():
        yield f"IPTC {_IPTC.get(place, '{}:{}'.format(*place))}", value


def _profile(image: Image.Image) -> Iterator[tuple[str, Any]]:
    """The texts of an ICC profile (ICC.1, 7.3 and 10), and its hash, which tells profiles apart."""
    profile = image.info.get("icc_profile")
    if not profile:
        return
    yield "ICC profile", hashlib.sha256(profile).hexdigest()[:12]
    for entry in range(min(64, int.from_bytes(profile[128:132], "big"))):
        at = 132 + 12 * entry
        name = profile[at : at + 4]
        if name in (b"desc", b"cprt", b"dmnd", b"dmdd"):
            start, size = (int.from_bytes(profile[at + n : at + n + 4], "big") for n in (4, 8))
            part = profile[start : start + min(size, 2000)]
            yield f"ICC {name.decode()}", _profile_text(part)


def _profile_text(part: bytes) -> str:
    if part[:4] == b"mluc":
        size, start = (int.from_bytes(part[n : n + 4], "big") for n in (20, 24))
        return part[start : start + size].decode("utf-16-be", "replace")
    return part[12 if part[:4] == b"desc" else 8 :].split(b"\0")[0].decode("latin-1")


def _info(image: Image.Image) -> Iterator[tuple[str, Any]]:
    """What else Pillow tells of a header: density, comments, progressive or not; quantization tables by their hash."""
    for key, value in image.info.items():
        own = image.format == "PNG" and isinstance(value, str)  # a text chunk: all are read below
        comment = image.format == "JPEG" and key == "comment"
        if str(key) not in _ELSEWHERE and not own and not comment:
            yield f"{image.format if _is_text(value) else ENCODING} {key}", value
    for resource, value in (image.info.get("photoshop") or {}).items():
        if resource != 0x0404 and isinstance(value, bytes) and len(value) <= LONGEST:
            yield f"Photoshop {resource:#06x}", value
    tables = getattr(image, "quantization", None)
    if tables:
        sums = " ".join(str(sum(table)) for _, table in sorted(tables.items()))
        whole = b"".join(array("H", table).tobytes() for _, table in sorted(tables.items()))
        yield f"{ENCODING} tables", f"{sums} #{hashlib.sha256(whole).hexdigest()[:8]}"


def _is_text(value: Any) -> bool:
    return isinstance(value, (str, bytes))


def _segments(image: Image.Image) -> Iterator[tuple[str, Any]]:
    """All comments of a JPEG (Pillow's ``info`` holds the last alone), and segments that nobody else reads."""
    for name, value in getattr(image, "applist", []):
        if name == "COM":
            yield "JPEG comment", value
        elif not value.startswith(tuple(known.encode() for known in _READ_BY_NAME)):
            yield f"JPEG {name}", value[: 4 * LONGEST]


def _chunks(content: bytes) -> Iterator[tuple[str, Any]]:
    """Text and time of a PNG (PNG specification, 11.3), before its pixels and behind them, and what follows its end."""
    at = 8
    while at + 12 <= len(content):
        size, name = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        body = content[at + 8 : at + 8 + min(size, _UNPACKED)]
        at += 12 + size
        if name == b"IEND":
            if at < len(content):
                yield _AFTER, content[at : at + 4 * LONGEST].strip(b"\0")
            return
        if name in (b"tEXt", b"zTXt", b"iTXt"):
            key, _, rest = body.partition(b"\0")
            if key == b"XML:com.adobe.xmp":
                continue
            yield f"PNG {key.decode('latin-1')}", _chunk_text(name, rest)
        elif name == b"tIME" and len(body) == 7:
            year, *others = int.from_bytes(body[:2], "big"), *body[2:]
            yield "PNG time", "{:04}-{:02}-{:02} {:02}:{:02}:{:02}".format(year, *others)
        elif name[:1].islower() and name[1:2].islower():  # a private chunk
            yield f"PNG {name.decode('latin-1')}", body[: 4 * LONGEST]


def _chunk_text(name: bytes, rest: bytes) -> str:
    if name == b"tEXt":
        return rest.decode("latin-1")
    if name == b"zTXt":
        return _unpacked(rest[1:]).decode("latin-1")
    text = rest[2:].split(b"\0", 2)[-1]  # behind the language and the translated name
    return (_unpacked(text) if rest[:1] == b"\1" else text).decode("utf-8", "replace")


def _unpacked(packed: bytes) -> bytes:
    return zlib.decompressobj().decompress(packed, _UNPACKED)


def _text(value: Any) -> str:
    """A tag's value as text; of bytes that are no text what can be read of them, and their hash."""
    if isinstance(value, bytes):
        return _text_of_bytes(value)
    if isinstance(value, (tuple, list)):
        return " ".join(_text(one) for one in value[:64])
    if isinstance(value, (float, IFDRational)):
        return f"{float(value):.9g}"
    return str(value).strip("\0 \t\r\n")


def _text_of_bytes(value: bytes) -> str:
    codes = {b"ASCII\0\0\0": "ascii", b"UNICODE\0": "utf-16", b"\0" * 8: "utf-8"}  # EXIF 2.3, UserComment
    code = codes.get(value[:8], "utf-8")
    body = value[8:] if value[:8] in codes else value
    if code == "utf-16" and not body.startswith((b"\xff\xfe", b"\xfe\xff")):
        code = "utf-16-be" if body[:1] == b"\0" else "utf-16-le"
    try:
        text = body.strip(b"\0").decode(code) if code in ("utf-8", "ascii") else body.decode(code)
    except UnicodeDecodeError:
        text = ""
    text = text.strip("\0 \t\r\n")
    if not value.strip(b"\0 \t\r\n"):
        return ""
    if text and all(letter.isprintable() or letter.isspace() for letter in text):
        return text
    seen = b" ".join(_PRINTABLE.findall(value)[:64]).decode("ascii")
    return f"{seen[: LONGEST - 20]} #{hashlib.sha256(value).hexdigest()[:12]}".strip()


def _short(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]} #{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
