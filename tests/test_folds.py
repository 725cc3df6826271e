"""Folds: every row in one fold, kin together, classes even; a function of rows, K and fold_seed alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.errors import InputError
from comp.folds import Folds, make_folds
from comp.manifest import Manifest, Sample


@st.composite
def manifests(draw: st.DrawFn, kin: bool = True) -> Manifest:
    """4 to 40 train rows of up to 4 classes; with ``kin``, some share a group or have a parent (a row or not)."""
    n = draw(st.integers(4, 40))
    labels = draw(st.lists(st.sampled_from("abcd"), min_size=n, max_size=n))
    groups, parents = [""] * n, [""] * n
    if kin:
        groups = draw(st.lists(st.sampled_from(["", "", "g1", "g2", "g3"]), min_size=n, max_size=n))
        names = ["", "", "", "gone"] + [f"s{i}" for i in range(n)]
        parents = draw(st.lists(st.sampled_from(names), min_size=n, max_size=n))
    rows = zip(labels, groups, parents, strict=True)
    return Manifest.from_samples(
        Sample(f"s{i}", f"{i}.png", "train", label, group, parent)
        for i, (label, group, parent) in enumerate(rows)
    )


def folds_or_none(manifest: Manifest, k: int, seed: int = 0) -> Folds | None:
    """The folds, or None where there are fewer families than folds."""
    try:
        return make_folds(manifest, k, seed)
    except InputError:
        return None


@given(manifests(), st.integers(2, 5), st.integers(0, 3))
def test_every_row_is_in_exactly_one_fold(manifest: Manifest, k: int, seed: int) -> None:
    folds = folds_or_none(manifest, k, seed)
    if folds is not None:
        assert folds.ids == tuple(manifest.train["id"])
        assert set(folds.fold.tolist()) == set(range(k))  # none is empty


@given(manifests(), st.integers(2, 5))
def test_groups_and_parents_never_cross_folds(manifest: Manifest, k: int) -> None:
    folds = folds_or_none(manifest, k)
    if folds is None:
        return
    place = dict(zip(folds.ids, folds.fold.tolist(), strict=True))
    family: dict[str, set[int]] = {}
    for row in manifest.train.itertuples():
        if row.group:
            family.setdefault(f"group {row.group}", set()).add(place[row.id])
        if row.parent:
            family.setdefault(f"child of {row.parent}", set()).add(place[row.id])
            if row.parent in place:
                assert place[row.parent] == place[row.id], f"{row.id} would validate its parent {row.parent}"
    assert all(len(found) == 1 for found in family.values()), family


@given(manifests(kin=False), st.integers(2, 4), st.integers(0, 3))
def test_single_rows_are_stratified_to_within_one(manifest: Manifest, k: int, seed: int) -> None:
    folds = make_folds(manifest, k, seed)
    for label, total in Counter(manifest.train["label"]).items():
        of_label = (manifest.train["label"] == label).to_numpy()
        for fold in range(k):
            held_out = int((of_label & (folds.fold == fold)).sum())
            assert abs(held_out - total / k) < 1
    sizes = np.bincount(folds.fold, minlength=k)
    assert sizes.max() - sizes.min() <= len(set(manifest.train["label"]))


@given(manifests(), st.integers(2, 4), st.randoms(use_true_random=False))
def test_row_order_does_not_matter(manifest: Manifest, k: int, random: object) -> None:
    order = list(range(len(manifest)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = Manifest(manifest.table.iloc[order].reset_index(drop=True))
    one, other = folds_or_none(manifest, k), folds_or_none(shuffled, k)
    if one is None or other is None:
        assert one is None
        assert other is None
        return
    assert dict(zip(one.ids, one.fold, strict=True)) == dict(zip(other.ids, other.fold, strict=True))
    assert one.fingerprint == other.fingerprint


def plain(n: int = 20) -> Manifest:
    return Manifest.from_samples(Sample(f"{i}", f"{i}.png", "train", "ab"[i % 2]) for i in range(n))


def test_fold_seed_deals_anew_and_the_same_seed_does_not() -> None:
    assert (make_folds(plain(), 4, 0).fold == make_folds(plain(), 4, 0).fold).all()
    assert (make_folds(plain(), 4, 0).fold != make_folds(plain(), 4, 1).fold).any()


def test_extra_and_test_rows_get_no_fold_and_change_none() -> None:
    more = [Sample("x", "x.png", "extra", "a"), Sample("t", "t.png", "test")]
    wide = Manifest.from_samples([*more, *(Sample(*row) for row in plain().table.itertuples(index=False))])
    assert make_folds(wide, 4).ids == make_folds(plain(), 4).ids
    assert (make_folds(wide, 4).fold == make_folds(plain(), 4).fold).all()


@pytest.mark.parametrize("k", [-1, 0, 1])
def test_fewer_than_two_folds_are_refused(k: int) -> None:
    with pytest.raises(InputError, match="2 or more"):
        make_folds(plain(), k)


def test_more_folds_than_rows_or_groups_are_refused() -> None:
    with pytest.raises(InputError, match="21 folds of 20 samples"):
        make_folds(plain(), 21)
    grouped = Manifest.from_samples(Sample(f"{i}", f"{i}.png", "train", "a", f"g{i % 3}") for i in range(20))
    assert make_folds(grouped, 3).k == 3
    with pytest.raises(InputError, match="4 folds of 3 groups"):
        make_folds(grouped, 4)


def test_as_many_folds_as_rows_hold_out_one_each() -> None:
    assert sorted(make_folds(plain(6), 6).fold.tolist()) == [0, 1, 2, 3, 4, 5]


def test_saved_folds_come_back_whole(tmp_path: Path) -> None:
    folds = make_folds(plain(), 4, 7)
    folds.save(tmp_path / "folds.csv")
    back = Folds.load(tmp_path / "folds.csv")
    assert (back.ids, back.k, back.fold_seed, back.fingerprint) == (folds.ids, 4, 7, folds.fingerprint)
    assert (back.fold == folds.fold).all()


@pytest.mark.parametrize("first", [0, 1])
def test_brought_folds_are_joined_by_id_and_numbered_from_zero(tmp_path: Path, first: int) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("fold,id\n" + "".join(f"{first + i % 2},{i}\n" for i in reversed(range(20))))
    folds = Folds.brought(path, plain())
    assert folds.k == 2
    assert folds.of(plain().train["id"]).tolist() == [i % 2 for i in range(20)]


def test_rows_without_a_fold_are_refused_by_name(tmp_path: Path) -> None:
    folds = make_folds(plain(10), 2)
    with pytest.raises(InputError, match="2 train ids have none, first '10'"):
        folds.of(plain(12).train["id"])


def test_rare_classes_can_be_pooled_into_training_only() -> None:
    rows = [Sample(f"{i}", f"{i}.png", "train", "rare" if i < 2 else "ab"[i % 2]) for i in range(20)]
    folds = make_folds(Manifest.from_samples(rows), 4, pool_rare=True)
    assert {i for i, fold in zip(folds.ids, folds.fold, strict=True) if fold == -1} == {"0", "1"}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([(i, i % 2) for i in range(20)] + [(3, 0)], "names an id twice"),
        ([(i, 0) for i in range(20)], "two or more"),
        ([(i, 3 * (i % 2)) for i in range(20)], "numbered 0…K-1"),
        ([(i, "left") for i in range(20)], "whole number"),
    ],
    ids=["doubled id", "one fold", "gap", "no number"],
)
def test_faulty_brought_folds_are_refused(tmp_path: Path, rows: list[tuple[int, object]], told: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("id,fold\n" + "".join(f"{i},{fold}\n" for i, fold in rows))
    with pytest.raises(InputError) as error:
        Folds.brought(path, plain())
    assert told in str(error.value)
