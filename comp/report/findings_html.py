"""The findings of a check as one HTML page, duplicate images side by side."""

from __future__ import annotations

from collections.abc import Sequence

from comp.checks.context import in_order
from comp.checks.runner import CheckResult
from comp.report import html

MOST_GROUPS = 60
MOST_IMAGES = 8


def render(checked: CheckResult) -> str:
    """A page that needs nothing else: images are in it, at most 160 pixels a side."""
    table, stats = checked.dataset.manifest.table, checked.stats()
    labels = dict(zip(table["path"], table["label"], strict=True))
    title = f"comp check {checked.dataset.competition.slug}"

    def certainty(group: Sequence[str], n: int) -> str:
        """How sure it is that an image of a group shows what those before it do."""
        seen = checked.context
        if seen.images[group[n]].pixel_sha in {seen.images[path].pixel_sha for path in group[:n]}:
            return "exact copy"
        scores = (seen.near.get((a, b)) or seen.near.get((b, a)) for a in group[:n] for b in [group[n]])
        best = max((score for score in scores if score is not None), default=None)
        return "" if best is None else f"structure agrees to {best:.3f}"

    found = {f.check for f in checked.findings}
    return html.render(
        "findings.html",
        checked.dataset.source,
        title=title,
        heading=f"{title}: {checked.status}",
        head=f"{stats['train']:,} train, {stats['test']:,} test, {stats['classes']} classes",
        sections=[
            (f, f.groups if f.groups is not None else [(path,) for path in f.examples if path in labels])
            for f in checked.findings
        ],
        labels=labels,
        certainty=certainty,
        passed=[
            one.name
            for one in in_order()
            if one.stage in ("data", "folds")
            and one.name not in found
            and (one.stage == "data" or checked.folds)
        ],
        most_groups=MOST_GROUPS,
        most_images=MOST_IMAGES,
    )
