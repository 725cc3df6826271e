"""Checks of a recipe against the data it is to be judged on, before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from comp.checks.registry import Finding, check, finding
from comp.data.folds import Folds
from comp.data.manifest import Manifest
from comp.runs.contents import fitted_beside


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
    remedy = f"take its folds, --folds runs/{run}/folds.csv, or start from weights that never saw these rows"
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
    remedy = f"leave {name} out of transform (--set transform=none), and mirrored views too (--set tta=none)"
    return [Finding("harmful-transform", "warning", lost, message, (), remedy)]
