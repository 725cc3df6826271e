"""The source of a competition's images by what competition.toml states of them: one scale of values, boxes of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from comp.data.competitions.array_facts import scaled_source
from comp.data.images.boxes import BoxSource

if TYPE_CHECKING:
    from comp.data.competitions.facts import CompetitionConfig
    from comp.data.images.source import ImageSource
    from comp.data.manifest import Manifest


def stated_source(
    facts: CompetitionConfig, raw: Path, own: Callable[[Path], ImageSource], read: Callable[[Path], Manifest]
) -> ImageSource:
    """The images of a competition with [images] or [data] box; ``own`` gives its source without them, ``read`` its rows."""
    source = own(raw) if facts.images is None else scaled_source(facts.images, raw, own, read)
    if facts.data is None or not facts.has_boxes:
        return source
    return BoxSource(source, facts.data.box_view == "both")
