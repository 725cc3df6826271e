"""What a check found, and how grave it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    ``count`` rows are concerned; ``examples`` name a few by sample id or path; ``groups`` are clusters of paths
    (duplicate findings only); ``allowed`` is the reason for which an error was lowered to a warning.
    """

    check: str
    severity: Severity
    count: int
    message: str
    examples: tuple[str, ...] = ()
    remedy: str = ""
    groups: tuple[tuple[str, ...], ...] | None = None
    allowed: str = ""

    def as_json(self) -> dict[str, Any]:
        table = asdict(self)
        if self.groups is None:
            del table["groups"]
        if not self.allowed:
            del table["allowed"]
        return table


def finding(check: str, severity: Severity, rows: Sequence[str], message: str, remedy: str = "") -> Finding:
    """A finding about some rows, the first few of which become its examples."""
    return Finding(check, severity, len(rows), message, tuple(rows[:EXAMPLES]), remedy)


def downgrade_allowed(findings: Iterable[Finding], allow: dict[str, str]) -> list[Finding]:
    """Errors of the allowed checks become warnings that carry the reason; sorted by severity."""
    lowered = [
        replace(f, severity="warning", allowed=allow[f.check])
        if f.severity == "error" and f.check in allow
        else f
        for f in findings
    ]
    return sorted(lowered, key=lambda f: SEVERITIES.index(f.severity))


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each severity."""
    kinds = [f.severity for f in findings]
    return {severity: kinds.count(severity) for severity in SEVERITIES}
