"""Everything that checks may look at, gathered once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from comp._version import __version__
from comp.checks.duplicates.search import SEARCH, clusters, near_duplicate_pairs
from comp.checks.image_scan import ImageIndex
from comp.data.competitions.competition import Competition
from comp.data.folds import Folds
from comp.data.images.raw_tree import RawTree
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest
from comp.data.template import Template
from comp.files import write_json

METHOD = f"comp {__version__} search {SEARCH} "  # what was found by another version is searched for again


class ResultCache:
    """Remembers a JSON value by name for as long as what it was worked out from has the same digest."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._kept: dict[str, Any] = {}
        if path is not None and path.is_file():
            try:
                self._kept = dict(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError):
                self._kept = {}  # a torn file only costs the work again

    def recall(self, name: str, digest: str, work: Callable[[], Any]) -> Any:
        """The value of ``work()``, worked out only where it is not known for this digest."""
        known = self._kept.get(name)
        if known is not None and known.get("digest") == digest:
            return known["value"]
        value = work()
        self._kept[name] = {"digest": digest, "value": value}
        if self.path is not None:
            write_json(self.path, self._kept)
        return value


@dataclass(frozen=True)
class CheckContext:
    """The evidence on which every check judges; nothing in it is changed by a check.

    ``images`` holds what one look at every image told; ``memory`` keeps dear results between commands.
    """

    competition: Competition
    raw: Path
    manifest: Manifest
    labels: LabelMap
    template: Template
    k: int
    images: ImageIndex
    folds: Folds | None = None
    memory: ResultCache = field(default_factory=ResultCache)
    declared: Manifest | None = None  # the manifest before kin were grouped by what images show

    @cached_property
    def readable(self) -> list[str]:
        """Distinct paths of the manifest that could be decoded, in its order."""
        paths = dict.fromkeys(self.manifest.table["path"])
        return [path for path in paths if not self.images[path].error]

    @cached_property
    def absent(self) -> frozenset[str]:
        """Distinct paths of the manifest with nothing behind them: neither a file of the raw folder, nor what the
        competition's own source gives (a row of an array).
        """
        tree, failed = (
            RawTree(self.raw),
            [(p, self.images[p]) for p in dict.fromkeys(self.manifest.table["path"])],
        )
        failed = [(path, look) for path, look in failed if look.error]
        return frozenset(path for path, look in failed if not look.file_sha and not tree.has(path))

    @cached_property
    def exact(self) -> list[list[str]]:
        """Clusters of paths whose decoded pixels are equal, largest first."""
        by_pixels: dict[str, list[str]] = {}
        for path in self.readable:
            by_pixels.setdefault(self.images[path].pixel_sha, []).append(path)
        return sorted((paths for paths in by_pixels.values() if len(paths) > 1), key=len, reverse=True)

    @cached_property
    def alike(self) -> list[list[str]]:
        """Clusters of paths that show one picture, exact copies among them, largest first.

        The search over perceptual fingerprints is remembered for the same contents, and sees them sorted by content,
        so that neither names nor the order of rows change what it finds.
        """
        paths = self.readable
        if len(paths) < 2:
            return []
        by_content = sorted(range(len(paths)), key=lambda n: self.images[paths[n]].pixel_sha)
        ordered = [paths[n] for n in by_content]

        def search() -> list[list[int]]:
            found: list[list[int]] = near_duplicate_pairs(self.images.perceptual(ordered)).pairs.tolist()
            return found

        known = self.memory.recall("near", f"{METHOD}{self.images.digest(ordered)}", search)
        pairs = np.array(by_content, dtype=np.int64)[np.array(known, dtype=np.int64).reshape(-1, 2)]
        place = {path: n for n, path in enumerate(paths)}
        same = [(place[cluster[0]], place[other]) for cluster in self.exact for other in cluster[1:]]
        joined = np.concatenate([pairs, np.array(same, dtype=np.int64).reshape(-1, 2)])
        found = [[paths[i] for i in cluster] for cluster in clusters(len(paths), joined)]
        return sorted((cluster for cluster in found if len(cluster) > 1), key=len, reverse=True)
