"""Recipes: strict, every mistake told at once, and what is written is read back the same."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.competitions.competition import sound_competitions
from comp.errors import InputError, RecipeError
from comp.recipe import Recipe, load
from comp.workspace import Workspace


def test_three_mistakes_are_told_at_once_by_their_dotted_paths(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('epochs = "ten"\nbach = 32\n[optimizer]\nlr = -1.0\n')
    with pytest.raises(RecipeError) as error:
        load(path)
    told = error.value.value.splitlines()
    assert "3 mistake" in error.value.rule
    assert len(told) == 3
    assert any(line.startswith("epochs: ") and "'ten'" in line for line in told)
    assert any(line == "bach: no such key" for line in told)
    assert any(line.startswith("optimizer.lr: ") and "-1.0" in line for line in told)


@pytest.mark.parametrize(
    "override",
    [
        "epochs=1.5",
        "epochs=true",
        "epochs=0",
        "epochs='5'",
        "batch=1",
        "optimizer.lr=0",
        "optimizer.lr=fast",
        "model.std=[0.1,0,0.1]",
        "model.mean=[0.5]",
        "model.nam=x",
        "mode=train",
        "tta=rotate",
        "tta=[]",
        'tta=["hflip","hflip"]',
        "precision=fp8",
        "seed=-1",
    ],
)
def test_what_does_not_hold_is_refused_by_name(override: str) -> None:
    with pytest.raises(RecipeError) as error:
        load(None, [override])
    assert error.value.value.startswith(override.partition("=")[0].split(".")[0])


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "[1.0, nan]"])
def test_a_number_that_is_none_is_refused_where_any_value_may_stand(value: str) -> None:
    with pytest.raises(RecipeError, match=r"model\.kwargs\.width.*must be a number"):
        load(None, ["mode=scratch", f"model.kwargs.width={value}"])


def test_scratch_with_a_weights_path_is_a_contradiction() -> None:
    with pytest.raises(RecipeError, match="starts from nothing"):
        load(None, ["mode=scratch", "model.weights=/w.pth"])


def test_set_takes_bare_words_numbers_lists_and_nested_keys() -> None:
    recipe = load(
        None,
        [
            "mode=probe",
            "optimizer.lr=1e-2",
            "model.kwargs.bn_eps=1e-3",
            "model.kwargs.act=relu",
            "model.mean=[0.5, 0.5, 0.5]",
            "channels_last=false",
            'transform=[{name="HorizontalFlip", p=0.5}]',
            "model.weights=/some where/w=1.pth",
        ],
    )
    assert recipe.mode == "probe"
    assert recipe.optimizer.lr == 0.01
    assert recipe.model.kwargs == {"bn_eps": 0.001, "act": "relu"}
    assert recipe.model.mean == [0.5, 0.5, 0.5]
    assert recipe.channels_last is False
    assert recipe.transform == [{"name": "HorizontalFlip", "p": 0.5}]
    assert recipe.model.weights == "/some where/w=1.pth"


def test_shorthand_and_its_long_form_are_one() -> None:
    assert load(None, ["model=test_resnet", "model.size=32"]) == load(
        None, ["model.name=test_resnet", "model.size=32"]
    )
    assert load(None, ["optimizer=sgd"]).optimizer.name == "sgd"
    assert load(None, ["tta=none"]).tta == ["identity"]
    assert load(None, ["tta=hflip"]).tta == ["identity", "hflip"]


def test_the_last_set_wins_and_lies_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("epochs = 3\n[model]\nname = 'test_resnet'\nsize = 64\n")
    recipe = load(tmp_path / "r.toml", ["epochs=4", "epochs=5", "model.size=32"])
    assert (recipe.epochs, recipe.model.size, recipe.model.name) == (5, 32, "test_resnet")


@pytest.mark.parametrize("override", ["epochs", "=3", "model..size=3", ""])
def test_a_set_that_is_no_assignment_is_refused(override: str) -> None:
    with pytest.raises(InputError, match="`overrides` takes key=value"):
        load(None, [override])


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "must exist"), (b"epochs = \n", "readable TOML"), (b"\xff\xfe", "readable TOML")],
)
def test_unreadable_recipes_are_clear_errors(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "r.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        load(path)
    with pytest.raises(InputError, match="is a folder"):
        load(tmp_path)


@given(
    st.builds(
        dict,
        epochs=st.integers(1, 99),
        seed=st.integers(0, 2**31 - 1),
        mode=st.sampled_from(["scratch", "probe", "finetune"]),
        tta=st.sampled_from([["identity"], ["hflip"], ["hflip", "identity"]]),
        optimizer=st.fixed_dictionaries(
            {"lr": st.floats(1e-9, 1e3), "clip": st.none() | st.floats(1e-9, 1e9)}
        ),
        model=st.fixed_dictionaries({"name": st.text(max_size=9), "size": st.none() | st.integers(8, 4096)}),
    )
)
def test_a_recipe_survives_its_toml(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, object]
) -> None:
    recipe = Recipe.model_validate(table)
    path = tmp_path_factory.mktemp("recipe") / "r.toml"
    path.write_text(recipe.to_toml("a header\nof two lines"), encoding="utf-8")
    assert load(path) == recipe


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(None).epochs = 3  # type: ignore[misc]


def test_every_built_in_baseline_is_a_sound_recipe_with_a_header(tmp_path: Path) -> None:
    found = sound_competitions(Workspace(tmp_path))
    assert len(found) >= 2
    for slug, competition in found.items():
        path = competition.folder / "baseline.toml"
        lines = path.read_text(encoding="utf-8").splitlines()
        header = " ".join(takewhile(lambda line: line.startswith("#"), lines))
        assert header.startswith(f"# comp run {slug} --folds"), "the header says the command"
        assert "Cost:" in header
        assert "Expected:" in header
        assert load(path).epochs >= 1
