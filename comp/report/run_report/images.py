"""The images of a page: each decoded and kept once, as few and as small as the page needs."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from comp.data.images.decode import load_pixels
from comp.data.images.source import ImageSource
from comp.errors import CompError

LARGE, SMALL = 288, 96  # pixels of the longer side
EXACT = 64  # up to so many pixels a side an image stays as it is
QUALITY = {LARGE: 82, SMALL: 72}


@dataclass(frozen=True)
class PageImage:
    """An image in a page: its number there, ``url`` (data:), and its sides in pixels; or ``error``: why there is none."""

    number: int
    url: str
    width: int
    height: int
    error: str = ""


@dataclass
class PageImages:
    """Draws images of a source; ``left`` more of them at most, so that a page costs what it may."""

    source: ImageSource
    left: int
    drawn: dict[str, PageImage] = field(default_factory=dict)

    def large(self, path: str) -> PageImage | None:
        """An image to look at; None where no more may be drawn."""
        return self._draw(path, LARGE)

    def small(self, path: str) -> PageImage | None:
        """An image to recognise; the large one where the page has it."""
        return self._draw(path, SMALL)

    def _draw(self, path: str, side: int) -> PageImage | None:
        if path not in self.drawn:
            if self.left <= 0:
                return None
            self.left -= 1
            self.drawn[path] = self._encoded(path, side)
        return self.drawn[path]

    def _encoded(self, path: str, side: int) -> PageImage:
        number = len(self.drawn)
        try:
            pixels = load_pixels(self.source, path)
        except (CompError, OSError) as error:
            return PageImage(number, "", 0, 0, getattr(error, "value", None) or "it cannot be read")
        return PageImage(number, url_of(pixels, side), pixels.shape[1], pixels.shape[0])


def url_of(pixels: NDArray[np.uint8], side: int) -> str:
    """Pixels (H, W, 3), no longer than ``side``, as the URL of a JPEG; tiny ones unchanged as that of a PNG."""
    longest = max(pixels.shape[:2])
    shown = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    if longest <= EXACT:
        return data_url("png", cv2.imencode(".png", shown)[1].tobytes())
    if longest > side:
        size = [max(1, round(length * side / longest)) for length in (pixels.shape[1], pixels.shape[0])]
        shown = cv2.resize(shown, (size[0], size[1]), interpolation=cv2.INTER_AREA)
    quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY[side]]
    return data_url("jpeg", cv2.imencode(".jpg", shown, quality)[1].tobytes())


def data_url(kind: str, content: bytes) -> str:
    """The URL of an image that lies in the page itself."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
