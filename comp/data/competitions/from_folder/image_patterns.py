"""The pattern of paths under which ids have their images: which folder, which suffix, what stands around the id."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from comp.data.competitions.from_folder.survey import Survey, spread
from comp.data.csv_table import clean
from comp.data.images.raw_tree import in_tree, is_image_name, nfc, without_suffix

_SPLITS = {"train": ("train",), "test": ("test", "val", "eval", "private", "public")}
_PLAIN = re.compile(r"jpe?g|png|image|img", re.IGNORECASE)
_SMALL = re.compile(r"(\d+)")
_WHOLE = 0.98  # of the ids that a folder has
CHANNELS = ("green", "rgb", "g")  # of several images a row, the one that is taken


@dataclass(frozen=True)
class PathPattern:
    """A pattern with ``{column}`` in it; ``share`` of the ids have a file by it."""

    pattern: str
    share: float
    files: int
    why: str
    unsure: str = ""
    paths: frozenset[str] = frozenset()  # of the ids that were looked at

    @property
    def folder(self) -> str:
        return self.pattern.split("{", 1)[0].split("*", 1)[0].rpartition("/")[0]


def pattern_of(survey: Survey, cells: Sequence[str], split: str, column: str = "id") -> PathPattern | None:
    """The pattern by which cells name images of a split, ``train`` or ``test``; None where they name none."""
    looked = [in_tree(clean(cell)) for cell in spread(list(dict.fromkeys(cells))) if clean(cell)]
    paths = {cell: survey.paths_of(cell) for cell in looked}
    if sum(map(bool, paths.values())) < 0.5 * max(1, len(looked)):
        return _with_affix(survey, looked, split, column)
    root, doubt = _root(paths, split)
    inside = {cell: _within(found, root) for cell, found in paths.items()}
    chosen = {cell: found[0] for cell, found in inside.items() if found}
    pattern = _pattern(chosen, root, column)
    share = len(chosen) / len(looked)
    why = f"{len(chosen)} of {len(looked)} ids have a file there, such as {next(iter(chosen.values()))}"
    if share < 1:
        doubt = doubt or f"{len(looked) - len(chosen)} ids have no file"
    return PathPattern(pattern, share, len(chosen), why, doubt, frozenset(chosen.values()))


def _within(paths: Sequence[str], root: str) -> list[str]:
    return [path for path in paths if path.startswith(f"{root}/")] if root else list(paths)


def _root(paths: dict[str, list[str]], split: str) -> tuple[str, str]:
    """The deepest folder that has an image of nearly every id, and what is doubtful about it."""
    root, doubt = "", ""
    while True:
        depth = root.count("/") + 1 if root else 0
        children: defaultdict[str, int] = defaultdict(int)
        total = 0
        for found in paths.values():
            inside = _within(found, root)
            total += bool(inside)
            for child in {
                "/".join(path.split("/")[: depth + 1]) for path in inside if path.count("/") > depth
            }:
                children[child] += 1
        full = [child for child, count in children.items() if count >= _WHOLE * total and total]
        if not full:
            return root, doubt
        best = sorted(full, key=lambda child: _rank(child, split))
        if len(full) > 1 and _rank(best[0], split)[:2] == _rank(best[1], split)[:2]:
            doubt = f"{', '.join(sorted(full)[:4])} all have these images"
        root = best[0]


def _rank(folder: str, split: str) -> tuple[int, int, int, str]:
    """Folders of the split first, then those of plain images, then those of larger ones by the number in the name."""
    name = folder.lower()
    other = "test" if split == "train" else "train"
    fits = 0 if any(word in name for word in _SPLITS[split]) else 2 if other in name else 1
    sizes = [int(number) for number in _SMALL.findall(name.rpartition("/")[2])[:1] if len(number) < 6]
    return fits, 0 if _PLAIN.search(name) else 1, -(sizes[0] if sizes else 1 << 20), folder


def _pattern(chosen: dict[str, str], root: str, column: str) -> str:
    """The pattern that all these cells and paths have in common."""
    suffixes = Counter(PurePosixPath(path).suffix for path in chosen.values())
    with_suffix = sum(is_image_name(cell) for cell in chosen) > 0.5 * len(chosen)
    suffix = next(iter(suffixes)) if len({one.lower() for one in suffixes}) == 1 and not with_suffix else ""
    start = f"{root}/" if root else ""
    if any("/" in cell for cell in chosen):
        ends = {path[: len(path) - len(_end(cell, path))] for cell, path in chosen.items()}
        if len(ends) == 1:
            return f"{ends.pop()}{{{column}}}{suffix}"
    between = set()
    for cell, path in chosen.items():
        inside = nfc(path).removeprefix(f"{root}/") if root else nfc(path)
        name = nfc(clean(cell))
        above = without_suffix(inside)[: len(without_suffix(inside)) - len(without_suffix(name))]
        between.add(above)
    folders = ""
    if between != {""}:
        depths = {above.count("/") for above in between}
        (depth,) = depths if len(depths) == 1 else (-1,)
        folders = "*/" * depth if depth > 0 else "**/"
    return f"{start}{folders}{{{column}}}{suffix}"


def _end(cell: str, path: str) -> str:
    """What the cell is at the end of its path, the path's suffix included."""
    suffix = "" if is_image_name(cell) else PurePosixPath(path).suffix
    return clean(cell) + suffix


def _with_affix(survey: Survey, cells: Sequence[str], split: str, column: str) -> PathPattern | None:
    """A pattern in which something stands before or behind the id in the file's name: ``{id}_green.png``."""
    tried = [without_suffix(nfc(cell)).casefold() for cell in spread(cells, 12)]
    affixes: Counter[tuple[str, str]] = Counter()
    for cell in tried:
        if len(cell) < 1:
            continue
        around = re.compile(rf"(?<![0-9a-z]){re.escape(cell)}(?![0-9a-z])")
        found = ((stem, around.search(stem)) for stem in survey.by_stem)
        affixes.update({(stem[: at.start()], stem[at.end() :]) for stem, at in found if at})
    usual = [affix for affix, count in affixes.most_common() if count >= 0.9 * len(tried) and any(affix)]
    if not usual:
        return None
    usual.sort(key=lambda affix: (affix[1].strip("_-.") not in CHANNELS, affix))
    before, behind = usual[0]
    exact = {f"{before}{without_suffix(nfc(cell)).casefold()}{behind}": cell for cell in cells}
    paths = {cell: survey.by_stem[stem] for stem, cell in exact.items() if stem in survey.by_stem}
    if len(paths) < 0.5 * len(cells):
        return None
    root, doubt = _root(paths, split)
    first = next(found for found in paths.values() if _within(found, root))
    sample = _within(first, root)[0]
    stem = without_suffix(PurePosixPath(sample).name)  # in the file's own case
    start, end = stem[: len(before)], stem[len(stem) - len(behind) :] if behind else ""
    suffix = PurePosixPath(sample).suffix
    depth = sample.removeprefix(f"{root}/" if root else "").count("/")
    pattern = f"{root}/" * bool(root) + "*/" * depth + f"{start}{{{column}}}{end}{suffix}"
    several = [f"*{one[1]}" for one in usual]
    doubt = (
        f"several images a row ({', '.join(several[:5])}): this one alone is read"
        if len(usual) > 1
        else doubt
    )
    why = f"{len(paths)} of {len(cells)} ids have a file there, such as {sample}"
    return PathPattern(pattern, len(paths) / len(cells), len(paths), why, doubt)
