"""What the features that a run has anyhow say of its rows: look-alikes across folds, and how far test rows differ."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comp import events
from comp.checks.context import Finding
from comp.checks.feature_checks import TestLikeScore, drift_of_features, look_alike
from comp.checks.feature_drift import FeatureDrift, feature_drift
from comp.checks.look_alikes import TEST, LookAlike, LookAlikes, look_alikes
from comp.checks.runner import CheckResult
from comp.data.folds import components, group_names
from comp.data.predictions import Predictions
from comp.files import read_json, write_json, write_text
from comp.report.run_report.run_data import AlikePair, FeatureSide, PairRow
from comp.runs.run import Run
from comp.uncertainty import PairedJackknife

if TYPE_CHECKING:
    import pandas as pd

    from comp.training.plan import TrainedModels

FACTS, PAIRS, LIKENESS = "features.json", "look-alikes.csv", "test-likeness.csv"
COLUMNS = (
    "id",
    "path",
    "label",
    "fold",
    "other_id",
    "other_path",
    "other_label",
    "other_fold",
    "similarity",
    "usual",
)
MOST_PAIRS = 1000  # of each kind that are written
LEAST_SCORED = 20  # rows of the quarter that is most like the test rows

Features = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SeenRows:
    """The training rows (N) and test rows (T) of a run with their features; ``test`` are none where these have none."""

    network: str
    train: pd.DataFrame
    test: pd.DataFrame
    features: Features
    test_features: Features | None

    @property
    def rows(self) -> pd.DataFrame:
        """All of them, training rows first."""
        import pandas as pd

        return pd.concat([self.train, self.test], ignore_index=True)


def judge_features(checks: CheckResult, trained: TrainedModels, oof: Predictions) -> list[Finding]:
    """The findings on a run's features, where it has them, written into its folder; no error of theirs costs the run.

    Parameters
    ----------
    checks : CheckResult
        Which rows are near-duplicates.
    trained : TrainedModels
    oof : Predictions
        The OOF rows as they are scored.
    """
    folder = trained.folder
    for name in (FACTS, PAIRS, LIKENESS):
        (folder / name).unlink(missing_ok=True)  # of a run that goes on
    try:
        seen = _seen(checks, trained)
        return [] if seen is None else _judged(checks, trained, oof, seen)
    except Exception as error:  # whatever is wrong with the features, the submission is right
        for name in (FACTS, PAIRS, LIKENESS):
            (folder / name).unlink(missing_ok=True)
        events.log(f"  warning: features say nothing of look-alikes: {type(error).__name__}: {error}")
        return []


def _seen(checks: CheckResult, trained: TrainedModels) -> SeenRows | None:
    """The rows of the first model whose training rows have features; None where no model has any."""
    from comp.training.linear_probe import features_at_hand

    unread = set(checks.unread().values())
    for plan, results in zip(trained.plans, trained.results, strict=True):
        table = plan.manifest.table[plan.manifest.table["split"] != "test"]
        test = plan.manifest.test
        test = test[[path not in unread for path in test["path"]]]
        if not results:
            continue
        features, of_test = features_at_hand(plan, results[0].fold, [table, test])
        if features is not None:
            train = (table["split"] == "train").to_numpy()
            rows = test if of_test is not None else test[:0]
            return SeenRows(plan.recipe.model.name, table[train], rows, features[train], of_test)
    return None


def _judged(checks: CheckResult, trained: TrainedModels, oof: Predictions, seen: SeenRows) -> list[Finding]:
    """The findings, and what the page shows of them as files."""
    rows = seen.rows
    part = np.concatenate([trained.plans[0].folds.of(seen.train["id"]), np.full(len(seen.test), TEST)])
    whole = (
        seen.features if seen.test_features is None else np.concatenate([seen.features, seen.test_features])
    )
    pairs = look_alikes(whole, part.astype(np.int64), _families(rows, checks.context.alike))
    del whole
    drift = None
    if seen.test_features is not None:
        groups = group_names(seen.train), group_names(seen.test)
        drift = feature_drift(seen.features, seen.test_features, *groups)
    test_like = _test_like(trained, oof, seen, drift) if drift is not None and drift.is_certain else None
    _write(trained.folder, seen, part, pairs, drift, test_like)
    paths = list(rows["path"])
    named = [
        [(paths[one.first], paths[one.second]) for one in some] for some in (pairs.folds, pairs.train_test)
    ]
    found = look_alike(named[0], named[1], trained.folder.name)
    return found if drift is None else [*found, *drift_of_features(drift, len(seen.test), test_like)]


def _families(rows: pd.DataFrame, alike: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """A number for each row (N,), one for rows of a group, and for near-duplicates, whatever ties them."""
    cluster = {path: n for n, paths in enumerate(alike) for path in paths}
    place: dict[tuple[str, object], int] = {}
    pairs = []
    for n, (path, group) in enumerate(zip(rows["path"], rows["group"], strict=True)):
        names: list[tuple[str, object]] = [("path", path)]
        names += [("group", group)] if group else []
        names += [("cluster", cluster[path])] if path in cluster else []
        pairs += [(n, len(rows) + place.setdefault(name, len(place))) for name in names]
    return components(len(rows) + len(place), pairs)[: len(rows)]


def _test_like(
    trained: TrainedModels, oof: Predictions, seen: SeenRows, drift: FeatureDrift
) -> TestLikeScore | None:
    """The score of the quarter of the OOF rows that is most like the test rows; None where it has none."""
    likeness = dict(zip(seen.train["id"], drift.likeness, strict=True))
    values = np.array([likeness.get(i, -np.inf) for i in oof.ids])
    some = np.sort(np.argsort(-values, kind="stable")[: len(oof) // 4])
    if len(some) < LEAST_SCORED:
        return None
    truth, names = trained.truth(oof), dict(zip(seen.train["id"], group_names(seen.train), strict=True))
    metric = trained.plans[0].metric
    judge = PairedJackknife(metric, truth[some], [names[oof.ids[n]] for n in some])
    try:
        scored = judge.score(oof.probs[some])
    except (ValueError, ZeroDivisionError):  # such as an AUC of one class
        return None
    if not np.isfinite(scored.score):
        return None
    count, left = len(scored.left), scored.left
    error = (
        float(np.sqrt((count - 1) / count * ((left - left.mean()) ** 2).sum())) if count > 1 else float("nan")
    )
    return TestLikeScore(metric.name, scored.score, error, metric(truth, oof.probs))


def _write(
    folder: Path,
    seen: SeenRows,
    part: NDArray[np.int64],
    pairs: LookAlikes,
    drift: FeatureDrift | None,
    test_like: TestLikeScore | None,
) -> None:
    rows = seen.rows
    kinds = (pairs.folds, pairs.train_test)
    facts: dict[str, Any] = {
        "network": seen.network,
        "rows": pairs.rows,
        "compared": pairs.compared,
        "test_rows": len(seen.test),
        "look_alikes": dict(zip(("folds", "train_test"), map(len, kinds), strict=True)),
        "drift": {},
    }
    if drift is not None:
        facts["drift"] = {"auc": drift.auc, "error_by_chance": drift.error, "certain": drift.is_certain}
        ids, paths = seen.train["id"], seen.train["path"]
        values = [f"{value:.6g}" for value in drift.likeness]
        lines = zip(ids, paths, map(_fold, part), values, strict=False)  # part has the test rows too
        write_text(folder / LIKENESS, _csv(("id", "path", "fold", "likeness"), lines))
    if test_like is not None:
        error = test_like.error if np.isfinite(test_like.error) else None
        facts["drift"] |= {"test_like_score": test_like.score, "test_like_error": error}
    named = rows[["id", "path", "label"]].assign(fold=[_fold(n) for n in part])
    cells = [tuple(row) for row in named.itertuples(index=False, name=None)]
    listed = [one for kind in kinds for one in kind[:MOST_PAIRS]]
    found = ((*cells[one.first], *cells[one.second], *_numbers(one)) for one in listed)
    write_text(folder / PAIRS, _csv(COLUMNS, found))
    write_json(folder / FACTS, facts)


def _fold(part: int) -> str:
    return "test" if part == TEST else "training only" if part < 0 else str(part)


def _numbers(pair: LookAlike) -> tuple[str, str]:
    return f"{pair.similarity:.4f}", f"{pair.usual:.4f}"


def _csv(columns: Sequence[str], lines: Any) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    return out.getvalue()


def features_of(run: Run, answers: Mapping[str, str]) -> FeatureSide | None:
    """What a run's features said, as its folder has it; None where it has none. ``answers`` are those of test rows, by id.

    Raises
    ------
    InputError
        For files that are not as the run wrote them.
    """
    if not run.has(FACTS) or not run.has(PAIRS):
        return None
    facts: dict[str, Any] = read_json(run.checked(FACTS))
    pairs: list[list[AlikePair]] = [[], []]
    for row in _lines(run, PAIRS):
        of_test = row["other_fold"] == "test"
        label = answers.get(row["other_id"], "") if of_test else row["other_label"]
        second = PairRow(row["other_id"], row["other_path"], label, "" if of_test else row["other_fold"])
        first = PairRow(row["id"], row["path"], row["label"], row["fold"])
        pairs[of_test].append(AlikePair(first, second, float(row["similarity"]), float(row["usual"])))
    likeness = (
        {row["id"]: float(row["likeness"]) for row in _lines(run, LIKENESS)} if run.has(LIKENESS) else {}
    )
    counts = facts["look_alikes"]["folds"], facts["look_alikes"]["train_test"]
    has_test = facts["test_rows"] > 0
    sides = tuple(pairs[0]), tuple(pairs[1])
    return FeatureSide(
        facts["network"], facts["rows"], facts["compared"], has_test, counts, *sides, facts["drift"], likeness
    )


def _lines(run: Run, name: str) -> list[dict[str, str]]:
    with run.checked(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
