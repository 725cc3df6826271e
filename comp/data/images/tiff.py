"""TIFF files whose parts carry something to judge them by: Adler-32 of deflated strips, libjpeg's warnings of JPEG ones.

libtiff stops as soon as a strip is full, before the sum, and drops libjpeg's warnings. The other ways of packing (none,
LZW, PackBits) have no sum.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from comp.data.images import jpeg

_COMPRESSION, _JPEG_TABLES = 259, 347
_PLACES = ((273, 279), (324, 325))  # offsets and byte counts of strips, and of tiles
_DEFLATE, _JPEG = (8, 32946), (7,)


class Damaged(Exception):
    """A part of a TIFF that does not unpack as it was packed; the text says which."""


def require_whole(content: bytes, tags: Mapping[int, Any]) -> None:
    """Damaged, where a part of the first page is; ``tags`` are its, as Pillow reads them."""
    packed = tags.get(_COMPRESSION)
    if packed not in (*_DEFLATE, *_JPEG):
        return
    tables = bytes(tags.get(_JPEG_TABLES, b""))
    for offsets, counts in _PLACES:
        for n, (at, size) in enumerate(zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)):
            part = content[at : at + size]
            try:
                _require_deflated(part) if packed in _DEFLATE else _require_jpeg(tables, part)
            except (zlib.error, jpeg.Damaged) as error:
                raise Damaged(f"part {n + 1} of its data: {error}") from error


def _require_deflated(part: bytes) -> None:
    opened = zlib.decompressobj()
    while part:
        opened.decompress(part, 1 << 22)
        part = opened.unconsumed_tail
    if not opened.eof:
        raise zlib.error("it ends early")


def _require_jpeg(tables: bytes, part: bytes) -> None:
    """A strip is a JPEG whose tables may stand apart, for all strips (TIFF Technical Note 2)."""
    whole = tables[:-2] + part[2:] if tables else part
    frame = jpeg.read_frame(whole)
    if frame is not None and jpeg.SEES_DAMAGE:
        jpeg.decode_strictly(whole, frame, "CMYK" if len(frame.components) == 4 else "RGB")
