"""Precision and recall of the near-duplicate search, transformation by transformation, on any photos.

    python benchmarks/near_duplicate_recall.py FOLDER [--share 0.1] [--seed 0] [--half 0] [--json]
    python benchmarks/near_duplicate_recall.py FOLDER --thorough [--each 20] [--seed 0] [--json]

For each transformation, a copy of one image in ten is planted among all the images of FOLDER and the search
runs on the lot. Recall is the share of copies paired with their own original; `wrong` counts copies paired
with another image that is not itself tied to the original on the clean folder. The pairs found on the
clean folder alone are listed at the end: judge them by eye (`--pairs FILE` writes them side by side).
`--half 0` and `--half 1` use every second image, to calibrate on one half and verify on the other.

`--thorough` measures the closer look: copies of all the kinds of strong_copies.py, 20 of each, are planted in one set,
and the plain search and the closer look run on it once each. Recall is given of either alone and of both. `wrong` counts
pairs called copies whose originals are neither the same nor tied by either search on the clean folder. Kinds in brackets
are not part of the total.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from image_changes import BEYOND, PROMISED, Change, Image
from numpy.typing import NDArray

from comp.checks.duplicates.candidates import perceptual
from comp.checks.duplicates.local_features import LocalFeatures, local_features
from comp.checks.duplicates.search import clusters, near_duplicate_pairs
from comp.checks.duplicates.strong_copies import COPY, PART, SCENE, RelatedPairs, related_pairs

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


def fingerprints(images: list[Image]) -> NDArray[np.uint8]:
    def one(image: Image) -> NDArray[np.uint8]:
        return perceptual(np.ascontiguousarray(image[:, :, ::-1]))

    with ThreadPoolExecutor(2) as pool:
        return np.stack(list(pool.map(one, images)))


def measure(
    base: NDArray[np.uint8],
    images: list[Image],
    change: Change,
    share: float,
    seed: int,
    tied: dict[int, int],
) -> tuple[int, int, int]:
    """(planted, found, wrong) for one transformation; `tied` names the cluster of rows of the clean folder."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(images), max(1, round(share * len(images))), replace=False)
    copies = fingerprints([np.ascontiguousarray(change(images[row], rng)) for row in rows])
    found, wrong = set(), 0
    for left, right in near_duplicate_pairs(np.concatenate([base, copies])).pairs.tolist():
        if right < len(base):
            continue
        own = int(rows[right - len(base)])
        other = left if left < len(base) else int(rows[left - len(base)])
        if other == own:
            found.add(own)
        elif tied.get(own, -1) != tied.get(other, -2):
            wrong += 1
    return len(rows), len(found), wrong


class Planted(NamedTuple):
    """A copy: its kind, and the rows of the images that it shows (two of a mix)."""

    kind: str
    rows: tuple[int, ...]


def strong_copies(images: list[Image], each: int, seed: int) -> tuple[list[Planted], list[Image]]:
    """`each` copies of every strong kind, of images drawn at random."""
    from strong_copies import BEYOND, MIXED, PATCHED, STRONG

    rng = np.random.default_rng(seed)
    planted, copies = [], []
    for kind in [*STRONG, *PATCHED, *BEYOND, *MIXED]:
        for row in rng.choice(len(images), min(each, len(images)), replace=False).tolist():
            rows: tuple[int, ...] = (row,)
            if kind in PATCHED or kind in MIXED:
                rows = (row, int((row + rng.integers(1, len(images))) % len(images)))
                copy = (PATCHED | MIXED)[kind](images[row], images[rows[1]], rng)
            else:
                copy = (STRONG | BEYOND)[kind](images[row], rng)
            planted.append(Planted(kind, rows))
            copies.append(np.ascontiguousarray(copy))
    return planted, copies


@contextmanager
def timed(step: str, seconds: dict[str, float]) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[step] = round(time.perf_counter() - started, 1)
    print(f"{step}: {seconds[step]} s", file=sys.stderr)


def features(images: list[Image]) -> list[LocalFeatures]:
    def one(image: Image) -> LocalFeatures:
        return local_features(np.ascontiguousarray(image[:, :, ::-1]))

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, images))


def copies_among(related: RelatedPairs) -> NDArray[np.int64]:
    return related.pairs[(related.relation & COPY) > 0]


def score_strong(
    planted: list[Planted], base: int, searches: dict[str, NDArray[np.int64]], tied: dict[int, int]
) -> tuple[dict[str, dict[str, int]], list[list[Any]]]:
    """Per kind: copies planted, hit by each search and by either, wrong by each; and the wrong pairs.

    A wrong pair is [search, kind, rows that the left image shows, rows that the right one shows].
    """
    shows = [(row,) for row in range(base)] + [copy.rows for copy in planted]
    hits: dict[str, set[int]] = {name: set() for name in searches}
    wrong: list[list[Any]] = []
    for name, pairs in searches.items():
        for left, right in pairs[pairs[:, 1] >= base].tolist():
            copy = planted[right - base]
            if left == copy.rows[0]:
                hits[name].add(right)
            ties = [{tied.get(row, -1 - row) for row in shows[end]} for end in (left, right)]
            if not ties[0] & ties[1]:
                wrong.append([name, copy.kind, shows[left], shows[right]])
    hits["either"] = set().union(*hits.values())
    table: dict[str, dict[str, int]] = {}
    for kind in dict.fromkeys(copy.kind for copy in planted):
        places = [base + k for k, copy in enumerate(planted) if copy.kind == kind]
        table[kind] = {"planted": len(places)}
        table[kind] |= {name: len(found.intersection(places)) for name, found in hits.items()}
        table[kind] |= {f"wrong {name}": sum(pair[:2] == [name, kind] for pair in wrong) for name in searches}
    return table, wrong


def thorough(images: list[Image], each: int, seed: int) -> tuple[dict[str, Any], RelatedPairs]:
    """What the plain search and the closer look find of strong copies, and the related pairs of the clean images."""
    seconds: dict[str, float] = {}
    planted, copies = strong_copies(images, each, seed)
    with timed("fingerprints", seconds):
        prints = fingerprints(images + copies)
    with timed("plain search", seconds):
        plain = near_duplicate_pairs(prints).pairs
    with timed("local features", seconds):
        seen = features(images + copies)
    with timed("closer look", seconds):
        close = copies_among(related_pairs(seen))
    clean_plain = near_duplicate_pairs(prints[: len(images)]).pairs
    with timed("closer look, clean images", seconds):
        clean = related_pairs(seen[: len(images)])
    ties = np.concatenate([clean_plain, copies_among(clean)])
    tied = {row: k for k, group in enumerate(clusters(len(images), ties)) for row in group}
    table, wrong = score_strong(planted, len(images), {"plain": plain, "thorough": close}, tied)
    found = {
        name: int(((clean.relation & bit) > 0).sum())
        for name, bit in (("copies", COPY), ("scenes", SCENE), ("parts", PART))
    }
    held = sum(array.nbytes for one in seen for array in one) / len(seen)
    return {
        "images": len(images),
        "copies": len(copies),
        "table": table,
        "wrong": wrong,
        "clean": {"plain": len(clean_plain), **found},
        "seconds": seconds,
        "bytes an image": round(held),
    }, clean


def print_strong(result: dict[str, Any]) -> None:
    columns = ("plain", "thorough", "either")

    def line(name: str, row: dict[str, int]) -> None:
        shares = "  ".join(f"{column} {row[column] / row['planted']:.3f}" for column in columns)
        wrong = f"wrong {row['wrong plain']}, {row['wrong thorough']}"
        print(f"{name:36s} {shares}  {wrong}  of {row['planted']}", file=sys.stderr)

    counted = [row for kind, row in result["table"].items() if not kind.startswith("(")]
    for kind, row in result["table"].items():
        line(kind, row)
    line("all but those in brackets", {key: sum(row[key] for row in counted) for key in counted[0]})
    print(f"clean folder, {result['images']} images: {result['clean']}", file=sys.stderr)


def side_by_side(images: list[Image], pairs: list[list[int]], scores: list[float], target: Path) -> None:
    tiles = []
    for (left, right), score in zip(pairs, scores, strict=True):
        tile = np.hstack(
            [cv2.resize(images[row], (120, 120), interpolation=cv2.INTER_AREA) for row in (left, right)]
        )
        tile = np.vstack([np.zeros((16, tile.shape[1], 3), np.uint8), tile])
        cv2.putText(tile, f"{left} {right} {score:.3f}", (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255,) * 3)
        tiles.append(np.pad(tile, ((0, 6), (0, 6), (0, 0))))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 5)
    cv2.imwrite(str(target), np.vstack([np.hstack(tiles[s : s + 5]) for s in range(0, len(tiles), 5)]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--thorough", action="store_true", help="strong copies, and the closer look")
    parser.add_argument("--each", type=int, default=20, help="with --thorough: copies of each kind")
    parser.add_argument("--half", type=int, choices=(0, 1))
    parser.add_argument("--pairs", type=Path, help="write the pairs of the clean folder as one image")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    paths = sorted(p for p in args.folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if args.half is not None:
        paths = paths[args.half :: 2]
    images = [cv2.imread(str(path), cv2.IMREAD_COLOR) for path in paths]
    if args.thorough:
        of_strong_copies(args, paths, images)
    else:
        of_plain_copies(args, paths, images)


def of_strong_copies(args: argparse.Namespace, paths: list[Path], images: list[Image]) -> None:
    result, clean = thorough(images, args.each, args.seed)
    print_strong(result)
    if args.pairs and len(clean.pairs):
        side_by_side(images, clean.pairs.tolist(), clean.score.tolist(), args.pairs)
    if args.json:
        pairs = zip(clean.pairs.tolist(), clean.relation.tolist(), strict=True)
        named = [[*(str(paths[row].relative_to(args.folder)) for row in pair), bits] for pair, bits in pairs]
        print(json.dumps({**result, "clean_pairs": named}))


def of_plain_copies(args: argparse.Namespace, paths: list[Path], images: list[Image]) -> None:
    base = fingerprints(images)
    started = time.perf_counter()
    clean = near_duplicate_pairs(base)
    seconds = time.perf_counter() - started
    tied = {row: k for k, group in enumerate(clusters(len(base), clean.pairs)) for row in group}
    table = {}
    for k, (name, change) in enumerate((PROMISED | BEYOND).items()):
        planted, found, wrong = measure(base, images, change, args.share, args.seed * 1000 + k, tied)
        table[name] = {"planted": planted, "found": found, "wrong": wrong}
        print(f"{name:34s} recall {found / planted:.3f}  ({found}/{planted})  wrong {wrong}", file=sys.stderr)
    promised = [table[name] for name in PROMISED]
    total, hit = (sum(row[key] for row in promised) for key in ("planted", "found"))
    print(
        f"promised, all: recall {hit / total:.4f}; clean folder: {len(base)} images, {len(clean.pairs)} pairs, "
        f"{len(tied)} rows in clusters, {seconds:.1f} s",
        file=sys.stderr,
    )
    if args.pairs and len(clean.pairs):
        side_by_side(images, clean.pairs.tolist(), clean.score.tolist(), args.pairs)
    if args.json:
        named = [[str(paths[row].relative_to(args.folder)) for row in pair] for pair in clean.pairs.tolist()]
        print(json.dumps({"recall": hit / total, "table": table, "clean_pairs": named}))


if __name__ == "__main__":
    main()
