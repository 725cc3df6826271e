"""Damaged images are refused as far as their format shows it, and harmless oddities are not."""

from __future__ import annotations

import hashlib
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from comp.data.images import jpeg, png
from comp.data.images.decode import decode
from comp.errors import ImageError
from made import REPOSITORY, draw

PIXELS = draw("square", 3, 160)
NOISE = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)


def encoded(format_: str, pixels: np.ndarray = PIXELS, mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, format_, **options)
    return out.getvalue()


BASELINE = encoded("JPEG", quality=90)
PROGRESSIVE = encoded("JPEG", quality=90, progressive=True)
JPEGS = {
    "baseline": BASELINE,
    "progressive": PROGRESSIVE,
    "grey": encoded("JPEG", mode="L", quality=90),
    "grey progressive": encoded("JPEG", mode="L", quality=90, progressive=True),
    "restart markers": encoded("JPEG", quality=90, restart_marker_blocks=3),
    "for printing": encoded("JPEG", mode="CMYK", quality=90),
    "turned": encoded(
        "JPEG", quality=90, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
    ),
}


def refused(content: bytes) -> str:
    """What the error says."""
    with pytest.raises(ImageError, match=r"train/a\.jpg") as error:
        decode(content, "train/a.jpg")
    return error.value.value


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_that_was_cut_and_given_an_end_is_refused(kind: str) -> None:
    """libjpeg fills the rest with grey and only warns; the case that started it."""
    whole = JPEGS[kind]
    decode(whole, "x")
    start = whole.index(b"\xff\xda") + 20
    for at in np.linspace(start, len(whole) - 30, 9).astype(int):
        refused(whole[:at] + b"\xff\xd9")


def test_a_progressive_jpeg_cut_between_two_scans_is_refused() -> None:
    """There libjpeg has nothing to warn of: the image is only coarse."""
    scans = [at for at in range(len(PROGRESSIVE)) if PROGRESSIVE.startswith(b"\xff\xda", at)]
    assert len(scans) > 5
    for at in scans[1:]:
        assert "scans are missing" in refused(PROGRESSIVE[:at] + b"\xff\xd9")


def test_scans_of_one_component_each_are_complete_only_together() -> None:
    """A sequential JPEG may have a scan for each colour; without the last it lacks one."""
    out = cv2.imencode(".jpg", PIXELS, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    frame = jpeg.read_frame(out)
    assert frame is not None
    assert (frame.height, frame.width, frame.components, frame.is_progressive) == (160, 160, (1, 2, 3), True)
    assert jpeg.decode_strictly(out, frame).shape == (160, 160, 3)
    sequential = frame._replace(is_progressive=False)
    assert jpeg._scans_are_complete(out, sequential), "all three stand in the first scan"
    more = sequential._replace(components=(1, 2, 3, 4))
    assert not jpeg._scans_are_complete(out, more)


@pytest.mark.parametrize("kind", ["baseline", "progressive", "restart markers", "turned"])
def test_most_damage_inside_a_jpeg_is_refused(kind: str) -> None:
    """Not all: codes that read as other codes, as many as before, are a JPEG like any other."""
    whole = JPEGS[kind]
    start, seen = whole.index(b"\xff\xda") + 20, 0
    rng = np.random.default_rng(1)
    for at in rng.integers(start, len(whole) - 60, 40):
        try:
            decode(whole[:at] + rng.integers(0, 256, 40).astype(np.uint8).tobytes() + whole[at + 40 :], "x")
        except ImageError:
            seen += 1
    assert seen >= 24


def test_what_cannot_touch_a_pixel_is_no_damage() -> None:
    pixels = decode(BASELINE, "x")
    tables, scan = BASELINE.index(b"\xff\xdb"), BASELINE.index(b"\xff\xda")
    first = scan + 2 + int.from_bytes(BASELINE[scan + 2 : scan + 4], "big")
    comment = b"\xff\xfe\0\4ab"
    for content in (
        BASELINE[:tables] + b"\0junk\1" + BASELINE[tables:],
        BASELINE[:tables] + comment + b"xy" + BASELINE[tables:],
        BASELINE[:tables] + b"\xff\xff\xff" + BASELINE[tables:],
        BASELINE[:-2] + b"\0" * 100 + b"\xff\xd9",
        BASELINE.replace(b"JFIF\0\1", b"JFIF\0\0"),
        BASELINE[: first - 3] + b"\0\0\0" + BASELINE[first:],
        BASELINE + BASELINE[:300],
        BASELINE + b"\0" * 5000,
        BASELINE + b"anything at all" * 50,
    ):
        assert (decode(content, "x") == pixels).all()


def test_bytes_left_over_that_may_be_damage_are_refused() -> None:
    """A decoder that lost its way leaves bytes over at the end; a table that leaves some is not what it was."""
    huffman = BASELINE.index(b"\xff\xc4")
    assert "extraneous bytes" in refused(BASELINE[:-2] + bytes(range(1, 101)) + b"\xff\xd9")
    assert "extraneous bytes" in refused(BASELINE[:huffman] + b"junk" + BASELINE[huffman:])


def test_every_jpeg_has_the_pixels_that_pillow_and_opencv_give() -> None:
    rng = np.random.default_rng(2)
    for _ in range(40):
        pixels = cv2.resize(NOISE[: rng.integers(1, 40), : rng.integers(1, 40)], None, fx=2, fy=2)
        progressive = bool(rng.integers(2))
        content = encoded(
            "JPEG",
            pixels,
            quality=int(rng.integers(30, 99)),
            subsampling=int(rng.integers(3)),
            progressive=progressive,
        )
        found = decode(content, "x")
        assert (found == np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))).all()
        assert (found == cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)).all()


# --- PNG ------------------------------------------------------------------------------------------------------------


def chunks(content: bytes) -> list[tuple[int, bytes]]:
    """Where each chunk begins, and its kind."""
    found, at = [], 8
    while at < len(content):
        found.append((at, content[at + 4 : at + 8]))
        at += 12 + int.from_bytes(content[at : at + 4], "big")
    return found


def rewritten(content: bytes, change: object) -> bytes:
    """A PNG whose packed image data was changed, with right CRCs."""
    kinds = chunks(content)
    data = b"".join(
        content[at + 8 : at + 8 + int.from_bytes(content[at : at + 4], "big")]
        for at, kind in kinds
        if kind == b"IDAT"
    )
    packed = change(data)  # type: ignore[operator]
    idat = struct.pack(">I", len(packed)) + b"IDAT" + packed + struct.pack(">I", zlib.crc32(b"IDAT" + packed))
    first = next(at for at, kind in kinds if kind == b"IDAT")
    return content[:first] + idat + content[-12:]


def test_a_wrong_crc_of_any_chunk_is_refused() -> None:
    about = Image.fromarray(PIXELS)
    out = io.BytesIO()
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text("Author", "someone")
    about.save(out, "PNG", pnginfo=texts, dpi=(72, 72))
    whole = out.getvalue()
    assert {kind for _, kind in chunks(whole)} >= {b"IHDR", b"tEXt", b"pHYs", b"IDAT", b"IEND"}
    for at, kind in chunks(whole):
        end = at + 12 + int.from_bytes(whole[at : at + 4], "big")
        changed = whole[: end - 1] + bytes([whole[end - 1] ^ 1]) + whole[end:]
        assert f"the CRC of {kind.decode()} is wrong" in refused(changed)


def test_the_sum_of_a_png_s_image_data_is_looked_at() -> None:
    whole = encoded("PNG")
    assert (decode(rewritten(whole, lambda data: data), "x") == PIXELS).all()
    assert "incorrect data check" in refused(rewritten(whole, lambda data: data[:-1] + bytes([data[-1] ^ 1])))
    assert "do not unpack" in refused(rewritten(whole, lambda data: data[:500] + b"\xff" * 40 + data[540:]))
    assert "cut off" in refused(rewritten(whole, lambda data: data[:-4]))
    few = zlib.compress(zlib.decompress(rewritten_raw(whole))[:-1000])
    refused(rewritten(whole, lambda data: few))
    many = zlib.compress(bytes(50_000_000))
    assert "more image data" in refused(rewritten(whole, lambda data: many))


def rewritten_raw(content: bytes) -> bytes:
    """The packed image data of a PNG."""
    found: list[bytes] = []
    rewritten(content, lambda data: found.append(data) or data)
    return found[0]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_verified_pngs_have_the_same_pixels(mode: str) -> None:
    out = io.BytesIO()
    Image.fromarray(NOISE).convert("L" if mode == "I;16" else mode).convert(mode).save(out, "PNG")
    again = png.verified(out.getvalue() + b"junk behind the end")
    theirs, ours = Image.open(io.BytesIO(out.getvalue())), Image.open(io.BytesIO(again))
    assert (theirs.mode, theirs.info) == (ours.mode, ours.info)
    assert (np.asarray(theirs) == np.asarray(ours)).all()


def test_an_interlaced_png_is_whole(tmp_path: Path) -> None:
    """Seven passes of an image of 5 x 3 pixels have more rows than it."""
    pixels = NOISE[:3, :5]
    rows = b"".join(
        b"\0" + pixels[y0::dy, x0::dx][row].tobytes()
        for x0, y0, dx, dy in (
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        )
        for row in range(pixels[y0::dy, x0::dx].shape[0])
        if pixels[y0::dy, x0::dx].shape[1]
    )
    header = struct.pack(">IIBBBBB", 5, 3, 8, 2, 0, 0, 1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    content = (
        png.SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    assert (decode(content, "x") == pixels).all()


# --- the others -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "jpeg"])
def test_damage_in_a_tiff_that_can_be_seen_is_refused(compression: str) -> None:
    whole = encoded("TIFF", np.tile(NOISE, (4, 4, 1)), compression=compression)
    assert decode(whole, "x").shape == (160, 160, 3)
    seen = 0
    for at in np.linspace(len(whole) // 4, len(whole) * 3 // 4, 10).astype(int):
        try:
            decode(whole[:at] + bytes(255 - b for b in whole[at : at + 30]) + whole[at + 30 :], "x")
        except ImageError as error:
            seen += "part" in error.value
    assert seen >= (10 if compression == "tiff_adobe_deflate" else 6)


@pytest.mark.parametrize(
    ("format_", "options"),
    [
        ("GIF", {}),
        ("WEBP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
        ("JPEG2000", {}),
    ],
)
def test_the_other_formats_are_refused_where_they_are_cut(format_: str, options: dict[str, str]) -> None:
    whole = encoded(format_, **options)
    assert decode(whole + b"junk" * 9, "x").shape == (160, 160, 3)
    for share in (0.1, 0.4, 0.7, 0.95):
        refused(whole[: int(len(whole) * share)])


def test_no_damage_ends_otherwise_than_in_an_image_error() -> None:
    rng = np.random.default_rng(3)
    for whole in (*JPEGS.values(), encoded("PNG"), encoded("GIF"), encoded("WEBP"), encoded("BMP")):
        for _ in range(25):
            content = bytearray(whole)
            for at in rng.integers(0, min(len(whole), 500), 3):
                content[at] = rng.integers(256)
            try:
                pixels = decode(bytes(content), "x")
            except ImageError:
                continue
            assert (pixels.dtype, pixels.shape[2]) == (np.uint8, 3)


def test_where_the_strict_decoder_is_missing_pixels_are_the_same_and_a_check_says_so(
    workspace: Path, shapes: Path
) -> None:
    """A notebook without internet may lack it."""
    for path in (shapes / "train").iterdir():
        path.write_bytes(encoded("JPEG", np.asarray(Image.open(path).convert("RGB"))))
    (workspace / "one.jpg").write_bytes(BASELINE)
    program = (
        "import sys; sys.modules['simplejpeg'] = None\n"
        "import hashlib, comp\nfrom comp.data.images.decode import decode\n"
        "print(hashlib.sha256(decode(open('one.jpg', 'rb').read(), 'one.jpg').tobytes()).hexdigest())\n"
        "for f in comp.check('shapes', folds=2, workspace='.').findings:\n    print(f.severity, f.check, f.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=workspace, capture_output=True, text=True, check=True
    )
    first, *rest = done.stdout.splitlines()
    assert first == hashlib.sha256(decode(BASELINE, "x").tobytes()).hexdigest()
    assert any(
        line.startswith("warning unreadable-image damage inside JPEGs cannot be seen") for line in rest
    )


def test_the_strict_decoder_is_stated() -> None:
    """A fresh install sees damage."""
    assert jpeg.SEES_DAMAGE
    assert '"simplejpeg>=' in (REPOSITORY / "pyproject.toml").read_text()
