"""JPEG files, decoded strictly: libjpeg's own warnings about damaged data are errors here.

libjpeg decodes whatever it is given, and fills what it cannot read with grey; OpenCV prints its warnings without the
file's name, Pillow drops them. simplejpeg (libjpeg-turbo, as theirs, with the same pixels) raises them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

try:
    import simplejpeg
except ImportError:  # a notebook without internet may lack it: nothing is refused there, and a check says so
    simplejpeg = None

Pixels = NDArray[np.uint8]
START = b"\xff\xd8\xff"
SEES_DAMAGE = simplejpeg is not None
_JFIF, _ADOBE = 0xE0, 0xEE
_METADATA = {*range(0xE0, 0xF0), 0xFE}
_TABLES_BEFORE_FRAME = 0xC4, 0xC8, 0xCC  # in the range of frames, but none: DHT, JPG, DAC
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # no stuffed FF00, fill byte or restart marker
_END = b"\xff\xd9"


class Damaged(Exception):
    """A JPEG that libjpeg warns of; the text says what of."""


class Frame(NamedTuple):
    """What the header says: size, bits and components; where the first scan's header begins; whether it is progressive,
    and whether it has EXIF.
    """

    height: int
    width: int
    bits: int
    components: tuple[int, ...]
    scan: int
    is_progressive: bool
    has_exif: bool


def read_frame(content: bytes) -> Frame | None:
    """The frame of a JPEG, from its segments (ITU T.81, B.2); None where there is no frame and scan to be had.

    A tenth of the time that Pillow takes to open it.
    """
    at, exif, frame = 2, False, None
    while (found := _NEXT_MARKER.search(content, at)) is not None and found.start() + 4 <= len(content):
        at = found.start()
        code, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        exif = exif or (code == 0xE1 and content[at + 4 : at + 8] == b"Exif")
        if code == 0xDA:
            return frame and frame._replace(scan=at, has_exif=exif)
        if code == 0xD9:
            return None
        if 0xC0 <= code <= 0xCF and code not in _TABLES_BEFORE_FRAME and frame is None:
            body = content[at + 4 : at + 2 + length]
            if len(body) < 6 or len(body) < 6 + 3 * body[5]:
                return None
            height, width = (int.from_bytes(body[n : n + 2], "big") for n in (1, 3))
            components = tuple(body[6 + 3 * n] for n in range(body[5]))
            frame = Frame(height, width, body[0], components, 0, code in (0xC2, 0xC6, 0xCA, 0xCE), False)
        at += 2 + length
    return None


def decode_strictly(content: bytes, frame: Frame, colours: str = "RGB") -> Pixels:
    """The pixels of a JPEG as libjpeg stores them, uint8 (H, W, 3), or (H, W, 4) where ``colours`` is "CMYK".

    Raises
    ------
    Damaged
        Where libjpeg warns of its data, or scans are missing. Four warnings that cannot touch a pixel do not count: junk
        between metadata, zeros before the end marker, an odd JFIF version, scan parameters that a sequential JPEG does
        not use.
    """
    try:
        pixels = simplejpeg.decode_jpeg(content, colours)
    except ValueError as error:
        cleaned = _without_harmless(content, frame)
        if cleaned is None:
            raise Damaged(str(error)) from error
        try:
            pixels = simplejpeg.decode_jpeg(cleaned, colours)
        except ValueError as again:
            raise Damaged(str(again)) from again
    if not _scans_are_complete(content, frame):
        raise Damaged("some of its scans are missing")
    return np.asarray(pixels, dtype=np.uint8)


def _scans_are_complete(content: bytes, frame: Frame) -> bool:
    """Whether the scans give every coefficient of every component to its last bit.

    A JPEG that was cut between two scans has nothing for libjpeg to warn of; it looks like a coarse image.
    """
    rest = {component: bytearray(b"\xff" * 64) for component in frame.components}
    at = frame.scan
    while at + 4 <= len(content):
        code, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        if code == 0xD9:
            break
        if code == 0xDA:
            body = content[at + 4 : at + 2 + length]
            count = body[0]
            first, last, low = (
                (body[1 + 2 * count], body[2 + 2 * count], body[3 + 2 * count] & 15)
                if frame.is_progressive
                else (0, 63, 0)
            )
            for n in range(count):
                rest[body[1 + 2 * n]][first : last + 1] = bytes([low]) * (last + 1 - first)
            if not frame.is_progressive and count == len(rest):
                return True
        found = _NEXT_MARKER.search(content, at + 2 + length)
        if found is None:
            break
        at = found.start()
    return not any(any(bits) for bits in rest.values())


def _without_harmless(content: bytes, frame: Frame) -> bytes | None:
    """The JPEG without what libjpeg warns of though no pixel depends on it; None where there is no such thing.

    Zeros before the end marker are padding. Other bytes there are not: a decoder that lost its way in damaged data stops
    early, too, and leaves some over.
    """
    parts, at, before = [content[:2]], 2, 0xD8
    while at < frame.scan:
        found = _NEXT_MARKER.search(content, at)
        if found is None or (found.start() > at and before not in {*_METADATA, 0xD8}):
            return None  # bytes are left over after a table: it may not be what it was
        at, before = found.start(), content[found.start() + 1]
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        segment = content[at:end]
        if before == _JFIF and segment[4:9] == b"JFIF\0":
            segment = segment[:9] + b"\x01" + segment[10:]
        if before not in _METADATA or before in (_JFIF, _ADOBE):
            parts.append(segment)
        at = end
    scan = bytearray(content[frame.scan :])
    header = 2 + int.from_bytes(scan[2:4], "big")
    if not frame.is_progressive and len(scan) > header:
        scan[header - 3 : header] = b"\x00\x3f\x00"
    end = scan.find(_END, header)
    if end >= 0:
        kept = bytes(scan[:end]).rstrip(b"\0")
        parts += [kept + (b"\0" if kept.endswith(b"\xff") else b""), _END]
    else:
        parts.append(bytes(scan))
    cleaned = b"".join(parts)
    return cleaned if cleaned != content else None
