"""A study as one HTML page: its trials in their order, which keys mattered, and each key's values against the score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from comp.report import html, svg

DONE, GIVEN_UP, BEST = 0, 3, 2  # colours of the style sheet


@dataclass(frozen=True)
class StudyTrial:
    """A trial as the page lists it. ``score`` is NaN where it was given up; ``running`` is then the mean of the folds that it
    had. ``values`` are numbers or texts by key, ``per_fold`` the score of each fold by its number.
    """

    slot: int
    state: str
    score: float
    running: float
    values: Mapping[str, Any]
    per_fold: Mapping[int, float]
    seconds: float
    why: str = ""


@dataclass(frozen=True)
class StudyPage:
    """A study. ``importances`` are shares by key; ``log`` the keys whose range is a logarithm's; ``facts`` lines of text under the
    title, by what they say.
    """

    study: str
    slug: str
    metric: str
    direction: str
    best: int
    folds: int
    trials: Sequence[StudyTrial]
    importances: Mapping[str, float]
    log: Sequence[str]
    facts: Sequence[tuple[str, str]]
    command: str
    keys: Sequence[str] = field(default_factory=tuple)


def render(study: StudyPage) -> str:
    """The page as HTML that needs nothing else."""
    return html.page(
        "study.html",
        title=f"comp tune {study.slug}: {study.study}",
        study=study,
        history=_history(study),
        importances=_importances(study),
        slices=[plot for key in study.keys if (plot := _slice(study, key)) is not None],
        shown=_shown,
    )


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def _history(study: StudyPage) -> Markup:
    """The score of each trial, and the best so far."""
    sign = 1.0 if study.direction == "max" else -1.0
    done = [one for one in study.trials if math.isfinite(one.score)]
    left = [one for one in study.trials if not math.isfinite(one.score) and math.isfinite(one.running)]
    best, steps = -math.inf, []
    for one in done:
        best = max(best, sign * one.score)
        steps.append(sign * best)
    lines = [
        svg.Line("best so far", [one.slot for one in done], steps, BEST),
        svg.Line("trial", [one.slot for one in done], [one.score for one in done], DONE, points=True),
    ]
    if left:
        x, y = [one.slot for one in left], [one.running for one in left]
        lines.append(svg.Line("given up: mean of its folds", x, y, GIVEN_UP, points=True))
    low, high = _fitting([v for line in lines for v in line.y], study.direction)
    told = f"OOF {study.metric} of {len(study.trials)} trials in their order"
    plot = svg.chart([_within(line, low, high) for line in lines], "trial", study.metric, description=told)
    return plot + svg.legend([(line.name, line.colour) for line in lines])


def _fitting(values: Sequence[float], direction: str) -> tuple[float, float]:
    """The range of a plot in which the good trials can be told apart: very bad ones lie at its edge."""
    finite = sorted(value for value in values if math.isfinite(value))
    if len(finite) < 8:
        return (finite[0], finite[-1]) if finite else (0.0, 1.0)
    low, high = finite[0], finite[-1]
    middle = finite[len(finite) // 2]
    if direction == "max":
        return max(low, middle - 4 * (high - middle)), high
    return low, min(high, middle + 4 * (middle - low))


def _within(line: svg.Line, low: float, high: float) -> svg.Line:
    y = [min(max(value, low), high) for value in line.y]
    return svg.Line(line.name, line.x, y, line.colour, line.dashed, line.points)


def _importances(study: StudyPage) -> Markup | None:
    if not study.importances:
        return None
    rows = sorted(study.importances.items(), key=lambda item: -item[1])
    told = "share of each key in what the good trials have in common: " + ", ".join(
        f"{key} {share:.2f}" for key, share in rows
    )
    return svg.bars([(key, [share]) for key, share in rows], ["share"], description=told)


def _slice(study: StudyPage, key: str) -> tuple[str, Markup] | None:
    """The score over the values of a key; texts in the order of their names."""
    with_key = [one for one in study.trials if key in one.values]
    done = [one for one in with_key if math.isfinite(one.score)]
    if len(done) < 2:
        return None
    numbers = all(_is_number(one.values[key]) for one in with_key)
    names = sorted({str(one.values[key]) for one in with_key})
    log = numbers and key in study.log

    def x(one: StudyTrial) -> float:
        value = one.values[key]
        if not numbers:
            return float(names.index(str(value)))
        return math.log10(value) if log else float(value)

    left = [one for one in with_key if not math.isfinite(one.score) and math.isfinite(one.running)]
    best = [one for one in done if one.slot == study.best]
    lines = [svg.Line("trial", [x(one) for one in done], [one.score for one in done], DONE, points=True)]
    if left:
        lines.append(
            svg.Line(
                "given up", [x(one) for one in left], [one.running for one in left], GIVEN_UP, points=True
            )
        )
    lines += (
        [svg.Line("best", [x(one) for one in best], [one.score for one in best], BEST, points=True)]
        if best
        else []
    )
    low, high = _fitting([v for line in lines for v in line.y], study.direction)
    axis = f"log10 {key}" if log else key if numbers else f"{key}: {_named(names)}"
    plot = svg.chart(
        [_within(line, low, high) for line in lines],
        axis,
        study.metric,
        description=f"{study.metric} over {key}",
    )
    return key, plot


def _named(names: Sequence[str]) -> str:
    """Texts with the number that stands for them, as many as there is room for."""
    told = ", ".join(f"{n} {name}" for n, name in enumerate(names))
    return told if len(told) <= 60 else told[:58] + " …"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
