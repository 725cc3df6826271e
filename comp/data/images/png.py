"""PNG files, verified: every chunk's CRC-32 and the image data's Adler-32, which decoders do not look at."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type


class Damaged(Exception):
    """A PNG whose checksums are wrong, or that is cut off; the text says where."""


def verified(content: bytes) -> bytes:
    """The same PNG with its image data verified and unpacked, which any decoder reads to the same pixels.

    Unpacking is most of the work of decoding a PNG. It is done here, where the sum can be seen, and not once more by
    the decoder.

    Raises
    ------
    Damaged
        For a wrong CRC-32 of any chunk, a wrong Adler-32, data that do not unpack, or no end.
    """
    view = memoryview(content)
    before: list[memoryview] = [view[: len(SIGNATURE)]]
    after: list[memoryview] = []
    packed: list[memoryview] = []
    at = len(SIGNATURE)
    while True:
        length, kind = int.from_bytes(view[at : at + 4], "big"), bytes(view[at + 4 : at + 8])
        end = at + 12 + length
        if end > len(content) or len(kind) < 4:
            raise Damaged(f"cut off in {kind.decode('ascii', 'replace') or 'a chunk'}")
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise Damaged(f"the CRC of {kind.decode('ascii', 'replace')} is wrong")
        if kind == b"IDAT":
            packed.append(view[at + 8 : end - 4])
        else:
            (after if packed else before).append(view[at:end])
        at = end
        if kind == b"IEND":
            break
    raw = _unpacked(b"".join(packed), bytes(view[16:33]))
    stored = zlib.compress(raw, 0)
    data = [stored[n : n + (1 << 30)] for n in range(0, len(stored), 1 << 30)]
    return b"".join([*before, *(part for one in data for part in _chunk(b"IDAT", one)), *after])


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, ...]:
    return struct.pack(">I", len(data)) + kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _unpacked(packed: bytes, header: bytes) -> bytes:
    """The rows of the image with their filters; never more than the header's size can need."""
    width, height = struct.unpack(">II", header[:8])
    bits = header[8] * _CHANNELS.get(header[9], 4)
    most = (width + 64) * (height + 64) * max(bits, 8) // 8 + 16 * (
        height + 64
    )  # interlaced ones have more rows
    opened = zlib.decompressobj()
    try:
        raw = opened.decompress(packed, most)
    except zlib.error as error:
        raise Damaged(f"its image data do not unpack ({str(error).rpartition(': ')[2]})") from error
    if not opened.eof:
        more = (
            "more image data than its size needs" if opened.unconsumed_tail else "its image data are cut off"
        )
        raise Damaged(more)
    return raw
