"""comp ensemble: runs become a run, joined by id; what does not belong together is refused and named."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import comp
from comp.data.folds import Folds
from comp.data.manifest import Manifest
from comp.data.predictions import Predictions
from comp.errors import InputError, Refusal
from comp.files import read_json, write_json
from made import run_comp, write_shapes
from made_blends import by_id, shuffled, truth_of, write_run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A workspace with the competition ``shapes`` (its template asks for t0 … t11) and three finished runs."""
    write_shapes(tmp_path)
    for n, name in enumerate(("a-run", "b-run", "c-run")):
        write_run(tmp_path, name, 1.5, seed=10 * n)
    return tmp_path


def test_a_blend_is_a_run_like_any_other(place: Path) -> None:
    result = comp.ensemble("a-run", "b", "c", workspace=place)
    names = {path.name for path in result.folder.iterdir()}
    assert {
        "started.json",
        "manifest.csv",
        "folds.csv",
        "oof.npz",
        "test.npz",
        "record.json",
        "rows.csv",
    } <= names
    started = read_json(result.folder / "started.json")
    assert (started["mode"], started["parts"]) == ("ensemble", ["a-run", "b-run", "c-run"])
    oof, test = (Predictions.load(result.folder / f"{kind}.npz") for kind in ("oof", "test"))
    manifest = Manifest.read_csv(result.folder / "manifest.csv")
    assert oof.ids == tuple(manifest.train["id"])
    assert test.ids == tuple(manifest.test["id"])
    assert (oof.fingerprint, test.fingerprint) == (
        manifest.fingerprint("train"),
        manifest.fingerprint("test"),
    )
    truth = np.array(list(truth_of(90, 7).values()))
    assert result.score == pytest.approx((oof.probs.argmax(axis=1) == truth).mean())
    (listed, *_) = [r for r in run_comp(place, "runs", "--json").json if r["run"] == result.run]
    assert (listed["mode"], listed["state"], listed["oof"]) == (
        "ensemble",
        "done",
        pytest.approx(result.score),
    )
    assert run_comp(place, "validate", "shapes", result.submission).code == 0


def test_the_verb_tells_methods_parts_and_the_gain(place: Path) -> None:
    done = run_comp(place, "ensemble", "a", "b", "c", "--json")
    assert done.code == 0, done.err
    blend = done.json["ensemble"]
    assert [one["method"] for one in blend["methods"]] == [
        "mean",
        "geometric",
        "rank",
        "power",
        "weighted",
        "greedy",
        "stacking",
    ]
    assert sum(one["chosen"] for one in blend["methods"]) == 1
    assert [one["part"] for one in blend["parts"]] == ["a-run", "b-run", "c-run"]
    for one in blend["parts"]:
        assert one["standard_error"] > 0
        assert one["gain"] == pytest.approx(done.json["oof"]["score"] - one["without"], abs=0.1)
    assert "beat" in done.err or "no better" in done.err
    (chosen,) = [one["score"] for one in blend["methods"] if one["chosen"]]
    score = done.json["oof"]["score"]
    rows = [line.split() for line in done.err.splitlines() if line.startswith(" chosen anew for each fold")]
    assert [row[5] for row in rows] == (
        [] if chosen == score else [f"{score:.4f}"]
    )  # both stand in one table
    record = read_json(place / "runs" / done.json["run"] / "record.json")
    assert record["ensemble"] == blend


def test_a_blend_may_be_a_part_but_has_no_checkpoints(place: Path) -> None:
    first = comp.ensemble("a", "b", method="mean", workspace=place)
    second = comp.ensemble(first.run, "c", method="weighted", workspace=place)
    assert [one["part"] for one in second.blend["parts"]] == sorted([first.run, "c-run"])
    unknown = run_comp(place, "predict", first.run)
    assert unknown.code == 2, "its parts predict, and these have no checkpoints"
    assert "a-run" in unknown.err
    for verb in (("run", "shapes", "--resume", first.run), ("merge", first.run, "a")):
        refused = run_comp(place, *verb)
        assert refused.code == 2
        assert "is a blend of a-run, b-run" in refused.err


@given(st.integers(0, 999), st.permutations(["a-run", "b-run", "c-run"]))
@settings(max_examples=5)
def test_no_order_of_rows_or_runs_changes_an_answer(
    tmp_path_factory: pytest.TempPathFactory, seed: int, order: list[str]
) -> None:
    place = tmp_path_factory.mktemp("blend")
    write_shapes(place)
    for n, name in enumerate(("a-run", "b-run", "c-run")):
        write_run(place, name, 1.0, seed=10 * n)
    before = comp.ensemble("a-run", "b-run", "c-run", method="weighted", calibrate="on", workspace=place)
    for n, name in enumerate(order):
        folder = place / "runs" / name
        for kind in ("oof", "test"):
            shuffled(Predictions.load(folder / f"{kind}.npz"), seed + n).save(folder / f"{kind}.npz")
        table = Manifest.read_csv(folder / "manifest.csv").table.sample(frac=1, random_state=seed + n)
        (folder / "manifest.csv").write_text(Manifest(table).to_csv())
        folds = Folds.load(folder / "folds.csv")
        mixed = np.random.default_rng(seed + n).permutation(len(folds.ids))
        numbers = np.random.default_rng(seed + n).permutation(folds.k)
        moved = Folds(
            tuple(folds.ids[i] for i in mixed), numbers[folds.fold[mixed]], folds.k, 0, folds.fingerprint
        )
        moved.save(folder / "folds.csv")
    after = comp.ensemble(*order, method="weighted", calibrate="on", workspace=place)
    for kind in ("oof", "test"):
        one, other = (Predictions.load(run.folder / f"{kind}.npz") for run in (before, after))
        assert by_id(one.ids, one.probs) == by_id(other.ids, other.probs)
    assert (after.score, after.blend["parts"]) == (before.score, before.blend["parts"])
    assert after.submission.read_bytes() == before.submission.read_bytes()


def test_runs_of_other_folds_blend_on_folds_of_their_own(place: Path) -> None:
    write_run(place, "d-run", 1.5, seed=40, k=5, fold_seed=1)
    same = comp.ensemble("a", "b", method="mean", workspace=place)
    assert (same.folder / "folds.csv").read_bytes() == (place / "runs" / "a-run" / "folds.csv").read_bytes()
    other = comp.ensemble("a", "d", method="mean", workspace=place)
    drawn = Folds.load(other.folder / "folds.csv")
    assert drawn.k == 3
    assert drawn.by_id != Folds.load(place / "runs" / "a-run" / "folds.csv").by_id


def test_groups_of_both_runs_are_kept_together(place: Path) -> None:
    """r000 ~ r003 in one run, r003 ~ r006 in the other: all three are one group, and share a nested fold."""
    ids = list(truth_of(90, 7))
    fives = {i: n % 5 for n, i in enumerate(ids)} | dict.fromkeys(("r000", "r003", "r006"), 0)
    write_run(place, "e-run", 1.5, seed=1, groups={"r000": "x", "r003": "x"})
    write_run(place, "f-run", 1.5, seed=2, groups={"r003": "y", "r006": "y"}, folds=fives)
    result = comp.ensemble("e", "f", method="mean", workspace=place)
    fold = Folds.load(result.folder / "folds.csv").by_id
    assert fold["r000"] == fold["r003"] == fold["r006"]
    train = Manifest.read_csv(result.folder / "manifest.csv").train.set_index("id")["group"]
    assert train["r000"] == train["r003"] == train["r006"] != ""
    assert (train != "").sum() == 3


def test_folds_that_split_a_group_of_another_run_are_refused_by_name(place: Path) -> None:
    write_run(place, "e-run", 1.5, groups={"r000": "x", "r003": "x"})
    write_run(
        place,
        "g-run",
        1.5,
        groups={"r000": "x", "r001": "x"},
        folds={i: int(i[1:]) // 2 % 3 for i in truth_of(90, 7)},
    )
    with pytest.raises(Refusal, match="no part's folds split") as error:
        comp.ensemble("a", "g", method="mean", workspace=place)
    for word in ("'r000'", "'r001'", "g-run", "a-run"):
        assert word in error.value.value
    assert "--folds runs/g-run/folds.csv" in error.value.remedy
    assert comp.ensemble("a", "e", method="mean", workspace=place).score > 0.5


def test_other_rows_are_refused_and_named(place: Path) -> None:
    write_run(place, "few-run", 1.5, count=89)
    with pytest.raises(Refusal, match="same rows") as error:
        comp.ensemble("a", "few", workspace=place)
    assert "'r089'" in error.value.value
    write_run(place, "tests-run", 1.5, tests=11)
    with pytest.raises(Refusal, match="same rows") as error:
        comp.ensemble("a", "tests", workspace=place)
    assert "'t11'" in error.value.value
    folder = place / "runs" / "few-run"
    write_run(place, "few-run", 1.5)
    text = (folder / "manifest.csv").read_text()
    (folder / "manifest.csv").write_text(text.replace("train,circle", "train,cross", 1))
    with pytest.raises(InputError, match="own rows"):
        comp.ensemble("a", "few", workspace=place)


def test_an_oof_row_that_is_missing_is_named(place: Path) -> None:
    folder = place / "runs" / "b-run"
    oof = Predictions.load(folder / "oof.npz")
    oof.select(oof.ids[1:]).save(folder / "oof.npz")
    with pytest.raises(InputError, match="same ids") as error:
        comp.ensemble("a", "b", workspace=place)
    assert "b-run lacks, first 'r000'" in error.value.value


def test_parts_are_finished_runs_of_one_competition_each_once(place: Path) -> None:
    with pytest.raises(InputError, match="named once"):
        comp.ensemble("a", "a-run", workspace=place)
    with pytest.raises(InputError, match="one part or more"):
        comp.ensemble(workspace=place)
    started = place / "runs" / "b-run" / "started.json"
    write_json(started, {**read_json(started), "slug": "digits"})
    with pytest.raises(InputError, match="one competition"):
        comp.ensemble("a", "b", workspace=place)
    (place / "runs" / "c-run" / "record.json").unlink()
    with pytest.raises(InputError, match="finished run"):
        comp.ensemble("a", "c", workspace=place)
    with pytest.raises(InputError, match="a model of a run"):
        comp.ensemble("a/model-0", "b", workspace=place)


def test_one_run_alone_is_calibrated(place: Path) -> None:
    write_run(place, "sharp-run", 1.0, sharpness=6.0)
    result = comp.ensemble("sharp", calibrate="on", workspace=place)
    calibration = result.blend["calibration"]
    assert calibration["applied"] is True
    assert calibration["temperature"] > 3
    assert calibration["log_loss_after"] < calibration["log_loss_before"]
    before = Predictions.load(place / "runs" / "sharp-run" / "test.npz")
    after = Predictions.load(result.folder / "test.npz").select(before.ids)
    assert after.probs.max() < before.probs.max()
    assert (after.probs.argmax(axis=1) == before.probs.argmax(axis=1)).all()


def test_marks_of_parts_are_the_blends(place: Path) -> None:
    started = place / "runs" / "b-run" / "started.json"
    write_json(started, {**read_json(started), "marks": ["sample"]})
    assert comp.ensemble("a", "b", method="mean", workspace=place).marks == ["sample"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--method", "meen"), "mean"),
        (("--calibrate", "yes"), "auto, on, off"),
        (("--priors", "even"), "uniform"),
        (("--priors", "circle=much"), "CLASS=SHARE"),
        (("--priors", "cat=0.5"), "'cat'"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    place: Path, options: tuple[str, str], told: str
) -> None:
    before = sorted(path.name for path in (place / "runs").iterdir())
    refused = run_comp(place, "ensemble", "a", "b", *options)
    assert refused.code == 2
    assert told in refused.err
    assert sorted(path.name for path in (place / "runs").iterdir()) == before


@pytest.mark.parametrize("name", ["oof.npz", "submission.csv", "record.json"])
def test_an_interrupted_blend_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    replace = os.replace

    def stop(source: str | Path, target: str | Path) -> None:
        if Path(target).name == name:
            raise KeyboardInterrupt
        replace(source, target)

    before = sorted(path.name for path in (place / "runs").iterdir())
    monkeypatch.setattr(os, "replace", stop)
    assert run_comp(place, "ensemble", "a", "b").code == 130
    assert sorted(path.name for path in (place / "runs").iterdir()) == before
    assert [file for file in (place / "submissions").rglob("*") if file.is_file()] == []
