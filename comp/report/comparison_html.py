"""Two submissions as one HTML page: the rows that differ with their pictures, by the pair of answers."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from comp.data.images.source import ImageSource
from comp.report.html import STYLE, figure

if TYPE_CHECKING:
    from comp.submission.comparison import Comparison, Difference

MOST = 300  # pictures on a page
_TABLE = "table{border-collapse:collapse}td,th{border:1px solid #ddd;padding:.15rem .5rem;text-align:right}"


def render(
    found: Comparison, pictures: Mapping[str, str], source: ImageSource, names: Mapping[str, str]
) -> str:
    """A page that needs nothing else. ``pictures`` are paths by id, ``names`` what answers are called."""
    pairs: dict[tuple[str, str], list[Difference]] = {}
    for one in found.differing[:MOST]:
        pairs.setdefault((one.one, one.other), []).append(one)
    ordered = sorted(pairs.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    body = "".join(_section(pair, rows, pictures, source, names) for pair, rows in ordered)
    more = len(found.differing) - MOST
    left = f"<p><small>and {more} more rows that differ</small></p>" if more > 0 else ""
    title = f"comp compare {escape(found.slug)}"
    head = f"{found.agreement:.2%} of {found.rows:,} rows agree, {len(found.differing):,} differ"
    files = "<br>".join(f"<b>{word}</b> {escape(name)}" for word, name in zip("AB", found.files, strict=True))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}{_TABLE}</style>'
        f"<h1>{title}</h1><p>{files}</p><p>{head}</p>{_table(found, names)}{body}{left}</html>\n"
    )


def _section(
    pair: tuple[str, str],
    rows: list[Difference],
    pictures: Mapping[str, str],
    source: ImageSource,
    names: Mapping[str, str],
) -> str:
    a, b = (escape(names.get(answer, answer)) for answer in pair)
    shown = "".join(
        figure(pictures[row.id], source, f"{escape(row.id)}, row {row.row}<br>A <b>{a}</b>, B <b>{b}</b>")
        if row.id in pictures
        else f"<figure>{escape(row.id)}: no picture</figure>"
        for row in rows
    )
    return f'<section><h2>A {a}, B {b}: {len(rows)} rows</h2><div class="group">{shown}</div></section>'


def _table(found: Comparison, names: Mapping[str, str]) -> str:
    """How often each answer of A (a line) met each of B (a column)."""
    rows = sorted({a for a, _ in found.table})
    columns = sorted({b for _, b in found.table})
    if len(rows) * len(columns) > 2500:
        return ""
    head = "".join(f"<th>{escape(names.get(b, b))}</th>" for b in columns)
    lines = "".join(
        f"<tr><th>{escape(names.get(a, a))}</th>"
        + "".join(f"<td>{found.table.get((a, b)) or ''}</td>" for b in columns)
        + "</tr>"
        for a in rows
    )
    return f"<table><tr><th>A \\ B</th>{head}</tr>{lines}</table>"
