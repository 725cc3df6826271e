"""Balance: copies of fitted rows only, counts as asked, the same for the same seed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import comp
from comp.data.folds import group_names, make_folds
from comp.data.manifest import Manifest, Sample
from comp.errors import RecipeError
from comp.recipe import BalanceConfig, Recipe, load
from comp.training.losses import TrainPixels, epoch_order, with_copies, write_copies
from comp.training.plan import FoldRows, TrainPlan, rows_of_fold
from made import TINY_RECIPE, draw, planned


@st.composite
def parts(draw: st.DrawFn) -> FoldRows:
    counts = [draw(st.integers(1, 9)) for _ in range(3)]
    targets = np.repeat(np.arange(3), counts)
    held = np.array([draw(st.booleans()) for _ in targets])
    held[0] = False
    ids = [f"r{n}" for n in range(len(targets))]
    table = pd.DataFrame(
        {"id": ids, "path": ids, "label": targets, "group": "g", "parent": "", "content": ids}
    )
    return FoldRows(table, targets, np.flatnonzero(~held), np.flatnonzero(held))


@given(parts(), st.sampled_from(["minority", "all"]), st.one_of(st.none(), st.integers(1, 15)))
def test_copies_are_of_fitted_rows_and_as_many_as_asked(
    part: FoldRows, classes: str, per_class: int | None
) -> None:
    before = part.table.copy()
    plan = planned(name="copies", classes=classes, per_class=per_class)
    found = with_copies(plan, 1, part)
    again = with_copies(plan, 1, part)
    assert found.table.equals(again.table)
    assert np.array_equal(found.fitted, again.fitted)
    assert part.table.equals(before)
    assert np.array_equal(found.held_out, part.held_out)
    assert found.table["id"].is_unique
    own = np.bincount(part.targets[part.fitted], minlength=3)
    now = np.bincount(found.targets[found.fitted], minlength=3)
    goal = per_class or own.max()
    expected = np.where(own > 0, own + goal if classes == "all" else np.maximum(own, goal), 0)
    assert now.tolist() == expected.tolist()
    copies = found.table.iloc[len(part.table) :]
    fitted = set(part.table["id"].iloc[part.fitted])
    assert set(copies["parent"]) <= fitted
    for c in range(3):
        rows = part.table["id"].iloc[part.fitted[part.targets[part.fitted] == c]]
        times = copies["parent"].value_counts().reindex(rows, fill_value=0)
        assert times.empty or times.max() - times.min() <= 1, "every image is copied equally often"
    if found.copy_seed is not None:
        assert (found.copy_seed > 0).tolist() == (np.arange(len(found.table)) >= len(part.table)).tolist()


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Rows of three classes, some of them related, and extra rows that may be related to train rows."""
    samples = []
    for n in range(draw(st.integers(9, 24))):
        group = draw(st.sampled_from(["", "", "g1", "g2", "g3"]))
        samples.append(Sample(f"r{n}", f"all#{n}", "train", "abc"[n % 3], group))
    for n in range(draw(st.integers(0, 5))):
        group = draw(st.sampled_from(["", "g1", "g2"]))
        samples.append(Sample(f"e{n}", f"all#{n}", "extra", "abc"[n % 3], group))
    return Manifest.from_samples(samples)


@given(manifests(), st.integers(1, 30))
def test_no_copy_is_of_a_held_out_image_or_its_kin(manifest: Manifest, per_class: int) -> None:
    assume(len(set(group_names(manifest.train))) >= 3)
    folds = make_folds(manifest, 3)
    plan = planned(manifest, folds, name="copies", classes="all", per_class=per_class)
    for k in range(3):
        part = rows_of_fold(plan, k)
        found = with_copies(plan, k, part)
        copies = found.table.iloc[len(part.table) :]
        held_out = found.table.iloc[found.held_out]
        assert len(copies) >= per_class
        assert held_out["id"].tolist() == part.table["id"].iloc[part.held_out].tolist()
        assert not set(copies["parent"]) & set(held_out["id"])
        assert not (set(copies["group"]) - {""}) & set(held_out["group"])
        assert not set(copies["id"]) & set(part.table["id"])
        by_id = part.table.set_index("id")
        for column in ("path", "label", "group"):
            assert copies[column].tolist() == by_id.loc[copies["parent"], column].tolist()


def test_a_copy_has_an_id_that_no_row_has() -> None:
    ids = ["r", "r~copy-1", "r~~copy-1", "s"]
    table = pd.DataFrame({"id": ids, "path": ids, "label": "a", "group": "", "parent": ""})
    part = FoldRows(table, np.zeros(4, np.int64), np.arange(3), np.array([3]))
    found = with_copies(planned(name="copies", classes="all", per_class=6), 0, part)
    assert len(found.table) == 10
    assert found.table["id"].is_unique


def test_folds_and_seeds_make_other_copies() -> None:
    ids = [f"r{n}" for n in range(12)]
    table = pd.DataFrame({"id": ids, "path": ids, "label": "a", "group": "", "parent": ""})
    part = FoldRows(table, np.zeros(12, np.int64), np.arange(12), np.array([], np.int64))
    plan = planned(name="copies", classes="all", per_class=12)
    other = replace(plan, recipe=Recipe(seed=1, balance=plan.recipe.balance))
    made = []
    for one, k in ((plan, 0), (plan, 1), (other, 0)):
        found = with_copies(one, k, part)
        assert found.copy_seed is not None
        made.append(dict(zip(found.table["id"][12:], found.copy_seed[12:].tolist(), strict=True)))
    assert all(len({seeds[name] for seeds in made}) == 3 for name in made[0])


def imaged(per_class: int = 4, transform: object = "no-colour") -> tuple[TrainPlan, FoldRows]:
    """A plan with nine images, of which row 8 is one colour all over, and its part with copies."""
    images = [draw("cross", n, 32) for n in range(8)] + [np.full((32, 32, 3), (200, 30, 90), np.uint8)]
    plan = planned(images=images, name="copies", classes="all", per_class=per_class, transform=transform)
    ids = [f"r{n}" for n in range(9)]
    table = pd.DataFrame({"id": ids, "path": [f"all#{n}" for n in range(9)], "group": "", "parent": ""})
    table["label"] = ["a"] * 4 + ["b"] * 4 + ["c"]
    part = FoldRows(table, np.array([0] * 4 + [1] * 4 + [2]), np.arange(9), np.array([], np.int64))
    return plan, with_copies(plan, 0, part)


def test_a_copy_shows_its_parent_changed_whatever_the_threads() -> None:
    plan, part = imaged()
    alone = TrainPixels(plan, part)
    expected = [alone[row] for row in range(len(part.table))]
    assert all((expected[n] == plan.source.load(f"all#{n}")).all() for n in range(9))
    copies = range(9, len(part.table))
    changed = [(expected[row] != expected[int(part.origin_of_all[row])]).any() for row in copies]
    assert sum(changed[:8]) >= 6, "most copies differ from their parents"
    of_one_colour = [row for row in copies if part.table["parent"][row] == "r8"]
    assert len(of_one_colour) == 4
    assert all((expected[row] == (200, 30, 90)).all() for row in of_one_colour)
    assert len({expected[row].tobytes() for row in copies if part.targets[row] == 0}) == 4
    shared = TrainPixels(plan, part)
    order = np.random.default_rng(2).permutation(np.repeat(np.arange(len(part.table)), 3)).tolist()
    with ThreadPoolExecutor(4) as pool:
        for row, found in zip(order, pool.map(shared.__getitem__, order), strict=True):
            assert (found == expected[row]).all()
    found = shared.shapes(np.arange(9))
    assert found is not None
    assert found.tolist() == [list(image.shape[:2]) for image in expected[:9]]
    assert shared.shapes(np.arange(10)) is None, "a copy's shape is known when it is made"


def test_kept_copies_are_the_ones_that_train(tmp_path: Path) -> None:
    plan, part = imaged()
    assert not plan.recipe.balance.keep
    write_copies(plan, part, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["copies.csv"]
    keep = plan.recipe.balance.model_copy(update={"keep": True})
    plan = replace(plan, recipe=plan.recipe.model_copy(update={"balance": keep}))
    write_copies(plan, part, tmp_path)
    table = pd.read_csv(tmp_path / "copies.csv", dtype=str)
    rows = part.table.iloc[9:]
    assert table[["id", "parent", "label"]].values.tolist() == rows[["id", "parent", "label"]].values.tolist()
    pixels = TrainPixels(plan, part)
    for row, file in zip(range(9, len(part.table)), table["file"], strict=True):
        written = cv2.cvtColor(cv2.imread(str(tmp_path / file)), cv2.COLOR_BGR2RGB)
        assert (written == pixels[row]).all()


@pytest.mark.parametrize("balance", ["sampler", "copies"])
def test_probe_is_balanced_by_weights_alone(balance: str) -> None:
    with pytest.raises(RecipeError, match='balance it with "weights"'):
        load(None, ["mode=probe", f"balance={balance}"])
    assert load(None, ["mode=probe", "balance=weights"]).balance.name == "weights"


def test_the_sampler_draws_every_class_equally_often() -> None:
    targets = np.array([0] * 900 + [1] * 90 + [2] * 10)
    part = FoldRows(
        pd.DataFrame({"id": map(str, range(1000))}), targets, np.arange(1000), np.array([], np.int64)
    )
    recipe = Recipe(balance=BalanceConfig(name="sampler"))
    drawn = epoch_order(part, recipe, 0, 0)
    assert len(drawn) == 1000
    assert np.bincount(targets[drawn]).min() > 270
    assert np.array_equal(drawn, epoch_order(part, recipe, 0, 0))
    assert not np.array_equal(drawn, epoch_order(part, recipe, 0, 1))
    plain = epoch_order(part, Recipe(), 0, 0)
    assert sorted(plain) == list(range(1000))


@pytest.mark.parametrize("balance", ["weights", "sampler", "copies"])
def test_a_run_with_each(balance: str, tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(TINY_RECIPE)
    more = ["balance.per_class=40", "balance.keep=true"] if balance == "copies" else []
    result = comp.run(
        "digits", 2, workspace=tmp_path, recipe=recipe, overrides=[f"balance={balance}", *more], quick=True
    )
    fold = result.folder / "fold-0"
    assert (fold / "copies.csv").exists() == (balance == "copies")
    if balance == "copies":
        copies = pd.read_csv(fold / "copies.csv", dtype=str)
        folds = pd.read_csv(result.folder / "folds.csv", dtype=str).set_index("id")["fold"]
        assert len(copies) > 100
        assert (folds[copies["parent"]] != "0").all()
        assert all((fold / file).exists() for file in copies["file"])
        fitted = (fold / "fitted.txt").read_text().split()
        assert len(fitted) == len(set(fitted))
