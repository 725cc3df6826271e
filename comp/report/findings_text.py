"""Findings as people read them."""

from __future__ import annotations

from pathlib import Path

from comp import console
from comp.checks.context import Finding
from comp.checks.runner import CheckResult
from comp.errors import shortened
from comp.files import write_text

COLOURS = {"error": "red", "warning": "yellow", "info": "dim"}


def table(findings: list[Finding]) -> None:
    """Findings gravest first: how grave, which check, how many rows, what, examples and the remedy."""
    rows = []
    for f in findings:
        lines = [shortened(f.message)]
        if f.examples:
            lines.append(
                "e.g. "
                + ", ".join(shortened(one, 200) for one in f.examples[:3])
                + (" …" if f.count > 3 else "")
            )
        if f.allowed:
            lines.append(f"allowed: {f.allowed}")
        elif f.remedy:
            lines.append(f"→ {f.remedy}")
        rows.append((f.severity, f.check, f.count, "\n".join(lines)))
    if rows:
        console.table(
            "", ("severity", "check", "rows", "what was found"), rows, [COLOURS[f.severity] for f in findings]
        )


def write_pages(checked: CheckResult, html: Path | None, fix: Path | None) -> None:
    """The HTML page and the proposed manifest, where they were asked for."""
    if html is not None:
        from comp.report.findings_html import render

        write_text(html, render(checked))
        console.print_result(f"page {html}")
    if fix is not None:
        from comp.checks.proposed_manifest import proposed

        write_text(fix, proposed(checked.context))
        use = f": `comp check {checked.dataset.competition.slug} --manifest {fix}` uses it without the rows to drop"
        console.print_result(
            f"proposed manifest {fix}{use if checked.dataset.competition.slug != 'own-table' else ''}"
        )
