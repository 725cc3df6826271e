"""The nested score: nothing is chosen by the rows that it is scored on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from comp.data.labels import LabelMap
from comp.data.predictions import Predictions
from comp.metrics import metric_by_name
from comp.pipelines.tuning.selection import TrialRows, nested_score

N, K = 300, 5
IDS = tuple(f"r{n}" for n in range(N))
FOLD = np.arange(N) % K
TRUTH = np.random.default_rng(0).integers(0, 2, N)
ACCURACY = metric_by_name("accuracy")
LABELS = LabelMap(["a", "b"])


def answers(right: np.ndarray) -> Predictions:
    """Predictions that are right where ``right`` (N,) says so."""
    said = np.where(right, TRUTH, 1 - TRUTH)
    return Predictions(IDS, LABELS, np.stack([0.9 - 0.8 * said, 0.1 + 0.8 * said], axis=1))


def of_trials(folder: Path, rights: list[np.ndarray]) -> TrialRows:
    rows = TrialRows(folder, IDS)
    for slot, right in enumerate(rights):
        rows.keep(slot, answers(right))
    return rows


def nested(rows: TrialRows, slots: list[int]):  # type: ignore[no-untyped-def]
    return nested_score(rows, slots, TRUTH, FOLD, list(IDS), ACCURACY)


def test_of_trials_that_are_luck_alone_the_winner_is_worth_nothing_more(tmp_path: Path) -> None:
    """The best of 40 coins at 0.7 looks good; the nested score does not believe it."""
    rng = np.random.default_rng(1)
    rows = of_trials(tmp_path, [rng.random(N) < 0.7 for _ in range(40)])
    best = max(ACCURACY(TRUTH, probs) for n in range(40) if (probs := rows.load(n)) is not None)
    found = nested(rows, list(range(40)))
    assert best > 0.75
    assert found.score < best - 0.02
    assert not found.gain.is_beyond or found.score < 0.76


def test_a_trial_that_is_better_is_chosen_in_every_fold_and_beats_the_baseline(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    luck = rng.random(N)
    rows = of_trials(tmp_path, [luck < 0.7, luck < 0.85, luck < 0.6])
    found = nested(rows, [0, 1, 2])
    assert found.chosen == (1,) * K
    assert found.score == pytest.approx(ACCURACY(TRUTH, answers(luck < 0.85).probs))
    assert found.gain.is_beyond


def test_a_fold_is_answered_by_a_trial_that_is_best_on_the_others(tmp_path: Path) -> None:
    """Each trial is right in one fold alone: no fold gets the one that is right in it."""
    rights = [np.full(N, False), *(k == FOLD for k in range(K))]
    found = nested(of_trials(tmp_path, rights), list(range(K + 1)))
    assert found.score == 0.0
    assert all(slot != k + 1 for k, slot in enumerate(found.chosen))


def test_of_equal_trials_the_first_is_taken(tmp_path: Path) -> None:
    same = np.random.default_rng(3).random(N) < 0.8
    found = nested(of_trials(tmp_path, [same, same]), [1, 0])
    assert found.chosen == (0,) * K
    assert found.gain.value == 0
    assert not found.gain.is_beyond


def test_without_all_rows_there_is_no_nested_score(tmp_path: Path) -> None:
    rows = of_trials(tmp_path, [np.full(N, True)] * 2)
    assert nested(rows, [0, 1, 2]) is None, "another machine has trial 2"
    assert nested(rows, [1]) is None, "no baseline"
    other = TrialRows(tmp_path, tuple(reversed(IDS)))
    assert other.load(0) is None, "rows in another order"
    (tmp_path / "trial-1.npz").write_bytes(b"torn")
    assert nested(rows, [0, 1]) is None
