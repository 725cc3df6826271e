"""HTML pages that need no other file, made of the templates beside this module; every value in them is escaped."""

from __future__ import annotations

import base64
from functools import cache, partial
from typing import TYPE_CHECKING

import cv2

from comp._version import __version__
from comp.data.images.decode import load_pixels
from comp.data.images.source import ImageSource
from comp.errors import ImageError

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

SIDE = 160


def render(template: str, source: ImageSource, **values: object) -> str:
    """A page of a template; ``thumbnail(path)`` in it draws an image of ``source``."""
    return page(template, thumbnail=partial(thumbnail, source), **values)


def page(template: str, **values: object) -> str:
    """A page of a template, with the style sheet and the script of all pages in it."""
    pages, style, script = _templates()
    return str(pages.get_template(template).render(style=style, script=script, version=__version__, **values))


@cache
def _templates() -> tuple[Environment, Markup, Markup]:
    """The templates, compiled once in a process, and the texts that all pages share."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    loader = PackageLoader("comp.report")
    pages = Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    style, script = (Markup(loader.get_source(pages, f"page.{name}")[0]) for name in ("css", "js"))
    return pages, style, script


def thumbnail(source: ImageSource, path: str) -> dict[str, str]:
    """``data``: an image of at most 160 pixels a side as base64 of a JPEG; or ``error``: why it cannot be decoded."""
    try:
        pixels = load_pixels(source, path)
    except ImageError as error:
        return {"error": error.value}
    scale = SIDE / max(pixels.shape[:2])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    code = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    small = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), size, interpolation=code)
    return {"error": "", "data": base64.b64encode(cv2.imencode(".jpg", small)[1].tobytes()).decode()}
