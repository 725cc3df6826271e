"""The close look at every image: its local features, and which images they relate (`thorough=True`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from comp import events
from comp.checks.duplicates.adjoining import OuterLines, adjoining_pairs, outer_lines
from comp.checks.duplicates.local_features import FEATURES, LEAST_SIDE, LocalFeatures, local_features
from comp.checks.duplicates.strong_copies import PART, related_pairs
from comp.checks.image_index import ImageIndex
from comp.data.images.decode import decode, preview
from comp.data.images.source import ImageSource
from comp.errors import InputError

UP_TO = 3_000  # images: a run looks closely by itself at no more
_MANY = 10_000  # images, from which half as many features of each are held


class CloseLook(NamedTuple):
    """How closely rows are compared: ``thorough`` as it was asked for (None: without a word), ``scenes`` whether images of
    one scene share a fold, ``by_itself`` whether few images are looked at closely without a word.
    """

    thorough: bool | None = None
    scenes: bool = False
    by_itself: bool = False

    def require_possible(self) -> None:
        """InputError where scenes are to be grouped and not looked for."""
        if self.scenes and self.thorough is False:
            value = "`thorough=False` with `group_scenes=True`"
            raise InputError("scenes are only seen by a close look", value, "drop one of them")

    def require_like(self, before: CloseLook) -> None:
        """InputError where another look is asked for than rows were grouped by ``before``."""
        if (self.thorough is not None and self.thorough != before.thorough) or (
            self.scenes and not before.scenes
        ):
            value = f"it began with `thorough={before.thorough}`, `group_scenes={before.scenes}`"
            raise InputError(
                "a run goes on with its rows grouped as they were", value, "start a new run for others"
            )


UNASKED = CloseLook()
OF_A_RUN = CloseLook(by_itself=True)


def large_enough(images: ImageIndex, paths: Sequence[str]) -> list[str]:
    """Those of some paths whose images can be read and have enough pixels for local features."""
    sides = np.minimum(images.column("height", paths), images.column("width", paths))
    fits = (sides >= LEAST_SIDE) & (images.column("error", paths) == 0)
    return [paths[n] for n in np.flatnonzero(fits).tolist()]


def related_images(source: ImageSource, paths: Sequence[str]) -> list[list[float]]:
    """``[place, place, relation, score]`` of every related pair of images, by their places among ``paths``.

    Decodes every image again, in threads, with a bar; about 20 ms an image and processor core.

    Raises
    ------
    ImageError
        For an image that has gone, or was damaged, since it was first seen: what is missing here must not be remembered.
    """
    most = FEATURES if len(paths) <= _MANY else FEATURES // 2
    workers = os.cpu_count() or 1

    def look(path: str) -> tuple[LocalFeatures, OuterLines]:
        content = source.load(path)
        image = decode(content, path) if isinstance(content, bytes) else preview(content)
        return local_features(image, most), outer_lines(image)

    features, lines = [], []
    with events.task("looking closely", len(paths)) as bar, ThreadPoolExecutor(workers) as pool:
        for feature, line in pool.map(look, paths):
            features.append(feature)
            lines.append(line)
            bar.advance(1)
    related = related_pairs(features, workers=workers)
    adjoining = adjoining_pairs(lines)
    found = {
        (left, right): (relation, agree)
        for (left, right), relation, agree in zip(
            related.pairs.tolist(), related.relation.tolist(), related.score.tolist(), strict=True
        )
    }
    for (left, right), agree in zip(adjoining.pairs.tolist(), adjoining.score.tolist(), strict=True):
        found.setdefault((left, right), (PART, agree))  # a mirrored copy goes on in its original too
    return [[*pair, relation, round(agree, 4)] for pair, (relation, agree) in sorted(found.items())]
