"""Competitions are found in the workspace and built in; a slug names one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from comp.data.competitions.competition import find_competition, find_competitions, sound_competitions
from comp.errors import InputError, RecipeError, UnknownName
from comp.workspace import Workspace
from made import SHAPES_TOML, run_comp


def test_built_in_and_workspace_competitions_are_found(workspace: Path, shapes: Path) -> None:
    found = sound_competitions(Workspace(workspace))
    assert {"art-classification", "digits", "shapes"} <= set(found)
    assert list(found) == sorted(found)
    assert found["shapes"].folder == workspace / "competitions" / "shapes"


def test_an_unknown_slug_lists_near_ones(workspace: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean digits"):
        find_competition("digit", Workspace(workspace))


def test_two_folders_with_one_slug_are_an_error_that_names_both(workspace: Path, shapes: Path) -> None:
    other = workspace / "competitions" / "shapes_again"
    other.mkdir()
    (other / "competition.toml").write_text(SHAPES_TOML)
    with pytest.raises(InputError, match="names one competition") as error:
        find_competition("shapes", Workspace(workspace))
    assert "shapes_again" in error.value.value
    assert str(workspace / "competitions" / "shapes ") in error.value.value
    assert "shapes" not in sound_competitions(Workspace(workspace))


def test_every_mistake_in_a_competition_toml_is_told(workspace: Path, shapes: Path) -> None:
    toml = workspace / "competitions" / "shapes" / "competition.toml"
    toml.write_text(
        SHAPES_TOML.replace('slug = "shapes"', 'slug = "Sh apes"\ncolour = "red"').replace(
            '"filename"', '"guess"'
        )
    )
    with pytest.raises(RecipeError) as error:
        find_competition("shapes", Workspace(workspace))
    assert "3 mistake" in error.value.rule
    assert {line.split(":")[0] for line in error.value.value.splitlines()} == {"slug", "colour", "pairs"}


BROKEN = {
    "not TOML": (b"slug = shapes\n", "Invalid value"),
    "no slug": (b'title = "Shapes"\n', "slug: field required"),
    "unknown key": (SHAPES_TOML.encode() + b"colour = 1\n", "colour"),
    "nested a thousand deep": (
        SHAPES_TOML.encode() + b"x = " + b"[" * 1000 + b"]" * 1000,
        "nested more than 64 deep",
    ),
    "dotted a thousand deep": (b"a." * 1000 + b"b = 1\n", "nested more than 64 deep"),
    "a number of 5,000 digits": (b"score_scale = " + b"9" * 5000 + b"\n" + SHAPES_TOML.encode(), "digits"),
    "a number of 20,000 bits": (b"score_scale = 0x" + b"f" * 5000 + b"\n" + SHAPES_TOML.encode(), "64 bits"),
    "an infinite scale": (
        b"score_scale = inf\n" + SHAPES_TOML.encode(),
        "score_scale: input should be a finite",
    ),
    "not UTF-8": (SHAPES_TOML.encode("utf-16"), "is not UTF-8"),
    "extends nothing that is there": (b'extends = "shape"\n', "unknown competition to extend"),
    "extends itself": (b'extends = "shapes"\n', "unknown competition to extend"),
    "extends a number": (b"slug = 'shapes'\nextends = 3\n", "extends names a competition"),
    "a layout outside": (SHAPES_TOML.replace('"train.csv"', '"/etc/passwd"').encode(), "layout.required"),
    "an absolute glob": (SHAPES_TOML.replace('"train.csv"', '"/*"').encode(), "layout.required"),
    "a slug of 300 letters": (
        SHAPES_TOML.replace('"shapes"', f'"{"s" * 300}"', 1).encode(),
        "slug: string should",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_one_broken_competition_stops_no_other(workspace: Path, shapes: Path, name: str) -> None:
    content, told = BROKEN[name]
    (workspace / "competitions" / "shapes" / "competition.toml").write_bytes(content)
    listed = run_comp(workspace, "list", "--json")
    assert listed.code == 0, listed.err
    rows = {row["slug"]: row["error"] for row in listed.json}
    assert rows["digits"] is None
    assert [told in str(error) for error in rows.values()].count(True) == 1
    assert str(workspace / "competitions" / "shapes") in listed.err, "the broken one is named"
    assert run_comp(workspace, "list").code == 0
    assert run_comp(workspace, "show", "digits").code == 0
    slug = next(slug for slug, error in rows.items() if error)
    done = run_comp(workspace, "check", slug)
    assert (done.code, told in done.err) == (2, True), done.err
    assert max(map(len, done.err.splitlines())) < 1000


def test_a_folder_in_place_of_the_file_stops_no_other(workspace: Path, shapes: Path) -> None:
    toml = workspace / "competitions" / "shapes" / "competition.toml"
    toml.unlink()
    toml.mkdir()
    assert "digits" in sound_competitions(Workspace(workspace))
    with pytest.raises(InputError, match="is a folder"):
        find_competition("shapes", Workspace(workspace))


def test_an_unreadable_overlay_is_not_passed_over(workspace: Path) -> None:
    """What it would have changed (the metric, say) is not known: its base under the same slug is no answer."""
    place = workspace / "competitions" / "mine"
    place.mkdir(parents=True)
    (place / "competition.toml").write_text('extends = "digits"\nmetric = \n')
    with pytest.raises(RecipeError, match="readable TOML"):
        find_competition("digits", Workspace(workspace))
    (place / "competition.toml").write_text('extends = "digits"\nslug = "other"\nmetric = \n')
    assert find_competition("digits", Workspace(workspace)).facts.metric == "accuracy"


def test_overlays_that_extend_one_another_are_named(workspace: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        place = workspace / "competitions" / name
        place.mkdir(parents=True)
        (place / "competition.toml").write_text(f'slug = "{name}"\nextends = "{other}"\n')
    found = find_competitions(Workspace(workspace))
    assert {one.slugs for one in found.broken} == {("a",), ("b",)}
    assert "digits" in found.competitions
    with pytest.raises(UnknownName, match="extends no other"):
        found.get("a")


def test_an_overlay_of_a_broken_competition_says_so(workspace: Path, shapes: Path) -> None:
    (workspace / "competitions" / "shapes" / "competition.toml").write_text(SHAPES_TOML + "colour = 1\n")
    place = workspace / "competitions" / "over"
    place.mkdir()
    (place / "competition.toml").write_text('slug = "over"\nextends = "shapes"\n')
    with pytest.raises(InputError, match="mistakes of its own"):
        find_competition("over", Workspace(workspace))


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
        _ = find_competition("shapes", Workspace(workspace)).adapter
    assert told in error.value.value
