"""[images] of a competition.toml: images that are not photographs of 8 bits, and the one scale that they are read by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from comp.config import ConfigTable

if TYPE_CHECKING:
    from comp.data.images.array_source import ScaledSource
    from comp.data.images.source import ImageSource
    from comp.data.manifest import Manifest


class ArrayFacts(ConfigTable):
    """What the images hold, where they are not photographs of 8 bits: arrays, DICOM, TIFFs of 16 bits or floats.

    ``range`` is one for all files, never a file's own: what is at its ends or beyond becomes 0 and 255.
    """

    channels: int = Field(1, ge=1, le=64, description="of each image; one becomes three equal ones")
    range: tuple[float, float] | Literal["percentile"] | None = Field(
        None,
        description='[lo, hi] of the values, or "percentile": 0.1 and 99.9 % of each channel over all training images',
    )
    window: tuple[float, float] | None = Field(
        None, description="[centre, width] in place of `range`, as DICOM has it"
    )
    columns: tuple[str, ...] = Field(
        (), description="of a json table: those that hold the numbers of an image, a channel each"
    )
    members: tuple[str, ...] = Field((), description="arrays of an npz, a channel each, where it has several")
    axes: Literal["first", "last"] | None = Field(
        None, description="where the channels stand in an array, if its shape does not tell"
    )
    fill: float | None = Field(
        None, description="what NaN and infinities are read as; without it they are refused"
    )

    @field_validator("range", "window", "columns", "members", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _one_scale(self) -> ArrayFacts:
        if (self.range is None) == (self.window is None):
            raise ValueError('the scale is stated once: range = [lo, hi], range = "percentile" or window')
        if isinstance(self.range, tuple) and not self.range[0] < self.range[1]:
            raise ValueError("range is [lo, hi], lo below hi")
        if self.window is not None and self.window[1] <= 0:
            raise ValueError("window is [centre, width], width above zero")
        for name in ("columns", "members"):
            given = getattr(self, name)
            if given and name == "columns" and len(given) != self.channels:
                raise ValueError(f"{name} are a channel each: {len(given)} for channels = {self.channels}")
            if len(set(given)) < len(given):
                raise ValueError(f"{name} names one twice")
        return self

    @property
    def ends(self) -> tuple[float, float] | None:
        """The values that become 0 and 255; None where they are measured."""
        if self.window is not None:
            centre, width = self.window
            return centre - width / 2, centre + width / 2
        return self.range if isinstance(self.range, tuple) else None


def scaled_source(
    facts: ArrayFacts, raw: Path, own: Callable[[Path], ImageSource], read: Callable[[Path], Manifest]
) -> ScaledSource:
    """The images of a competition with [images], by its one scale; ``own`` gives its source without one, ``read`` its rows."""
    from comp.data.images.array_source import ArrayImages, ScaledSource
    from comp.data.images.boxes import without_box
    from comp.data.images.record_arrays import RecordArrays
    from comp.data.images.source import AdapterSource

    source: Any = RecordArrays(raw, facts.columns) if facts.columns else own(raw)
    if isinstance(source, AdapterSource):
        source = replace(source, any_array=True)
    stated = ArrayImages(facts.channels, facts.ends, facts.axes or "", facts.members, facts.fill)

    def training() -> list[str]:
        return list(dict.fromkeys(without_box(path) for path in read(raw).train["path"]))

    return ScaledSource(source, stated, raw, training)
