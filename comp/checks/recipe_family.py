"""Checks of a recipe against the data it is to be judged on, before anything is trained."""

from __future__ import annotations

from pathlib import Path

from comp.checks.findings import Finding, finding
from comp.folds import Folds
from comp.manifest import Manifest

FITTED = "fitted.txt"


def weights_leak(weights: str, manifest: Manifest, folds: Folds) -> list[Finding]:
    """Weights that were fitted on rows they are to be judged on.

    A checkpoint of ``comp`` keeps the contents of the rows it was fitted on in fitted.txt beside it; every
    held-out row found there is a leak. Says nothing of weights whose history is not known. Exact; O(N).
    """
    path = Path(weights).expanduser()
    known = path.with_name(FITTED)
    if weights in ("default", "none") or not known.is_file() or "content" not in manifest.train:
        return []
    seen = set(known.read_text(encoding="utf-8").split())
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


def preprocessing_override(overrides: list[str]) -> list[Finding]:
    """A recipe that normalises images otherwise than its weights were trained with.

    ``overrides`` says in words where mean or std differ from those that came with the weights.
    """
    if not overrides:
        return []
    message = f"the recipe normalises otherwise than its weights were trained with: {'; '.join(overrides)}"
    remedy = "drop model.mean and model.std from the recipe unless you measured that it helps"
    return [Finding("preprocessing-override", "warning", len(overrides), message, (), remedy)]
