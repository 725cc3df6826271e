"""What is written beside the pixels: every place where a text or a date can stand in an image file."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image, ImageCms, PngImagePlugin

from comp.checks.image_metadata import LONGEST, MOST, read_header

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description xmp:CreateDate="2020-01-02T10:00:00">'
    b"<dc:subject><rdf:Bag><rdf:li>dog</rdf:li><rdf:li>pet</rdf:li></rdf:Bag></dc:subject>"
    b"</rdf:Description></rdf:RDF></x:xmpmeta>"
)


def file(kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 10), (9, 99, 9)).save(out, kind, **options)
    return out.getvalue()


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[270], tags[315], tags[33432], tags[306] = "a dog", "Anna", "(c) dog", "2020:01:02 03:04:05"
    for n, word in enumerate(("title", "comment", "author", "keywords", "subject")):
        tags[0x9C9B + n] = f"xp {word}".encode("utf-16-le")
    inner = tags.get_ifd(0x8769)
    inner[0x9003], inner[0x9291] = "2019:05:02 13:01:22", "123"
    inner[37510], inner[37500] = b"ASCII\0\0\0class 3", b"\x01\x02MAKER\xff"
    place = tags.get_ifd(0x8825)
    place[1], place[2] = "N", (37.0, 33.0, 12.5)
    return tags


def test_headers_that_images_share_give_each_what_is_its_own() -> None:
    start = file("JPEG", comment=b"of all")
    first, second = read_header(start + b"cat"), read_header(start + b"dog")
    first.tags["changed"] = "by whoever asked"
    assert (first.kind, first.pages) == ("JPEG RGB", 1)
    assert first.tags["bytes after the image"] == "cat"
    assert second.tags["bytes after the image"] == "dog"
    assert second.tags["JPEG comment"] == "of all"
    assert "bytes after the image" not in read_header(start).tags
    assert "changed" not in read_header(start + b"cat").tags
    assert read_header(file("JPEG", comment=b"of one")).tags["JPEG comment"] == "of one"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_text_and_date_of_exif_is_read(kind: str) -> None:
    _, tags, _ = read_header(file(kind, exif=exif()))
    wanted = {
        "EXIF ImageDescription": "a dog",
        "EXIF Artist": "Anna",
        "EXIF Copyright": "(c) dog",
        "EXIF DateTime": "2020:01:02 03:04:05",
        "EXIF XPTitle": "xp title",
        "EXIF XPComment": "xp comment",
        "EXIF XPKeywords": "xp keywords",
        "EXIF DateTimeOriginal": "2019:05:02 13:01:22",
        "EXIF SubsecTimeOriginal": "123",
        "EXIF UserComment": "class 3",
        "EXIF GPSLatitude": "37 33 12.5",
    }
    assert wanted.items() <= tags.items()
    assert tags["EXIF MakerNote"].startswith("MAKER #")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_properties_of_xmp_are_read_one_by_one(kind: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    _, tags, _ = read_header(file(kind, **({"pnginfo": info} if kind == "PNG" else {"xmp": XMP})))
    assert (tags["XMP xmp:CreateDate"], tags["XMP dc:subject"]) == ("2020-01-02T10:00:00", "dog | pet")


def iptc(*fields: tuple[int, bytes]) -> bytes:
    """The segment of a JPEG with IPTC fields of record 2."""
    body = b"".join(struct.pack(">BBBH", 0x1C, 2, name, len(value)) + value for name, value in fields)
    resource = b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(body)) + body + b"\0" * (len(body) % 2)
    segment = b"Photoshop 3.0\0" + resource
    return b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment


def comment(text: bytes) -> bytes:
    return b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text


def test_iptc_and_all_comments_of_a_jpeg_are_read() -> None:
    plain = file("JPEG")
    whole = (
        plain[:2] + comment(b"first") + comment(b"second") + iptc((80, b"Anna"), (120, b"a dog")) + plain[2:]
    )
    _, tags, _ = read_header(whole)
    assert tags["JPEG comment"] == "first | second"
    assert (tags["IPTC byline"], tags["IPTC caption"]) == ("Anna", "a dog")


def test_every_text_chunk_of_a_png_is_read_before_its_pixels_and_behind() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Class", "cat")
    info.add_text("Packed", "zipped", zip=True)
    info.add_itxt("Wide", "강아지", zip=True)
    whole = file("PNG", pnginfo=info)
    late = b"tEXt" + b"Late\0behind"
    chunk = struct.pack(">I", len(late) - 4) + late + struct.pack(">I", zlib.crc32(late))
    _, tags, _ = read_header(whole[:-12] + chunk + whole[-12:] + b"tail")
    wanted = {"PNG Class": "cat", "PNG Packed": "zipped", "PNG Wide": "강아지", "PNG Late": "behind"}
    assert wanted.items() <= tags.items()
    assert tags["bytes after the image"] == "tail"


def test_tiff_gif_and_profiles_are_read() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert read_header(file("TIFF", exif=exif()))[1]["EXIF ImageDescription"] == "a dog"
    assert read_header(file("GIF", comment=b"a dog"))[1]["GIF comment"] == "a dog"
    assert read_header(file("JPEG", icc_profile=profile))[1]["ICC desc"] == "sRGB built-in"
    assert read_header(file("JPEG") + b"dog")[1]["bytes after the image"] == "dog"


def test_how_pixels_are_packed_is_told_as_encoding() -> None:
    coarse, fine = (read_header(file("JPEG", quality=q))[1]["encoding tables"] for q in (30, 95))
    assert coarse != fine


@pytest.mark.parametrize("content", [b"", b"no image", file("JPEG")[:40], file("PNG")[:20]])
def test_what_is_no_image_has_no_tags(content: bytes) -> None:
    assert read_header(content)[1] == {}


def test_long_and_packed_texts_are_cut() -> None:
    info = PngImagePlugin.PngInfo()
    for n in range(30):
        info.add_text(f"Text {n:02}", f"{n}" + "x" * 5000)
    info.add_text("Bomb", "y" * 1_000_000, zip=True)
    _, tags, _ = read_header(file("PNG", pnginfo=info))
    assert max(map(len, tags.values())) <= LONGEST + 20
    assert sum(map(len, tags.values())) <= MOST
    assert tags["PNG Text 00"] != tags["PNG Text 01"]
