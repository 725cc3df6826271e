"""Folds: every row in one fold, related rows together, classes even; a function of rows, K and fold_seed alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comp.data.folds import Folds, make_folds
from comp.data.manifest import Manifest, Sample
from comp.data.task import Task
from comp.errors import InputError
from comp.files import write_json


@st.composite
def manifests(draw: st.DrawFn, related: bool = True) -> Manifest:
    """4 to 40 train rows of up to 4 classes; with ``related``, some share a group or have a parent (a row or not)."""
    n = draw(st.integers(4, 40))
    labels = draw(st.lists(st.sampled_from("abcd"), min_size=n, max_size=n))
    groups, parents = [""] * n, [""] * n
    if related:
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


@given(manifests(related=False), st.integers(2, 4), st.integers(0, 3))
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


def test_folds_stay_what_they_are_from_version_to_version() -> None:
    """A run is resumed, and blended with others, on the folds that an older version dealt."""
    assert make_folds(plain(12), 3).fold.tolist() == [1, 0, 0, 1, 2, 1, 1, 2, 2, 2, 0, 0]
    assert make_folds(plain(12), 3, 7).fold.tolist() == [0, 2, 2, 2, 0, 1, 1, 1, 1, 0, 2, 0]
    assert make_folds(plain(12), 3).fold_seed == 0


def test_a_group_goes_where_its_rarest_class_is_rarest() -> None:
    """Three rows of a rare class, each in a group with a common one: one in each fold, though one fold has more of the
    common class already.
    """
    rows = [Sample(f"big{n}", f"b{n}.png", "train", "common", "big") for n in range(3)]
    for n in range(3):
        rows += [Sample(f"r{n}", f"r{n}.png", "train", "rare", f"g{n}")]
        rows += [Sample(f"c{n}", f"c{n}.png", "train", "common", f"g{n}")]
    rows += [Sample(f"s{n}", f"s{n}.png", "train", "common") for n in range(4)]
    for seed in range(5):
        by_id = make_folds(Manifest.from_samples(rows), 3, seed).by_id
        assert sorted(by_id[f"r{n}"] for n in range(3)) == [0, 1, 2]


def test_a_group_weighs_as_many_rows_as_it_has() -> None:
    """Two groups of four, then eight single rows, on two folds: eight rows each."""
    rows = [Sample(f"g{n}", f"g{n}.png", "train", "a", f"g{n % 2}") for n in range(8)]
    rows += [Sample(f"s{n}", f"s{n}.png", "train", "a") for n in range(8)]
    assert np.bincount(make_folds(Manifest.from_samples(rows), 2).fold).tolist() == [8, 8]
    rows = [Sample(f"g{n}", f"g{n}.png", "train", "a", "g") for n in range(6)]
    rows += [Sample(f"s{n}", f"s{n}.png", "train", "a") for n in range(6)]
    folds = make_folds(Manifest.from_samples(rows), 2)
    assert np.bincount(folds.fold).tolist() == [6, 6]
    assert len({folds.by_id[f"s{n}"] for n in range(6)}) == 1


def test_a_class_with_as_many_rows_as_folds_is_not_rare() -> None:
    labels = ["three"] * 3 + ["two"] * 2 + ["a"] * 6
    rows = [Sample(f"{n}", f"{n}.png", "train", label) for n, label in enumerate(labels)]
    fold = make_folds(Manifest.from_samples(rows), 3, pool_rare=True).fold.tolist()
    assert sorted(fold[:3]) == [0, 1, 2]
    assert fold[3:5] == [-1, -1]
    assert -1 not in make_folds(Manifest.from_samples(rows), 3).fold


def test_rare_classes_leave_enough_groups_to_hold_out() -> None:
    rows = [Sample(f"{n}", f"{n}.png", "train", "a" if n < 3 else f"rare{n}") for n in range(8)]
    assert sorted(make_folds(Manifest.from_samples(rows), 3, pool_rare=True).fold.tolist()) == [-1] * 5 + [
        0,
        1,
        2,
    ]
    with pytest.raises(InputError, match="0 are left beside rare classes"):
        make_folds(Manifest.from_samples(rows), 4, pool_rare=True)


@pytest.mark.parametrize(
    ("k", "fold"),
    [
        (1, [0, 0, 0, 0]),
        (3, [0, 1, 0, 1]),  # a fold without rows
        (3, [0, 1, 2, 3]),  # one too many
        (2, [-1, -1, -1, -1]),
        (2, [0, 1, -2, 0]),
        (2, [1, 2, 1, 2]),
    ],
)
def test_saved_folds_that_do_not_fit_their_facts_are_refused(tmp_path: Path, k: int, fold: list[int]) -> None:
    (tmp_path / "folds.csv").write_text("id,fold\n" + "".join(f"{i},{n}\n" for i, n in enumerate(fold)))
    write_json(tmp_path / "folds.json", {"k": k, "fold_seed": 0, "train_sha256": "0"})
    with pytest.raises(InputError, match="each fold has rows, and each row one fold"):
        Folds.load(tmp_path / "folds.csv")


def test_saved_folds_name_no_id_twice(tmp_path: Path) -> None:
    (tmp_path / "folds.csv").write_text("id,fold\na,0\nb,1\na,1\n")
    write_json(tmp_path / "folds.json", {"k": 2, "fold_seed": 0, "train_sha256": "0"})
    with pytest.raises(InputError, match="names an id twice"):
        Folds.load(tmp_path / "folds.csv")
    (tmp_path / "folds.csv").write_text("id,fold\na,0\nb,1\nc,-1\n")  # c only ever trains
    assert Folds.load(tmp_path / "folds.csv").fold.tolist() == [0, 1, -1]


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("--5", "'--5'"),
        ("²", "'²'"),
        ("9" * 25, "'9999"),
        ("9" * 5_000, "'9999"),
        ("1" + "0" * 6 + "1", "'10000001'"),  # more than a million folds
        ("-1000001", "'-1000001'"),
        ("1.0", "'1.0'"),
        ("1_0", "'1_0'"),
        ("٣", "'٣'"),
        ("", "''"),
    ],
)
def test_a_fold_that_is_no_whole_number_is_named_with_its_row(tmp_path: Path, cell: str, told: str) -> None:
    (tmp_path / "mine.csv").write_text(f"id,fold\n0,0\n1,{cell}\n2,1\n3,x\n")
    with pytest.raises(InputError, match="a fold is a whole number") as refused:
        Folds.brought(tmp_path / "mine.csv", plain(4))
    assert f"mine.csv, row 3: {told}" in refused.value.value
    assert "and 1 more" in refused.value.value or len(cell) > 400  # a long cell is cut
    assert len(str(refused.value)) < 1_000


def test_brought_folds_may_have_spaces_and_zeros_in_front(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("id,fold\n0, 01\n1,2 \n2,\t1\n3,0000000000000000000000002\n")
    folds = Folds.brought(tmp_path / "mine.csv", plain(4))
    assert (folds.fold.tolist(), folds.k, folds.fold_seed) == ([0, 1, 0, 1], 2, -1)
    assert folds.fingerprint == plain(4).fingerprint("train")


def related(labels: str = "abbcccd") -> Manifest:
    """24 rows, some in groups, two with a parent."""
    return Manifest.from_samples(
        Sample(
            f"s{i:02}",
            f"{i}.png",
            "train",
            labels[i % len(labels)],
            f"g{i // 5}" if i % 3 == 0 else "",
            "s02" if i in (9, 10) else "",
        )
        for i in range(24)
    )


@pytest.mark.parametrize(
    ("k", "seed", "fold"),
    [
        (3, 0, "100121012002020210211212"),
        (4, 7, "220230033002231131131012"),
        (2, 1, "100100011000010111110001"),
    ],
)
def test_folds_of_a_single_label_stay_what_they_were(k: int, seed: int, fold: str) -> None:
    assert "".join(map(str, make_folds(related(), k, seed).fold)) == fold


SEVERAL, NUMBER = Task("multi-label"), Task("regression", (0.0,), (100.0,))


@st.composite
def of_several(draw: st.DrawFn) -> Manifest:
    """12 to 60 rows with up to 4 labels, some with none; some share a group."""
    n = draw(st.integers(12, 60))
    cells = st.lists(st.sampled_from("abcd"), max_size=4, unique=True).map("|".join)
    groups = st.sampled_from(["", "", "", "g1", "g2", "g3"])
    return Manifest.from_samples(
        Sample(f"s{i}", f"{i}.png", "train", draw(cells), draw(groups)) for i in range(n)
    )


@settings(max_examples=20)
@given(of_several(), st.integers(2, 4), st.randoms(use_true_random=False))
def test_folds_of_several_labels_keep_groups_whole_whatever_the_order_of_rows(
    manifest: Manifest, k: int, random: object
) -> None:
    folds = make_folds(manifest, k, task=SEVERAL)
    assert set(folds.fold.tolist()) == set(range(k))
    train = manifest.train
    for name in ("g1", "g2", "g3"):
        assert len({folds.by_id[i] for i in train.loc[train["group"] == name, "id"]}) < 2
    order = list(range(len(manifest)))
    random.shuffle(order)  # type: ignore[attr-defined]
    mixed = Manifest(manifest.table.iloc[order].reset_index(drop=True))
    assert make_folds(mixed, k, task=SEVERAL).by_id == folds.by_id
    names = dict(zip("abcd", ("zeta", "y", "x", "alpha"), strict=True))
    turned = manifest.table.assign(
        label=["|".join(names[n] for n in reversed(c.split("|")) if n) for c in manifest.table["label"]]
    )
    assert make_folds(Manifest(turned), k, task=SEVERAL).by_id == folds.by_id


def test_each_of_several_labels_is_spread_over_the_folds() -> None:
    rng = np.random.default_rng(0)
    chances = {"common": 0.6, "usual": 0.2, "rare": 0.03, "single": 0.5}
    cells = ["|".join(n for n, c in chances.items() if rng.random() < c) for _ in range(600)]
    manifest = Manifest.from_samples(
        Sample(f"s{n}", f"{n}.png", "train", cell) for n, cell in enumerate(cells)
    )
    folds = make_folds(manifest, 5, task=SEVERAL)
    for name in (*chances, ""):
        has = np.array([(name in cell.split("|")) for cell in cells])
        counts = np.bincount(folds.fold[has], minlength=5)
        assert counts.max() - counts.min() <= max(2, 0.1 * counts.mean()), (name, counts)
    sizes = np.bincount(folds.fold, minlength=5)
    assert sizes.max() - sizes.min() <= 12


def test_numbers_are_dealt_by_their_tenths() -> None:
    values = np.random.default_rng(0).permutation(300) / 3
    manifest = Manifest.from_samples(
        Sample(f"s{n}", f"{n}.png", "train", f"{v!r}") for n, v in enumerate(values.tolist())
    )
    folds = make_folds(manifest, 5, task=NUMBER)
    for low in range(0, 100, 10):
        there = (values >= low) & (values < low + 10)
        assert np.bincount(folds.fold[there], minlength=5).tolist() == [6] * 5
    other = make_folds(
        Manifest(manifest.table.assign(label=[repr(v * 7 + 1) for v in values.tolist()])), 5, task=NUMBER
    )
    assert other.by_id == folds.by_id  # the unit does not matter


def test_rare_labels_are_pooled_by_the_label_not_by_the_set() -> None:
    """A set of labels that comes once is no rare class; a row with a class that comes once is."""
    cells = ["a", "b", "a|b", "a|c", "b|c", "c", "a", "b", "c", "a|b|c", "", "a|d"]
    manifest = Manifest.from_samples(Sample(f"s{n}", f"{n}.png", "train", c) for n, c in enumerate(cells))
    folds = make_folds(manifest, 2, pool_rare=True, task=SEVERAL)
    assert [i for i, fold in folds.by_id.items() if fold == -1] == ["s11"]


def test_numbers_have_no_rare_classes() -> None:
    manifest = Manifest.from_samples(Sample(f"s{n}", f"{n}.png", "train", f"{n}.5") for n in range(20))
    assert -1 not in make_folds(manifest, 2, pool_rare=True, task=NUMBER).fold
