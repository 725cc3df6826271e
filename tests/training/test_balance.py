"""Balance: copies of fitted rows only, counts as asked, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import comp
from comp.labels import LabelMap
from comp.recipe import Recipe
from comp.recipe_parts import BalancePart
from comp.training.balance import epoch_order, with_copies
from comp.training.fold import Part
from made import TINY_RECIPE


class Asked:
    """What ``with_copies`` reads of a plan."""

    def __init__(self, **balance: object) -> None:
        self.recipe = Recipe(balance=BalancePart(**balance))
        self.labels = LabelMap(["a", "b", "c"])


@st.composite
def parts(draw: st.DrawFn) -> Part:
    counts = [draw(st.integers(1, 9)) for _ in range(3)]
    targets = np.repeat(np.arange(3), counts)
    held = np.array([draw(st.booleans()) for _ in targets])
    held[0] = False
    ids = [f"r{n}" for n in range(len(targets))]
    table = pd.DataFrame(
        {"id": ids, "path": ids, "label": targets, "group": "g", "parent": "", "content": ids}
    )
    return Part(table, targets, np.flatnonzero(~held), np.flatnonzero(held))


@given(parts(), st.sampled_from(["minority", "all"]), st.one_of(st.none(), st.integers(1, 15)))
def test_copies_are_of_fitted_rows_and_as_many_as_asked(
    part: Part, classes: str, per_class: int | None
) -> None:
    before = part.table.copy()
    asked = Asked(name="copies", classes=classes, per_class=per_class)
    found = with_copies(asked, 1, part)  # type: ignore[arg-type]
    again = with_copies(asked, 1, part)  # type: ignore[arg-type]
    assert found.table.equals(again.table) and np.array_equal(found.fitted, again.fitted)
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
        times = copies[copies["label"] == c]["parent"].value_counts()
        assert times.empty or times.max() - min(times.min(), 0 if len(times) < own[c] else times.min()) <= 1
    if found.copy_seed is not None:
        assert (found.copy_seed[: len(part.table)] == 0).all() and (
            found.copy_seed[len(part.table) :] > 0
        ).all()


def test_the_sampler_draws_every_class_equally_often() -> None:
    targets = np.array([0] * 900 + [1] * 90 + [2] * 10)
    part = Part(pd.DataFrame({"id": map(str, range(1000))}), targets, np.arange(1000), np.array([], np.int64))
    recipe = Recipe(balance=BalancePart(name="sampler"))
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
