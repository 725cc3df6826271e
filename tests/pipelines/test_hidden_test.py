"""A hidden test: the visible rows prove the format, and nothing judges them as those that will be scored."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import comp
from comp.checks.context import not_applying
from comp.config import validate
from comp.data.competitions.competition import find_competition
from comp.data.competitions.facts import CompetitionConfig
from comp.errors import InputError
from comp.pipelines.new_competition import new_from_folder
from comp.workspace import Workspace
from made import run_comp, write_shapes

HIDDEN = "[kaggle]\nhidden_test = true\nhidden_rows = 15000\ngpu_hours = 2\n"


def hide(workspace: Path, more: str = HIDDEN) -> None:
    """Makes the test of ``shapes`` a hidden one."""
    toml = workspace / "competitions" / "shapes" / "competition.toml"
    toml.write_text(f"{toml.read_text()}\n{more}")


def test_a_name_alone_and_a_table_say_the_same() -> None:
    said = {"slug": "x", "title": "X"}
    short = validate(CompetitionConfig, {**said, "kaggle": "the-x"}, "short")
    table = validate(CompetitionConfig, {**said, "kaggle": {"slug": "the-x"}}, "table")
    assert short.kaggle == table.kaggle
    assert (short.kaggle.hidden_test, short.kaggle.gpu_hours, short.kaggle.cpu_hours) == (False, 9.0, 9.0)
    for wrong in ({"hidden_rows": 5}, {"hidden_test": True, "hidden_rows": 0}, {"gpu_hours": -1.0}):
        with pytest.raises(InputError, match="kaggle"):
            validate(CompetitionConfig, {**said, "kaggle": wrong}, "wrong")


def test_a_table_laid_over_a_name_keeps_it(workspace: Path) -> None:
    write_shapes(workspace)
    toml = workspace / "competitions" / "shapes" / "competition.toml"
    toml.write_text('kaggle = "the-shapes"\n' + toml.read_text())
    over = workspace / "competitions" / "over"
    over.mkdir()
    (over / "competition.toml").write_text(f'extends = "shapes"\n{HIDDEN}')
    facts = find_competition("shapes", Workspace(workspace)).facts.kaggle
    assert (facts.slug, facts.hidden_test, facts.hidden_rows, facts.gpu_hours) == (
        "the-shapes",
        True,
        15000,
        2,
    )
    assert "15,000 rows; 2 hours with a GPU" in run_comp(workspace, "show", "shapes").out


def test_what_judges_the_scored_rows_says_that_it_does_not_apply(workspace: Path) -> None:
    raw = write_shapes(workspace)
    for path in (raw / "train").iterdir():  # every test image is labelled too: elsewhere an error
        number = int(path.stem[1:])
        if number < 12:
            shutil.copyfile(path, raw / "test" / f"t{number}.png")
    assert run_comp(workspace, "check", "shapes").code == 1
    hide(workspace)
    told = run_comp(workspace, "check", "shapes", "--json")
    assert told.code == 0, told.err
    assert "train-test-duplicate" not in {f["check"] for f in told.json["findings"]}
    (note,) = not_applying(find_competition("shapes", Workspace(workspace)))
    assert note in told.json["stats"]["notes"]
    for name in ("train-test-duplicate", "train-test-drift", "prior-shift", "feature-drift", "pseudo-labels"):
        assert name in note
    assert "note: the test is hidden" in " ".join(told.err.split())


def test_pseudo_labels_are_refused(workspace: Path) -> None:
    write_shapes(workspace)
    result = comp.run("shapes", 2, workspace=workspace)
    made = comp.pseudo(result.run, 0.01, workspace=workspace)
    hide(workspace)
    refused = run_comp(workspace, "pseudo", result.run, "--threshold", "0.01")
    assert refused.code == 2
    assert "is hidden" in refused.err
    with pytest.raises(InputError, match="rows that are scored"):
        comp.run("shapes", 2, workspace=workspace, pseudo=made.path)


def test_kaggle_says_that_it_takes_notebooks_only(workspace: Path) -> None:
    raw = write_shapes(workspace)
    found = new_from_folder(
        "mine", raw, "accuracy", kaggle="the-shapes", workspace=workspace, notebooks_only=True
    )
    facts = find_competition("mine", Workspace(workspace)).facts
    assert (facts.kaggle.slug, facts.kaggle.hidden_test) == ("the-shapes", True)
    assert "notebooks only" in found.unsure["kaggle.hidden_test"]
