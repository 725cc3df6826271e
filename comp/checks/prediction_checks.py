"""Checks of a run: of its recipe before anything is trained, and of its predictions after."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comp.checks.context import Finding, check, declare, finding
from comp.checks.label_errors import likely_wrong
from comp.data.folds import Folds
from comp.data.manifest import Manifest
from comp.data.predictions import Predictions
from comp.metrics import Metric
from comp.runs.contents import fitted_beside
from comp.submission.answers import answered_classes
from comp.uncertainty import Gain


@check(
    "weights-leak",
    "recipe",
    "run",
    "error",
    catches="a checkpoint fitted on a row that it is to be judged on",
    misses="weights from elsewhere: nothing says what they were fitted on",
)
def weights_leak(weights: str, manifest: Manifest, folds: Folds) -> list[Finding]:
    """Weights that were fitted on rows they are to be judged on.

    A checkpoint of ``comp`` keeps the contents of the rows it was fitted on in fitted.txt beside it; every
    held-out row found there is a leak. Says nothing of weights whose history is not known. Exact; O(N).
    """
    path = Path(weights).expanduser()
    seen = set() if weights in ("default", "none") else fitted_beside(path)
    if not seen or "content" not in manifest.train:
        return []
    train = manifest.train
    held_out = folds.of(train["id"]) >= 0
    rows = [
        i
        for i, content, out in zip(train["id"], train["content"], held_out, strict=True)
        if out and content in seen
    ]
    if not rows:
        return []
    message = f"{path} was fitted on {len(rows)} of the rows that it would be judged on"
    remedy = "start from weights that never saw these rows (timm's own, or none)"
    return [finding("weights-leak", "error", rows, message, remedy)]


def warm_leak(
    run: str, old: Folds, fitted: Callable[[int], set[str]], manifest: Manifest, folds: Folds
) -> list[Finding]:
    """Folds that would start from a checkpoint of another run which was fitted on rows that they hold out.

    Fold k starts from fold k of ``run``, so that both runs need the same rows, K and folds. A row of fold k leaks
    if ``old`` had it in another fold (-1 too: it was always fitted on), or if its content is in ``fitted(k)``.
    Exact; O(N).
    """
    before = old.by_id
    leaked = {i: k for i, k in folds.by_id.items() if k >= 0 and before.get(i, k) != k}
    train = manifest.train
    if "content" in train:
        fold = folds.of(train["id"])
        for k in range(folds.k):
            held_out, seen = train[fold == k], fitted(k)
            pairs = zip(held_out["id"], held_out["content"], strict=True)
            leaked.update((i, k) for i, content in pairs if content in seen)
    remedy = (
        f'take its folds, `folds="runs/{run}/folds.csv"`, or start from weights that never saw these rows'
    )
    if leaked:
        counts = sorted(Counter(leaked.values()).items())
        told = ", ".join(f"{count} rows of fold {k}" for k, count in counts)
        rows = [i for i in folds.ids if i in leaked]
        message = f"the checkpoints of {run} were fitted on rows that they would be judged on: {told}"
        return [finding("weights-leak", "error", rows, message, remedy)]
    if old.fingerprint == folds.fingerprint and old.k == folds.k:
        return []
    value = (
        f"{old.k} folds there, {folds.k} here"
        if old.k != folds.k
        else "its train rows are others, or have changed"
    )
    message = f"the checkpoints of {run} may have been fitted on rows that they would be judged on: {value}"
    return [finding("weights-leak", "error", list(folds.ids), message, remedy)]


@check(
    "preprocessing-override",
    "recipe",
    "run",
    "warning",
    catches="other mean or std than the weights were trained with",
    misses="weights whose own mean and std nobody states",
)
def preprocessing_override(overrides: list[str]) -> list[Finding]:
    """A recipe that normalises images otherwise than its weights were trained with.

    ``overrides`` says in words where mean or std differ from those that came with the weights.
    """
    if not overrides:
        return []
    message = f"the recipe normalises otherwise than its weights were trained with: {'; '.join(overrides)}"
    remedy = "drop model.mean and model.std from the recipe unless you measured that it helps"
    return [Finding("preprocessing-override", "warning", len(overrides), message, (), remedy)]


@check(
    "harmful-transform",
    "recipe",
    "run",
    "warning",
    catches=(
        "a mirroring or turning transform of `finetune` or `scratch` that makes classes alike: a "
        "quick classifier of at most 1,000 training images at 32 × 32 pixels loses more than three "
        "standard errors of accuracy, and a quarter in its odds of an error, once such copies "
        "train it; or two classes lose rows to each other"
    ),
    misses=(
        "classes whose difference does not show at 32 × 32 pixels, or to a classifier of patches; "
        "transforms that neither mirror nor turn by 45°; `probe` (see `harmful-views`)"
    ),
)
def harmful_transform(
    name: str, rows: int, scores: tuple[float, float, float], lost: int, pair: tuple[str, str] | None
) -> list[Finding]:
    """A mirroring or turning transform that makes classes alike.

    ``scores`` are a quick classifier's accuracy on ``rows`` held-out rows without such copies in its training, with
    them, and the standard error of the difference; ``pair`` are two classes that it then confuses.
    """
    without, with_copies, error = scores
    between = f", most of all {pair[0]!r} and {pair[1]!r}" if pair else ""
    message = (
        f"{name} in training makes classes alike{between}: a quick classifier of {rows} small images answers {without:.3f} of "
        f"held-out rows rightly, {with_copies:.3f} with such copies ({with_copies - without:+.3f} ± {error:.3f})"
    )
    remedy = f'leave {name} out of transform (`overrides=["transform=none"]`), and mirrored views too (`overrides=["tta=none"]`)'
    return [Finding("harmful-transform", "warning", lost, message, (), remedy)]


TOO_GOOD = 0.995
COLLAPSED_SHARE = 0.95
SHIFT = 0.2


@check(
    "collapsed-predictions",
    "predictions",
    "run",
    "warning",
    catches="test rows that all get one answer",
)
def collapsed_predictions(test: Predictions, priors: NDArray[np.float64]) -> list[Finding]:
    """Test predictions that are all one answer: one class for 95 % of the rows where no class has 80 % of the
    training rows, or the same probabilities for every row. Reads the predictions; O(N C).

    ``priors`` (C,) are the classes' shares of the training rows; only looked at where a row has one class.
    """
    if len(test) < 10:
        return []
    shares = np.zeros(1)
    if test.labels.task.one_class_a_row:
        shares = test.labels.shares(np.array(answered_classes(test.probs, test.labels)))
    top = int(shares.argmax())
    if float((test.probs.std(axis=0, dtype=np.float64) / test.labels.span).max()) < 1e-4:
        message = "every test row got the same probabilities"
    elif shares[top] >= COLLAPSED_SHARE and priors.max() < 0.8:
        message = f"{shares[top]:.0%} of the test rows are answered {test.labels.names[top]!r}, a class of {priors[top]:.0%} in train"
    else:
        return []
    remedy = "look at rows.csv and the images; was every test image read as it should be, was the model trained at all?"
    return [Finding("collapsed-predictions", "warning", len(test), message, test.ids[:5], remedy)]


@check(
    "too-good",
    "predictions",
    "run",
    "warning",
    catches="next to no OOF errors where the recipe's header expects some",
)
def too_good(score: float, metric: Metric, rows: int, expected: float | None) -> list[Finding]:
    """An OOF score that promises less than half a per cent of errors, where the recipe's header expects no such
    thing. For metrics that are 1 at best; small sets (under 200 rows) are left alone.
    """
    if (
        metric.direction != "max"
        or rows < 200
        or score < TOO_GOOD
        or (expected is not None and expected >= 0.99)
    ):
        return []
    message = f"OOF {metric.name} {score:.4f}: next to no errors on {rows} held-out rows"
    remedy = "look for copies across folds, a label in the file, or one file for many rows; if it is true, say it in the recipe's header"
    return [Finding("too-good", "warning", rows, message, (), remedy)]


@check(
    "prior-shift",
    "predictions",
    "run",
    "warning",
    catches="class shares of the answers far from the training rows'",
    of_scored_rows=True,
)
def prior_shift(test: Predictions, priors: NDArray[np.float64]) -> list[Finding]:
    """Answers whose class shares are far from the training rows': half the summed difference over 0.2, and more
    than sampling explains (chi-square over ten times its degrees of freedom). Of a single label alone. O(N).
    """
    if len(test) < 50 or not test.labels.task.is_single_label:
        return []
    shares = test.probs.mean(axis=0, dtype=np.float64)
    distance = float(np.abs(shares - priors).sum() / 2)
    expected = np.maximum(priors * len(test), 1e-9)
    chi = float(((shares * len(test) - expected) ** 2 / np.maximum(expected, 1.0)).sum())
    if distance < SHIFT or chi < 10 * (len(priors) - 1):
        return []
    far = int(np.abs(shares - priors).argmax())
    message = f"class shares moved by {distance:.0%}: {test.labels.names[far]!r} is {priors[far]:.0%} in train and {shares[far]:.0%} in the answers"
    remedy = (
        "either the test set is drawn otherwise, or the model is biased: look at rows.csv before you submit"
    )
    return [Finding("prior-shift", "warning", len(test), message, (), remedy)]


@check(
    "harmful-views",
    "predictions",
    "run",
    "warning",
    catches=(
        "views that cost more than the standard error of what they cost on the OOF rows, beside "
        "the identity view alone; in `probe` also in the fit of the classifier"
    ),
    misses=(
        "views that help as much as they harm; in `finetune` and `scratch` what training on "
        "mirrored images cost"
    ),
)
def harmful_views(views: Sequence[str], metric: str, rows: int, gains: dict[str, Gain]) -> list[Finding]:
    """Views that cost more than the standard error of what they cost.

    ``gains`` say what the OOF score gains without them: "prediction" where only the predictions are taken from the
    identity view, "fit" where the classifier was solved without them too.
    """
    beyond = {name: gain for name, gain in gains.items() if gain.is_beyond}
    if not beyond:
        return []
    worst = max(beyond, key=lambda name: beyond[name].value)
    gain = beyond[worst]
    where = "in fit and prediction" if worst == "fit" else "in prediction"
    message = f"the views {', '.join(views)} {where} cost {gain.value:.4f} ± {gain.error:.4f} of OOF {metric} beside the identity view alone"
    remedy = (
        'predict by the identity view: `overrides=["tta=none"]`; are classes mirror images of each other?'
    )
    return [Finding("harmful-views", "warning", rows, message, (), remedy)]


def expected_score(recipe: Path) -> float | None:
    """The score that a recipe's header expects (a comment ``Expected: … 0.94``), or None."""
    try:
        head = [line for line in recipe.read_text(encoding="utf-8-sig").splitlines() if line.startswith("#")]
    except OSError:
        return None
    found = re.search(r"[Ee]xpected[^\d]*([01]\.\d+)", " ".join(head))
    return float(found.group(1)) if found else None


@check(
    "assumed-folds",
    "predictions",
    "run",
    "warning",
    catches="OOF predictions from elsewhere whose folds nobody named",
)
def assumed_folds(named: bool, k: int, rows: int) -> list[Finding]:
    """OOF predictions made elsewhere, of folds that nobody named: a blend of them may be flattered."""
    if named:
        return []
    message = f"nothing says which folds the OOF rows come from: the workspace's {k} are taken for them"
    remedy = "a blend is judged by folds, and a wrong guess flatters it: `fold_column=COL`, or `folds=FILE`"
    return [Finding("assumed-folds", "warning", rows, message, (), remedy)]


@check(
    "label-errors",
    "predictions",
    "run",
    "info",
    catches=(
        "labels that are likely wrong: another class reaches the mean out-of-fold probability of its "
        "own rows, learned on other folds, and is likelier than the label "
        "([how, and how surely](decisions/0016-label-errors.md)); `comp labels RUN` lists them"
    ),
    misses=(
        "a class that the model does not know: it names hard images too, and of ten rows some are "
        "right; tasks of several labels and of numbers; runs of a single fold"
    ),
)
def label_errors(
    oof: Predictions, labels: NDArray[np.int64], folds: NDArray[np.int64], run: str
) -> list[Finding]:
    """Labels that are likely wrong by the out-of-fold predictions; ``labels`` (N,) are class indices, ``folds`` (N,) the
    folds that held the rows out. Reads the predictions; O(N C).
    """
    if not oof.labels.task.one_class_a_row or len(np.unique(folds)) < 2:
        return []
    verdict = likely_wrong(oof.probs, labels, folds, classes=len(oof.labels))
    rows = [oof.ids[n] for n in verdict.ranked]
    if not rows:
        return []
    first, names = verdict.ranked[0], oof.labels.names
    message = (
        f"{len(rows)} of {len(oof)} labels are likely wrong, first {rows[0]!r}: labelled {names[labels[first]]!r}, "
        f"likelier {names[verdict.suggested[first]]!r}"
    )
    remedy = f"`comp labels {run} --csv labels.csv` lists them; look at the images, correct the file, then train with `manifest=labels.csv`"
    return [finding("label-errors", "info", rows, message, remedy)]


declare(
    "control-rows",
    "predictions",
    "run",
    "error",
    catches=(
        "a test path that gives held-out images other probabilities than validation did: another "
        "preprocessing, label map or order inside `comp`; a fold without control rows. How close "
        "they must come back follows from the noise that the run measured "
        "([why](decisions/0011-control-rows-and-tf32.md)); in half precision they also come back "
        "by themselves in fp32"
    ),
    misses="an adapter that reads test files in another order: that is `template-mismatch`",
    can_be_allowed=False,
)
