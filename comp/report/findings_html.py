"""The findings of a check as one HTML page, duplicate images side by side."""

from __future__ import annotations

from comp.checks.runner import CheckResult
from comp.report import html

MOST_GROUPS = 60
MOST_IMAGES = 8


def render(checked: CheckResult) -> str:
    """A page that needs nothing else: images are in it, at most 160 pixels a side."""
    table, stats = checked.dataset.manifest.table, checked.stats()
    labels = dict(zip(table["path"], table["label"], strict=True))
    title = f"comp check {checked.dataset.competition.slug}"
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
        most_groups=MOST_GROUPS,
        most_images=MOST_IMAGES,
    )
