"""Checks of what the images hold: whole, blank, odd, the same as one another."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from comp.checks.context import BLANK_STD, EXAMPLES, CheckContext, Finding, Severity, check, finding
from comp.checks.duplicates.strong_copies import PART, SCENE
from comp.data.images.array_source import ScaledSource, Seen
from comp.data.images.boxes import MARK
from comp.data.images.jpeg import SEES_DAMAGE
from comp.data.images.source import layer
from comp.data.several_images import row_names
from comp.errors import counted

MANY_DUPLICATES = 0.1
MANY_CONFLICTS = 0.01
CLIPPED = 0.02  # of the values of a set of arrays, mean over its images


@check(
    "unreadable-image",
    "data",
    "images",
    "error",
    catches=(
        "images that do not decode in full: cut off, with a warning of the JPEG decoder, wrong "
        "checksums of PNG or TIFF, not an image; floating-point, signed or 32-bit values; more "
        "pixels or bytes than the limit; boxes that are not in their image ([how images are read](images.md))"
    ),
    misses=(
        "a JPEG has no checksum: of baseline files with 20 random bytes overwritten, a third "
        "decoded without any warning. Damage inside BMP, PPM, TGA, JPEG 2000 and uncompressed TIFF"
    ),
    of_test_rows=True,
)
def unreadable_image(context: CheckContext) -> list[Finding]:
    """Images that cannot be read whole, or whose values have no known range.

    Cut off, empty, not an image; a JPEG that its decoder warns of, a PNG with a wrong checksum (the other formats have
    none: damage inside them shows only where it breaks their structure); floating-point, signed or 32-bit values; more
    pixels or bytes than the limit; a box that is not in its image. Reads the one look at every image; says so where JPEGs cannot be judged.
    """
    found = []
    kinds = context.images.kinds(context.images.paths)
    if not SEES_DAMAGE and any(kind.startswith(("JPEG", "MPO")) for kind in kinds):
        message = "damage inside JPEGs cannot be seen here: the package simplejpeg is not installed"
        remedy = "install simplejpeg; for a notebook without internet: `comp kernel … --wheels simplejpeg`"
        found.append(Finding("unreadable-image", "warning", 0, message, (), remedy))
    failed = context.images.failed
    rows = [path for path in failed if path not in context.absent]
    if rows:
        message = f"{len(rows)} images cannot be decoded, first {failed[rows[0]]}"
        boxes = " or the boxes" if any(MARK in path for path in rows) else ""
        remedy = f"restore the files{boxes}, or take their rows out"
        found.append(finding("unreadable-image", "error", rows, message, remedy))
    return found


@check(
    "value-range",
    "data",
    "images",
    "warning",
    catches=(
        "images of more than 8 bits of which none has a value above an eighth of the range: 12-bit "
        "values in 16-bit files"
    ),
    misses="a set with one bright image",
    of_test_rows=True,
)
def value_range(context: CheckContext) -> list[Finding]:
    """Images of more than 8 bits a value of which all are dark: no value above an eighth of what their bits can hold.

    Values are scaled by the bits that the files state. A set of 12-bit values in 16-bit files would be nearly black.
    """
    paths, found = context.readable, []
    every = context.images.column("bits", context.readable_rows)
    for bits in sorted({bits for bits in every.tolist() if bits > 8}):
        rows = [paths[n] for n in np.flatnonzero(every == bits).tolist()]
        white, greatest = (1 << bits) - 1, int(context.images.column("greatest", rows).max())
        if greatest * 8 <= white:
            message = f"{len(rows)} images of {bits} bits hold no value above {greatest:,} of {white:,}: they are read as nearly black"
            remedy = "if their values have fewer bits than their files say, convert them to 8 bits, all by one scale"
            found.append(finding("value-range", "warning", rows, message, remedy))
    return found


@check(
    "several-pages",
    "data",
    "images",
    "warning",
    catches="TIFF pages, frames of GIF, PNG, WebP and AVIF: only the first is read",
    misses="previews behind a camera's JPEG, reduced TIFF pages",
    of_test_rows=True,
)
def several_pages(context: CheckContext) -> list[Finding]:
    """Files that hold several images (pages of a TIFF, frames of a GIF, PNG, WebP or AVIF): only the first is read.

    Previews do not count: those behind a camera's JPEG, and reduced pages of a TIFF.
    """
    rows = _where(context, context.images.column("pages", context.readable_rows) > 1)
    if not rows:
        return []
    listed = ", ".join(f"{path} ({context.images[path].pages})" for path in rows[:EXAMPLES])
    more = f" and {len(rows) - EXAMPLES} more" if len(rows) > EXAMPLES else ""
    message = f"{len(rows)} files hold several pages or frames, and only the first is read: {listed}{more}"
    remedy = "if the others count, save each as a file with a row of its own"
    return [finding("several-pages", "warning", rows, message, remedy)]


@check(
    "blank-image",
    "data",
    "images",
    "warning",
    catches="images of nearly one colour",
    misses="an image of noise",
)
def blank_image(context: CheckContext) -> list[Finding]:
    """Images of one colour: grey levels with a standard deviation under 2 of 255; of tiles all those of a row. Reads the
    fingerprints.
    """
    rows = _where(context, context.images.column("std", context.readable_rows) < BLANK_STD)
    if context.has_tiles:
        table, blank = context.manifest.table, set(rows)
        shown = {row for row, path in zip(row_names(table), table["path"], strict=True) if path not in blank}
        empty = {path for row, path in zip(row_names(table), table["path"], strict=True) if row not in shown}
        rows = [path for path in rows if path in empty]
    if not rows:
        return []
    message = f"{len(rows)} images show nothing: all their pixels are nearly equal"
    return [
        finding(
            "blank-image", "warning", rows, message, "look at them; take their rows out if they are broken"
        )
    ]


@check(
    "odd-size",
    "data",
    "images",
    "warning",
    catches="images far from the others' size or shape (in sets of 20 images or more)",
)
def odd_size(context: CheckContext) -> list[Finding]:
    """Images far from the others' size: shorter side under a quarter of the median, or a side ratio over 5 where
    the median is under 2. Reads the fingerprints; says nothing on sets of fewer than 20 images.
    """
    paths = context.readable
    if len(paths) < 20:
        return []
    sides = np.stack(
        [context.images.column(side, context.readable_rows) for side in ("height", "width")], axis=1
    )
    shorter, ratio = sides.min(axis=1), sides.max(axis=1) / sides.min(axis=1)
    odd = (shorter < np.median(shorter) / 4) | ((ratio > 5) & (np.median(ratio) < 2))
    rows = _where(context, odd)
    if not rows:
        return []
    first = context.images[rows[0]]
    message = f"{len(rows)} images are far from the others' size, first {first.width}x{first.height} pixels"
    return [
        finding(
            "odd-size", "warning", rows, message, "look at them: icons, strips and broken crops teach nothing"
        )
    ]


@check(
    "exact-duplicate",
    "data",
    "images",
    "note; warning above a tenth of the rows; error where one image is half a class",
    catches="labelled rows with the same pixels; they share a fold",
)
def exact_duplicate(context: CheckContext) -> list[Finding]:
    """Labelled rows with the same pixels, whatever their files. They are grouped, so that they share a fold.

    Information up to a tenth of the labelled rows, a warning above it, and an error where one image makes up
    half of a class (of four rows or more): then labelling or copying went wrong. Exact: SHA-256 of the pixels.
    """
    labels = context.label_of
    found = [
        related
        for related in (tuple(p for p in cluster if p in labels) for cluster in context.exact)
        if len(related) > 1
    ]
    if not found:
        return []
    rows = sum(len(related) for related in found)
    sizes = Counter(labels.values())
    most = {
        (label, related[0]): n
        for related in found
        for label, n in Counter(labels[p] for p in related).items()
    }
    filled = [(label, n) for (label, _), n in most.items() if sizes[label] >= 4 and n * 2 >= sizes[label]]
    severity: Severity = "error" if filled else "warning" if rows > MANY_DUPLICATES * len(labels) else "info"
    message = f"{rows} labelled rows show {len(found)} images more than once, pixel by pixel"
    if filled:
        message += (
            f"; one image makes up {filled[0][1]} of the {sizes[filled[0][0]]} rows of class {filled[0][0]!r}"
        )
    remedy = (
        "were paths collapsed onto one file, or copies made?"
        if filled
        else "folds that comp makes keep them together"
    )
    return [_of_groups("exact-duplicate", severity, found, message, remedy)]


@check(
    "near-duplicate",
    "data",
    "images",
    "note",
    catches=(
        "re-encoded, resized, mirrored, quarter-turned, cropped up to 10 %, recoloured, blurred, "
        "framed copies; with `thorough=True`, and in a run of up to 3,000 images, also negatives, turns by any "
        "angle, crops to half, canvases, erased parts, bent and strongly recoloured copies; they share a fold "
        "([how, and how surely](near-duplicates.md))"
    ),
    misses=(
        "without `thorough=True` the strong changes named here, with it most mixes of two images, "
        "grids of holes, strong changes of images under 48 pixels"
    ),
)
def near_duplicate(context: CheckContext) -> list[Finding]:
    """Labelled rows that show one image: re-encoded, resized, cropped, mirrored, turned, recoloured a little.

    They are grouped, so that a copy cannot validate its original. How they are found, and how surely, is in
    docs/near-duplicates.md. A candidate search over all fingerprints and a comparison of thumbnails, seconds for
    thousands of images; remembered for the same contents.
    """
    labels = context.label_of
    found = [
        related
        for related in (tuple(p for p in cluster if p in labels) for cluster in context.alike)
        if len(related) > 1
    ]
    found = [related for related in found if len({context.images[p].pixel_sha for p in related}) > 1]
    if not found:
        return []
    message = f"{sum(map(len, found))} labelled rows show {len(found)} images in more than one version"
    return [_of_groups("near-duplicate", "info", found, message, "folds that comp makes keep them together")]


@check(
    "same-scene",
    "data",
    "images",
    "note",
    catches=(
        "with `thorough=True`: frames of one scene, a still camera with something moving, one object photographed "
        "again; `group_scenes=True` keeps them in one fold"
    ),
    misses="the same place from another side; images under 48 pixels",
)
def same_scene(context: CheckContext) -> list[Finding]:
    """Images of one scene or of one object, which are no copies: frames of a video, a burst, one product shot twice.

    Information, and no group unless ``group_scenes`` asks for it: where test images come from other scenes, rows of
    one scene in several folds make the OOF score too good. Local features that one map lays upon one another, with grey
    levels that agree in part; only with ``thorough``.
    """
    found = _within_rows(context, SCENE)
    if not found:
        return []
    test = set(context.manifest.test["path"])
    shared = sum(any(p in test for p in cluster) for cluster in context.related_as(SCENE))
    message = f"{sum(map(len, found))} labelled rows show {len(found)} scenes or objects more than once"
    if context.group_scenes:
        remedy = "their rows share a fold (`group_scenes=True`)"
    elif len(test) and not shared:
        remedy = "no test image shows one of them, so folds should not share them either: `group_scenes=True`"
    else:
        remedy = f"{shared} of them have test images too; if that is chance, `group_scenes=True` keeps each in one fold"
    return [_of_groups("same-scene", "info", found, message, remedy)]


@check(
    "same-source",
    "data",
    "images",
    "note",
    catches="with `thorough=True`: parts of one image (tiles, halves, a pan), overlapping or cut apart",
    misses="parts cut apart whose edges are smooth, turned or scaled unlike",
)
def same_source(context: CheckContext) -> list[Finding]:
    """Parts of one image: they overlap and each has something that the other lacks, or the edge of one goes on in the other.

    Information. Overlapping parts that were cut out of one file share a fold; others, and shots of a pan, do where
    ``group_scenes`` asks for it. Only with ``thorough``.
    """
    labels, test = context.label_of, set(context.manifest.test["path"])
    wanted = [tuple(p for p in cluster if p in labels or p in test) for cluster in context.related_as(PART)]
    found = [
        cluster
        for cluster in wanted
        if any(p in labels for p in cluster) and len({context.images[p].pixel_sha for p in cluster}) > 1
    ]
    if not found:
        return []
    rows, others = (sum(p in some for cluster in found for p in cluster) for some in (labels, test))
    also = f" and {counted(others, 'test row')}" if others else ""
    message = f"{counted(rows, 'labelled row')}{also} are parts of an image or a scene, in {counted(len(found), 'group')}"
    remedy = "their rows share a fold (`group_scenes=True`)"
    if not context.group_scenes:
        remedy = "rows with pixels in common share a fold; `group_scenes=True` keeps the others together too"
    return [_of_groups("same-source", "info", found, message, remedy)]


def _within_rows(context: CheckContext, how: int) -> list[tuple[str, ...]]:
    """The clusters of labelled paths that are related in this way, without those that only have the same pixels."""
    labels = context.label_of
    clusters = [tuple(p for p in cluster if p in labels) for cluster in context.related_as(how)]
    return [c for c in clusters if len({context.images[p].pixel_sha for p in c}) > 1]


@check(
    "train-test-duplicate",
    "data",
    "images",
    "warning; error over half of the test rows",
    catches="test rows whose image is labelled too; extra rows that show one are left out, and counted in a note",
    misses="as `near-duplicate`",
    of_scored_rows=True,
)
def train_test_duplicate(context: CheckContext) -> list[Finding]:
    """Test rows whose image stands among the labelled rows too, exactly or nearly.

    A warning (the competition may be made so), an error when it is over half of the test rows: then the test
    set was probably copied into train. Exact or as near as ``near-duplicate`` finds.
    """
    labels = context.label_of
    test = set(context.manifest.test["path"])
    found = []
    for cluster in context.alike:
        if any(p in labels for p in cluster) and any(p in test for p in cluster):
            found.append(tuple(cluster))
    matched = [p for related in found for p in related if p in test]
    if not matched:
        return []
    severity: Severity = "error" if len(matched) * 2 > len(test) else "warning"
    message = f"{len(matched)} of {len(test)} test rows show an image that is labelled too"
    remedy = "take the copies out of train, or the OOF score will promise too much for the rest"
    one = _of_groups("train-test-duplicate", severity, found, message, remedy)
    return [Finding(one.check, severity, len(matched), message, tuple(matched[:5]), remedy, one.groups)]


@check(
    "conflicting-labels",
    "data",
    "images",
    "warning; error above 1 % of the rows, strongly changed copies not counted",
    catches="copies of one image with different labels",
    misses="wrong labels of images without a copy",
)
def conflicting_labels(context: CheckContext) -> list[Finding]:
    """One image under different labels. A warning, an error above one per cent of the labelled rows.

    Strongly changed copies never make it an error: half of an image may well be of another class.
    """
    labels = context.label_of
    conflicts = _under_different_labels(context.alike, labels)
    if not conflicts:
        return []
    rows = sum(len(related) for related in conflicts)
    certain = sum(len(related) for related in _under_different_labels(context.slightly_changed, labels))
    many = certain > MANY_CONFLICTS * len(labels) and context.task.has_classes
    severity: Severity = "error" if many else "warning"
    first = ", ".join(repr(labels[p]) for p in conflicts[0][:3])
    message = f"{rows} rows show {len(conflicts)} images under different labels, first {first}"
    return [
        _of_groups(
            "conflicting-labels",
            severity,
            conflicts,
            message,
            "look at them and correct the labels, or drop the rows",
        )
    ]


def _under_different_labels(clusters: list[list[str]], labels: dict[str, str]) -> list[tuple[str, ...]]:
    labelled = [tuple(path for path in cluster if path in labels) for cluster in clusters]
    return [cluster for cluster in labelled if len({labels[path] for path in cluster}) > 1]


def _where(context: CheckContext, chosen: NDArray[np.bool_]) -> list[str]:
    """The readable paths (N,) that are chosen."""
    return [context.readable[n] for n in np.flatnonzero(chosen).tolist()]


def _of_groups(
    check: str, severity: Severity, groups: list[tuple[str, ...]], message: str, remedy: str
) -> Finding:
    rows = [path for related in groups for path in related]
    return Finding(check, severity, len(rows), message, tuple(rows[:5]), remedy, tuple(groups))


def _seen(context: CheckContext) -> dict[str, Seen]:
    source = layer(context.dataset.source, ScaledSource)
    return {} if source is None else source.seen()


@check(
    "mixed-kinds",
    "data",
    "images",
    "error",
    catches="files of several kinds of number (8 and 16 bits, whole numbers and fractions) in a set that is read by one scale",
    misses="one kind of number in two units",
    of_test_rows=True,
)
def mixed_kinds(context: CheckContext) -> list[Finding]:
    """Images of [images] whose files hold several kinds of number, such as uint8 and uint16: no one scale is right for
    both. Each kind is named, with how many files and one of them.
    """
    seen = _seen(context)
    if len(seen) < 2:
        return []
    kinds = sorted(seen, key=lambda kind: -seen[kind].count)
    told = "; ".join(f"{seen[kind].count:,} of {kind}, as {seen[kind].path}" for kind in kinds)
    rows = [seen[kind].path for kind in kinds]
    remedy = "convert them to one kind, all by one scale"
    return [
        finding("mixed-kinds", "error", rows, f"the images are of several kinds of number: {told}", remedy)
    ]


@check(
    "clipped-values",
    "data",
    "images",
    "warning",
    catches="images of [images] of whose values more than 2 % lie outside the stated range",
    misses="a range that is far too wide",
    of_test_rows=True,
)
def clipped_values(context: CheckContext) -> list[Finding]:
    """Images of [images] of whose values more than 2 % lie outside the range of the scale, where all become 0 or 255: the
    mean share over the images that were read.
    """
    found = []
    for kind, one in _seen(context).items():
        if one.outside > CLIPPED:
            message = f"{100 * one.outside:.1f} % of the values of {one.count:,} images ({kind}) lie outside the range and are clipped"
            remedy = "widen [images] range, unless what lies beyond means nothing"
            found.append(finding("clipped-values", "warning", [one.path], message, remedy))
    return found
