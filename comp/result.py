"""What a finished run came to, as a value, as JSON and as a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comp import console


@dataclass(frozen=True)
class RunResult:
    """What a finished run came to.

    ``score`` is the metric over all OOF rows pooled, from the checkpoints and views of the submission;
    ``identity_score`` the same without views; ``seconds`` is by step; ``marks`` say why a run is no full one;
    ``unread`` are test rows that were answered with the class prior, since their images cannot be decoded.
    """

    run: str
    slug: str
    metric: str
    direction: str
    score: float
    identity_score: float
    per_fold: list[float]
    submission: Path
    findings: dict[str, int]
    seconds: dict[str, float]
    folder: Path
    unread: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp run --json``."""
        oof = {
            "score": self.score,
            "per_fold": self.per_fold,
            "selected_on_oof": False,
            "identity_view": self.identity_score,
        }
        return {
            "run": self.run,
            "slug": self.slug,
            "metric": self.metric,
            "direction": self.direction,
            "oof": oof,
            "submission": str(self.submission),
            "report": None,
            "findings": self.findings,
            "seconds": self.seconds,
            "marks": self.marks,
            "unread": self.unread,
        }


def show_result(result: RunResult) -> None:
    """The table of folds with mean ± sd, the OOF score, and where the submission lies."""
    from statistics import mean, stdev

    rows: list[tuple[object, ...]] = [(f"fold {k}", score) for k, score in enumerate(result.per_fold)]
    spread = stdev(result.per_fold) if len(result.per_fold) > 1 else 0.0
    rows.append(("mean ± sd", f"{mean(result.per_fold):.4f} ± {spread:.4f}"))
    rows.append(("OOF, all rows", result.score))
    if result.identity_score != result.score:
        rows.append(("OOF, identity view", result.identity_score))
    console.table("", (f"run {result.run}", result.metric), rows)
    marks = f" ({', '.join(result.marks)}: not a full run)" if result.marks else ""
    total = console.duration(sum(result.seconds.values()))
    console.answer(f"OOF {result.metric} {result.score:.4f}{marks} in {total}")
    if result.unread:
        shown = ", ".join(result.unread[:10]) + (" …" if len(result.unread) > 10 else "")
        console.answer(
            f"{len(result.unread)} test images cannot be decoded and were answered with the class prior: {shown}"
        )
    console.answer(f"submission {result.submission}")
