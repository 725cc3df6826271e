"""Images in a raw folder, the rows that name them, and the context that checks judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from comp.checks.context import CheckContext
from comp.checks.related_images import CloseLook
from comp.data.competitions.competition import Competition
from comp.data.competitions.facts import CompetitionConfig, Layout
from comp.data.dataset import Dataset, Template, made_template
from comp.data.folds import Folds
from comp.data.images.raw_tree import RawTree
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest, Sample
from comp.pipelines.check import scan_images
from comp.workspace import Workspace

CLASSES = ("cat", "dog", "owl")
FACTS = CompetitionConfig(
    slug="gallery", title="Drawn for the tests", layout=Layout(train="train/*", test="test/*")
)


def texture(seed: int, side: int = 48) -> np.ndarray:
    """An image uint8 (side, side, 3) of smooth noise; no two seeds look alike."""
    coarse = np.random.default_rng(seed).integers(0, 255, (10, 10, 3)).astype(np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def detailed(seed: int, side: int = 160) -> np.ndarray:
    """An image uint8 (side, side, 3) full of rectangles and discs, with many local features; no two seeds look alike."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side, 3), rng.integers(60, 200, 3), np.uint8)
    for _ in range(90):
        centre = [int(n) for n in rng.integers(0, side, 2)]
        colour = [int(n) for n in rng.integers(0, 256, 3)]
        if rng.integers(2):
            other = [n + int(d) for n, d in zip(centre, rng.integers(4, side // 4, 2), strict=True)]
            cv2.rectangle(image, centre, other, colour, -1)
        else:
            cv2.circle(image, centre, int(rng.integers(3, side // 9)), colour, -1)
    return image


def textured(seed: int, height: int = 160, width: int = 200) -> np.ndarray:
    """An image uint8 (height, width, 3) with detail of every size, as photographs have."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), rng.uniform(90, 160, 3))
    for size in (1, 2, 4, 8, 16, 32):
        small = rng.normal(0, 7 * size**0.5, (height // size + 2, width // size + 2))
        image += cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)[:, :, None]
    return np.clip(cv2.GaussianBlur(image, (0, 0), 0.9), 0, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, quality: int | None = None) -> None:
    """Writes an image; the suffix says the format, ``quality`` is a JPEG's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    assert cv2.imwrite(str(path), pixels, options)


def folds_of(context: CheckContext, fold_of: Mapping[str, int]) -> Folds:
    """Folds that were dealt by hand for exactly these rows."""
    used = np.array(list(fold_of.values()), dtype=np.int64)
    return Folds(tuple(fold_of), used, int(used.max()) + 1, -1, context.manifest.fingerprint("train"))


@dataclass
class Gallery:
    """A raw folder and its rows; ids are the file names' stems unless told."""

    raw: Path
    samples: list[Sample] = field(default_factory=list)
    facts: CompetitionConfig = FACTS
    classes: tuple[str, ...] = CLASSES
    template: Template | None = None
    thorough: bool = False
    read: Callable[[Manifest], Manifest] = field(default=lambda manifest: manifest)

    def add(
        self,
        path: str,
        pixels: np.ndarray | bytes,
        label: str = "",
        *,
        quality: int | None = None,
        id: str = "",  # a row's id, as in Sample
        group: str = "",
        parent: str = "",
    ) -> str:
        """Writes an image and its row, a test row where it lies in test/; returns the path."""
        if isinstance(pixels, bytes):
            (self.raw / path).parent.mkdir(parents=True, exist_ok=True)
            (self.raw / path).write_bytes(pixels)
        else:
            save(self.raw / path, pixels, quality)
        split = "test" if path.startswith("test/") else "train"
        self.samples.append(Sample(id or PurePosixPath(path).stem, path, split, label, group, parent))
        return path

    def replace(self, path: str, pixels: np.ndarray | bytes, quality: int | None = None) -> str:
        """Puts another image into a row's file."""
        (self.raw / path).unlink(missing_ok=True)
        if isinstance(pixels, bytes):
            (self.raw / path).write_bytes(pixels)
        else:
            save(self.raw / path, pixels, quality)
        return path

    def change(self, sample: str, **columns: str) -> None:
        """Changes columns of the row of that id."""
        self.samples = [s._replace(**columns) if s.id == sample else s for s in self.samples]

    def context(
        self, k: int = 3, template: Template | None = None, classes: tuple[str, ...] | None = None
    ) -> CheckContext:
        """What the checks see: every image looked at, related rows grouped, no folds yet."""
        manifest = self.read(Manifest.from_samples(self.samples))
        competition = Competition(self.raw, self.facts)
        template = (
            template or self.template or made_template(list(manifest.test["id"]), "id", "label", "label")
        )
        labels = LabelMap(classes or self.classes)
        dataset = Dataset(competition, self.raw, manifest, labels, template, RawTree(self.raw))
        return scan_images(dataset, Workspace(self.raw.parent), k, CloseLook(self.thorough))


def clean_gallery(raw: Path, per_class: int = 16, tests: int = 24, side: int = 48) -> Gallery:
    """A gallery that no check has anything to say about: a0 … labelled in turn, t0 … to predict, as PNG."""
    one = Gallery(raw)
    for number in range(per_class * len(CLASSES)):
        one.add(f"train/a{number}.png", texture(number, side), CLASSES[number % len(CLASSES)])
    for number in range(tests):
        one.add(f"test/t{number}.png", texture(100_000 + number, side))
    return one
