"""Two submissions beside each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Difference:
    """A row that two submissions answer differently; ``row`` is that of the first file, the header is row 1."""

    id: str
    row: int
    one: str
    other: str


@dataclass(frozen=True, repr=False)
class Comparison:
    """Two submissions joined by id.

    ``agreement`` is the share of rows with the same answer (of probabilities the likeliest class, of several names the
    first); ``table`` counts rows by both answers; ``mean_difference`` (mean |Δp| over all cells) and ``correlation``
    (Pearson's, over all cells; None where one file is constant) are of probabilities alone. ``names`` has the class
    name of each answer that is an index, as far as it is known.
    """

    files: tuple[str, str]
    slug: str
    kind: str
    rows: int
    agreement: float
    differing: list[Difference] = field(default_factory=list)
    table: dict[tuple[str, str], int] = field(default_factory=dict)
    mean_difference: float | None = None
    correlation: float | None = None
    names: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        one, other = self.files
        return f"Comparison({one!r}, {other!r}, {self.agreement:.2%} of {self.rows} rows answered alike)"

    def called(self, answer: str) -> str:
        """An answer as people read it: an index with its class name."""
        name = self.names.get(answer.removesuffix(".0"))
        return answer if name is None or name == answer else f"{answer} {name}"

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp compare --json``."""
        return {
            "files": list(self.files),
            "slug": self.slug or None,
            "kind": self.kind,
            "rows": self.rows,
            "agreement": self.agreement,
            "differ": len(self.differing),
            "mean_difference": self.mean_difference,
            "correlation": self.correlation,
            "names": self.names,
            "differing": [vars(one) for one in self.differing],
            "table": [{"one": a, "other": b, "rows": n} for (a, b), n in self.table.items()],
        }
