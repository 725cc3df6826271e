"""A sweep on the command line: its table, the best of its runs, and how to go on where it is stopped."""

from __future__ import annotations

from typing import Any

from comp import console
from comp.cli.next_steps import here
from comp.errors import Stopped
from comp.pipelines.sweep import SweepResult, sweep


def run_sweep(slug: str, folds: str, given: dict[str, Any]) -> dict[str, Any]:
    """Runs or goes on with a sweep and shows it; its document. ``given`` is what ``comp run`` was given."""
    try:
        result = sweep(slug, folds, **given)
    except Stopped as stopped:
        console.settings.going_on = (stopped.slug, stopped.run)
        raise
    show(result)
    return result.as_json()


def show(result: SweepResult) -> None:
    """A row for each run; the best, and why its score is optimistic."""
    best = result.best
    keys = list(result.rows[0].set)
    header = (*keys, "run", f"OOF {result.metric}", "gain over the first", "seconds", "")
    rows = [
        (
            *row.set.values(),
            row.run,
            "–" if row.score is None else row.score,
            "first" if n == 0 else _signed(row.gain, row.standard_error),
            round(row.seconds),
            "best" if row is best else "",
        )
        for n, row in enumerate(result.rows)
    ]
    console.table("", header, rows, drop=("seconds",))
    if best is None:
        return
    words = ", ".join(f"{key}={text}" for key, text in best.set.items())
    console.print_result(
        f"best: {words}, OOF {result.metric} {best.score:.4f}; optimistic, since it is the best of {len(result.rows)} chosen on the same rows"
    )
    console.closing(
        here(
            [
                (f"comp runs diff {result.rows[0].run} {best.run}", "what is different in its recipe"),
                (f"comp report {best.run}", "what went wrong where, as a page"),
            ]
            if best is not result.rows[0]
            else [(f"comp report {best.run}", "what went wrong where, as a page")]
        )
    )


def _signed(gain: float | None, error: float | None) -> str:
    if gain is None:
        return "–"
    return f"{gain:+.4f} ± {error:.4f}" if error is not None else f"{gain:+.4f}"
