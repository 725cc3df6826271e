"""The findings of a check as one HTML page, duplicate pictures side by side."""

from __future__ import annotations

import base64
from html import escape

import cv2

from comp.checks.findings import Finding
from comp.errors import ImageError
from comp.images.decode import load_pixels
from comp.images.source import ImageSource
from comp.survey import Survey

MOST_GROUPS = 60
MOST_PICTURES = 8
SIDE = 160

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c1c1c;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.05rem;margin:0}section{border:1px solid #ddd;border-left-width:6px;border-radius:6px;
padding:.8rem 1rem;margin:1rem 0}.error{border-left-color:#c62828}.warning{border-left-color:#ef9a00}
.info{border-left-color:#90a4ae}.group{display:flex;flex-wrap:wrap;gap:.6rem;margin:.6rem 0;padding-top:.6rem;
border-top:1px solid #eee}figure{margin:0;width:160px}img{max-width:160px;max-height:160px;background:#eee}
figcaption{font-size:11px;overflow-wrap:anywhere;color:#444}.remedy{color:#2e5d34}small{color:#666}
"""


def render(found: Survey) -> str:
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
    pictures = "".join(_figure(path, source, labels.get(path, "")) for path in group[:MOST_PICTURES])
    more = f"<small>and {len(group) - MOST_PICTURES} more</small>" if len(group) > MOST_PICTURES else ""
    return f'<div class="group">{pictures}{more}</div>'


def _figure(path: str, source: ImageSource, label: str) -> str:
    caption = f"<figcaption>{escape(path)}<br><b>{escape(label or 'test')}</b></figcaption>"
    try:
        pixels = load_pixels(source, path)
    except ImageError as error:
        return f"<figure>{escape(error.value)}{caption}</figure>"
    scale = SIDE / max(pixels.shape[:2])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    code = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    small = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), size, interpolation=code)
    data = base64.b64encode(cv2.imencode(".jpg", small)[1].tobytes()).decode()
    return f'<figure><img alt="" src="data:image/jpeg;base64,{data}">{caption}</figure>'
