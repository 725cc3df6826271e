"""A check and its findings, the table where each registers itself, and the context that all of them judge."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from comp._version import __version__
from comp.checks.duplicates.search import SEARCH, clusters, near_duplicate_pairs
from comp.checks.duplicates.strong_copies import COPY, PART, SCENE, THOROUGH
from comp.checks.image_index import ImageIndex
from comp.data.competitions.competition import Competition
from comp.data.dataset import Dataset, Template
from comp.data.folds import Folds
from comp.data.images.boxes import without_box
from comp.data.images.raw_tree import RawTree
from comp.data.images.source import gives
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest
from comp.data.task import Task
from comp.files import write_json

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
EXAMPLES = 5
BLANK_STD = 2.0  # of grey levels: an image with less shows nothing


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    ``count`` rows are concerned; ``examples`` name a few by sample id or path; ``groups`` are clusters of paths
    (duplicate findings only); ``allowed`` is the reason for which an error was lowered to a warning.
    """

    check: str
    severity: Severity
    count: int
    message: str
    examples: tuple[str, ...] = ()
    remedy: str = ""
    groups: tuple[tuple[str, ...], ...] | None = None
    allowed: str = ""

    def as_json(self) -> dict[str, Any]:
        table = asdict(self)
        if self.groups is None:
            del table["groups"]
        if not self.allowed:
            del table["allowed"]
        return table


def finding(check: str, severity: Severity, rows: Sequence[str], message: str, remedy: str = "") -> Finding:
    """A finding about some rows, the first few of which become its examples."""
    return Finding(check, severity, len(rows), message, tuple(rows[:EXAMPLES]), remedy)


def downgrade_allowed(findings: Iterable[Finding], allow: dict[str, str]) -> list[Finding]:
    """Errors of the allowed checks become warnings that carry the reason; sorted by severity."""
    lowered = [
        replace(f, severity="warning", allowed=allow[f.check])
        if f.severity == "error" and f.check in allow
        else f
        for f in findings
    ]
    return sorted(lowered, key=lambda f: SEVERITIES.index(f.severity))


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each severity."""
    kinds = [f.severity for f in findings]
    return {severity: kinds.count(severity) for severity in SEVERITIES}


Stage = Literal["data", "folds", "recipe", "predictions"]
Function = TypeVar("Function", bound=Callable[..., Any])

SECTIONS = {
    "rows": "The manifest: rows, files and labels",
    "answers": "The answers: template, label map and metric",
    "images": "The content of images",
    "shortcuts": "Shortcuts",
    "folds": "The folds",
    "run": "The recipe and the run",
}


@dataclass(frozen=True)
class Check:
    """A check: when it runs (``stage``), how grave its findings are, and what it sees and does not.

    ``function`` of a check of the data or of the folds takes a CheckContext and gives findings; those of other stages
    take what their stage has. ``of_answers`` looks at what is to be answered, ``of_test_rows`` also where there are no
    training rows. ``of_scored_rows`` takes the test rows for those that will be scored, which they are not where the test is
    hidden, ``of_boxes`` looks at rows that are boxes of images. Texts are Markdown, for people.
    """

    name: str
    stage: Stage
    section: str
    severity: str
    catches: str
    misses: str = ""
    of_answers: bool = False
    of_test_rows: bool = False
    of_scored_rows: bool = False
    of_boxes: bool = False
    can_be_allowed: bool = True
    function: Callable[..., Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """The row of ``comp checks --json``."""
        shown = ("name", "stage", "severity", "catches", "misses", "can_be_allowed")
        return {key: getattr(self, key) for key in shown}


CHECKS: dict[str, Check] = {}


def applying(findings: Iterable[Finding], competition: Competition) -> list[Finding]:
    """Findings without those that take the visible test rows for those that are scored, where the test is hidden."""
    hidden = competition.facts.kaggle.hidden_test
    return [f for f in findings if not (hidden and CHECKS[f.check].of_scored_rows)]


def not_applying(competition: Competition) -> tuple[str, ...]:
    """The note on what does not apply since the test is hidden; none where it is not."""
    if not competition.facts.kaggle.hidden_test:
        return ()
    names = ", ".join(one.name for one in in_order() if one.of_scored_rows)
    return (
        f"the test is hidden, and the visible rows only prove the format: {names} and pseudo-labels do not apply",
    )


def check(
    name: str, stage: Stage, section: str, severity: str, **facts: Any
) -> Callable[[Function], Function]:
    """Registers the function below as a check; ``facts`` are the other fields of ``Check``.

    Raises
    ------
    ValueError
        For a name that is taken, or a section that is not one of SECTIONS.
    """

    def register(function: Function) -> Function:
        declare(name, stage, section, severity, function=function, **facts)
        return function

    return register


def declare(name: str, stage: Stage, section: str, severity: str, **facts: Any) -> None:
    """Registers a check that another part of the pipeline carries out."""
    if name in CHECKS:
        raise ValueError(f"a check is registered once: {name}")
    if section not in SECTIONS:
        raise ValueError(f"{name}: a section is one of {', '.join(SECTIONS)}, not {section}")
    CHECKS[name] = Check(name, stage, section, severity, **facts)


def in_order() -> list[Check]:
    """All checks by section; within one those of rows first, then by module and line, whatever was imported first."""
    sections = list(SECTIONS)

    def place(one: Check) -> tuple[int, bool, str, int]:
        if one.function is None:
            return sections.index(one.section), True, "~", 0
        module = one.function.__module__.rpartition(".")[2]
        return (
            sections.index(one.section),
            module != "manifest_checks",
            module,
            one.function.__code__.co_firstlineno,
        )

    return sorted(CHECKS.values(), key=place)


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
    """The context on which every check judges; nothing in it is changed by a check.

    ``images`` holds what one look at every image told; ``memory`` keeps dear results between commands. ``thorough``
    asks for a closer look at every image, by its local features; ``group_scenes`` takes the images of one scene, and
    parts of one image, for related rows.
    """

    dataset: Dataset
    k: int
    images: ImageIndex
    folds: Folds | None = None
    memory: ResultCache = field(default_factory=ResultCache)
    declared: Manifest | None = None  # the manifest before related rows were grouped by what images show
    thorough: bool = False
    group_scenes: bool = False

    @property
    def competition(self) -> Competition:
        return self.dataset.competition

    @property
    def raw(self) -> Path:
        return self.dataset.raw

    @property
    def manifest(self) -> Manifest:
        return self.dataset.manifest

    @property
    def labels(self) -> LabelMap:
        return self.dataset.labels

    @property
    def task(self) -> Task:
        return self.dataset.labels.task

    @property
    def template(self) -> Template:
        return self.dataset.template

    @cached_property
    def tree(self) -> RawTree:
        """The files of the raw folder, listed once for all checks."""
        return RawTree(self.raw)

    @cached_property
    def identities(self) -> dict[str, object]:
        """What is equal for two paths of the manifest that lead to one file (see ``RawTree.identity``), by path."""
        paths = dict.fromkeys(self.manifest.table["path"])
        if not self.competition.facts.has_boxes:
            return {path: self.tree.identity(path) for path in paths}
        return {path: (self.tree.identity(file := without_box(path)), path[len(file) :]) for path in paths}

    @cached_property
    def label_of(self) -> dict[str, str]:
        """Path → label of the labelled rows."""
        labelled = self.manifest.table[self.manifest.table["split"] != "test"]
        return dict(zip(labelled["path"], labelled["label"], strict=True))

    @cached_property
    def readable_rows(self) -> NDArray[np.int64]:
        """Where the readable paths stand in the table of ``images``: (N,)."""
        return self.images.places(self.readable)

    @cached_property
    def readable(self) -> list[str]:
        """Distinct paths of the manifest that could be decoded, in its order."""
        failed = self.images.failed
        return [path for path in dict.fromkeys(self.manifest.table["path"]) if path not in failed]

    @cached_property
    def compared(self) -> list[str]:
        """The readable paths that may be copies of each other: of tiles those that show something, since the empty rim of one
        image is that of another.
        """
        if not self.has_tiles:
            return self.readable
        shows = self.images.column("std", self.readable_rows) >= BLANK_STD
        return [path for path, yes in zip(self.readable, shows.tolist(), strict=True) if yes]

    @cached_property
    def absent(self) -> frozenset[str]:
        """Distinct paths of the manifest with nothing behind them: neither a file of the raw folder, nor what the
        competition's own source gives (a row of an array).
        """
        named = set(self.manifest.table["path"]) if self.images.failed else set()
        failed = [path for path in self.images.failed if path in named]
        lost = [p for p in failed if not self.images[p].file_sha and not gives(self.dataset.source, p)]
        return frozenset(path for path in lost if not self.tree.has(without_box(path)))

    @property
    def has_tiles(self) -> bool:
        """Whether images are tiles of others: of such many show nothing."""
        data = self.competition.facts.data
        return data is not None and bool(data.tiles)

    @cached_property
    def exact(self) -> list[list[str]]:
        """Clusters of paths whose decoded pixels are equal, largest first."""
        return sorted(self.images.same_pixels(self.compared), key=len, reverse=True)

    @cached_property
    def near(self) -> dict[tuple[str, str], float]:
        """Pairs of paths that show one image, and how far their structure agrees after alignment, 0.8 to 1.

        The search over perceptual fingerprints is remembered for the same contents, and sees them sorted by content,
        so that neither names nor the order of rows change what it finds.
        """
        paths = self.images.sorted_by_content(self.compared)
        if len(paths) < 2:
            return {}

        def search() -> list[list[float]]:
            found = near_duplicate_pairs(self.images.perceptual(paths))
            agree = np.round(found.score.astype(np.float64), 4)
            return [[*pair, score] for pair, score in zip(found.pairs.tolist(), agree.tolist(), strict=True)]

        known = self.memory.recall("near pairs", f"{METHOD}{self.images.digest(paths)}", search)
        return {(paths[one], paths[other]): float(score) for one, other, score in known}

    @cached_property
    def related(self) -> dict[tuple[str, str], tuple[int, float]]:
        """Pairs of paths that a close look relates: how (``COPY``, ``SCENE``, ``PART`` as bits), and the share of places
        that agree. Empty without ``thorough``. Remembered, and free of names and order, as ``near`` is.
        """
        if not self.thorough:
            return {}
        from comp.checks.related_images import large_enough, related_images

        large = large_enough(self.images, self.compared)
        first: dict[str, str] = {}
        for path, content in zip(large, self.images.contents(large), strict=True):
            first.setdefault(content, path)
        paths = [first[content] for content in sorted(first)]
        known = self.memory.recall(
            "related pairs",
            f"{METHOD}{THOROUGH} {self.images.digest(paths)}",
            lambda: related_images(self.dataset.source, paths),
        )
        return {(paths[int(a)], paths[int(b)]): (int(how), float(share)) for a, b, how, share in known}

    def related_as(self, how: int) -> list[list[str]]:
        """Clusters of paths that are related in this way (bits of ``related``) or have the same pixels, largest first."""
        return self._joined(self._related_pairs(how))

    @cached_property
    def alike(self) -> list[list[str]]:
        """Clusters of paths that show one image, exact copies among them, largest first."""
        return self._joined([*self.near, *self._related_pairs(COPY)])

    @cached_property
    def sharing_a_fold(self) -> list[list[str]]:
        """Clusters of paths that must share a fold: those that show one image, and one scene where that is asked for."""
        if not self.group_scenes:
            return self.alike
        return self._joined([*self.near, *self._related_pairs(COPY | SCENE | PART)])

    @cached_property
    def slightly_changed(self) -> list[list[str]]:
        """Clusters of paths that show one image without a close look: no crop to a half is among them."""
        return self._joined(self.near)

    def _related_pairs(self, how: int) -> list[tuple[str, str]]:
        return [pair for pair, (relation, _) in self.related.items() if relation & how]

    def _joined(self, related: Iterable[tuple[str, str]]) -> list[list[str]]:
        """Clusters of two paths or more, joined by these pairs and by equal pixels, largest first."""
        related = list(related)
        asked = {path for pair in [*related, *self.exact] for path in pair}  # few of a million
        paths = [path for path in self.readable if path in asked] if asked else []
        place = {path: n for n, path in enumerate(paths)}
        near = [(place[one], place[other]) for one, other in related]
        pairs = np.array(near, dtype=np.int64).reshape(-1, 2)
        same = [(place[cluster[0]], place[other]) for cluster in self.exact for other in cluster[1:]]
        joined = np.concatenate([pairs, np.array(same, dtype=np.int64).reshape(-1, 2)])
        found = [[paths[i] for i in cluster] for cluster in clusters(len(paths), joined)]
        return sorted((cluster for cluster in found if len(cluster) > 1), key=len, reverse=True)
