"""Decoding, strict and exact: whole images only, EXIF orientation applied, always RGB uint8 (H, W, 3).

Values are scaled by how many bits the file says they have, never by what values there are, so that all images of a set
share one scale; where a file does not say it (floating point, 32 bits, signed) it is refused. Transparent images are
laid over one grey.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from comp.data.images import jpeg, png, tiff
from comp.data.images.source import ImageSource
from comp.data.limits import MEGAPIXELS, max_pixels
from comp.errors import ImageError, InputError

cv2.setNumThreads(0)  # decoding runs in threads of ours; OpenCV's own would fight them

Pixels = NDArray[np.uint8]
BACKGROUND = 128  # the grey below transparent images: neither black nor white strokes vanish on it
_BITS, _PHOTOMETRIC, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 258, 262, 338, 339  # tags of TIFF
_ORIENTATION = 0x0112
_UNKNOWN_RANGE = "what range they span is not stated; convert the images to 8 or 16 bits, all by one scale"


class Decoded(NamedTuple):
    """An image's ``pixels``, uint8 (H, W, 3), and what its file held: whether any pixel was transparent, how many
    ``bits`` a value had (8, 12 or 16), and where it had more than 8 the greatest value.
    """

    pixels: Pixels
    is_transparent: bool = False
    bits: int = 8
    greatest: int = 0


class _Refused(Exception):
    """Why an image is refused although it is whole."""


def decode(content: bytes, name: str) -> Pixels:
    """Decodes an encoded image.

    Parameters
    ----------
    content : bytes
        The file.
    name : str
        Its path, for the error.

    Returns
    -------
    uint8 array (H, W, 3), RGB

    Raises
    ------
    ImageError
        Empty, not an image, cut off, damaged as far as its format shows it (JPEG by the decoder's warnings, PNG and deflated
        TIFF by their checksums; the others have none), too large, or of values without a known range.
    """
    return decode_with_facts(content, name).pixels


def decode_with_facts(content: bytes, name: str) -> Decoded:
    """The same, with what the file held."""
    if not content:
        raise _unreadable(name, "zero bytes")
    try:
        if content.startswith(jpeg.START):
            return _decode_jpeg(content)
        if content.startswith(png.SIGNATURE):
            _require_pixels(int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big"))
            content = png.verified(content)
        return _decode_with_pillow(content)
    except InputError:  # of the limits themselves
        raise
    except (_Refused, jpeg.Damaged, png.Damaged, tiff.Damaged) as error:
        raise _unreadable(name, str(error)) from error
    except Image.DecompressionBombError as error:
        pixels = int((re.findall(r"\d+", str(error)) or ["0"])[0])
        raise _unreadable(name, _too_large(f"{pixels:,} pixels", pixels)) from error
    except (
        Exception
    ) as error:  # Pillow's decoders raise many kinds for one cause: bytes that are no whole image
        raise _unreadable(name, _reason(content, error)) from error


def _decode_jpeg(content: bytes) -> Decoded:
    frame = jpeg.read_frame(content)
    if frame is None or frame.bits != 8 or len(frame.components) not in (1, 3, 4) or not jpeg.SEES_DAMAGE:
        return _decode_with_pillow(content)
    _require_pixels(frame.width, frame.height)
    if len(frame.components) == 4:  # for printing: Pillow knows how screens show them
        jpeg.decode_strictly(content, frame, "CMYK")
        return _decode_with_pillow(content)
    pixels = jpeg.decode_strictly(content, frame)
    if frame.has_exif:
        with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as header:
            warnings.simplefilter("ignore")
            pixels = _upright(pixels, header.getexif().get(_ORIENTATION, 1))
    return Decoded(pixels)


def _decode_with_pillow(content: bytes) -> Decoded:
    allowed = max_pixels()
    if Image.MAX_IMAGE_PIXELS is not None and allowed > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = allowed  # Pillow's own limit, twice this, must not be the narrower one
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # EXIF and palette complaints do not change the pixels
        with Image.open(io.BytesIO(content)) as image:
            _require_pixels(*image.size)
            if image.format == "TIFF":
                tiff.require_whole(content, getattr(image, "tag_v2", {}))
            image.load()
            found = _values(image, content)
            return found._replace(pixels=_upright(found.pixels, image.getexif().get(_ORIENTATION, 1)))


def _values(image: Image.Image, content: bytes) -> Decoded:
    """The pixels of a loaded image as they lie, not turned upright yet."""
    tags: dict[int, Any] = dict(getattr(image, "tag_v2", {}))
    if image.mode == "F":
        raise _Refused(f"its values are floating-point numbers ({_span(image)}), and {_UNKNOWN_RANGE}")
    if tags.get(_SAMPLE_FORMAT, (1,))[0] == 2:
        bits = max(tags.get(_BITS, (0,)))
        raise _Refused(f"its values are signed numbers of {bits} bits ({_span(image)}), and {_UNKNOWN_RANGE}")
    if image.mode == "I" and image.format not in (
        "PNG",
        "PPM",
    ):  # Pillow has those of 16 bits in this mode, too
        raise _Refused(f"its values are whole numbers of 32 bits ({_span(image)}), and {_UNKNOWN_RANGE}")
    if image.mode.startswith("I"):
        return _deep_grey(image, tags)
    deep = _deep_colours(image, content, tags)
    if deep is not None:
        return deep
    if not image.has_transparency_data:
        return Decoded(np.array(image.convert("RGB"), dtype=np.uint8))
    straight = image.convert("LA") if image.mode == "La" else image
    four = np.array(straight.convert("RGBA"), dtype=np.uint8)
    return _laid_over(four[:, :, :3], four[:, :, 3])


def _span(image: Image.Image) -> str:
    """From which value to which an image goes, and whether some are no numbers."""
    values = np.asarray(image).astype(np.float64)
    finite = values[np.isfinite(values)]
    span = f"{finite.min():g} to {finite.max():g}" if finite.size else "none is finite"
    return span + (
        f", {values.size - finite.size:,} are NaN or infinite" if finite.size < values.size else ""
    )


def _deep_grey(image: Image.Image, tags: dict[int, Any]) -> Decoded:
    """Grey of 16 bits (TIFF: also 12), by the scale of its bits: 65,535 is white, whatever values there are."""
    values = np.asarray(image).astype(np.int64)
    bits = 12 if tags.get(_BITS) == (12,) else 16
    white = (1 << bits) - 1
    greatest = int(values.max(initial=0))
    key = image.info.get("transparency")
    opaque = values != key if isinstance(key, int) else None
    if tags.get(_PHOTOMETRIC) == 0:
        values = white - values
    grey = ((values * 255 + white // 2) // white).astype(np.uint8)
    pixels = np.repeat(grey[:, :, None], 3, axis=2)
    if opaque is None:
        return Decoded(pixels, bits=bits, greatest=greatest)
    laid = _laid_over(pixels, (opaque * 255).astype(np.uint8))
    return laid._replace(bits=bits, greatest=greatest)


def _deep_colours(image: Image.Image, content: bytes, tags: dict[int, Any]) -> Decoded | None:
    """Colours of 16 bits, of which Pillow keeps the upper 8; None where there are none."""
    is_deep = content.startswith(png.SIGNATURE) and content[24] == 16
    if not is_deep and set(tags.get(_BITS, ())) != {16}:
        return None
    if image.mode not in ("RGB", "RGBA", "LA"):
        return None
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16 or found.ndim != 3 or found.shape[1::-1] != image.size:
        return None
    values = found[:, :, 2::-1]
    pixels = ((values.astype(np.int32) + 128) // 257).astype(np.uint8)
    deep = Decoded(pixels, bits=16, greatest=int(values.max(initial=0)))
    extra = tags.get(_EXTRA_SAMPLES, (2,))[0]
    if found.shape[2] < 4 or extra == 0:
        return deep
    alpha = ((found[:, :, 3].astype(np.int32) + 128) // 257).astype(np.uint8)
    laid = _laid_over(pixels, alpha, premultiplied=extra == 1)
    return laid._replace(bits=16, greatest=deep.greatest)


def _laid_over(pixels: Pixels, alpha: Pixels, premultiplied: bool = False) -> Decoded:
    """Pixels (H, W, 3) over the background, by alpha (H, W); the pixels themselves where all is opaque."""
    if alpha.min(initial=255) == 255:
        return Decoded(np.ascontiguousarray(pixels))
    share = alpha[:, :, None].astype(np.uint32)
    above = pixels.astype(np.uint32) * (255 if premultiplied else share)
    laid = (above + BACKGROUND * (255 - share) + 127) // 255
    return Decoded(np.minimum(laid, 255).astype(np.uint8), is_transparent=True)


def _upright(pixels: Pixels, orientation: Any) -> Pixels:
    """Pixels as people see them, by EXIF's number of how the camera was held."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _require_pixels(width: int, height: int) -> None:
    if width * height > max_pixels():
        raise _Refused(_too_large(f"{width:,} x {height:,} pixels", width * height))


def _too_large(size: str, pixels: int) -> str:
    limit = f"over the limit of {max_pixels() / 1e6:g} megapixels for one image"
    return f"{size}, {limit}; {MEGAPIXELS}={math.ceil(pixels / 1e6)} in the environment reads it"


def _reason(content: bytes, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        if content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return f"a TIFF whose kind of values cannot be read, and {_UNKNOWN_RANGE}"
        return f"{len(content):,} bytes that are not an image"
    if isinstance(error, MemoryError):
        return "not enough memory for it"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _unreadable(name: str, reason: str) -> ImageError:
    return ImageError(
        "every image must decode in full",
        f"{name}: {reason}",
        "replace the file, or take its row out; `comp check` lists all such files",
    )


def load_pixels(source: ImageSource, path: str) -> Pixels:
    """One image as RGB uint8 (H, W, 3), from wherever its path points; of other channels a preview."""
    content = source.load(path)
    return decode(content, path) if isinstance(content, bytes) else preview(content)


def preview(pixels: Pixels) -> Pixels:
    """Three channels (H, W, 3) of pixels (H, W, N), for eyes and for the comparison of images: means of three groups of
    channels beside one another; of two channels both, and their mean.
    """
    count = pixels.shape[2]
    if count == 3:
        return pixels
    groups = [[0], [1], [0, 1]] if count == 2 else np.array_split(np.arange(count), 3)
    means = [pixels[..., list(group)].mean(axis=2) for group in groups]
    return np.ascontiguousarray(np.rint(np.stack(means, axis=2)).astype(np.uint8))
