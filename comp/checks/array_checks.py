"""Checks of images that are arrays of numbers: one kind of number in all of them, and a scale that they fit in."""

from __future__ import annotations

from comp.checks.context import CheckContext, Finding, check, finding
from comp.data.images.array_source import ScaledSource, Seen, scaled_within

CLIPPED = 0.02  # of the values of a set, mean over its images


def _seen(context: CheckContext) -> dict[str, Seen]:
    source = scaled_within(context.dataset.source)
    return source.seen() if isinstance(source, ScaledSource) else {}


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
