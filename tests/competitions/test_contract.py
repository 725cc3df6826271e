"""One contract for every competition that is found, for scaffolds, and for what a plug-in brings."""

from __future__ import annotations

from pathlib import Path

import pytest

from comp.data.competitions.competition import sound_competitions
from comp.data.competitions.scaffold import LAYOUTS, scaffold
from comp.recipe import load
from comp.workspace import Workspace
from contract import fulfil
from made import run_comp

FOUND = sound_competitions(Workspace(Path(__file__).parent))


def test_these_are_all_competitions() -> None:
    assert list(FOUND) == ["apple-varieties", "art-classification", "caltech-256", "cifar-100", "digits"]


@pytest.mark.parametrize("slug", FOUND)
def test_a_competition_goes_from_its_sample_to_a_valid_submission(slug: str, workspace: Path) -> None:
    done = fulfil(slug, workspace).json
    assert done["marks"] == (["quick", "sample"])
    assert done["metric"] == FOUND[slug].facts.metric


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_scaffold_fulfils_the_contract_at_once(layout: str, workspace: Path) -> None:
    assert run_comp(workspace, "new", "leaf-disease", "--layout", layout).code == 0
    fulfil("leaf-disease", workspace)


@pytest.mark.parametrize("slug", FOUND)
def test_a_competition_ships_what_people_read(slug: str) -> None:
    folder = FOUND[slug].folder
    for name in ("baseline", "story"):
        text = (folder / f"{name}.toml").read_text()
        assert text.startswith(f"# comp run {slug} --folds 5"), "the header says the command"
        assert "Cost:" in text, "and the cost"
        assert "Expected:" in text, "and the expected score"
        load(folder / f"{name}.toml")
    readme = (folder / "README.md").read_text()
    for heading in ("## Source and terms", "## Layout", "## Quirks", "## The story", "## Baseline"):
        assert heading in readme


def test_the_models_of_all_recipes_exist() -> None:
    import timm

    names = {
        load(FOUND[slug].folder / f"{name}.toml").model.name
        for slug in FOUND
        for name in ("baseline", "story")
    }
    assert [name for name in names if not timm.is_model(name)] == []
    assert {"legacy_xception", "tf_efficientnet_b4", "convnext_xlarge", "efficientnet_b1"} <= names


def test_nothing_but_scoring_asks_for_the_answers() -> None:
    import ast

    import comp

    package = Path(comp.__file__).parent
    asking = []
    for file in package.rglob("*.py"):
        if "builtin" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "answers" and file.name != "adapter.py":
                asking.append(file.name)
    assert set(asking) == {"score.py", "facts_adapter.py"}, "the second passes on what an adapter.py has"


def test_a_scaffold_refuses_what_is_taken(workspace: Path) -> None:
    scaffold("leaf-disease", "csv", Workspace(workspace))
    for slug, value in (("leaf-disease", "leaf_disease"), ("digits", "digits")):
        done = run_comp(workspace, "new", slug)
        assert done.code == 2
        assert value in done.err
        assert "extends" in done.err
    assert run_comp(workspace, "new", "Leaf Disease").code == 2
    unknown = run_comp(workspace, "new", "leaf-rust", "--layout", "folder")
    assert unknown.code == 2
    assert "did you mean folders" in unknown.err
    (workspace / "competitions" / "leaf_rust").mkdir()
    assert "is there" in run_comp(workspace, "new", "leaf-rust").err
