"""Checks for labels that can be read off the files instead of the pictures."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from comp.checks.evidence import Evidence
from comp.checks.findings import Finding

MOST_ROWS = 4000
LEAST_ROWS = 40
SHORTCUT_GAIN = 0.15
DRIFT_AUC = 0.8


def metadata_shortcut(evidence: Evidence) -> list[Finding]:
    """Facts of the files that predict the label: size in pixels and bytes, format, EXIF, the number in the name
    (where train and test names are made alike), the place in the table (in table layouts).

    A small forest is cross-validated (3 folds, at most 4,000 rows) on these facts and compared with itself on
    shuffled labels: a warning where balanced accuracy gains 0.15 or more. The class folder is never a fact.
    A second on thousands of rows; remembered for the same contents. It finds what trees can find: a rule such as
    "every tenth row" stays unseen.
    """
    train = evidence.manifest.train
    known = train[[not evidence.images[p].error for p in train["path"]]]
    if len(known) < LEAST_ROWS or known["label"].nunique() < 2:
        return []
    facts = _facts(evidence, known, names=True)
    digest = _digest(facts, list(known["label"]))
    score, control, best = evidence.memory.recall(
        "shortcut", digest, lambda: _score(facts, known["label"].to_numpy(str))
    )
    if score - control < SHORTCUT_GAIN:
        return []
    message = f"the files alone, without their pictures, give balanced accuracy {score:.2f} ({control:.2f} by chance); most telling: {best}"
    remedy = "a model may learn this instead of the pictures: look at how the classes were collected"
    return [Finding("metadata-shortcut", "warning", len(known), message, tuple(known["id"][:5]), remedy)]


def train_test_drift(evidence: Evidence) -> list[Finding]:
    """The same facts, without names, telling train rows from test rows: adversarial validation.

    A warning where the cross-validated area under the ROC curve is 0.8 or more: the test images were made in
    another way, and the OOF score may not carry over.
    """
    table = evidence.manifest.table
    readable = np.array([not evidence.images[p].error for p in table["path"]], dtype=bool)
    known = table[(table["split"] != "extra").to_numpy() & readable]
    is_test = (known["split"] == "test").to_numpy()
    if min(is_test.sum(), (~is_test).sum()) < LEAST_ROWS // 2:
        return []
    facts = _facts(evidence, known, names=False)
    digest = _digest(facts, list(known["split"]))
    score, _, best = evidence.memory.recall(
        "drift", digest, lambda: _score(facts, is_test.astype(str), auc=True)
    )
    if score < DRIFT_AUC:
        return []
    message = f"train and test files differ: their facts tell them apart with an AUC of {score:.2f}; most telling: {best}"
    remedy = "were they resized or encoded differently? bring both to one form, and doubt the OOF score"
    return [Finding("train-test-drift", "warning", int(is_test.sum()), message, (), remedy)]


def _facts(evidence: Evidence, rows: pd.DataFrame, names: bool) -> pd.DataFrame:
    """Numbers (N, F) known of every file."""
    looks = [evidence.images[path] for path in rows["path"]]
    facts: dict[str, Any] = {
        "height": [look.height for look in looks],
        "width": [look.width for look in looks],
        "side ratio": [look.width / max(1, look.height) for look in looks],
        "bytes": [look.file_bytes for look in looks],
        "bytes per pixel": [look.file_bytes / max(1, look.height * look.width) for look in looks],
        "format": pd.factorize(pd.Series([look.kind for look in looks]), sort=True)[0],
        "EXIF": pd.factorize(pd.Series([look.exif for look in looks]), sort=True)[0],
    }
    if all(look.kind == "array" for look in looks):
        return pd.DataFrame({"nothing": np.zeros(len(rows))})
    if names and _names_alike(evidence):
        facts["number in the name"] = [_number(path) for path in rows["path"]]
        facts["length of the name"] = [len(PurePosixPath(path).stem) for path in rows["path"]]
    if names and evidence.competition.facts.order == "table":
        facts["place in the table"] = np.arange(len(rows))
    return pd.DataFrame(facts)


def _names_alike(evidence: Evidence) -> bool:
    """Whether train and test files are named after one pattern, so that a name could betray a test row too."""
    patterns = [
        {re.sub(r"\d+", "#", PurePosixPath(path).stem) for path in part["path"]}
        for part in (evidence.manifest.train, evidence.manifest.test)
    ]
    return bool(patterns[0] & patterns[1])


def _number(path: str) -> float:
    digits = re.findall(r"\d+", PurePosixPath(path).stem)
    return float(digits[-1][-15:]) if digits else -1.0


def _score(facts: pd.DataFrame, labels: NDArray[np.str_], auc: bool = False) -> tuple[float, float, str]:
    """Cross-validated score of a forest, the same on shuffled labels, and the most telling fact."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    rng = np.random.default_rng(0)
    pick = np.sort(rng.permutation(len(facts))[:MOST_ROWS])
    # numbers, as scikit-learn takes classes named "0" and "1" for numbers at one place and not at another
    _, y, counts = np.unique(labels[pick], return_inverse=True, return_counts=True)
    kept = counts[y] >= 3
    x, y = facts.to_numpy(dtype=np.float64)[pick][kept], y[kept]
    if len(np.unique(y)) < 2 or not x.std(axis=0).any():
        return 0.0, 0.0, ""
    forest = ExtraTreesClassifier(
        n_estimators=40, min_samples_leaf=3, class_weight="balanced", random_state=0
    )
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    scoring = "roc_auc" if auc else "balanced_accuracy"
    score = float(cross_val_score(forest, x, y, cv=folds, scoring=scoring).mean())
    control = float(cross_val_score(forest, x, rng.permutation(y), cv=folds, scoring=scoring).mean())
    telling = forest.fit(x, y).feature_importances_
    return score, control, str(facts.columns[int(np.argmax(telling))])


def _digest(facts: pd.DataFrame, labels: list[str]) -> str:
    import hashlib

    told = hashlib.sha256(facts.to_numpy(dtype=np.float64).tobytes())
    told.update("\x1f".join(labels).encode("utf-8", "surrogatepass"))
    told.update("\x1f".join(facts.columns).encode())
    return told.hexdigest()
