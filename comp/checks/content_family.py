"""Checks of what the images hold."""

from __future__ import annotations

from comp.checks.evidence import Evidence
from comp.checks.findings import Finding, finding


def unreadable_image(evidence: Evidence) -> list[Finding]:
    """Images that do not decode in full: cut off, empty, not an image. Reads the one pass over all images."""
    present = {path: facts for path, facts in evidence.images.items() if facts.error}
    rows = [p for p in present if "#" in p or (evidence.raw / p).is_file()]
    if not rows:
        return []
    message = f"{len(rows)} images cannot be decoded, first {present[rows[0]].error}"
    return [finding("unreadable-image", "error", rows, message, "restore the files, or take their rows out")]
