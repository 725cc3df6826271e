"""The whole way on real scans: one JSON document, the same bytes twice, folds apart from the seed, resuming, repeating."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from comp.data.predictions import Predictions
from made import Outcome, run_comp, subprocess_comp

COMMAND = ("run", "digits", "--folds", 2, "--quick", "--set", "threads=1", "--json")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A workspace in which a process of its own has run digits once."""
    workspace = tmp_path_factory.mktemp("digits")
    return workspace, subprocess_comp(workspace, *COMMAND)


def submission(outcome: Outcome) -> bytes:
    return Path(outcome.json["submission"]).read_bytes()


def test_stdout_is_one_json_document_with_the_promised_keys(first: tuple[Path, Outcome]) -> None:
    _, outcome = first
    assert outcome.code == 0, outcome.err
    result = outcome.json
    assert {
        "run",
        "slug",
        "metric",
        "direction",
        "oof",
        "submission",
        "report",
        "findings",
        "seconds",
    } <= set(result)
    assert (result["slug"], result["metric"], result["direction"]) == ("digits", "accuracy", "max")
    assert result["report"] == f"runs/{result['run']}/report.html"
    assert (first[0] / result["report"]).is_file()
    assert {"score", "per_fold", "selected_on_oof"} <= set(result["oof"])
    assert len(result["oof"]["per_fold"]) == 2
    assert result["oof"]["selected_on_oof"] is False
    assert set(result["findings"]) == {"error", "warning", "info"}
    assert all(seconds >= 0 for seconds in result["seconds"].values())
    assert "Traceback" not in outcome.err


def test_the_run_folder_holds_every_step(first: tuple[Path, Outcome]) -> None:
    workspace, outcome = first
    folder = workspace / "runs" / outcome.json["run"]
    for name in (
        "started.json",
        "recipe.toml",
        "manifest.csv",
        "folds.csv",
        "findings.json",
        "oof.npz",
        "test.npz",
        "record.json",
    ):
        assert (folder / name).is_file(), name
    for k in range(2):
        for name in ("model.safetensors", "model.json", "oof.npz", "result.json", "history.csv"):
            assert (folder / f"fold-{k}" / name).is_file(), name
    assert json.loads((folder / "record.json").read_text())["oof"] == outcome.json["oof"]
    assert list(workspace.rglob("*.part")) == []


def test_the_oof_score_is_that_of_its_predictions_each_by_a_model_that_never_saw_the_row(
    first: tuple[Path, Outcome],
) -> None:
    workspace, outcome = first
    folder = workspace / "runs" / outcome.json["run"]
    oof = Predictions.load(folder / "oof.npz")
    rows = [line.split(",") for line in (folder / "manifest.csv").read_text().splitlines()[1:]]
    label = {row[0]: row[3] for row in rows if row[2] == "train"}
    fold = dict(line.split(",") for line in (folder / "folds.csv").read_text().splitlines()[1:])
    assert len(set(oof.ids)) == len(oof.ids)
    hits = np.array(
        [oof.labels.names[n] == label[i] for i, n in zip(oof.ids, oof.probs.argmax(1), strict=True)]
    )
    assert outcome.json["oof"]["score"] == pytest.approx(hits.mean())
    of_fold = np.array([int(fold[i]) for i in oof.ids])
    assert outcome.json["oof"]["per_fold"] == pytest.approx([hits[of_fold == k].mean() for k in range(2)])
    for k in range(2):
        held_out = Predictions.load(folder / f"fold-{k}" / "oof.npz")
        assert {fold[i] for i in held_out.ids} == {str(k)}


def test_the_same_command_gives_the_same_bytes(first: tuple[Path, Outcome]) -> None:
    workspace, outcome = first
    again = run_comp(workspace, *COMMAND)
    assert again.code == 0, again.err
    assert again.json["run"] != outcome.json["run"]
    assert submission(again) == submission(outcome)
    assert again.json["oof"] == outcome.json["oof"]


def test_another_seed_keeps_the_folds_and_changes_the_predictions(first: tuple[Path, Outcome]) -> None:
    workspace, outcome = first
    other = run_comp(workspace, *COMMAND, "--seed", 7)
    folders = [workspace / "runs" / o.json["run"] for o in (outcome, other)]
    assert folders[0].joinpath("folds.csv").read_bytes() == folders[1].joinpath("folds.csv").read_bytes()
    one, two = (Predictions.load(folder / "test.npz") for folder in folders)
    assert not np.allclose(one.probs, two.select(one.ids).probs)


def test_the_saved_recipe_repeats_the_run(first: tuple[Path, Outcome]) -> None:
    workspace, outcome = first
    recipe = workspace / "runs" / outcome.json["run"] / "recipe.toml"
    again = run_comp(workspace, "run", "digits", "--folds", 2, "--quick", "--recipe", recipe, "--json")
    assert submission(again) == submission(outcome)


def test_a_run_goes_on_from_its_finished_folds(first: tuple[Path, Outcome], tmp_path: Path) -> None:
    workspace = tmp_path / "copy"
    shutil.copytree(first[0], workspace)
    name = first[1].json["run"]
    folder = workspace / "runs" / name
    (folder / "record.json").unlink()
    (folder / "fold-1" / "result.json").unlink()
    kept = (folder / "fold-0" / "model.safetensors").stat().st_mtime_ns
    resumed = run_comp(workspace, "run", "digits", "--resume", name, "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.json["run"] == name
    assert submission(resumed) == submission(first[1])
    assert resumed.json["oof"] == first[1].json["oof"]
    assert (folder / "fold-0" / "model.safetensors").stat().st_mtime_ns == kept
    assert (folder / "record.json").is_file()
    done = run_comp(workspace, "run", "digits", "--resume", name)
    assert done.code == 2
    assert "only an unfinished run" in done.err


def test_predicting_again_gives_the_same_bytes(first: tuple[Path, Outcome], tmp_path: Path) -> None:
    workspace = tmp_path / "copy"
    shutil.copytree(first[0], workspace)
    newest = run_comp(workspace, "runs", "--json").json[0]
    expected = Path(newest["submission"]).read_bytes()
    for name in ("latest", newest["run"], newest["run"][:18]):
        again = run_comp(workspace, "predict", name, "--json")
        assert again.code == 0, again.err
        written = Path(again.json["submission"])
        assert written.is_relative_to(workspace / "submissions")
        assert written.read_bytes() == expected
        assert again.json["rows"] == expected.count(b"\n") - 1


def test_prediction_accepts_no_torn_or_swapped_checkpoint(
    first: tuple[Path, Outcome], tmp_path: Path
) -> None:
    workspace = tmp_path / "copy"
    shutil.copytree(first[0], workspace)
    folder = workspace / "runs" / first[1].json["run"]
    shutil.copy(folder / "fold-0" / "model.json", folder / "fold-1" / "model.json")
    swapped = run_comp(workspace, "predict", first[1].json["run"], "--out", tmp_path / "s.csv")
    assert swapped.code == 2
    assert "as it wrote them" in swapped.err
    assert not (tmp_path / "s.csv").exists()


def test_validate_passes_what_was_written_and_refuses_what_was_tampered_with(
    first: tuple[Path, Outcome], tmp_path: Path
) -> None:
    workspace, outcome = first
    good = run_comp(workspace, "validate", "digits", outcome.json["submission"], "--json")
    assert (good.code, good.json["status"], good.json["problems"]) == (0, "pass", [])
    lines = submission(outcome).decode().splitlines()
    faults = {
        "missing-id": lines[:-1],
        "doubled-id": [*lines, lines[1]],
        "order": [lines[0], lines[2], lines[1], *lines[3:]],
        "value": [lines[0], lines[1].split(",")[0] + ",ten", *lines[2:]],
        "header": ["id,target", *lines[1:]],
        "extra-id": [*lines, "99999,1"],
    }
    for rule, tampered in faults.items():
        (tmp_path / "s.csv").write_text("\n".join(tampered) + "\n")
        bad = run_comp(workspace, "validate", "digits", tmp_path / "s.csv", "--json")
        assert (bad.code, bad.json["status"]) == (1, "fail")
        assert [p["rule"] for p in bad.json["problems"]] == [rule]


def test_runs_and_list_tell_of_it_but_not_as_a_best_score(first: tuple[Path, Outcome]) -> None:
    workspace, outcome = first
    listed = run_comp(workspace, "runs", "digits", "--json").json
    assert outcome.json["run"] in [run["run"] for run in listed]
    assert all(run["marks"] == ["quick"] for run in listed)
    digits = next(row for row in run_comp(workspace, "list", "--json").json if row["slug"] == "digits")
    assert digits["data"] is True
    assert digits["best_oof"] is None  # a quick run's score is no score


@pytest.mark.slow
def test_the_baseline_reaches_its_promised_score(workspace: Path) -> None:
    outcome = subprocess_comp(workspace, "run", "digits", "--folds", 5, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["oof"]["score"] >= 0.97
