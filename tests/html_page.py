"""An HTML page taken apart, for the tests of pages."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

import cv2
import numpy as np

VOID = {"meta", "br", "img"}
NO_IMAGE = "data:,"  # of the box in which images open


class Page(HTMLParser):
    """A page taken apart; fails on a tag that is closed out of turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[np.ndarray] = []
        self.captions: list[str] = []
        self.sections: list[str] = []
        self.links: list[str] = []
        self.scripts = 0
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        assert not any(name.startswith("on") for name in facts)
        self.links += [
            value or ""
            for name, value in attrs
            if name in ("href", "src") and not (value or "").startswith("data:")
        ]
        if tag == "img" and facts["src"] != NO_IMAGE:
            head, _, data = (facts["src"] or "").partition(",")
            assert head in ("data:image/jpeg;base64", "data:image/png;base64")
            self.images.append(
                cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
            )
        self.scripts += tag == "script"
        if "finding" in (facts.get("class") or "").split():
            self.sections.append((facts.get("class") or "").split()[-1])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        if "figcaption" in self.open:
            self.captions.append(text)
