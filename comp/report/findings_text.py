"""Findings as people read them."""

from __future__ import annotations

from pathlib import Path

from comp import console, events
from comp.checks.context import Finding, counts
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


def show_findings(found: CheckResult) -> None:
    """Errors and warnings, a line each, and the line of counts."""
    say_findings(found.findings)
    show_counts(found)


def say_findings(findings: list[Finding]) -> None:
    """Errors and warnings as lines on what is being done."""
    for f in findings:
        if f.severity != "info":
            allowed = f" (allowed: {f.allowed})" if f.allowed else ""
            events.log(shortened(f"  {f.severity}: {f.check}: {f.message}{allowed}"))


def show_counts(found: CheckResult) -> None:
    """What was read, and how many findings there are."""
    for note in found.dataset.manifest.notes:
        events.log(f"  note: {note}")
    stats, n = found.stats(), counts(found.findings)
    events.log(
        f"  {stats['train']:,} train, {stats['test']:,} test, {stats['classes']} classes; "
        f"checks: {n['error']} errors, {n['warning']} warnings"
    )


def write_pages(found: CheckResult, html: Path | None, fix: Path | None) -> None:
    """The HTML page and the proposed manifest, where they were asked for."""
    if html is not None:
        from comp.report.findings_html import render

        write_text(html, render(found))
        console.print_result(f"page {html}")
    if fix is not None:
        from comp.checks.proposed_manifest import proposed

        write_text(fix, proposed(found.evidence))
        use = f": `comp check {found.dataset.competition.slug} --manifest {fix}` uses it without the rows to drop"
        console.print_result(
            f"proposed manifest {fix}{use if found.dataset.competition.slug != 'own-table' else ''}"
        )
