"""The findings of a check as one HTML page, duplicate pictures side by side."""

from __future__ import annotations

from html import escape

from comp.checks.context import Finding
from comp.checks.runner import CheckResult
from comp.data.images.source import ImageSource
from comp.report.html import STYLE, figure

MOST_GROUPS = 60
MOST_PICTURES = 8

_STYLE = (
    STYLE
    + """
.error{border-left-color:#c62828}.warning{border-left-color:#ef9a00}.info{border-left-color:#90a4ae}.remedy{color:#2e5d34}
"""
)


def render(found: CheckResult) -> str:
    """A page that needs nothing else: pictures are in it, at most 160 pixels a side."""
    slug = found.evidence.competition.slug
    labels = dict(
        zip(found.evidence.manifest.table["path"], found.evidence.manifest.table["label"], strict=True)
    )
    stats = found.stats()
    head = f"{stats['train']:,} train, {stats['test']:,} test, {stats['classes']} classes"
    body = "".join(_section(f, found.source, labels) for f in found.findings) or "<p>Nothing was found.</p>"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>comp check {escape(slug)}</title>'
        f"<style>{_STYLE}</style><h1>comp check {escape(slug)}: {found.status}</h1><p>{head}</p>{body}</html>\n"
    )


def _section(f: Finding, source: ImageSource, labels: dict[str, str]) -> str:
    groups = f.groups if f.groups is not None else tuple((path,) for path in f.examples if path in labels)
    shown = "".join(_group(group, source, labels) for group in groups[:MOST_GROUPS])
    more = f"<small>and {len(groups) - MOST_GROUPS} more</small>" if len(groups) > MOST_GROUPS else ""
    allowed = f"<p>allowed: {escape(f.allowed)}</p>" if f.allowed else ""
    examples = "" if shown else f"<p><small>{escape(', '.join(f.examples))}</small></p>"
    return (
        f'<section class="{f.severity}"><h2>{f.severity}: {f.check}, {f.count} rows</h2><p>{escape(f.message)}</p>'
        f'{allowed}<p class="remedy">{escape(f.remedy)}</p>{examples}{shown}{more}</section>'
    )


def _group(group: tuple[str, ...], source: ImageSource, labels: dict[str, str]) -> str:
    pictures = "".join(
        figure(path, source, f"{escape(path)}<br><b>{escape(labels.get(path, '') or 'test')}</b>")
        for path in group[:MOST_PICTURES]
    )
    more = f"<small>and {len(group) - MOST_PICTURES} more</small>" if len(group) > MOST_PICTURES else ""
    return f'<div class="group">{pictures}{more}</div>'
