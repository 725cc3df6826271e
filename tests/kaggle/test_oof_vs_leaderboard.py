"""OOF beside the leaderboard: correlation from three on, a warning only beyond two standard errors, two to select."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from comp.data.competitions.competition import find_competition
from comp.data.labels import LabelMap
from comp.data.predictions import Predictions
from comp.kaggle.oof_vs_leaderboard import final_two, standing
from comp.metrics import metric_by_name
from comp.runs import ledger
from comp.runs.ledger import SubmissionEntry
from comp.runs.run import all_runs
from comp.uncertainty import bootstrap
from comp.workspace import Workspace
from made import proven_again, run_comp


def enter(
    workspace: Workspace, run: str, oof: float, public: float, private: float | None = None, rows: int = 1000
) -> None:
    """An entry with scores, as a scored submission leaves it."""
    entry = SubmissionEntry(
        run=run,
        sha256=f"{oof}{public}",
        rows=rows,
        state=ledger.SUBMITTED,
        status="COMPLETE",
        oof=oof,
        public=public,
        private=private,
    )
    ledger.write_entry(ledger.page_of(workspace, "shapes", run, Path(), ""), entry)


def test_the_bootstrap_is_the_binomial_error_of_an_accuracy() -> None:
    truth = np.zeros(2000, dtype=np.int64)
    probs = np.tile([0.9, 0.1], (2000, 1))
    probs[:400] = [0.1, 0.9]
    error = bootstrap(metric_by_name("accuracy"), truth, probs, 100)
    assert error == pytest.approx((0.8 * 0.2 / 100) ** 0.5, rel=0.15)


def test_a_correlation_needs_three_and_parts_stand_apart(submittable: Path) -> None:
    place = Workspace(submittable)
    shapes = find_competition("shapes", place)
    (run,) = all_runs(place)
    for oof, public, private in ((0.5, 0.4, 0.6), (0.6, 0.5, 0.5)):
        enter(place, run.id, oof, public, private)
    assert standing(place, shapes).public is None
    enter(place, run.id, 0.7, 0.6, 0.4)
    found = standing(place, shapes)
    assert found.public == pytest.approx(1.0)
    assert found.private == pytest.approx(-1.0)
    said = run_comp(submittable, "runs", "shapes")
    assert "correlation of OOF and public scores: 1.000" in said.out
    assert "correlation of OOF and private scores: -1.000" in said.out


def test_a_warning_comes_only_beyond_two_standard_errors_of_the_public_part(submittable: Path) -> None:
    place = Workspace(submittable)
    facts = submittable / "competitions" / "shapes" / "competition.toml"
    facts.write_text("score_scale = 100\npublic_share = 0.5\n" + facts.read_text())
    shapes = find_competition("shapes", place)
    (run,) = all_runs(place)
    oof = float(run.record["oof"]["score"])
    expected = (oof * (1 - oof) / 200) ** 0.5 * 100
    enter(place, run.id, oof, oof * 100 - 1.6 * expected, rows=400)
    enter(place, run.id, oof, oof * 100 - 2.5 * expected, rows=400)
    near, far = standing(place, shapes).judged
    assert near.standard_error == pytest.approx(expected, rel=0.2)
    assert (near.beyond, far.beyond) == (False, True)
    said = run_comp(submittable, "runs", "shapes")
    assert said.out.count("warning:") == 1
    assert "50% of the rows" in said.out


def another(workspace: Workspace, name: str, score: float, noise: float, answer: str = "") -> None:
    """A copy of the one run under another name, with OOF probabilities moved by noise and a stated score; the first
    rows of its submission have ``answer``, where one is named.
    """
    (run,) = [r for r in all_runs(workspace) if r.id == base(workspace)]
    folder = workspace.runs / name
    shutil.copytree(run.folder, folder)
    record = json.loads((folder / "record.json").read_text())
    record["oof"]["score"] = score
    (folder / "record.json").write_text(json.dumps({**record, "run": name}))
    own = Predictions.load(folder / "oof.npz")
    moved = own.probs + np.random.default_rng(int(noise * 100)).random(own.probs.shape) * noise
    moved /= moved.sum(axis=1, keepdims=True)
    Predictions(own.ids, LabelMap(own.labels.names), moved, own.fingerprint).save(folder / "oof.npz")
    if answer:
        header, *rows = (folder / "submission.csv").read_text().splitlines()
        changed = [f"{row.split(',')[0]},{answer}" for row in rows[:6]]
        (folder / "submission.csv").write_text("\n".join([header, *changed, *rows[6:]]) + "\n")
    proven_again(folder)


def base(workspace: Workspace) -> str:
    return min(r.id for r in all_runs(workspace))


def test_the_best_and_the_strong_one_that_errs_most_differently_are_suggested(submittable: Path) -> None:
    place = Workspace(submittable)
    shapes = find_competition("shapes", place)
    first = base(place)
    assert [one.run for one in final_two(place, shapes)] == [first]
    oof = float(all_runs(place)[0].record["oof"]["score"])
    another(place, "29990101-000000-aaaa", oof + 0.05, 0.01, "cross")
    another(place, "29990101-000000-bbbb", oof, 3.0, "square")
    best, other = final_two(place, shapes)
    assert best.run == "29990101-000000-aaaa"
    assert other.run == "29990101-000000-bbbb"
    assert other.correlation is not None
    told = run_comp(submittable, "runs", "shapes", "--final", "--json")
    assert [one["run"] for one in told.json["final"]] == [best.run, other.run]
    assert "not submitted yet" in told.err
    for run in (first, best.run):  # two that were submitted go before one that was not
        enter(place, run, oof, oof)
    assert {one.run for one in final_two(place, shapes)} == {first, best.run}
    assert (
        run_comp(submittable, "runs", "--final", "--json").json["slug"] == "shapes"
    )  # the only one with runs


def test_final_without_runs_is_refused(workspace: Path) -> None:
    assert run_comp(workspace, "runs", "--final").code == 2


def test_the_same_answers_are_never_the_second_to_select(submittable: Path) -> None:
    """Whatever their order; and where no other run answers otherwise, that is said."""
    place = Workspace(submittable)
    shapes = find_competition("shapes", place)
    first = base(place)
    oof = float(all_runs(place)[0].record["oof"]["score"])
    another(place, "29990101-000000-aaaa", oof - 0.01, 0.0)
    csv = place.runs / "29990101-000000-aaaa" / "submission.csv"
    header, *rows = csv.read_text().splitlines()
    csv.write_text("\n".join([header, *rows[::-1]]) + "\n")
    proven_again(csv.parent)
    (only,) = final_two(place, shapes)
    assert (only.run, only.same) == (first, ("29990101-000000-aaaa",))
    told = run_comp(submittable, "runs", "shapes", "--final")
    assert "no second to select: no other full run gives other answers" in told.out
    assert "the same answers: 29990101-000000-aaaa" in told.out
    assert "errs most differently" not in told.out
    for run in (first, "29990101-000000-aaaa"):  # both submitted: one submission still
        enter(place, run, oof, oof)
    another(place, "29990101-000000-bbbb", oof - 0.02, 0.0, "square")
    best, other = final_two(place, shapes)
    assert (best.run, other.run) == (first, "29990101-000000-bbbb")
    assert other.correlation == pytest.approx(1.0)
    assert "errs most differently" not in other.why


def test_a_run_whose_files_were_changed_is_not_selected(submittable: Path) -> None:
    place = Workspace(submittable)
    shapes = find_competition("shapes", place)
    first = base(place)
    another(place, "29990101-000000-aaaa", 0.9, 1.0, "cross")
    (place.runs / "29990101-000000-aaaa" / "submission.csv").write_text("id,label\n")
    assert [one.run for one in final_two(place, shapes)] == [first]
    assert "29990101-000000-aaaa is left out" in run_comp(submittable, "runs", "shapes", "--final").err
