"""Which file answers which row of the template, worked out from competition.toml and the raw folder alone."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

from comp.checks.evidence import Evidence
from comp.checks.findings import Finding, finding
from comp.images.tree import RawTree
from comp.names import natural_key


def check_pairs(evidence: Evidence) -> list[Finding]:
    """Compares the adapter's id → file with the rule that the competition states.

    ``pairs = "filename"``: an id is its file's name, with or without the suffix. ``pairs = "position"``: row i of
    the template is the i-th test file in ``order``. Catches an adapter that sorts names as text (1, 10, 2) or
    takes them as the folder lists them. One listing of the raw folder.
    """
    expected = expected_pairs(evidence)
    if expected is None:
        return []
    actual = dict(zip(evidence.manifest.test["id"], evidence.manifest.test["path"], strict=True))
    wrong = [i for i in evidence.template.samples if i in expected and _nfc(actual[i]) != _nfc(expected[i])]
    if not wrong:
        return []
    first = wrong[0]
    message = (
        f"{len(wrong)} rows would be answered from another file than the competition means, "
        f"first row {first!r}: the adapter reads {actual[first]}, the rule gives {expected[first]}"
    )
    facts = evidence.competition.facts
    remedy = f"pairs = {facts.pairs!r}, order = {facts.order!r}: make the adapter keep to it, or correct competition.toml"
    return [finding("template-mismatch", "error", wrong, message, remedy)]


def expected_pairs(evidence: Evidence) -> dict[str, str] | None:
    """Sample id → path by the stated rule; None where the competition states no test files."""
    facts = evidence.competition.facts
    if evidence.template.made:
        return None
    if facts.pairs == "position" and facts.order == "array":
        return None
    if not facts.layout.test:
        return None
    files = RawTree(evidence.raw).images(facts.layout.test)
    if facts.pairs == "position":
        if facts.order == "natural":
            files.sort(key=lambda f: natural_key(PurePosixPath(f).name))
        elif facts.order == "text":
            files.sort(key=lambda f: PurePosixPath(f).name)
        return dict(zip(evidence.template.samples, files, strict=False))
    by_name = {_nfc(PurePosixPath(f).name): f for f in files}
    by_stem = {_nfc(PurePosixPath(f).stem): f for f in files}
    asked = zip(evidence.template.samples, evidence.template.ids, strict=True)
    pairs = {sample: by_name.get(_nfc(i)) or by_stem.get(_nfc(i)) for sample, i in asked}
    return {i: path for i, path in pairs.items() if path is not None}


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
