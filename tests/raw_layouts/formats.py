"""Other formats that a download carries beside the images: TFRecord and DICOM, as small as they can be."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from .drawing import Pixels


def _checksum_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _checksum_table()


def _checksum(content: bytes) -> bytes:
    """TFRecord's masked CRC-32C."""
    value = 0xFFFFFFFF
    for byte in content:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    value ^= 0xFFFFFFFF
    return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    length, head = len(content), bytearray([number << 3 | 2])
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    head.append(length)
    return bytes(head) + content


def tfrecord(rows: Sequence[Mapping[str, bytes]]) -> bytes:
    """A TFRecord file of examples whose features are all bytes."""
    out = bytearray()
    for row in rows:
        features = b"".join(
            _field(1, _field(1, name.encode()) + _field(2, _field(1, _field(1, value))))
            for name, value in row.items()
        )
        example = _field(1, features)
        length = struct.pack("<Q", len(example))
        out += length + _checksum(length) + example + _checksum(example)
    return bytes(out)


def _element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    """A DICOM element in explicit VR little endian; values have an even length."""
    if len(value) % 2:
        value += b"\0" if kind in (b"UI", b"OB") else b" "
    head = struct.pack("<HH", group, number) + kind
    if kind in (b"OB", b"OW"):
        return head + b"\0\0" + struct.pack("<I", len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def dicom(pixels: Pixels, patient: str, uid: str) -> bytes:
    """A DICOM file of an RGB image; the patient's id is in its head, as in real ones."""
    height, width = pixels.shape[:2]
    short = struct.Struct("<H").pack
    kind = b"1.2.840.10008.5.1.4.1.1.7"  # secondary capture
    meta = _element(2, 1, b"OB", b"\0\1") + _element(2, 2, b"UI", kind) + _element(2, 3, b"UI", uid.encode())
    meta += _element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1")
    body = _element(8, 0x16, b"UI", kind) + _element(8, 0x18, b"UI", uid.encode())
    body += _element(0x10, 0x20, b"LO", patient.encode())
    body += _element(0x28, 2, b"US", short(3)) + _element(0x28, 4, b"CS", b"RGB")
    body += _element(0x28, 6, b"US", short(0)) + _element(0x28, 0x10, b"US", short(height))
    body += _element(0x28, 0x11, b"US", short(width)) + _element(0x28, 0x100, b"US", short(8))
    body += _element(0x28, 0x101, b"US", short(8)) + _element(0x28, 0x102, b"US", short(7))
    body += _element(0x28, 0x103, b"US", short(0)) + _element(0x7FE0, 0x10, b"OW", pixels.tobytes())
    size = _element(2, 0, b"UL", struct.pack("<I", len(meta)))
    return b"\0" * 128 + b"DICM" + size + meta + body
