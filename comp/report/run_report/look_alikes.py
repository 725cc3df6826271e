"""What the features of a run say: pairs of rows that look alike, and training rows that are like the test rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from comp.checks.feature_checks import SEVERE_AUC
from comp.report.run_report.images import PageImages
from comp.report.run_report.run_data import AlikePair, FeatureSide, RunData

MOST_SHOWN = 24


@dataclass(frozen=True)
class AlikeKind:
    """Pairs of one kind: what they are, how many there are, in words, and those that are shown; ``has_more`` where a page
    with more images shows more of them.
    """

    name: str
    words: str
    pairs: tuple[AlikePair, ...]
    has_more: bool


@dataclass(frozen=True)
class LikeTest:
    """A training row with how like a test row it is."""

    id: str
    path: str
    label: str
    fold: int
    likeness: float


@dataclass(frozen=True)
class DriftSide:
    """How well features tell test rows from training rows: ``verdict`` in words, ``lines`` of scores as (what, value), and
    the training rows that are most and least like test rows, none where the two are alike.
    """

    verdict: str
    lines: tuple[tuple[str, str], ...]
    most: tuple[LikeTest, ...]
    least: tuple[LikeTest, ...]


def headline(data: RunData) -> str:
    """What was found, in a few words; none where nothing could be."""
    side = data.features
    if side is None:
        return "not searched"
    if not side.compared:
        return "too few rows"
    pairs = sum(side.counts)
    return f"{pairs:,} pair{'s' if pairs != 1 else ''}"


def why_none(data: RunData) -> str:
    """Why nothing was searched for, or not everything; empty where it was."""
    side = data.features
    if side is None:
        mode = data.recipe.get("mode")
        if mode == "scratch":
            reason = "its network was trained on the rows themselves, a network a fold"
        else:
            reason = "the features of a frozen network were not at hand when it ended"
        return f'This run has no features that can be compared: {reason}. A run with mode = "probe" has them.'
    if not side.compared:
        return f"Only {side.rows} rows have features: too few to say what is usual."
    words = f"{side.compared:,} of {side.rows:,} rows were compared. " if side.compared < side.rows else ""
    if not side.has_test and data.test is not None:
        words += (
            "Test rows have no features of the frozen network in this run, so that they were not compared."
        )
    return words.strip()


def kinds(data: RunData, images: PageImages, most: int) -> list[AlikeKind]:
    """The pairs across folds, and those with test rows, apart; those are shown of which both images can be drawn, with
    at most ``most`` images in all.
    """
    side = data.features
    if side is None or not side.compared:
        return []
    sides = [("Across folds", side.counts[0], side.folds)]
    if side.has_test:
        sides.append(("Training and test", side.counts[1], side.train_test))
    share = min(MOST_SHOWN, most // 2 // max(1, sum(count > 0 for _, count, _ in sides)))
    found = []
    for name, count, pairs in sides:
        shown = tuple(pair for pair in pairs[:share] if _drawn(images, pair))
        has_more = len(shown) < min(count, MOST_SHOWN)
        found.append(AlikeKind(name, _counted(count, pairs, len(shown)), shown, has_more))
    return found


def _drawn(images: PageImages, pair: AlikePair) -> bool:
    return images.large(pair.first.path) is not None and images.large(pair.second.path) is not None


def _counted(count: int, pairs: tuple[AlikePair, ...], shown: int) -> str:
    if not count:
        return "No pair stands out."
    disagree = sum(pair.disagrees for pair in pairs)
    words = f"{count:,} pair{'s' if count > 1 else ''}"
    if disagree:
        of_test = not pairs[0].second.fold
        words += f", {disagree} {'answered otherwise than labelled' if of_test else 'with two labels'}"
    if shown < count:
        words += f"; the {shown} that stand out most are shown"
    return words + "."


def drift_side(data: RunData) -> DriftSide | None:
    """None for a run whose test rows were not compared with its training rows."""
    side = data.features
    if side is None or not side.drift:
        return None
    drift: dict[str, Any] = dict(side.drift)
    auc, error = drift["auc"], drift["error_by_chance"]
    numbers = f"AUC {auc:.3f} (0.500 ± {error:.3f} by chance)"
    if not drift["certain"]:
        verdict = f"{numbers}: features do not tell test images from training images."
        return DriftSide(verdict, (), (), ())
    if auc >= SEVERE_AUC:
        verdict = f"{numbers}: test images differ from training images. The OOF score may not hold for them."
    else:
        verdict = f"{numbers}: test images differ a little from training images."
    rows = _by_likeness(data, side)
    return DriftSide(verdict, tuple(_scores(data, drift)), rows[:MOST_SHOWN], rows[::-1][:MOST_SHOWN])


def _scores(data: RunData, drift: dict[str, Any]) -> list[tuple[str, str]]:
    score, error = drift.get("test_like_score"), drift.get("test_like_error")
    if score is None:
        return []
    overall = data.metric(data.oof.truth, data.oof.probs)
    words = f"{score:.4f}" + (f" ± {error:.4f}" if error is not None else "")
    return [
        (f"OOF {data.metric.name} of the quarter of training rows most like test rows", words),
        (f"OOF {data.metric.name} of all training rows", f"{overall:.4f}"),
    ]


def _by_likeness(data: RunData, side: FeatureSide) -> tuple[LikeTest, ...]:
    """The OOF rows, those most like test rows first."""
    oof = data.oof
    rows = [
        LikeTest(i, path, label, int(fold), side.likeness[i])
        for i, path, label, fold in zip(oof.ids, oof.paths, oof.cells, oof.fold, strict=True)
        if i in side.likeness
    ]
    return tuple(sorted(rows, key=lambda row: -row.likeness))
