"""A source whose images are numbers of any kind, given as pixels by the one scale of their competition."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.data.images.array_files import read_values
from comp.data.images.boxes import BoxSource
from comp.data.images.scale import Pixels, Scale, Values
from comp.data.images.source import AdapterSource, ImageSource, file_of, gives
from comp.errors import ImageError, InputError
from comp.files import write_text
from comp.workspace import cache_folder

PERCENTILES = (0.1, 99.9)  # of all training images together, a channel at a time
_SAMPLED = 20_000_000  # values that are looked at, of all images and channels
_MOST, _LEAST = 4096, 64  # of one image and channel


@dataclass(frozen=True)
class ArrayImages:
    """What [images] states of them; ``range`` None is that of PERCENTILES, ``fill`` what takes the place of NaN and
    infinities, which are refused without one.
    """

    channels: int
    range: tuple[float, float] | None
    axes: str = ""
    members: tuple[str, ...] = ()
    fill: float | None = None

    def read(self, content: Any, path: str) -> Values:
        """The numbers (H, W, N) of an image, all of them finite; ImageError for others."""
        values = read_values(content, path, self.channels, self.axes, self.members)
        bad = ~np.isfinite(values.array)
        if not bad.any():
            return values
        if self.fill is None:
            value = f"{path}: {int(bad.sum()):,} of {bad.size:,} values are NaN or infinite"
            raise ImageError(
                "values of an image are finite numbers", value, "state what they are: [images] fill = NUMBER"
            )
        return values._replace(array=np.where(bad, np.asarray(self.fill, values.array.dtype), values.array))


@dataclass(frozen=True)
class Seen:
    """What was seen of a kind of file: how many, one of them, and the share of values that the scale clipped."""

    count: int
    path: str
    outside: float


class ScaledSource:
    """Pixels uint8 (H, W, N) of a source of arrays, three equal channels where it has one; safe for threads.

    Parameters
    ----------
    own : ImageSource
    images : ArrayImages
    raw : Path
        The raw folder.
    training : callable
        Gives the paths of the training images, which a range of percentiles is measured on.
    scale : Scale, optional
        A run's; its kind of number is the only one that is read.
    """

    def __init__(
        self,
        own: ImageSource,
        images: ArrayImages,
        raw: Path,
        training: Callable[[], Sequence[str]],
        scale: Scale | None = None,
    ) -> None:
        self.own, self.images, self.raw = own, images, raw
        self._training = training
        self._given, self._scale = scale, scale
        self._seen: dict[str, dict[str, float]] = {}
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return ScaledSource, (self.own, self.images, self.raw, _Nothing(), self.scale)

    def file_of(self, path: str) -> str:
        """The file that an image is read from."""
        return file_of(self.own, path)

    def has(self, path: str) -> bool:
        """Whether the own source says that there is such an image."""
        return gives(self.own, path)

    def load(self, path: str) -> Pixels:
        """The pixels of an image.

        Raises
        ------
        ImageError
            Naming file and kind, for what is no such array, or of another kind than the run was trained on.
        """
        values = self.images.read(self.own.load(path), path)
        if self._given is not None and self._given.kind not in ("", values.kind):
            value = f"{path}: {values.kind}; the run was trained on {self._given.kind}"
            raise ImageError("a run reads the kind of numbers that it was trained on", value, "convert it")
        pixels, outside = self.scale.apply(values)
        with self._lock:
            self._seen.setdefault(values.kind, {})[path] = outside
        return pixels

    @property
    def scale(self) -> Scale:
        """The scale; one of percentiles is measured when it is first asked for."""
        if self._scale is None:
            self._scale = self._settled()
        return self._scale

    @property
    def settled(self) -> Scale:
        """The scale with the kind of number that was seen most."""
        kinds = self.seen()
        kind = max(kinds, key=lambda name: (kinds[name].count, name)) if kinds else ""
        return replace(self.scale, kind=self.scale.kind or kind)

    def seen(self) -> dict[str, Seen]:
        """What was loaded so far, by kind of number."""
        with self._lock:
            return {
                kind: Seen(len(some), min(some), sum(some.values()) / len(some))
                for kind, some in self._seen.items()
            }

    def with_scale(self, scale: Scale) -> ScaledSource:
        """The same images by a run's scale.

        Raises
        ------
        InputError
            Where the competition states another range, or another number of channels.
        """
        stated = self.images.range
        other = stated is not None and scale.numbers != _each(stated, self.images.channels).numbers
        if len(scale.low) != self.images.channels or other:
            value = f"trained on {scale.low} to {scale.high}; [images] has channels = {self.images.channels}"
            value += f", range = {list(stated)}" if stated else ""
            raise InputError(
                "a run reads images by the scale that it was trained on",
                value,
                "restore [images], or train anew",
            )
        return ScaledSource(self.own, self.images, self.raw, self._training, scale)

    def _settled(self) -> Scale:
        if self.images.range is not None:
            return _each(self.images.range, self.images.channels)
        paths = sorted(self._training())
        if not paths:
            raise InputError(
                "a range of percentiles is measured on the training images",
                f"{self.raw} shows none",
                "state [images] range = [lo, hi]",
            )
        if isinstance(self.own, AdapterSource):
            return self._measured(paths)  # what it makes of a file changes with its code
        kept = cache_folder() / "scales" / f"{self._key(paths)}.json"
        with suppress(OSError, ValueError, KeyError, TypeError):
            return Scale.from_json(json.loads(kept.read_text(encoding="utf-8")))
        scale = self._measured(paths)
        with suppress(OSError, InputError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_text(kept, json.dumps(scale.as_json()))
        return scale

    def _key(self, paths: Sequence[str]) -> str:
        told = hashlib.sha256(repr((self.images, PERCENTILES, str(self.raw.absolute()))).encode())
        for path in paths:
            told.update(f"{path}\n".encode("utf-8", "surrogateescape"))
        for file in sorted({file_of(self.own, path) for path in paths}):
            with suppress(OSError, ValueError):
                facts = os.stat(self.raw / file)
                told.update(f"{facts.st_size} {facts.st_mtime_ns}\n".encode())
        return told.hexdigest()[:32]

    def _measured(self, paths: Sequence[str]) -> Scale:
        """The percentiles of each channel over all training images, evenly spaced values of each."""
        channels = self.images.channels
        each = max(_LEAST, min(_MOST, _SAMPLED // (len(paths) * channels)))
        found = []
        for path in paths:
            try:
                values = self.images.read(self.own.load(path), path)
            except ImageError:  # whoever looks at it says so
                continue
            flat = values.array.reshape(-1, channels)
            found.append(flat[:: max(1, len(flat) // each)].astype(np.float64))
        if not found:
            value = f"none of {len(paths):,} can be read, first {paths[0]}"
            raise InputError("a range is measured on the training images", value, "`comp check` names them")
        together: NDArray[np.float64] = np.concatenate(found)
        low, high = np.percentile(together, PERCENTILES, axis=0)
        if not (low < high).all():
            at = int(np.argmin(low < high))
            value = f"channel {at}: {PERCENTILES[0]} and {PERCENTILES[1]} % are both {low[at]:g}"
            raise InputError("a channel's values differ", value, "state [images] range = [lo, hi]")
        return Scale(tuple(low.tolist()), tuple(high.tolist()))


class _Nothing:
    """No training paths: of a source in another process, which has its scale with it."""

    def __call__(self) -> list[str]:
        return []


def _each(ends: tuple[float, float], channels: int) -> Scale:
    return Scale((float(ends[0]),) * channels, (float(ends[1]),) * channels)


def by_scale(source: ImageSource, scale: Scale | None) -> ImageSource:
    """A competition's source as a run's checkpoints read it.

    Raises
    ------
    InputError
        Where one of both has a scale and the other none, or they differ.
    """
    if isinstance(source, BoxSource):
        return replace(source, own=by_scale(source.own, scale))
    if scale is None and not isinstance(source, ScaledSource):
        return source
    if scale is None or not isinstance(source, ScaledSource):
        value = (
            "[images] of competition.toml " + ("came" if scale is None else "went") + " since it was trained"
        )
        raise InputError("a run reads images as it was trained", value, "restore [images], or train anew")
    return source.with_scale(scale)
