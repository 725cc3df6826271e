"""Findings of what the features of a run's frozen network say: rows that look alike, and a test set that differs."""

from __future__ import annotations

from dataclasses import dataclass

from comp.checks.context import Finding, check
from comp.checks.feature_drift import FeatureDrift
from comp.checks.shortcut_checks import DRIFT_AUC

SEVERE_AUC = DRIFT_AUC
NOTED_AUC = 0.6  # from which a certain difference is worth a note


@dataclass(frozen=True)
class TestLikeScore:
    """The OOF score of the quarter of rows that is most like the test rows, and its standard error, beside that of all
    rows; ``error`` is NaN where it is not known.
    """

    __test__ = False  # no test, whatever pytest thinks of the name

    metric: str
    score: float
    error: float
    overall: float

    def in_words(self) -> str:
        """The score of these rows beside that of all."""
        error = f" ± {self.error:.4f}" if self.error == self.error else ""
        return f"OOF {self.metric} is {self.score:.4f}{error} on the quarter of training rows most like test rows, {self.overall:.4f} on all"


@check(
    "look-alike",
    "predictions",
    "run",
    "info",
    catches=(
        "pairs of rows in different folds, and of training and test rows, that the features of the run's frozen "
        "network put far nearer than the rows around them, and that are not grouped: another photo of one object, a "
        "print of one painting ([how, and how surely](decisions/0019-look-alikes-and-feature-drift.md)). They are "
        "shown in the page of the run and never grouped"
    ),
    misses=(
        "runs whose network was trained from scratch; pairs with test rows where the test rows were read by fine-tuned "
        "networks alone; sets of fewer than 100 rows; of many rows that are all alike the less alike ones"
    ),
)
def look_alike(folds: list[tuple[str, str]], train_test: list[tuple[str, str]], run: str) -> list[Finding]:
    """Pairs of rows that look alike, as pairs of paths, those that stand out most first. They are for a person to judge."""
    if not folds and not train_test:
        return []
    kinds = ((folds, "in different folds"), (train_test, "of a training and a test row"))
    counted = [f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''} {kind}" for pairs, kind in kinds if pairs]
    first = (folds or train_test)[0]
    verb = "looks" if len(folds) + len(train_test) == 1 else "look"
    message = f"{' and '.join(counted)} {verb} alike by features, first {first[0]!r} and {first[1]!r}; they are not grouped"
    remedy = (
        f"look at them in the page of the run (`comp report {run}`): rows that show one object or scene belong in one "
        "group of the manifest, else a fold is judged on what it trained on"
    )
    rows = {path for pairs in (folds, train_test) for pair in pairs for path in pair}
    return [Finding("look-alike", "info", len(rows), message, tuple(dict.fromkeys(first)), remedy)]


@check(
    "feature-drift",
    "predictions",
    "run",
    "warning",
    catches=(
        "test images that the features of the run's frozen network tell from training images: a cross-validated AUC of "
        "0.8 or more, four standard deviations beyond chance; a note from 0.6. The message has the OOF score of the "
        "training rows that are most like test rows"
    ),
    misses=(
        "what the network does not see; differences that are no straight line in its features; runs whose test rows "
        "have no features of a frozen network; fewer than 20 training or test rows"
    ),
    of_scored_rows=True,
)
def drift_of_features(drift: FeatureDrift, tests: int, test_like: TestLikeScore | None) -> list[Finding]:
    """Training rows told from the ``tests`` test rows by features: a warning where the AUC is 0.8 or more and certain."""
    if not drift.is_certain or drift.auc < NOTED_AUC:
        return []
    severe = drift.auc >= SEVERE_AUC
    score = "" if test_like is None else f"; {test_like.in_words()}"
    message = f"features tell test images from training images with an AUC of {drift.auc:.2f} (0.50 ± {drift.error:.2f} by chance){score}"
    remedy = (
        "look at the most test-like rows in the page of the run: another place, camera or mix of classes? what these "
        "rows score is a better guess of the test score than the OOF score of all"
    )
    return [Finding("feature-drift", "warning" if severe else "info", tests, message, (), remedy)]
