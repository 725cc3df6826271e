"""The table of checks: each registers itself where it is written, and everything else reads it here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeVar

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


Stage = Literal["data", "folds", "recipe", "predictions"]
Function = TypeVar("Function", bound=Callable[..., Any])

SECTIONS = {
    "rows": "The manifest: rows, files and labels",
    "answers": "The answers: template, label map and metric",
    "images": "The content of images",
    "shortcuts": "Shortcuts",
    "folds": "The folds",
    "run": "The recipe and the run",
}


@dataclass(frozen=True)
class Check:
    """A check: when it runs (``stage``), how grave its findings are, and what it sees and does not.

    ``function`` of a check of the data or of the folds takes a CheckContext and gives findings; those of other stages
    take what their stage has. ``of_answers`` looks at what is to be answered, ``of_test_rows`` also where there are no
    training rows. Texts are Markdown, for people.
    """

    name: str
    stage: Stage
    section: str
    severity: str
    catches: str
    misses: str = ""
    of_answers: bool = False
    of_test_rows: bool = False
    can_be_allowed: bool = True
    function: Callable[..., Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """The row of ``comp checks --json``."""
        shown = ("name", "stage", "severity", "catches", "misses", "can_be_allowed")
        return {key: getattr(self, key) for key in shown}


CHECKS: dict[str, Check] = {}


def check(
    name: str, stage: Stage, section: str, severity: str, **facts: Any
) -> Callable[[Function], Function]:
    """Registers the function below as a check; ``facts`` are the other fields of ``Check``.

    Raises
    ------
    ValueError
        For a name that is taken, or a section that is not one of SECTIONS.
    """

    def register(function: Function) -> Function:
        declare(name, stage, section, severity, function=function, **facts)
        return function

    return register


def declare(name: str, stage: Stage, section: str, severity: str, **facts: Any) -> None:
    """Registers a check that another part of the pipeline carries out."""
    if name in CHECKS:
        raise ValueError(f"a check is registered once: {name}")
    if section not in SECTIONS:
        raise ValueError(f"{name}: a section is one of {', '.join(SECTIONS)}, not {section}")
    CHECKS[name] = Check(name, stage, section, severity, **facts)


def in_order() -> list[Check]:
    """All checks by section; within one those of rows first, then by module and line, whatever was imported first."""
    sections = list(SECTIONS)

    def place(one: Check) -> tuple[int, bool, str, int]:
        if one.function is None:
            return sections.index(one.section), True, "~", 0
        module = one.function.__module__.rpartition(".")[2]
        return (
            sections.index(one.section),
            module != "manifest_checks",
            module,
            one.function.__code__.co_firstlineno,
        )

    return sorted(CHECKS.values(), key=place)
