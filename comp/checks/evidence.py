"""Everything that checks may look at, gathered once."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from comp.competition import Competition
from comp.errors import ImageError
from comp.folds import Folds
from comp.images.decode import load_pixels
from comp.images.source import ImageSource
from comp.labels import LabelMap
from comp.manifest import Manifest
from comp.template import Template


@dataclass(frozen=True)
class ImageFacts:
    """What one look at an image told: its height and width in pixels, or why it cannot be decoded."""

    height: int = 0
    width: int = 0
    error: str = ""


@dataclass(frozen=True)
class Evidence:
    """The evidence on which every check judges; nothing in it is changed by a check."""

    competition: Competition
    raw: Path
    manifest: Manifest
    labels: LabelMap
    template: Template
    k: int
    images: dict[str, ImageFacts] = field(default_factory=dict)
    folds: Folds | None = None


def look_at_images(
    source: ImageSource, paths: list[str], advance: Callable[[int], None] = lambda n: None
) -> dict[str, ImageFacts]:
    """Decodes every image once, in threads; a path that cannot be decoded has its error recorded.

    Files that are missing are left to the check of that name.
    """

    def look(path: str) -> ImageFacts:
        try:
            pixels = load_pixels(source, path)
        except ImageError as error:
            return ImageFacts(error=error.value)
        return ImageFacts(int(pixels.shape[0]), int(pixels.shape[1]))

    facts: dict[str, ImageFacts] = {}
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="look") as pool:
        try:
            for path, seen in zip(paths, pool.map(look, paths), strict=True):
                facts[path] = seen
                advance(1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return facts
