"""The [search] table: what it takes, every mistake told at once, and what each mode searches by itself."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.competitions.competition import find_competition
from comp.data.task import Task
from comp.errors import RecipeError
from comp.pipelines.request import model_mistakes
from comp.pipelines.tuning.defaults import default_search
from comp.pipelines.tuning.recipe_keys import UNSET, known_keys, value_of, with_values
from comp.pipelines.tuning.search_space import Parameter, SearchSpace, read_search_file, read_space
from comp.recipe import Recipe, from_table
from comp.workspace import Workspace
from made import REPOSITORY


def space(search: str, recipe: str = "", **more: Any) -> SearchSpace:
    table = tomllib.loads(recipe)
    return read_space(
        tomllib.loads(search), table, from_table(table, "", lambda _: []).mode, "r.toml", **more
    )


def mistakes(search: str, recipe: str = "", **more: Any) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        space(search, recipe, **more)
    assert caught.value.rule.startswith("[search] of r.toml has ")
    return caught.value.value.splitlines()


def test_ranges_choices_and_conditions() -> None:
    found = space(
        """
        "optimizer.momentum" = { low = 0.8, high = 0.99, when = { "optimizer.name" = "sgd" } }
        optimizer.lr = { low = 1e-5, high = 1e-3, log = true }
        optimizer.name = ["adamw", "sgd"]
        epochs = { low = 2, high = 9, step = 3 }
        batch = { low = 8, high = 64, log = true }
        "model.head.hidden" = { choices = ["unset", 128] }
        "model.kwargs.drop_path_rate" = { low = 0.0, high = 0.2, step = 0.1 }
        """
    )
    by_key = {one.key: one for one in found.parameters}
    assert by_key["optimizer.lr"] == Parameter("optimizer.lr", "float", 1e-5, 1e-3, None, True)
    assert by_key["epochs"] == Parameter("epochs", "int", 2, 8, 3), "the last value that steps come to"
    assert by_key["batch"].kind == "int"
    assert by_key["model.kwargs.drop_path_rate"].kind == "float"
    keys = [one.key for one in found.parameters]
    assert keys.index("optimizer.name") < keys.index("optimizer.momentum")
    momentum = by_key["optimizer.momentum"]
    assert found.is_searched(momentum, {"optimizer.name": "sgd"}, {})
    assert not found.is_searched(momentum, {"optimizer.name": "adamw"}, {})


def test_a_table_that_a_bare_name_stands_for_is_meant_by_its_name() -> None:
    assert [one.key for one in space('optimizer = ["adamw", "sgd"]').parameters] == ["optimizer.name"]
    assert mistakes('optimizer = ["adamw"]\n"optimizer.name" = ["sgd"]') == [
        "search.optimizer.name: is searched twice"
    ]


def test_every_mistake_is_told_at_once() -> None:
    told = mistakes(
        """
        "optimizer.lrr" = { low = 1e-5, high = 1e-3 }
        dropout = { low = 0.0, high = 0.5 }
        "optimizer.lr" = { low = 1e-3, high = 1e-5, log = true, scale = "log" }
        "optimizer.weight_decay" = { low = 0, high = 0.1, log = true }
        epochs = { low = 1.5, high = 4 }
        "optimizer.name" = { low = 1, high = 2 }
        "regularize.mixup" = 0.2
        batch = { low = 8, high = 64, log = true, step = 8 }
        "schedule.name" = { choices = ["cosine", "cosine"] }
        "regularize.ema" = { high = 0.99 }
        "model.head.dropout" = { choices = [] }
        "regularize.cutmix" = { low = 0.1, high = 0.2, step = 1.0 }
        seed = { low = 0, high = 100 }
        mode = ["probe", "finetune"]
        threads = [1, 2]
        "probe.l2" = { choices = [0.1], low = 0.1 }
        """,
        "head_start = false",
    )
    assert told == [
        "search.optimizer.lrr: no recipe has such a key; did you mean optimizer.lr or optimizer.clip or optimizer.head_lr?",
        "search.dropout: no recipe has such a key; did you mean model.head.dropout?",
        "search.optimizer.lr: scale: no such key",
        "search.optimizer.weight_decay: log: low must be above zero, found 0",
        "search.epochs: low, high and step: must be whole numbers",
        "search.optimizer.name: takes no numbers: give choices",
        "search.regularize.mixup: must be { low, high } or { choices }, found 0.2",
        "search.batch: a range has log or step, not both",
        "search.schedule.name: choices: a value comes twice",
        "search.regularize.ema: low: is missing",
        "search.model.head.dropout: choices: must be a list of values",
        "search.regularize.cutmix: step: 1 is larger than the range",
        "search.seed: is not searched: a lucky seed is no better recipe",
        "search.mode: is not searched: a study has one; make one for each",
        "search.threads: is not searched: it is how a machine computes, not what is learned",
        'search.probe.l2: does nothing in mode = "finetune"',
    ]


@pytest.mark.parametrize(
    ("search", "told"),
    [
        (
            '"optimizer.lr" = { low = 0.0, high = 1e-3 }',
            "search.optimizer.lr: 0: optimizer.lr: input should be greater than 0",
        ),
        (
            '"model.head.dropout" = { low = 0.0, high = 1.0 }',
            "search.model.head.dropout: 1: model.head.dropout: ",
        ),
        ('"schedule.name" = ["cosine", "cosin"]', "search.schedule.name: cosin: schedule.name: "),
        ('"optimizer.name" = ["adamw", 3]', "search.optimizer.name: 3: optimizer.name: "),
        ('tta = [["identity"], ["upside"]]', 'search.tta: ["upside"]: '),
    ],
)
def test_values_out_of_the_recipes_bounds_are_refused_before_training(search: str, told: str) -> None:
    (line, *_) = mistakes(search)
    assert line.startswith(told)


def test_names_that_only_timm_and_torch_know_are_judged_too(workspace: Path) -> None:
    also = model_mistakes(find_competition("digits", Workspace.find(workspace)))
    (line,) = mistakes('"optimizer.name" = ["adamw", "adamww"]', also=also)
    assert line.startswith("search.optimizer.name: adamww: optimizer.name: unknown optimizer")


@pytest.mark.parametrize(
    ("search", "told"),
    [
        (
            '"optimizer.momentum" = { low = 0.8, high = 0.9, when = { "optimizer.name" = "sgd" } }',
            "search.optimizer.momentum: when.optimizer.name: never holds, it is adamw and not searched",
        ),
        (
            '"optimizer.momentum" = { low = 0.8, high = 0.9, when = { "optimizer.nam" = "sgd" } }',
            "search.optimizer.momentum: when.optimizer.nam: no recipe has such a key; did you mean optimizer.name?",
        ),
        (
            '"optimizer.name" = ["adamw"]\n"optimizer.momentum" = { low = 0.8, high = 0.9, when = { optimizer.name = ["sgd"] } }',
            "search.optimizer.momentum: when.optimizer.name: sgd is not searched there",
        ),
        (
            "batch = { choices = [8], when = { epochs = 2 } }\nepochs = { choices = [2], when = { batch = 8 } }",
            "search: conditions go in a circle: batch, epochs",
        ),
        (
            "batch = { choices = [8], when = 3 }",
            'search.batch: when: must be a table such as { "optimizer.name" = "sgd" }, found 3',
        ),
    ],
)
def test_conditions_that_cannot_hold_are_mistakes(search: str, told: str) -> None:
    assert told in mistakes(search)


def test_a_condition_on_the_recipes_own_value_holds_or_not() -> None:
    search = '"optimizer.momentum" = { low = 0.8, high = 0.9, when = { "optimizer.name" = "sgd" } }'
    found = space(search, 'optimizer = "sgd"')
    assert found.is_searched(found.parameters[0], {}, {"optimizer": "sgd"})


def test_a_probe_searches_what_a_probe_has() -> None:
    told = mistakes(
        '"optimizer.lr" = [1e-3]\n"model.head.dropout" = [0.1]\nepochs = [2]\n"regularize.mixup" = [0.1]',
        'mode = "probe"',
    )
    assert [line.partition(": ")[2] for line in told] == ['does nothing in mode = "probe"'] * 4
    assert space('"probe.l2" = { low = 0.1, high = 1 }\n"model.size" = [32, 64]', 'mode = "probe"')


def test_stages_and_transforms_of_the_recipe_can_be_searched() -> None:
    recipe = (
        'transform = [{ name = "HorizontalFlip", p = 0.5 }]\n[[stages]]\nepochs = 1\n[[stages]]\nepochs = 2'
    )
    found = space(
        '"stages.1.lr" = { low = 1e-4, high = 1e-3, log = true }\n"transform.0.p" = { low = 0, high = 1.0 }',
        recipe,
    )
    table = with_values(tomllib.loads(recipe), {"stages.1.lr": 0.001, "transform.0.p": 0.25})
    assert [one.kind for one in found.parameters] == ["float", "float"]
    assert table["stages"][1] == {"epochs": 2, "lr": 0.001}
    assert table["transform"][0]["p"] == 0.25
    assert "search.stages.2.lr: no recipe has such a key" in mistakes('"stages.2.lr" = [0.1]', recipe)[0]


def test_a_search_file_holds_search_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text("epochs = 3\n[search]\nbatch = [8]\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="holds \\[search\\] alone"):
        read_search_file(path)
    path.write_text("[searching]\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="searching: only"):
        read_search_file(path)
    path.write_text("[search]\nbatch = [8]\n", encoding="utf-8")
    assert read_search_file(path) == {"batch": [8]}


def test_an_empty_search_is_a_mistake() -> None:
    assert mistakes("")[0].startswith("search: must be a table of keys")


@pytest.mark.parametrize("mode", ["probe", "finetune", "scratch"])
@pytest.mark.parametrize(
    "task", [Task(), Task("multi-label"), Task("ordinal"), Task("regression")], ids=lambda task: task.name
)
def test_what_a_mode_searches_by_itself_is_allowed(mode: str, task: Any) -> None:
    from comp.pipelines.tuning.search_space import require_allowed
    from comp.training.losses import for_task

    table = {"mode": mode}
    recipe = from_table(table, "", lambda _: [])
    found = read_space(default_search(recipe, task), table, mode, "defaults")
    require_allowed(found, table, lambda one: for_task(one, task))
    own = [one.key for one in found.parameters if one.holds(value_of(table, one.key))]
    assert own, "the recipe as it stands lies within"


def test_every_competitions_search_is_allowed() -> None:
    files = sorted((REPOSITORY / "competitions").glob("*/search.toml"))
    assert files
    for path in files:
        table = tomllib.loads((path.parent / "baseline.toml").read_text(encoding="utf-8"))
        assert read_space(read_search_file(path), table, table["mode"], str(path)).parameters


KEYS = sorted(
    key for key, kind in known_keys({}).items() if kind is not dict and key not in ("stages", "stop")
)


@given(st.sampled_from(KEYS))
def test_a_key_has_the_value_that_it_was_given(key: str) -> None:
    table = with_values({}, {key: 7})
    assert value_of(table, key) == 7
    assert value_of(with_values(table, {key: UNSET}), key) == value_of({}, key)


def test_a_recipe_is_not_changed_by_what_is_tried() -> None:
    recipe = {"optimizer": {"lr": 1.0}, "model": "resnet18"}
    with_values(recipe, {"optimizer.lr": 2.0, "model.head.hidden": 3})
    assert recipe == {"optimizer": {"lr": 1.0}, "model": "resnet18"}
    assert Recipe().model.head.hidden is None
