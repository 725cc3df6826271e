"""Competitions, runs and the facts of one as tables: what the command line prints is what the functions return."""

from __future__ import annotations

from pathlib import Path

import pytest

import comp
from comp.errors import InputError, UnknownName
from made import run_comp, write_shapes
from made_blends import write_run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A workspace with the competition ``shapes`` and two runs, the first of which was damaged."""
    write_shapes(tmp_path)
    write_run(tmp_path, "a-run", 1.5, seed=1)
    write_run(tmp_path, "b-run", 1.5, seed=2)
    (tmp_path / "runs" / "a-run" / "started.json").write_text("{}")
    return tmp_path


def test_list_prints_the_table_of_competitions(place: Path) -> None:
    rows = comp.list_competitions(place)
    assert run_comp(place, "list", "--json").json == [row.as_json() for row in rows]
    (shapes,) = [row for row in rows if row.slug == "shapes"]
    (run,) = [row for row in comp.list_runs(workspace=place) if row.run == "b-run"]
    assert (shapes.data, shapes.best_oof, shapes.error) == (True, run.oof, None)
    assert repr(shapes) == f"CompetitionRow('shapes', data=True, best_oof={run.oof})"


def test_a_competition_that_cannot_be_used_has_a_row_that_says_why(place: Path) -> None:
    (place / "competitions" / "shapes" / "competition.toml").write_text("slug = 3")
    (row,) = [row for row in comp.list_competitions(place) if row.error]
    assert (row.slug, row.data, row.best_oof) == ("shapes", False, None)
    assert "competition.toml" in str(row.error)
    with pytest.raises(InputError, match="mistake"):
        comp.list_runs("shapes", place)


def test_runs_are_listed_with_damaged_ones(place: Path) -> None:
    rows = comp.list_runs("shapes", place)
    assert [(row.run, row.state) for row in rows] == [("b-run", "done"), ("a-run", "damaged")]
    listed = run_comp(place, "runs", "--json").json
    assert [row.as_json() for row in comp.list_runs(workspace=place)] == listed
    assert repr(rows[0]) == f"RunRow('b-run', 'shapes', done, oof={rows[0].oof})"


def test_show_takes_a_competition_or_a_run(place: Path) -> None:
    shapes = comp.show("shapes", place)
    assert shapes.document == run_comp(place, "show", "shapes", "--json").json
    assert ("metric", "accuracy") in shapes.lines
    run = comp.show("b", place)
    assert run.name == "b-run"
    assert run.document == run_comp(place, "show", "b-run", "--json").json
    assert run.document["oof"]["score"] == comp.list_runs("shapes", place)[0].oof
    assert "  state: done" in repr(run).splitlines()
    with pytest.raises(UnknownName, match="competition"):
        comp.show("nothing", place)
    with pytest.raises(InputError, match="whole"):
        comp.show("a-run", place)
