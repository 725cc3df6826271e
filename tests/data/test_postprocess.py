"""[post]: what is done to the predictions of a group's rows together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.competitions.competition import Competition
from comp.data.competitions.facts import CompetitionConfig, PostFacts
from comp.data.labels import LabelMap
from comp.data.postprocess import postprocessed, within_groups
from comp.data.predictions import Predictions
from comp.data.task import Task
from comp.errors import InputError, RecipeError

TWO = LabelMap(("0", "1"))
SETS = LabelMap(("disc", "box", "line"), Task("multi-label"))
GROUPS = ["a", "b", "a", "b", "a"]


def rows(groups: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"id": [f"r{n}" for n in range(len(groups))], "group": groups}, dtype="object")


def competition(**post: str) -> Competition:
    return Competition(Path("nowhere"), CompetitionConfig(slug="x", title="x", post=PostFacts(**post)))  # type: ignore[arg-type]


def test_a_mean_a_maximum_and_ranks_within_groups() -> None:
    probs = np.array([[0.1, 0.5, 0.9], [0.2, 0.2, 0.2], [0.3, 0.5, 0.3], [0.4, 0.6, 0.8], [0.8, 0.2, 0.3]])
    mean, most, rank = (within_groups(probs, GROUPS, how, SETS) for how in ("mean", "max", "rank"))
    assert np.allclose(mean[0], [0.4, 0.4, 0.5])
    assert np.array_equal(mean[[0, 0]], mean[[2, 4]])
    assert np.allclose(most[1], [0.4, 0.6, 0.8])
    assert np.allclose(rank[[0, 2, 4], 0], [1 / 6, 3 / 6, 5 / 6])
    assert np.allclose(rank[[0, 2, 4], 1], [2 / 3, 2 / 3, 1 / 6]), "equals share the middle"


def test_two_classes_stay_shares_of_one_whole() -> None:
    chance = np.array([0.1, 0.3, 0.6, 0.7, 0.2])
    probs = np.stack([1 - chance, chance], axis=1)
    for how in ("mean", "max", "rank"):
        assert np.allclose(within_groups(probs, GROUPS, how, TWO).sum(axis=1), 1.0)
    assert np.allclose(within_groups(probs, GROUPS, "rank", TWO)[[0, 4, 2], 1], [1 / 6, 3 / 6, 5 / 6])


@given(st.integers(0, 999), st.sampled_from(["mean", "max", "rank"]), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_bit(seed: int, how: str, random: object) -> None:
    rng = np.random.default_rng(seed)
    probs, groups = rng.random((12, 3)), [f"g{n}" for n in rng.integers(0, 4, 12)]
    order = list(range(12))
    random.shuffle(order)  # type: ignore[attr-defined]
    moved = within_groups(probs[order], [groups[n] for n in order], how, SETS)
    assert np.array_equal(within_groups(probs, groups, how, SETS)[order], moved)


def test_rows_without_a_group_stay_alone_and_no_groups_at_all_are_refused() -> None:
    predictions = Predictions(("r0", "r1", "r2"), SETS, np.array([[0.1] * 3, [0.5] * 3, [0.9] * 3]))
    posted = postprocessed(predictions, competition(group="mean"), rows(["a", "", "a"]))
    assert np.allclose(posted.probs[:, 0], [0.5, 0.5, 0.5])
    with pytest.raises(InputError, match="rows to postprocess have groups"):
        postprocessed(predictions, competition(group="mean"), rows(["", "", ""]))
    assert postprocessed(predictions, competition(), rows(["a", "", "a"])) is predictions


def test_what_a_run_began_with_counts_and_not_what_the_facts_say_now() -> None:
    predictions = Predictions(("r0", "r1"), SETS, np.array([[0.1] * 3, [0.5] * 3]))
    now = competition(group="max")
    assert np.allclose(postprocessed(predictions, now, rows(["a", "a"])).probs, 0.5)
    then = {"post": {"group": "mean", "function": ""}}
    assert np.allclose(postprocessed(predictions, now, rows(["a", "a"]), then).probs, 0.3)
    assert postprocessed(predictions, now, rows(["a", "a"]), {}) is predictions, "an older run knew no [post]"


def test_ranks_need_one_probability_a_row() -> None:
    three = LabelMap(("a", "b", "c"))
    with pytest.raises(InputError, match="ranks are of probabilities of one class each"):
        within_groups(np.full((2, 3), 1 / 3), ["a", "a"], "rank", three)


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_an_own_metric_judges_indices_only_where_a_row_has_one(task: str) -> None:
    facts = CompetitionConfig(slug="x", title="x", task=task, metric="adapter:mine", metric_input="index")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="only one class a row has an index"):
        _ = Competition(Path("nowhere"), facts).metric
