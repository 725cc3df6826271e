"""Two submissions as one HTML page: the rows that differ with their images, by the pair of answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from comp.data.images.source import ImageSource
from comp.report import html

if TYPE_CHECKING:
    from comp.submission.comparison import Comparison, Difference

MOST_ROWS = 300  # images on a page
MOST_CELLS = 2500  # of the table of answers


def render(found: Comparison, paths: Mapping[str, str], source: ImageSource, names: Mapping[str, str]) -> str:
    """A page that needs nothing else. ``paths`` are those of images by id, ``names`` what answers are called."""
    pairs: dict[tuple[str, str], list[Difference]] = {}
    for row in found.differing[:MOST_ROWS]:
        pairs.setdefault((row.one, row.other), []).append(row)
    return html.render(
        "comparison.html",
        source,
        title=f"comp compare {found.slug}",
        head=f"{found.agreement:.2%} of {found.rows:,} rows agree, {len(found.differing):,} differ",
        found=found,
        answers_a=sorted({a for a, _ in found.table}),
        answers_b=sorted({b for _, b in found.table}),
        pairs=sorted(pairs.items(), key=lambda pair: (-len(pair[1]), pair[0])),
        paths=paths,
        names=names,
        most_rows=MOST_ROWS,
        most_cells=MOST_CELLS,
    )
