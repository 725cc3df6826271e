"""Competitions that are not on Kaggle: the file, the page, and the score that the site said."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from comp.runs import ledger
from comp.workspace import Workspace
from made import run_comp


@pytest.fixture
def elsewhere(submittable: Path) -> Path:
    """The workspace with a competition that is not on Kaggle, and shows per cents."""
    facts = submittable / "competitions" / "shapes" / "competition.toml"
    text = facts.read_text().replace(
        'kaggle = "three-shapes"\n', 'url = "https://example.org/shapes"\nscore_scale = 100\n'
    )
    facts.write_text(text)
    return submittable


def test_the_path_and_the_page_are_told_then_the_score_is_entered(elsewhere: Path) -> None:
    told = run_comp(elsewhere, "submit", "shapes", "--run", "latest")
    assert told.code == 0, told.err
    (csv,) = (elsewhere / "submissions" / "shapes").glob("*.csv")
    for said in (f"submissions/shapes/{csv.name}", "https://example.org/shapes", "--scored X"):
        assert said in told.out
    entered = run_comp(elsewhere, "submit", "shapes", "--scored", 82.86, "--json")
    assert entered.code == 0, entered.err
    assert (entered.json["public"], entered.json["private"], entered.json["run"]) == (82.86, None, csv.stem)
    again = run_comp(elsewhere, "submit", "shapes", "--scored", 82.86)
    assert again.code == 2
    assert "without a public score" in again.err
    final = run_comp(elsewhere, "submit", "shapes", "--final", 80.5)
    assert final.code == 0, final.err
    assert "private score 80.5" in final.out
    (entry,) = ledger.entries(Workspace(elsewhere), "shapes")
    assert (entry.public, entry.private) == (82.86, 80.5)
    (row,) = run_comp(elsewhere, "runs", "shapes", "--json").json
    assert row["submissions"][0]["public"] == 82.86
    assert row["submissions"][0]["oof"] == pytest.approx(row["oof"] * 100)
    (listed,) = [r for r in run_comp(elsewhere, "list", "--json").json if r["slug"] == "shapes"]
    assert listed["best_public"] == 82.86


@pytest.mark.parametrize("metric", ["logloss", "adapter:cost"])
def test_of_a_metric_where_less_is_better_scores_exceed_one_and_the_least_is_best(
    elsewhere: Path, metric: str
) -> None:
    folder = elsewhere / "competitions" / "shapes"
    facts = (folder / "competition.toml").read_text().replace("score_scale = 100\n", "")
    own = 'metric_direction = "min"\n' if metric.startswith("adapter:") else ""
    (folder / "competition.toml").write_text(
        own + facts.replace('metric = "accuracy"', f'metric = "{metric}"')
    )
    code = "\n\ndef cost(labels, probs):\n    return 7.0 * float((labels != probs.argmax(1)).mean())\n"
    (folder / "adapter.py").write_text((folder / "adapter.py").read_text() + code)
    for name, score in (("a", 1.7), ("b", 0.9), ("c", 2.5)):
        (csv,) = (elsewhere / "submissions" / "shapes").glob("*.csv")
        other = elsewhere / f"{name}.csv"
        other.write_text(
            csv.read_text().replace("circle", "square" if name == "a" else "circle") + "\n" * ord(name)
        )
        entered = run_comp(elsewhere, "submit", "shapes", "--file", other, "--scored", score)
        assert entered.code == 0, entered.err
    (listed,) = [r for r in run_comp(elsewhere, "list", "--json").json if r["slug"] == "shapes"]
    assert listed["best_public"] == 0.9


def test_the_file_is_named_as_the_current_folder_sees_it(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (csv,) = (elsewhere / "submissions" / "shapes").glob("*.csv")
    other = elsewhere / "by a friend.csv"
    other.write_text(csv.read_text().replace("circle", "square"))
    folder = tmp_path / "another"
    folder.mkdir()
    monkeypatch.chdir(folder)
    told = run_comp(elsewhere, "submit", "shapes", "--file", other, "--json")
    assert told.code == 0, told.err
    assert Path(told.json["file"]) == other
    lines = told.err.splitlines()
    (named,) = [line.partition(": ")[2] for line in lines if "upload by hand: " in line]
    assert Path(named).resolve() == other.resolve()
    (command,) = [line.partition(": ")[2] for line in lines if "--scored X" in line]
    words = shlex.split(command.replace("--scored X", "--scored 50"))
    assert run_comp(elsewhere, *words[1:]).code == 0
    (entry,) = ledger.entries(Workspace(elsewhere), "shapes")
    assert entry.public == 50.0


@pytest.mark.parametrize("option", ["--dry-run", "--again"])
def test_a_score_is_not_entered_beside_an_option_of_uploads(elsewhere: Path, option: str) -> None:
    done = run_comp(elsewhere, "submit", "shapes", "--run", "latest", "--scored", 80, option)
    assert done.code == 2
    assert option in done.err
    assert ledger.entries(Workspace(elsewhere), "shapes") == []


def test_a_score_may_be_entered_for_what_was_uploaded_without_comp(elsewhere: Path) -> None:
    (csv,) = (elsewhere / "submissions" / "shapes").glob("*.csv")
    other = elsewhere / "by a friend.csv"
    other.write_text(csv.read_text().replace("circle", "square"))
    done = run_comp(elsewhere, "submit", "shapes", "--file", other, "--scored", 50)
    assert done.code == 0, done.err
    (entry,) = ledger.entries(Workspace(elsewhere), "shapes")
    assert (entry.run, entry.public, entry.oof) == ("", 50.0, None)


@pytest.mark.parametrize("score", [182.86, -1, "nan"])
def test_a_score_that_cannot_be_one_is_refused(elsewhere: Path, score: object) -> None:
    assert run_comp(elsewhere, "submit", "shapes", "--run", "latest", "--scored", score).code == 2
    assert ledger.entries(Workspace(elsewhere), "shapes") == []


def test_a_score_without_a_submission_is_refused(elsewhere: Path) -> None:
    done = run_comp(elsewhere, "submit", "shapes", "--scored", 80)
    assert done.code == 2
    assert "--run RUN or --file CSV" in done.err


def test_only_valid_files_are_told_to_be_uploaded(elsewhere: Path) -> None:
    (csv,) = (elsewhere / "submissions" / "shapes").glob("*.csv")
    csv.write_text("\n".join(csv.read_text().splitlines()[:-1]) + "\n")
    done = run_comp(elsewhere, "submit", "shapes", "--run", "latest")
    assert done.code == 1
    assert "missing-id" in done.err


def test_a_leaderboard_that_is_not_kaggles_is_named(elsewhere: Path) -> None:
    done = run_comp(elsewhere, "leaderboard", "shapes")
    assert done.code == 2
    assert "https://example.org/shapes" in done.err
