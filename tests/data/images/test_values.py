"""One scale for each number of bits, whatever values an image has; transparent images over one grey."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from comp.data.images.decode import BACKGROUND, decode, decode_with_facts
from comp.data.images.png import SIGNATURE
from comp.errors import ImageError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (9, 7)).astype(np.uint8)
COLOURS = RNG.integers(0, 256, (9, 7, 3)).astype(np.uint8)


def encoded(image: Image.Image | np.ndarray, format_: str, **options: object) -> bytes:
    out = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(out, format_, **options)
    return out.getvalue()


def deep_png(values: np.ndarray, colour_type: int, transparent: tuple[int, ...] = ()) -> bytes:
    """A PNG of 16 bits: (H, W) or (H, W, channels)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    key = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b""
    return (
        SIGNATURE + chunk(b"IHDR", header) + key + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def deep_tiff(values: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".tiff", values[..., ::-1] if values.ndim == 3 else values)[1].tobytes())


def test_one_bright_pixel_does_not_darken_a_16_bit_image() -> None:
    """The case that started it: a greatest value of 255 gave 0 … 255, one of 256 gave 0 … 1."""
    ramp = np.tile(np.linspace(0, 255, 48).astype(np.uint16), (48, 1))
    brighter = ramp.copy()
    brighter[0, 0] = 256
    first, second = decode(encoded(ramp, "PNG"), "x"), decode(encoded(brighter, "PNG"), "x")
    assert first.max() == second.max() == 1
    assert (first[1:] == second[1:]).all()
    assert (first[..., 0] == (ramp.astype(int) + 128) // 257).all()


@pytest.mark.parametrize(
    "make", [lambda v: encoded(v, "PNG"), lambda v: encoded(v, "TIFF"), lambda v: encoded(v, "PPM")]
)
def test_grey_of_16_bits_is_divided_by_257(make: object) -> None:
    values = GREY.astype(np.uint16) * 257
    found = decode_with_facts(make(values), "x")  # type: ignore[operator]
    assert (found.pixels == GREY[..., None]).all()
    assert (found.bits, found.greatest) == (16, int(values.max()))


@pytest.mark.parametrize("make", [lambda v: deep_png(v, 2), deep_tiff])
def test_colours_of_16_bits_are_divided_by_257_and_rounded(make: object) -> None:
    values = RNG.integers(0, 65536, (9, 7, 3)).astype(np.uint16)
    found = decode_with_facts(make(values), "x")  # type: ignore[operator]
    assert (found.pixels == (values.astype(int) + 128) // 257).all()
    assert (found.bits, found.greatest) == (16, int(values.max()))


def test_a_tiff_of_16_bits_whose_white_is_zero_is_no_negative() -> None:
    image = Image.fromarray(GREY.astype(np.uint16) * 257)
    content = encoded(image, "TIFF", tiffinfo={262: 0})
    shown = Image.open(io.BytesIO(content)).tag_v2[262]
    assert (decode(content, "x") == (255 - GREY if shown == 0 else GREY)[..., None]).all()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.fromarray(GREY.astype(np.float32) / 255), "floating-point numbers"),
        (Image.fromarray(np.where(GREY > 99, np.nan, GREY).astype(np.float32)), "are NaN"),
        (Image.fromarray(GREY.astype(np.float32) - 128), "(-1"),
        (Image.fromarray(GREY.astype(np.int32) * 1000), "32 bits"),
        (Image.fromarray(GREY.astype(np.int32) - 100), "signed"),
    ],
)
def test_values_without_a_known_range_are_refused_by_name(image: Image.Image, words: str) -> None:
    with pytest.raises(ImageError) as error:
        decode(encoded(image, "TIFF"), "train/a.tif")
    assert error.value.value.startswith("train/a.tif: ")
    assert words in error.value.value
    assert "convert the images to 8 or 16 bits" in error.value.value


def test_colours_in_floating_point_are_refused_by_name() -> None:
    content = cv2.imencode(".tiff", COLOURS.astype(np.float32))[1].tobytes()
    with pytest.raises(ImageError, match="convert the images to 8 or 16 bits"):
        decode(content, "x")


def test_one_bit_is_black_and_white() -> None:
    found = decode_with_facts(encoded(Image.fromarray(GREY).convert("1"), "PNG"), "x")
    assert set(np.unique(found.pixels)) == {0, 255}
    assert found.bits == 8


# --- transparency ---------------------------------------------------------------------------------------------------


def strokes(seed: int, ink: int) -> Image.Image:
    """An image whose drawing is in its alpha alone."""
    alpha = (np.random.default_rng(seed).integers(0, 2, (12, 12)) * 255).astype(np.uint8)
    return Image.fromarray(np.dstack([np.full((12, 12, 3), ink, np.uint8), alpha]))


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("format_", ["PNG", "WEBP", "TIFF"])
def test_strokes_in_alpha_alone_are_seen(ink: int, format_: str) -> None:
    options = {"lossless": True, "exact": True} if format_ == "WEBP" else {}
    first, second = (decode_with_facts(encoded(strokes(n, ink), format_, **options), "x") for n in (1, 2))
    assert first.is_transparent
    assert second.is_transparent
    assert not (first.pixels == second.pixels).all()
    alpha = np.asarray(strokes(1, ink))[..., 3]
    assert (first.pixels == np.where(alpha > 0, ink, BACKGROUND)[..., None]).all()


def test_half_transparent_pixels_are_mixed() -> None:
    alpha = RNG.integers(0, 256, GREY.shape).astype(np.uint8)
    found = decode(encoded(np.dstack([COLOURS, alpha]), "PNG"), "x")
    share = alpha[..., None] / 255
    assert np.abs(found - (COLOURS * share + BACKGROUND * (1 - share))).max() <= 0.51
    grey = decode(encoded(Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha)]), "PNG"), "x")
    assert np.abs(grey - (GREY[..., None] * share + BACKGROUND * (1 - share))).max() <= 0.51


def test_alpha_of_16_bits_is_laid_over_too() -> None:
    alpha = RNG.integers(0, 256, GREY.shape).astype(np.uint8)
    eight = decode(encoded(np.dstack([COLOURS, alpha]), "PNG"), "x")
    deep = np.dstack([COLOURS, alpha]).astype(np.uint16) * 257
    for content in (deep_png(deep, 6), bytes(cv2.imencode(".png", deep[..., [2, 1, 0, 3]])[1].tobytes())):
        found = decode_with_facts(content, "x")
        assert (found.pixels == eight).all()
        assert (found.is_transparent, found.bits) == (True, 16)
    grey = decode_with_facts(deep_png(np.dstack([GREY, alpha]).astype(np.uint16) * 257, 4), "x")
    assert grey.is_transparent


def test_a_transparent_colour_or_palette_entry_counts() -> None:
    flat = GREY.copy()
    flat[2:5] = 40
    found = decode_with_facts(encoded(flat, "PNG", transparency=40), "x")
    assert (found.pixels[2:5] == BACKGROUND).all()
    coloured = COLOURS.copy()
    coloured[2:5] = (1, 2, 3)
    for content in (
        encoded(coloured, "PNG", transparency=(1, 2, 3)),
        deep_png(coloured.astype(np.uint16) * 257, 2, (257, 514, 771)),
    ):
        found = decode_with_facts(content, "x")
        assert found.is_transparent
        assert (found.pixels[2:5] == BACKGROUND).all()
        assert (found.pixels[5:] == coloured[5:]).all()
    deep = decode_with_facts(deep_png(flat.astype(np.uint16) * 257, 0, (40 * 257,)), "x")
    assert (deep.pixels[2:5] == BACKGROUND).all()
    palette = Image.fromarray(coloured).quantize(8)
    index = palette.getpixel((0, 3))
    for format_ in ("PNG", "GIF"):
        found = decode_with_facts(encoded(palette, format_, transparency=index), "x")
        assert (found.pixels[2:5] == BACKGROUND).all()


def test_alpha_that_is_opaque_everywhere_changes_nothing() -> None:
    opaque = np.full(GREY.shape, 255, np.uint8)
    deep = np.dstack([COLOURS, opaque]).astype(np.uint16) * 257
    for content in (
        encoded(np.dstack([COLOURS, opaque]), "PNG"),
        encoded(np.dstack([COLOURS, opaque]), "TIFF"),
        encoded(np.dstack([COLOURS, opaque]), "WEBP", lossless=True),
        encoded(COLOURS, "PNG", transparency=(300 % 256, 0, 1)),
        deep_png(deep, 6),
    ):
        found = decode_with_facts(content, "x")
        assert (found.pixels == COLOURS).all()
        assert not found.is_transparent
