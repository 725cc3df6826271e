"""Labels that no table has: class folders, and names of files that begin with the class."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from comp.data.competitions.from_folder.survey import counted
from comp.data.csv_table import listed
from comp.data.images.raw_tree import nfc

_STEM = re.compile(r"^(?P<label>[^\d\W](?:[\w-]*?[^\d\W])?)[._ -]*\d+")
_OTHER = re.compile(r"sample|extra|additional|unlabel|test", re.IGNORECASE)
MOST_CLASSES = 40  # that a pattern names one by one


@dataclass(frozen=True)
class ByPath:
    """The glob of labelled images, the pattern of their labels (empty for class folders), and the labels by path."""

    images: str
    pattern: str
    labels: dict[str, str]
    why: str
    unsure: str = ""


def labels_by_path(images: Sequence[str], targets: Sequence[str]) -> ByPath | None:
    """The labels that paths say; ``images`` are those that are not to be predicted. None where they say none."""
    trains = [path for path in images if re.search(r"train", path.rpartition("/")[0], re.IGNORECASE)]
    pool = trains or [path for path in images if not _OTHER.search(path.rpartition("/")[0])]
    return _folders(pool, targets) or _stems(pool)


def _folders(images: Sequence[str], targets: Sequence[str]) -> ByPath | None:
    """Class folders: the last folders of paths of one depth, several of them below one."""
    depths = Counter(path.count("/") for path in images)
    for depth, _ in depths.most_common():
        below: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for path in images:
            if path.count("/") == depth and depth:
                parts = path.split("/")
                below["/".join(parts[:-2])][parts[-2]] += 1
        for root, classes in sorted(below.items(), key=lambda one: -sum(one[1].values())):
            known = {name.casefold() for name in classes} & {target.casefold() for target in targets}
            if len(classes) < 2 or (len(targets) > 1 and len(known) < 0.5 * len(classes)):
                continue
            start = f"{root}/" if root else ""
            labels = {
                path: nfc(path.split("/")[-2])
                for path in images
                if path.count("/") == depth and path.startswith(start)
            }
            why = f"{len(classes)} folders of images: {counted(labels.values())}"
            names: defaultdict[str, set[str]] = defaultdict(set)
            for path, label in labels.items():
                names[label].add(path.rpartition("/")[2])
            if len({frozenset(found) for found in names.values()}) == 1:
                doubt = "each class has files of the same names: they are taken for versions of one image"
                return ByPath(f"{start}*/*", "(?P<label>[^/]+)/(?P<group>[^/]+)$", labels, why, doubt)
            return ByPath(f"{start}*/*", "", labels, why)
    return None


def _stems(images: Sequence[str]) -> ByPath | None:
    """Names such as ``cat.12.jpg``: a word that few files differ by, then a number."""
    found = {path: _STEM.search(PurePosixPath(path).name) for path in images}
    labels = {path: match["label"] for path, match in found.items() if match}
    names = sorted(set(labels.values()))
    if len(labels) < len(images) or not 2 <= len(names) <= min(MOST_CLASSES, max(2, len(images) // 4)):
        return None
    folders = {path.rpartition("/")[0] for path in images}
    suffixes = {PurePosixPath(path).suffix.lower() for path in images}
    (suffix,) = suffixes if len(suffixes) == 1 else ("",)
    (folder,) = folders if len(folders) == 1 else ("**",)
    words = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    pattern = rf"(^|/)(?P<label>{words})[._ -]*\d[^/]*$"
    why = f"names of files begin with {listed(names, 5)}: {counted(labels.values())}"
    return ByPath(f"{folder}/*{suffix}" if folder else f"*{suffix}", pattern, labels, why)
