"""Conditions on runs and their order: what holds, what comes first, and what is refused instead of holding of nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.errors import InputError, UnknownName
from comp.pipelines.run_filter import COLUMNS, RunValues, chosen, parse_where, recipe_keys


class Made(RunValues):
    """A run with these values, and a recipe for each model."""

    def __init__(self, *recipes: dict[str, object], **row: object) -> None:
        self.row = {**dict.fromkeys(COLUMNS), "marks": [], "merged": [], **row}
        self._recipes = list(recipes)


RUNS = [
    Made(
        {"optimizer.lr": 1e-3, "batch": 8, "model.name": "resnet18", "deterministic": False},
        run="d",
        oof=0.9,
        mode="probe",
    ),
    Made(
        {"optimizer.lr": 3e-3, "batch": 8, "model.name": "vit"},
        run="c",
        oof=0.95,
        mode="finetune",
        marks=["quick"],
    ),
    Made(
        {"optimizer.lr": 1e-2, "tta": ["identity", "hflip"]},
        {"optimizer.lr": 1e-4},
        run="b",
        oof=None,
        state="unfinished",
    ),
    Made(run="a", oof=float("nan"), mode="ensemble", date="2026-11-02T10:00:00"),
]


def names(*where: str, sort: str | None = None) -> str:
    return "".join(one.row["run"] for one in chosen(RUNS, where, sort))


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (["oof>0.9"], "c"),
        (["oof>=0.9"], "dc"),
        (["oof >= 0.9", "mode=probe"], "d"),
        (["oof<1"], "dc"),
        (["oof=0.90"], "d"),
        (["oof!=0.9"], "cba"),
        (["oof=none"], "b"),
        (["mode!=none"], "dca"),
        (["mode=probe"], "d"),
        (["mode~E"], "dca"),
        (["marks=quick"], "c"),
        (["marks!=quick"], "dba"),
        (["optimizer.lr<=1e-3"], "db"),
        (["optimizer.lr=0.001"], "d"),
        (["batch==8"], "dc"),
        (["model.name~NET"], "d"),
        (['model.name="vit"'], "c"),
        (["deterministic=false"], "d"),
        (["tta=hflip"], "b"),
        (["state=unfinished"], "b"),
        (["date>=2026-11-01"], "a"),
        (["run<c"], "ba"),
        (["optimizer.kwargs.betas=1"], ""),
    ],
)
def test_conditions(where: list[str], found: str) -> None:
    assert names(*where) == found


@pytest.mark.parametrize(
    ("sort", "found"),
    [
        ("oof", "dcba"),
        ("-oof", "cdba"),
        ("run", "abcd"),
        ("-run", "dcba"),
        ("optimizer.lr", "dcba"),
        ("-optimizer.lr", "bcda"),
    ],
)
def test_the_order_has_those_without_a_value_last(sort: str, found: str) -> None:
    assert names(sort=sort) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("oof", "a condition is KEY"),
        ("oof>", "a condition is KEY"),
        (">0.9", "a condition is KEY"),
        ("oof=high", "oof is a number"),
        ("oof>high", "oof is a number"),
        ("optimizer.lr<small", "optimizer.lr is a number"),
        ("marks>quick", "marks has no order"),
        ("deterministic<1", "deterministic has no order"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_where([text])


def test_unknown_keys_name_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"optimizer\.lr"):
        parse_where(["optimiser.lr=1"])
    with pytest.raises(UnknownName, match="oof"):
        chosen([], sort="-ooff")


@given(st.text(max_size=30))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    try:
        parse_where([text])
    except InputError:
        return
    found = chosen(RUNS, [text])
    assert [run for run in RUNS if run in found] == list(found)


def test_free_keys_are_asked_for_by_any_value() -> None:
    for text in ("model.kwargs.act_layer=relu", "model.kwargs.drop_path_rate>=0.1"):
        assert parse_where([text])[0].key.startswith("model.kwargs.")


def test_the_keys_of_a_recipe_are_those_that_set_takes() -> None:
    known = dict(recipe_keys())
    assert known["optimizer.lr"] == known["seed"] == known["model.size"] == "number"
    assert known["mode"] == known["model.name"] == "text"
    assert known["optimizer.kwargs"] == "table"
    assert known["deterministic"] == "other"
    assert "members" not in known
