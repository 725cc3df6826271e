"""Checks of what the images hold."""

from __future__ import annotations

from comp.checks.evidence import Evidence
from comp.checks.findings import Finding, finding
from comp.images.tree import RawTree


def unreadable_image(evidence: Evidence) -> list[Finding]:
    """Images that do not decode in full: cut off, empty, not an image. Reads the one pass over all images."""
    present = {path: facts for path, facts in evidence.images.items() if facts.error}
    tree = RawTree(evidence.raw)
    rows = [path for path in present if tree.has(path)]  # those that are missing have a check of their own
    if not rows:
        return []
    message = f"{len(rows)} images cannot be decoded, first {present[rows[0]].error}"
    return [finding("unreadable-image", "error", rows, message, "restore the files, or take their rows out")]
