"""Decoding: what people see, RGB uint8, from whole files only."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from comp.data.images.decode import decode, load_pixels
from comp.data.images.raw_tree import RawTree
from comp.data.images.source import ArraySource
from comp.errors import ImageError
from made import draw

RED, BLUE = (220, 30, 30), (30, 30, 220)


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format_, **options)
    return out.getvalue()


def half_and_half(width: int = 32, height: int = 16) -> Image.Image:
    """Red on the left, blue on the right."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:, : width // 2], pixels[:, width // 2 :] = RED, BLUE
    return Image.fromarray(pixels)


def near(pixels: np.ndarray, colour: tuple[int, int, int], by: int = 12) -> bool:
    return bool((np.abs(pixels.astype(int) - np.array(colour)) <= by).all())


@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF", "WEBP", "GIF", "JPEG"])
def test_every_usual_format_gives_rgb(format_: str) -> None:
    options = (
        {"lossless": True}
        if format_ == "WEBP"
        else {"quality": 95, "subsampling": 0}
        if format_ == "JPEG"
        else {}
    )
    pixels = decode(encoded(half_and_half(), format_, **options), "x")
    assert (pixels.dtype, pixels.shape) == (np.uint8, (16, 32, 3))
    assert near(pixels[:, :12], RED)
    assert near(pixels[:, 20:], BLUE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, format_: str) -> None:
    """Each orientation of one upright image decodes to that image."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = half_and_half()
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(encoded(stored, format_, exif=exif), "x")
    assert pixels.shape == (16, 32, 3)
    assert near(pixels[:, :12], RED, 25)
    assert near(pixels[:, 20:], BLUE, 25)


def test_cmyk_is_what_pillow_shows() -> None:
    image = half_and_half().convert("CMYK")
    content = encoded(image, "JPEG", quality=95)
    assert (decode(content, "x") == np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))).all()


def test_greyscale_has_three_equal_channels() -> None:
    for content in (
        encoded(half_and_half().convert("L"), "PNG"),
        encoded(half_and_half().convert("L"), "JPEG"),
    ):
        pixels = decode(content, "x")
        assert pixels.shape == (16, 32, 3)
        assert (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16"])
def test_grey_modes_are_decoded(mode: str) -> None:
    pixels = decode(encoded(half_and_half().convert("L").convert(mode), "PNG"), "x")
    assert pixels.shape == (16, 32, 3)
    assert (pixels == pixels[..., :1]).all()


def test_palettes_give_their_colours() -> None:
    palette = half_and_half().quantize(4)
    for content in (encoded(palette, "PNG"), encoded(palette, "GIF"), encoded(palette, "TIFF")):
        pixels = decode(content, "x")
        assert pixels.shape == (16, 32, 3)
        assert near(pixels[:, :12], RED)
        assert near(pixels[:, 20:], BLUE)


def test_16_bit_png_keeps_its_greys() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
    pixels = decode(encoded(Image.fromarray(ramp), "PNG"), "x")
    assert np.abs(pixels[0, :, 0].astype(int) - np.arange(256)).max() <= 1


@given(
    st.integers(0, 200),
    st.integers(17, 70),
    st.sampled_from([60, 85, 95]),
    st.sampled_from([0, 2]),
    st.booleans(),
)
def test_the_fast_path_gives_pillows_pixels(
    seed: int, side: int, quality: int, subsampling: int, progressive: bool
) -> None:
    image = Image.fromarray(draw("circle", seed, side))
    content = encoded(image, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
    theirs = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    assert np.abs(decode(content, "x").astype(int) - theirs).max() <= 2


WHOLE = {
    "jpeg": encoded(Image.fromarray(draw("square", 3, 64)), "JPEG", quality=90),
    "progressive": encoded(Image.fromarray(draw("square", 3, 64)), "JPEG", quality=90, progressive=True),
    "png": encoded(Image.fromarray(draw("square", 3, 64)), "PNG"),
    "webp": encoded(Image.fromarray(draw("square", 3, 64)), "WEBP"),
    "bmp": encoded(Image.fromarray(draw("square", 3, 64)), "BMP"),
}


@given(st.sampled_from(sorted(WHOLE)), st.floats(0.01, 0.98))
def test_a_file_that_is_cut_off_is_refused(kind: str, share: float) -> None:
    whole = WHOLE[kind]
    assert decode(whole, "x").shape == (64, 64, 3)
    with pytest.raises(ImageError, match=r"train/a\.jpg"):
        decode(whole[: int(len(whole) * share)], "train/a.jpg")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "zero bytes"),
        (b"<html>not found</html>", "22 bytes that are not an image"),
        (b"\xff\xd8\xff\xd9", "x: "),
    ],
)
def test_what_is_no_image_says_so(content: bytes, told: str) -> None:
    with pytest.raises(ImageError) as error:
        decode(content, "x")
    assert told in error.value.value


def test_bytes_after_the_end_of_a_jpeg_do_no_harm() -> None:
    assert (decode(WHOLE["jpeg"] + b"\0" * 40, "x") == decode(WHOLE["jpeg"], "x")).all()
    assert (
        np.abs(decode(WHOLE["jpeg"] + b"\0" * 400, "x").astype(int) - decode(WHOLE["jpeg"], "x")).max() <= 2
    )


def test_an_array_row_and_a_file_are_loaded_alike(tmp_path: Path) -> None:
    pixels = draw("cross", 1)
    assert (load_pixels(ArraySource({"a": np.stack([pixels, 255 - pixels])}), "a#1") == 255 - pixels).all()
    (tmp_path / "x.png").write_bytes(encoded(Image.fromarray(pixels), "PNG"))
    assert (load_pixels(RawTree(tmp_path), "x.png") == pixels).all()
    for source, path in (
        (ArraySource({"a": pixels[None]}), "a#7"),
        (RawTree(tmp_path), "gone.png"),
        (RawTree(tmp_path), "."),
    ):
        with pytest.raises(ImageError):
            load_pixels(source, path)
