"""Probabilities of many classes: small on disk without loss, their best answers in their order."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from comp.checks.prediction_checks import prior_shift
from comp.data import predictions as module
from comp.data.labels import LabelMap
from comp.data.prediction_files import packed, unpacked
from comp.data.predictions import (
    BEST,
    MANY,
    Predictions,
    average,
    best_of_rows,
    join,
    mean_loss,
    mean_of_views,
)
from comp.errors import InputError
from comp.metrics import log_loss
from comp.task_scores import likeliest

CLASSES = MANY + 200
LABELS = LabelMap([f"c{n:04d}" for n in range(CLASSES)])


def rows(count: int, seed: int = 0, kind: Any = np.float64) -> Any:
    """Probabilities (count, CLASSES) that keep their best."""
    sharp = np.random.default_rng(seed).dirichlet(np.full(CLASSES, 0.05), count)
    return best_of_rows(sharp.astype(kind))


@given(st.integers(0, 6), st.integers(1, 40), st.booleans(), st.data())
def test_what_is_packed_comes_back_bit_by_bit(
    count: int, width: int, small: bool, data: st.DataObject
) -> None:
    kind = np.float32 if small else np.float64
    values = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    probs = data.draw(arrays(kind, (count, width), elements=values))
    stored = packed(probs)
    back = stored["probs"] if "probs" in stored else unpacked(stored, count, width)
    assert back.dtype == kind
    assert back.tobytes() == probs.tobytes()


def test_rows_with_few_values_are_packed_and_others_not() -> None:
    assert set(packed(rows(5))) == {"own", "places", "counts", "rest"}
    assert set(packed(np.random.default_rng(0).dirichlet(np.ones(60), 5))) == {"probs"}


@given(arrays(np.float64, (4, 90), elements=st.sampled_from([0.0, 0.001, 0.01, 0.01001, 0.3])))
def test_the_best_stay_in_their_order_and_rows_sum_to_one(values: Any) -> None:
    probs = (values + 1e-9) / (values + 1e-9).sum(axis=1, keepdims=True)
    kept = best_of_rows(probs, 20)
    order = np.argsort(-probs, axis=1, kind="stable")[:, :20]
    assert np.argsort(-kept, axis=1, kind="stable")[:, :20].tolist() == order.tolist()
    assert np.take_along_axis(kept, order, 1).tolist() == np.take_along_axis(probs, order, 1).tolist()
    assert kept.sum(axis=1) == pytest.approx(1.0)
    assert all(len(set(row)) <= 21 for row in kept.tolist())


def test_an_even_row_still_answers_its_first_class() -> None:
    assert likeliest(best_of_rows(np.full((3, CLASSES), 1 / CLASSES))).tolist() == [0, 0, 0]
    assert likeliest(best_of_rows(np.full((3, CLASSES), 1 / CLASSES, np.float32))).tolist() == [0, 0, 0]


def test_views_of_many_classes_keep_the_best_of_their_mean() -> None:
    seen = {str(n): np.random.default_rng(n).dirichlet(np.full(CLASSES, 0.05), 3) for n in range(2)}
    mean = mean_of_views(seen, "arithmetic", LABELS)
    expected = np.sort((seen["0"] + seen["1"]) / 2, axis=1)[:, -BEST:]
    assert np.sort(mean, axis=1)[:, -BEST:] == pytest.approx(expected)
    assert all(len(set(row)) <= BEST + 1 for row in mean.tolist())


@pytest.mark.parametrize("many", [False, True])
def test_saved_and_loaded_they_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    if many:
        monkeypatch.setattr(module, "LARGE", 2 * CLASSES)
    found = Predictions(("a", "b", "c"), LABELS, rows(3), "print")
    assert found.probs.dtype == (np.float32 if many else np.float64)
    found.save(tmp_path / "p.npz")
    assert (tmp_path / "p.npz").stat().st_size < 60_000  # 3 x 1,200 x 8 bytes are 28,800, the names 13,000
    back = Predictions.load(tmp_path / "p.npz")
    assert back.probs.tobytes() == found.probs.tobytes()
    assert (back.ids, back.labels, back.fingerprint) == (found.ids, found.labels, found.fingerprint)
    back.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "p.npz").read_bytes()
    assert pickle.loads(pickle.dumps(back)).probs.tobytes() == found.probs.tobytes()
    assert back.select(["c", "a"]).probs.tolist() == found.probs[[2, 0]].astype(np.float64).tolist()
    joined = join([back.select(["c"]), back.select(["a", "b"])], ["a", "b", "c"])
    assert joined.probs.tobytes() == found.probs.tobytes()
    with pytest.raises(AttributeError):
        back.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_nobody_can_write_to_what_is_held(tmp_path: Path) -> None:
    given = rows(2)
    found = Predictions(("a", "b"), LABELS, given)
    given[:] = 0
    assert found.probs.sum() == pytest.approx(2)
    found.save(tmp_path / "p.npz")
    for one in (found, Predictions.load(tmp_path / "p.npz"), found.select(["b"])):
        with pytest.raises(ValueError, match="read-only"):
            one.probs[0, 0] = 1


DAMAGES = {
    "no place of a class": lambda a: a["places"].__setitem__(0, CLASSES),
    "a place before the first": lambda a: a["places"].__setitem__(0, -1),
    "a place twice": lambda a: a["places"].__setitem__(1, a["places"][0]),
    "a count too many": lambda a: a["counts"].__setitem__(0, BEST + 1),
    "a count below nothing": lambda a: a["counts"].__setitem__(slice(2), [-1, 2 * BEST + 1]),
    "a row too few": lambda a: a.__setitem__("rest", a["rest"][:-1]),
    "counts and rest of other rows": lambda a: a.update(rest=np.zeros(9), counts=np.zeros(9, np.int64)),
    "texts": lambda a: a.__setitem__("own", a["own"].astype("<U4")),
    "half precision": lambda a: a.update(own=a["own"].astype("f2"), rest=a["rest"].astype("f2")),
    "places of another kind": lambda a: a.__setitem__("places", a["places"].astype(np.float64)),
    "nothing of the rest": lambda a: a.pop("rest"),
    "a value that is none": lambda a: a["own"].__setitem__(0, np.nan),
    "rows that do not sum to one": lambda a: a["own"].__setitem__(0, 0.0),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "p.npz"
    Predictions(("a", "b"), LABELS, rows(2)).save(path)
    with np.load(path) as stored:
        kept = {name: stored[name] for name in stored.files}
    DAMAGES[damage](kept)
    np.savez(path, **kept)
    with pytest.raises(InputError):
        Predictions.load(path)


def test_the_likeliest_class_whatever_is_looked_at_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    probs = np.random.default_rng(0).integers(0, 3, (50, 7)).astype(np.float64)
    probs.setflags(write=False)
    expected = probs.argmax(axis=1).tolist()
    for cells in (1, 20, 1000):
        monkeypatch.setattr("comp.task_scores.CELLS", cells)
        assert likeliest(probs).tolist() == expected
    assert likeliest(probs[:0]).tolist() == []


def test_many_rows_in_single_precision_keep_their_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Added one after the other in float32, 300,000 rows would miss the fourth digit of a mean."""
    monkeypatch.setattr(module, "LARGE", 1000)
    names = LabelMap(["a", "b"])
    share = np.tile([0.1, 0.9], (300_000, 1))
    found = Predictions(tuple(map(str, range(300_000))), names, share)
    assert found.probs.dtype == np.float32
    findings = prior_shift(found, np.array([0.1, 0.9]))
    assert findings == []
    assert mean_loss(found.probs, np.zeros(300_000, np.int64), names) == pytest.approx(-np.log(0.1), abs=1e-7)
    assert log_loss(np.zeros(300_000, np.int64), found.probs) == pytest.approx(-np.log(0.1), abs=1e-7)
    (row,) = average([found.select(["7"]), found.select(["7"])]).probs.tolist()
    assert row == pytest.approx([0.1, 0.9], abs=1e-7)
