"""Competitions are found in the workspace and built in; a slug names one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from comp import registry
from comp.errors import InputError, RecipeError, UnknownName
from comp.workspace import Workspace
from made import SHAPES_TOML


def test_built_in_and_workspace_competitions_are_found(workspace: Path, shapes: Path) -> None:
    found = registry.competitions(Workspace(workspace))
    assert {"art-classification", "digits", "shapes"} <= set(found)
    assert list(found) == sorted(found)
    assert found["shapes"].folder == workspace / "competitions" / "shapes"


def test_an_unknown_slug_lists_near_ones(workspace: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean digits"):
        registry.competition("digit", Workspace(workspace))


def test_two_folders_with_one_slug_are_an_error_that_names_both(workspace: Path, shapes: Path) -> None:
    other = workspace / "competitions" / "shapes_again"
    other.mkdir()
    (other / "competition.toml").write_text(SHAPES_TOML)
    with pytest.raises(InputError, match="names one competition") as error:
        registry.competitions(Workspace(workspace))
    assert "shapes_again" in error.value.value
    assert str(workspace / "competitions" / "shapes ") in error.value.value


def test_every_mistake_in_a_competition_toml_is_told(workspace: Path, shapes: Path) -> None:
    toml = workspace / "competitions" / "shapes" / "competition.toml"
    toml.write_text(
        SHAPES_TOML.replace('slug = "shapes"', 'slug = "Sh apes"\ncolour = "red"').replace(
            '"filename"', '"guess"'
        )
    )
    with pytest.raises(RecipeError) as error:
        registry.competitions(Workspace(workspace))
    assert "3 mistake" in error.value.rule
    assert {line.split(":")[0] for line in error.value.value.splitlines()} == {"slug", "colour", "pairs"}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import nothing_of_that_name\n", "nothing_of_that_name"),
        ("def read(raw): ...\n", "lacks sample"),
        ("def (\n", "SyntaxError"),
    ],
)
def test_a_faulty_adapter_is_a_clear_error(workspace: Path, shapes: Path, source: str, told: str) -> None:
    (workspace / "competitions" / "shapes" / "adapter.py").write_text(source)
    with pytest.raises(InputError) as error:
        _ = registry.competition("shapes", Workspace(workspace)).adapter
    assert told in error.value.value
