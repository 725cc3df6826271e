"""Pictures within a page that needs no other file."""

from __future__ import annotations

import base64
from html import escape

import cv2

from comp.data.images.decode import load_pixels
from comp.data.images.source import ImageSource
from comp.errors import ImageError

SIDE = 160
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c1c1c;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.05rem;margin:0}section{border:1px solid #ddd;border-left-width:6px;border-radius:6px;
padding:.8rem 1rem;margin:1rem 0}.group{display:flex;flex-wrap:wrap;gap:.6rem;margin:.6rem 0;padding-top:.6rem;
border-top:1px solid #eee}figure{margin:0;width:160px}img{max-width:160px;max-height:160px;background:#eee}
figcaption{font-size:11px;overflow-wrap:anywhere;color:#444}small{color:#666}
"""


def figure(path: str, source: ImageSource, caption: str) -> str:
    """A picture of at most 160 pixels a side over its caption (HTML); one that cannot be decoded says why."""
    below = f"<figcaption>{caption}</figcaption>"
    try:
        pixels = load_pixels(source, path)
    except ImageError as error:
        return f"<figure>{escape(error.value)}{below}</figure>"
    scale = SIDE / max(pixels.shape[:2])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    code = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    small = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), size, interpolation=code)
    data = base64.b64encode(cv2.imencode(".jpg", small)[1].tobytes()).decode()
    return f'<figure><img alt="" src="data:image/jpeg;base64,{data}">{below}</figure>'
