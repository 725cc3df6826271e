"""``comp runs SLUG`` and ``comp leaderboard`` against a loopback Kaggle: news are fetched, silence is no error."""

from __future__ import annotations

from pathlib import Path

from kaggle_server import GONE, Fault, LoopbackKaggle


def test_runs_fetches_scores_that_came_since_and_what_is_left_today(
    submittable: Path, kaggle: LoopbackKaggle
) -> None:
    assert kaggle.comp(submittable, "submit", "shapes", "--run", "latest", "--no-wait").code == 0
    kaggle.submissions[0].update({"status": "COMPLETE", "publicScore": "0.75", "privateScore": "0.5"})
    told = kaggle.comp(submittable, "runs", "shapes", "--final", "--json")
    assert told.code == 0, told.err
    (one,) = told.json["submissions"]
    assert (one["public"], one["private"], one["status"]) == (0.75, 0.5, "COMPLETE")
    assert told.json["left_today"] == 4


def test_runs_goes_on_without_kaggle(submittable: Path, kaggle: LoopbackKaggle) -> None:
    assert kaggle.comp(submittable, "submit", "shapes", "--run", "latest", "--no-wait").code == 0
    kaggle.faults = {"GetSubmissionLimits": [Fault(503, "<html>"), Fault(kind="silent")]}
    away = kaggle.comp(submittable, "runs", "shapes", COMP_KAGGLE_TIMEOUT="0.3")
    assert away.code == 0
    assert "Kaggle could not be asked: 503" in away.err
    assert kaggle.comp(submittable, "runs", "shapes", COMP_KAGGLE_TIMEOUT="0.3").code == 0
    before = len(kaggle.calls)
    assert kaggle.comp(submittable, "runs", "shapes", KAGGLE_KEY=GONE).code == 0
    assert len(kaggle.calls) == before


def test_the_leaderboard_is_shown(submittable: Path, kaggle: LoopbackKaggle) -> None:
    told = kaggle.comp(submittable, "leaderboard", "shapes", "--json", "--rows", 1)
    assert told.json["leaderboard"] == [{"rank": 1, "team": "first", "score": "0.9", "date": None}]
    other = kaggle.comp(submittable, "leaderboard", "digits", "--kaggle", "three-shapes")
    assert other.code == 0
    assert "ours" in other.out
