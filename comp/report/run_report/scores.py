"""What a run scored: with its standard error, by fold, beside other runs, and by what kind of image."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.data.labels import LabelMap
from comp.report.run_report.run_data import Floats, OtherRun, RunData, p_true
from comp.uncertainty import Gain, JackknifeScore, PairedJackknife, bootstrap

MOST_RUNS = 12
FEWEST_ROWS = 5  # of a slice that is shown
MOST_SOURCES = 20
SAME = 1e-6  # of a score that was worked out twice


@dataclass(frozen=True)
class Headline:
    """The OOF score and its standard error; ``lines`` are what else is known of the same rows, as (what, value)."""

    score: float
    error: float
    per_fold: tuple[tuple[int, float, int], ...]
    lines: tuple[tuple[str, str], ...]


class Judge:
    """Scores of the OOF rows with standard errors; those of the run itself are worked out once."""

    def __init__(self, data: RunData) -> None:
        self.data = data
        self.jackknife = PairedJackknife(data.metric, data.oof.truth, data.oof.group)
        self.own: JackknifeScore = self.jackknife.score(data.oof.probs)

    @property
    def error(self) -> float:
        """The standard error of the run's score: a jackknife over blocks of groups."""
        left, count = self.own.left, len(self.own.left)
        if count < 2:
            return float("nan")
        return float(np.sqrt((count - 1) / count * ((left - left.mean()) ** 2).sum()))

    def gain_over(self, probs: NDArray[np.float64]) -> Gain:
        """What the run gains over other predictions of its rows."""
        return self.jackknife.gain(self.own, self.jackknife.score(probs))


def headline(data: RunData, judge: Judge) -> Headline:
    """The score, each fold's, and the same rows judged otherwise."""
    oof = data.oof
    counts = {int(k): int((oof.fold == k).sum()) for k in np.unique(oof.fold)}
    per_fold = tuple((k, data.fold_scores.get(k, float("nan")), n) for k, n in counts.items())
    return Headline(judge.own.score, judge.error, per_fold, tuple(_lines(data, judge)))


BESIDE = {
    "identity_view": "without TTA (identity view)",
    "plain_fit": "by a classifier solved without views",
    "plain_weights": "without the moving average of weights",
    "last_epoch": "by the last epoch",
    "without_decision": "without what was learned to decide by",
    "corrected_labels": "on the corrected labels",
}


def _lines(data: RunData, judge: Judge) -> list[tuple[str, str]]:
    oof: dict[str, Any] = dict(data.record.get("oof") or {})
    shown = {"score", "per_fold", "selected_on_oof"}
    recorded = oof.get("score")
    apart = isinstance(recorded, int | float) and not math.isclose(recorded, judge.own.score, abs_tol=1e-6)
    lines = [("when the run was scored", f"{recorded:.4f}")] if apart else []
    lines += [
        (BESIDE.get(name, name.replace("_", " ")), f"{value:.4f}")
        for name, value in oof.items()
        if name not in shown and isinstance(value, int | float)
    ]
    recorded = oof.get("score")
    if isinstance(recorded, float) and abs(recorded - judge.own.score) > SAME:
        lines.insert(0, ("as the run was scored", f"{recorded:.4f}"))
    if oof.get("selected_on_oof"):
        lines.append(("epochs were chosen on these rows", "the score is a little too good"))
    earlier = [
        other for other in data.others if other.earlier and not other.marks and other.probs is not None
    ]
    if earlier:
        sign = 1.0 if data.metric.direction == "max" else -1.0
        best = max(earlier, key=lambda other: sign * other.score)
        assert best.probs is not None
        lines.append((f"against the best earlier run {best.id}", in_words(judge.gain_over(best.probs))))
    for entry in data.submitted:
        for name in ("public", "private"):
            if entry.get(name) is not None:
                lines.append((f"leaderboard, {name}", f"{entry[name]:.4f}"))
    return lines


def in_words(gain: Gain) -> str:
    """A gain with its standard error, and whether that says anything."""
    if not math.isfinite(gain.error):
        return f"{gain.value:+.4f}"
    if gain.is_beyond:
        verdict = "better"
    elif gain.value < 0 and -gain.value > gain.error:
        verdict = "worse"
    else:
        verdict = "no difference that these rows can show"
    return f"{gain.value:+.4f} ± {gain.error:.4f}: {verdict}"


@dataclass(frozen=True)
class RunBeside:
    """Another run against this one. ``gain`` is what this run gains over it, ``likeness`` the correlation of their errors,
    ``blended`` the score of the mean of both; NaN and empty where it has other rows.
    """

    run: OtherRun
    gain: str
    likeness: float
    blended: float
    added: str


def runs_beside(data: RunData, judge: Judge) -> list[RunBeside]:
    """The other runs of the competition, best first."""
    sign = 1.0 if data.metric.direction == "max" else -1.0
    others = sorted(data.others, key=lambda other: (-sign * other.score, other.id))[:MOST_RUNS]
    return [_beside(data, judge, other) for other in others]


def _beside(data: RunData, judge: Judge, other: OtherRun) -> RunBeside:
    if other.probs is None:
        return RunBeside(other, "", float("nan"), float("nan"), "")
    mean = (data.oof.probs + other.probs) / 2
    blended = judge.jackknife.score(mean)
    theirs = judge.jackknife.score(other.probs)
    better = judge.own if data.metric.better(judge.own.score, theirs.score) else theirs
    return RunBeside(
        other,
        in_words(judge.jackknife.gain(judge.own, theirs)),
        likeness(data.oof.truth, data.oof.probs, other.probs, data.labels),
        blended.score,
        in_words(judge.jackknife.gain(blended, better)),
    )


def likeness(
    truth: NDArray[Any], probs: NDArray[np.float64], others: NDArray[np.float64], labels: LabelMap
) -> float:
    """The correlation over rows of how much two sets of predictions (N, D) give to the truth; NaN where one never differs."""
    one, two = (p_true(truth, each, labels) for each in (probs, others))
    if one.std() == 0 or two.std() == 0:
        return float("nan")
    return float(np.corrcoef(one, two)[0, 1])


@dataclass(frozen=True)
class Slice:
    """Rows of one kind: their score and its standard error, NaN where the metric has none of them."""

    name: str
    rows: int
    score: float
    error: float


def slices(data: RunData) -> list[tuple[str, list[Slice]]]:
    """The score by what images are like, as (by what, its parts); what all rows share is left out."""
    oof = data.oof
    found: list[tuple[str, list[str]]] = []
    if data.looks is not None:
        width, height, brightness = data.looks.T
        found.append(("shorter side in pixels", _parts(np.minimum(width, height), "{:.0f} to {:.0f}")))
        found.append(("width over height", _parts(width / height, "{:.2f} to {:.2f}")))
        found.append(("brightness, 0 to 255", _parts(brightness, "{:.0f} to {:.0f}")))
    size = Counter(oof.group)
    if len(size) < len(oof):
        found.append(
            (
                "group",
                ["has near-duplicates or others of its group" if size[g] > 1 else "alone" for g in oof.group],
            )
        )
    sources = [PurePosixPath(path).parent.name for path in oof.paths]
    if 1 < len(set(sources)) <= MOST_SOURCES and sources != list(oof.cells):
        found.append(("folder", [name or "." for name in sources]))
    shown = [(what, _scored(data, names)) for what, names in found if len(set(names)) > 1]
    return [(what, parts) for what, parts in shown if len(parts) > 1]


def _parts(numbers: Floats, shape: str) -> list[str]:
    """The quarter of all numbers (N,) that each lies in, named by its ends; one part where most are alike."""
    edges = np.unique(np.quantile(numbers, [0.25, 0.5, 0.75]))
    part = np.searchsorted(edges, numbers, side="left")
    names = {
        int(n): f"{shape.format(numbers[part == n].min(), numbers[part == n].max())}" for n in np.unique(part)
    }
    return [names[int(n)] for n in part]


def _scored(data: RunData, names: Sequence[str]) -> list[Slice]:
    oof, parts = data.oof, []
    for name in dict.fromkeys(sorted(names, key=_number_first)):
        here = np.flatnonzero([one == name for one in names])
        if len(here) < FEWEST_ROWS:
            continue
        score = _or_nan(data, here)
        error = (
            bootstrap(data.metric, oof.truth[here], oof.probs[here], len(here))
            if math.isfinite(score) and len(here) * oof.probs.shape[1] < 1e6
            else float("nan")
        )
        parts.append(Slice(name, len(here), score, error))
    return parts


def _number_first(name: str) -> tuple[float, str]:
    head = name.split(" ")[0]
    return (float(head), name) if head.replace(".", "", 1).isdecimal() else (math.inf, name)


def _or_nan(data: RunData, here: NDArray[np.int64]) -> float:
    """The metric of some rows; NaN where these do not define it, such as an AUC of one class."""
    try:
        return float(data.metric(data.oof.truth[here], data.oof.probs[here]))
    except (ValueError, ZeroDivisionError):
        return float("nan")
