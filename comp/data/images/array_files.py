"""Files of numbers that are no photographs: npy, npz, DICOM, TIFF and PNG of more bits or channels, as arrays (H, W, N)."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from comp.data.images import png, tiff
from comp.data.images.scale import Values
from comp.errors import ImageError, InputError

# numpy reads a header by ``ast.parse``, which fails where two threads are in it (CPython gh-106905)
HEADERS = threading.Lock()
_NPY, _ZIP = b"\x93NUMPY", b"PK\x03\x04"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_RULE = "an image of [images] is an array of numbers"
MEDICAL = 'pip install "imgcomp[medical]"'


def read_values(
    content: bytes | NDArray[Any], path: str, channels: int, axes: str = "", members: Sequence[str] = ()
) -> Values:
    """The numbers of an image.

    Parameters
    ----------
    content : bytes or array
        A file, or what a source gave.
    path : str
        For errors.
    channels : int
        N, as [images] states it; an array (H, W) is one channel.
    axes : "first", "last" or ""
        Where the channels stand; where it is not said, the axis that has N entries, if only one does.
    members : sequence of str
        Of an npz, each a part of the channels; its only one where not said.

    Raises
    ------
    ImageError
        For what is no such array, cannot be read whole, or has other channels than N.
    """
    if not isinstance(content, bytes):
        return as_values(content, path, channels, axes)
    if not content:
        raise _unreadable(path, "zero bytes")
    if content[128:132] == b"DICM":
        from comp.data.images.dicom import read_dicom

        array, is_inverted = read_dicom(content, path)
        return as_values(array, path, channels, axes)._replace(kind="DICOM", is_inverted=is_inverted)
    try:
        array = _decoded(content, path, members)
    except InputError:
        raise
    except (tiff.Damaged, png.Damaged) as error:
        raise _unreadable(path, str(error)) from error
    except Exception as error:  # numpy, Pillow and tifffile raise many kinds for one cause
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise _unreadable(path, reason) from error
    return as_values(array, path, channels, axes)


def as_values(array: Any, path: str, channels: int, axes: str = "") -> Values:
    """An array of real numbers with its channels last; raises as ``read_values`` does."""
    kind = getattr(array, "dtype", None)
    if not isinstance(array, np.ndarray) or kind is None or kind.kind not in "biuf" or not array.size:
        found = f"{kind} of {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise _unreadable(path, f"found {found}")
    found, stated = f"{kind} of {array.shape}", f"[images] channels = {channels}"
    if array.ndim == 2 and channels == 1:
        return Values(array[:, :, None], str(kind))
    if array.ndim != 3:
        raise _unreadable(path, f"found {found}; {stated}")
    places = {"first": [0], "last": [2]}.get(axes, [0, 2])
    fitting = [place for place in places if array.shape[place] == channels]
    if not fitting:
        raise _unreadable(path, f"found {found}; {stated}")
    if len(fitting) > 1:
        value = f"{path}: {found}: the first axis and the last both have {channels} entries"
        raise ImageError(
            "[images] says where the channels stand", value, 'state axes = "first" or "last" there'
        )
    return Values(np.moveaxis(array, fitting[0], 2), str(kind))


def _decoded(content: bytes, path: str, members: Sequence[str]) -> NDArray[Any]:
    if content.startswith(_NPY):
        with HEADERS:
            return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
    if content.startswith(_ZIP):
        return _from_npz(content, path, members)
    if content.startswith(_TIFF):
        return _from_tiff(content, path)
    if content.startswith(png.SIGNATURE):
        return _from_png(png.verified(content), path)
    from comp.data.images.decode import decode

    return decode(content, path)  # a photograph, as it is


def _from_npz(content: bytes, path: str, members: Sequence[str]) -> NDArray[Any]:
    with HEADERS, zipfile.ZipFile(io.BytesIO(content)) as opened:
        names = [name.removesuffix(".npy") for name in opened.namelist()]
        wanted = list(members) or names
        absent = [name for name in wanted if name not in names]
        if absent or (not members and len(names) > 1):
            value = f"{path}: it has {', '.join(names[:6])}" + (f", not {absent[0]}" if absent else "")
            raise ImageError("[images] members names arrays of an npz", value, "state members there")
        arrays = [np.load(io.BytesIO(opened.read(f"{name}.npy")), allow_pickle=False) for name in wanted]
    if len(arrays) == 1:
        return np.asarray(arrays[0])
    return np.stack(arrays, axis=-1)


def _from_tiff(content: bytes, path: str) -> NDArray[Any]:
    """One band by Pillow; several bands or pages, and what Pillow has no mode for, by tifffile.

    Pillow reads whole numbers of 32 bits without a sign as if they had one: they go to tifffile, too.
    """
    unread = suppress(OSError, SyntaxError, ValueError, TypeError, KeyError)  # what Pillow cannot read
    with unread, Image.open(io.BytesIO(content)) as image:
        tiff.require_whole(content, getattr(image, "tag_v2", {}))
        if getattr(image, "n_frames", 1) == 1 and image.mode in ("L", "I", "F", "I;16", "I;16B", "I;16L"):
            image.load()
            tags = dict(getattr(image, "tag_v2", {}))
            is_plain = tags.get(339, (1,))[0] != 2 and tags.get(262) != 0  # else signed, or white is 0
            if is_plain and (image.mode != "I" or tags.get(258) == (16,)):
                found = np.asarray(image)
                return found.astype(np.uint16) if tags.get(258) == (16,) else found
        if image.mode == "RGB" and set(tags_of(image).get(258, ())) == {8}:
            return np.asarray(image)
    try:
        import tifffile
    except ImportError as error:
        raise ImageError(
            "TIFFs of several channels need tifffile", f"{path}: it is not installed", MEDICAL
        ) from error
    with tifffile.TiffFile(io.BytesIO(content)) as opened:
        if str(getattr(opened.pages[0], "photometric", "")).endswith("MINISWHITE"):
            raise _unreadable(path, "its 0 is white, which has no scale here; convert it")
        return np.asarray(opened.asarray())


def tags_of(image: Image.Image) -> dict[int, Any]:
    """The tags of a TIFF as Pillow has them."""
    return dict(getattr(image, "tag_v2", {}))


def _from_png(content: bytes, path: str) -> NDArray[Any]:
    if content[24] == 16:
        found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if found is None or found.dtype != np.uint16:
            raise _unreadable(path, "a PNG of 16 bits that cannot be read")
        return found if found.ndim == 2 else np.ascontiguousarray(_reordered(found))
    with Image.open(io.BytesIO(content)) as image:
        if image.mode not in ("L", "RGB", "RGBA", "LA"):
            raise _unreadable(path, f"a PNG of mode {image.mode}")
        return np.asarray(image)


def _reordered(found: NDArray[Any]) -> NDArray[Any]:
    """OpenCV's blue, green, red (and alpha) in the order of the file."""
    return found[:, :, [2, 1, 0, *range(3, found.shape[2])]]


def _unreadable(path: str, reason: str) -> ImageError:
    return ImageError(_RULE, f"{path}: {reason}", "correct [images] of competition.toml, or the file")
