"""The page of all runs: their scores and submissions by competition, and any two of them against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup

from comp.report import html, svg


@dataclass(frozen=True)
class IndexRun:
    """A run as the page lists it. ``report`` is the path of its page from this one, empty where there is none; ``recipe`` its
    keys, dotted; ``public`` and ``private`` its best scores on the leaderboard.
    """

    id: str
    state: str
    marks: tuple[str, ...]
    model: str
    started: str
    score: float
    seconds: float
    public: float
    private: float
    report: str = ""
    recipe: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class IndexPair:
    """Two runs on the same rows: what the first gains over the second in words, how alike their errors are, and what the
    mean of both scores.
    """

    first: str
    second: str
    gain: str
    likeness: float
    blended: float


@dataclass(frozen=True)
class IndexCompetition:
    """The runs of a competition, newest first, and the pairs of them that have the same rows."""

    slug: str
    title: str
    metric: str
    direction: str
    runs: Sequence[IndexRun]
    pairs: Sequence[IndexPair]


def render(competitions: Sequence[IndexCompetition]) -> str:
    """The page as HTML that needs nothing else but, for its links, the pages of the runs."""
    runs = sum(len(one.runs) for one in competitions)
    return html.page(
        "index.html",
        title="comp: all runs",
        heading=f"{runs} runs of {len(competitions)} competitions",
        competitions=[(one, _plots(one)) for one in competitions],
        tables={
            one.slug: {
                "runs": {
                    run.id: {"score": _number(run.score), "recipe": dict(run.recipe)} for run in one.runs
                },
                "pairs": {
                    f"{pair.first} {pair.second}": [pair.gain, _number(pair.likeness), _number(pair.blended)]
                    for pair in one.pairs
                },
            }
            for one in competitions
        },
    )


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _plots(one: IndexCompetition) -> list[tuple[str, Markup]]:
    """Scores in the order of the runs, and those of the leaderboard over them."""
    done = [run for run in reversed(one.runs) if math.isfinite(run.score) and not run.marks]
    plots = []
    if len(done) > 1:
        told = f"OOF {one.metric} of the full runs, oldest first"
        line = svg.Line("OOF", list(range(1, len(done) + 1)), [run.score for run in done], 0)
        plots.append((told, svg.chart([line], "run", one.metric, description=told)))
    judged = [run for run in one.runs if math.isfinite(run.score) and math.isfinite(run.public)]
    if len(judged) > 1:
        x, y = [run.score for run in judged], [run.public for run in judged]
        alike = (
            float(np.corrcoef(x, y)[0, 1])
            if len(judged) > 2 and np.std(x) > 0 and np.std(y) > 0
            else math.nan
        )
        told = "public leaderboard over OOF"
        if math.isfinite(alike):
            told += f"; correlation {alike:.3f}"
        dots = svg.Line("run", x, y, 0, points=True)
        plots.append((told, svg.chart([dots], "OOF", "public", description=told, diagonal=True)))
    return plots
