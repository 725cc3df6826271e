"""Images that are a box of another image: ``photo.jpg#xywh=10,20,100,70`` names the part of a photograph that a row is of.

The part behind the # is that of W3C's Media Fragments URI 1.0, section 4.2.2: left, top, width and height in pixels, or with
``percent:`` in per cents of the image. ``&margin=0.1`` widens the box on every side by that share of its longer side, and
``&of=640x480`` says what size the image has that the box was drawn on. So a path alone says which pixels an image has.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import local
from typing import Any

import numpy as np

from comp.data.images.decode import decode
from comp.data.images.source import ImageSource, Pixels, WithFiles, file_of, gives, gives_files
from comp.errors import ImageError

MARK = "#xywh="
_NUMBER = r"(-?[0-9.]+(?:e[+-]?[0-9]+)?)"
_FRAGMENT = re.compile(
    rf"(percent:)?{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}(?:&margin={_NUMBER})?(?:&of=([0-9]+)x([0-9]+))?"
)
_NEARLY = 1e-6  # of a pixel: what arithmetic alone adds to a whole number


@dataclass(frozen=True)
class Box:
    """A box of an image: ``left``, ``top``, ``width`` and ``height`` in pixels, or in ``percent`` of the image.

    ``margin`` is the share of its longer side (in pixels) that is added on every side; ``of`` the width and height of the
    image that it was drawn on, where they are known.
    """

    left: float
    top: float
    width: float
    height: float
    percent: bool = False
    margin: float = 0.0
    of: tuple[int, int] | None = None

    @property
    def fragment(self) -> str:
        """What stands behind the path of the file, ``#xywh=…``."""
        numbers = ",".join(f"{one:.9g}" for one in (self.left, self.top, self.width, self.height))
        margin = f"&margin={self.margin:.9g}" if self.margin else ""
        size = f"&of={self.of[0]}x{self.of[1]}" if self.of else ""
        return f"{MARK}{'percent:' if self.percent else ''}{numbers}{margin}{size}"

    def within(self, width: int, height: int, path: str) -> tuple[int, int, int, int]:
        """The pixels of an upright image that the box with its margin covers, cut off at the image's sides: the first and the
        last but one column, the first and the last but one row, as (x0, x1, y0, y1).

        Raises
        ------
        ImageError
            Where the image has another size than the box was drawn on, or nothing of the box lies in it.
        """
        if self.of and self.of != (width, height):
            told = f"{path}: drawn on {self.of[0]} x {self.of[1]} pixels, the image has {width} x {height}"
            told += " as EXIF turns it" if self.of == (height, width) else ""
            remedy = "give boxes of the images that are there, upright as EXIF says; or fractions"
            raise ImageError("a box is drawn on the image that it is cut from", told, remedy)
        across, down = (width / 100, height / 100) if self.percent else (1.0, 1.0)
        x0, y0 = self.left * across, self.top * down
        x1, y1 = x0 + self.width * across, y0 + self.height * down
        if x1 <= _NEARLY or y1 <= _NEARLY or x0 >= width - _NEARLY or y0 >= height - _NEARLY:
            told = f"{path}: nothing of it lies in {width} x {height} pixels"
            raise ImageError("a box lies in its image", told, "correct the table, box_format or box_unit")
        more = math.floor(self.margin * max(x1 - x0, y1 - y0) + 0.5)
        return (
            max(0, math.floor(x0 + _NEARLY) - more),
            min(width, math.ceil(x1 - _NEARLY) + more),
            max(0, math.floor(y0 + _NEARLY) - more),
            min(height, math.ceil(y1 - _NEARLY) + more),
        )


def without_box(path: str) -> str:
    """A path of a manifest without its box: that of the file."""
    return path.rpartition(MARK)[0] if MARK in path else path


def split_box(path: str) -> tuple[str, Box | None]:
    """The file of a manifest's path, and the box of it that a row is of; None where it is of the whole image.

    Raises
    ------
    ImageError
        For what stands behind ``#xywh=`` and is no box.
    """
    file, mark, text = path.rpartition(MARK)
    if not mark:
        return path, None
    found = _FRAGMENT.fullmatch(text)
    try:
        if found is None:
            raise ValueError(text)
        percent, *numbers, width, height = found.groups()
        left, top, wide, high, margin = (float(one or 0) for one in numbers)
        of = (int(width), int(height)) if width else None
        if not wide > 0 or not high > 0 or margin < 0:
            raise ValueError(text)
        return file, Box(left, top, wide, high, bool(percent), margin, of)
    except ValueError as error:
        rule, remedy = "a box of a path is FILE#xywh=10,20,100,70", "write left,top,width,height"
        raise ImageError(rule, f"{path}: no box behind its #", remedy) from error


@dataclass(frozen=True)
class BoxSource:
    """A source whose images are boxes of those of another, cut from the upright pixels; ``whole`` ones may stand beside them.

    The image that a thread read last stays in memory: rows of one photograph mostly follow each other.
    """

    own: ImageSource
    whole: bool = False
    _last: Any = field(default_factory=local, init=False, repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.own, self.whole)

    @property
    def gives_files(self) -> bool:
        return gives_files(self.own)

    def file_of(self, path: str) -> str:
        """The file that the image is in."""
        return file_of(self.own, without_box(path))

    def has(self, path: str) -> bool:
        """Whether the own source says that there is such an image, whatever the box."""
        return gives(self.own, without_box(path))

    def load(self, path: str) -> bytes | Pixels:
        """The pixels uint8 (H, W, 3) of a box, or (H, W, N) where the images have N channels.

        Raises
        ------
        ImageError
            For an image that cannot be read, a box that is not in it, and a path without a box where rows are of one.
        """
        file, box = split_box(path)
        if box is None:
            if self.whole or Path(path).is_absolute():  # an extra row may be an image of its own
                return self.own.load(path)
            remedy = "write the path as FILE#xywh=left,top,width,height"
            raise ImageError("every row is of a box of its image", f"{path}: no box in its path", remedy)
        pixels = self._pixels(file)
        x0, x1, y0, y1 = box.within(pixels.shape[1], pixels.shape[0], path)
        return np.ascontiguousarray(pixels[y0:y1, x0:x1])

    def _pixels(self, file: str) -> Pixels:
        known = getattr(self._last, "image", None)
        if known is not None and known[0] == file:
            pixels: Pixels = known[1]
            return pixels
        content = self.own.load(file)
        pixels = decode(content, file) if isinstance(content, bytes) else content
        self._last.image = (file, pixels)
        return pixels


def with_files(source: ImageSource) -> ImageSource:
    """A competition's source, and beside it files by absolute path (the rows of ``extra``), or boxes of them where rows are
    of boxes.
    """
    if isinstance(source, BoxSource):
        return replace(source, own=WithFiles(source.own))
    return WithFiles(source)
