"""Competitions laid over others, and competitions that packages bring."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from comp.data.competitions.competition import built_in_folder, find_competition, sound_competitions
from comp.errors import InputError, RecipeError, UnknownName
from comp.workspace import Workspace
from made import SHAPES_ADAPTER, SHAPES_TOML, run_comp


def lay(workspace: Path, folder: str, text: str) -> Path:
    place = workspace / "competitions" / folder
    place.mkdir(parents=True)
    (place / "competition.toml").write_text(text)
    return place


def test_an_overlay_takes_the_place_of_what_it_extends(workspace: Path) -> None:
    place = lay(
        workspace,
        "art",
        'extends = "art-classification"\ntitle = "Mine"\n[check.allow]\nunreadable-image = "known"\n',
    )
    (place / "baseline.toml").write_text('mode = "scratch"\n')
    found = sound_competitions(Workspace(workspace))
    assert len(found) == 5
    art = found["art-classification"]
    assert art.facts.title == "Mine"
    assert art.facts.check.allow == {"unreadable-image": "known"}
    assert art.facts.classes[0] == "dog", "what the overlay does not say is the other's"
    assert art.facts.layout.test == "test/0/*"
    assert art.file("baseline.toml") == place / "baseline.toml"
    assert art.file("story.toml").parent == built_in_folder() / "art_classification"
    assert run_comp(workspace, "data", "art-classification", "--sample").code == 0
    assert run_comp(workspace, "check", "art-classification").code == 0


def test_an_overlay_under_another_slug_stands_beside(workspace: Path) -> None:
    lay(workspace, "easy", 'extends = "digits"\nslug = "easy-digits"\n')
    found = sound_competitions(Workspace(workspace))
    assert {"digits", "easy-digits"} <= set(found)
    assert found["easy-digits"].adapter.has("answers")


def test_two_overlays_of_one_slug_are_an_error(workspace: Path) -> None:
    lay(workspace, "a", 'extends = "digits"\n')
    lay(workspace, "b", 'extends = "digits"\n')
    with pytest.raises(InputError, match="names one competition"):
        find_competition("digits", Workspace(workspace))


def test_a_plain_duplicate_is_an_error_that_names_the_way_out(workspace: Path) -> None:
    lay(workspace, "a", SHAPES_TOML.replace('slug = "shapes"', 'slug = "digits"'))
    listed = run_comp(workspace, "list")
    assert listed.code == 0, "the others are not stopped"
    assert 'extends = "digits"' in listed.err
    done = run_comp(workspace, "show", "digits")
    assert done.code == 2
    assert 'extends = "digits"' in done.err


def test_an_overlay_of_nothing_lists_near_names(workspace: Path) -> None:
    lay(workspace, "a", 'extends = "digit"\n')
    with pytest.raises(UnknownName, match="did you mean digits"):
        find_competition("digit", Workspace(workspace))


def test_an_overlays_mistakes_are_told_with_its_file(workspace: Path) -> None:
    lay(workspace, "a", 'extends = "digits"\ncolour = "red"\n')
    with pytest.raises(RecipeError, match="mistake") as error:
        find_competition("digits", Workspace(workspace))
    assert str(workspace) in error.value.rule


def test_options_that_the_adapter_does_not_take_are_refused(workspace: Path) -> None:
    lay(workspace, "a", 'extends = "caltech-256"\noptions.clatter = true\n')
    with pytest.raises(InputError) as error:
        _ = find_competition("caltech-256", Workspace(workspace)).adapter
    assert "clatter; it takes clutter" in error.value.value


@pytest.mark.parametrize("holds", ["several", "one"])
def test_a_package_brings_competitions(holds: str, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = workspace / "site"
    package = site / "shape_competitions"
    folder = package / "shapes" if holds == "several" else package
    folder.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (folder / "competition.toml").write_text(SHAPES_TOML)
    (folder / "adapter.py").write_text(SHAPES_ADAPTER)
    info = site / "shape_competitions-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shape-competitions\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[comp.competitions]\nshapes = shape_competitions\n")
    monkeypatch.syspath_prepend(str(site))
    found = sound_competitions(Workspace(workspace))
    assert found["shapes"].folder == folder
    assert found["shapes"].adapter.has("read")
    (info / "entry_points.txt").write_text("[comp.competitions]\nshapes = no_such_package.inside\n")
    sys.path_importer_cache.clear()
    with pytest.raises(InputError) as error:
        find_competition("shapes", Workspace(workspace))
    assert "no_such_package" in error.value.value
    assert "digits" in sound_competitions(Workspace(workspace))
