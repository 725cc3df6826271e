"""Stages that train on some rows alone, rows with weights and probabilities in training, and that all of it goes on after a stop."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import comp
from comp.data.folds import make_folds
from comp.data.manifest import Manifest, Sample
from comp.data.predictions import Predictions
from comp.errors import InputError
from comp.models.weights import read_weights
from comp.pipelines.run_result import RunResult
from comp.recipe import Recipe, StageConfig
from comp.training.losses import epoch_order, require_extra_rows, rows_at
from comp.training.plan import rows_of_fold
from made import clean_environment, draw, planned, probe, run_comp, save_image

STAGES = 'stages=[{epochs=2, rows="extra"}, {epochs=1, rows="train"}, {epochs=1}]'


def write_extra(folder: Path, columns: str, rows: list[str], seed: int = 500) -> Path:
    """A CSV of shapes that are drawn for it: circle, cross, square in turn."""
    lines = [f"path,{columns}"]
    for n, row in enumerate(rows):
        save_image(folder / "images" / f"{n}.png", draw(("circle", "cross", "square")[n % 3], seed + n))
        lines.append(f"images/{n}.png,{row}")
    (folder / "extra.csv").write_text("\n".join(lines) + "\n")
    return folder / "extra.csv"


LABELS = ["circle", "cross", "square"] * 3
HARD = "prob:circle,prob:cross,prob:square"
SURE = ["1,0,0", "0,1,0", "0,0,1"] * 3
UNSURE = ["0.5,0.3,0.2", "0.2,0.6,0.2", "0.1,0.1,0.8"] * 3


def go(workspace: Path, extra: Path | None = None, *overrides: str, **asked: object) -> RunResult:
    return comp.run(
        "shapes", 2, workspace=workspace, extra=extra, overrides=list(overrides), report=False, **asked
    )  # type: ignore[arg-type]


def tensors(run: RunResult, k: int = 0) -> dict[str, np.ndarray]:
    found = read_weights(run.folder / f"fold-{k}" / "model.safetensors")
    return {name: tensor.float().numpy() for name, tensor in found.items()}


def differ(one: RunResult, other: RunResult) -> bool:
    a, b = tensors(one), tensors(other)
    return any(not np.array_equal(a[name], b[name]) for name in a)


def test_a_stage_trains_on_its_rows_alone() -> None:
    samples = [Sample(f"r{n}", f"all#{n}", "train", "abc"[n % 3]) for n in range(12)]
    samples += [Sample(f"e{n}", f"all#{n}", "extra", "abc"[n % 3]) for n in range(4)]
    manifest = Manifest.from_samples(samples)
    plan = planned(manifest, make_folds(manifest, 3))
    part = rows_of_fold(plan, 1)
    stages = [StageConfig(epochs=2, rows="extra"), StageConfig(rows="train"), StageConfig()]
    recipe = Recipe(epochs=4, stages=stages)
    seen = [set(part.table["split"].iloc[epoch_order(part, recipe, 1, epoch)]) for epoch in range(4)]
    assert seen == [{"extra"}, {"extra"}, {"train"}, {"train", "extra"}]
    assert sorted(np.concatenate([rows_at(part, recipe, 0), rows_at(part, recipe, 2)])) == sorted(part.fitted)
    assert np.array_equal(
        epoch_order(part, Recipe(), 1, 0), epoch_order(part, Recipe(epochs=1, stages=[StageConfig()]), 1, 0)
    )
    require_extra_rows(replace(plan, recipe=recipe), range(3))
    table = manifest.table[manifest.table["id"].isin([*manifest.train["id"], "e0"])].reset_index(drop=True)
    with pytest.raises(InputError, match='rows = "extra"'):
        require_extra_rows(replace(plan, manifest=Manifest(table)), range(3))


def test_stages_by_rows_have_their_own_steps_and_change_the_weights(workspace: Path, shapes: Path) -> None:
    extra = write_extra(workspace / "more", "label", LABELS)
    both = go(workspace, extra, "epochs=4")
    found = go(workspace, extra, STAGES)
    lines = list(csv.DictReader((found.folder / "fold-0" / "history.csv").read_text().splitlines()))
    assert [int(line["epoch"]) for line in lines] == [1, 2, 3, 4]
    assert differ(both, found)
    same = go(workspace, extra, 'stages=[{epochs=4, rows="both"}]')
    assert not differ(both, same)
    none = go(workspace, None, "epochs=1")
    only = go(workspace, extra, 'stages=[{epochs=1, rows="train"}]')
    assert not differ(none, only), "extra rows that no stage trains on change nothing"


def test_a_stage_of_extra_rows_without_any_is_refused_before_a_run_begins(
    workspace: Path, shapes: Path
) -> None:
    told = run_comp(workspace, "run", "shapes", "--folds", "2", "--set", STAGES)
    assert told.code == 2
    assert "fold 0 has none" in told.err
    assert "--extra CSV" in told.err
    assert not list((workspace / "runs").glob("*"))


def test_probabilities_and_weights_change_what_is_learned(workspace: Path, shapes: Path) -> None:
    plain = go(workspace, write_extra(workspace / "a", "label", LABELS))
    sure = go(workspace, write_extra(workspace / "b", HARD, SURE))
    unsure = go(workspace, write_extra(workspace / "c", HARD, UNSURE))
    heavy = go(workspace, write_extra(workspace / "d", "label,weight", [f"{label},3" for label in LABELS]))
    light = go(workspace, write_extra(workspace / "e", "label,weight", [f"{label},1" for label in LABELS]))
    assert differ(plain, unsure)
    assert differ(plain, heavy)
    for other in (sure, light):
        a, b = tensors(plain), tensors(other)
        assert all(np.allclose(a[name], b[name], atol=1e-4) for name in a), (
            "certain, of weight 1: the same but for rounding"
        )
    manifest = Manifest.read_csv(unsure.folder / "manifest.csv")
    assert list(manifest.extra["label"]) == LABELS
    assert list(manifest.extra["prob:circle"])[:3] == ["0.5", "0.2", "0.1"]


@pytest.mark.parametrize("mode", ["probe", "finetune"])
def test_a_solved_classifier_learns_from_them_too(workspace: Path, shapes: Path, mode: str) -> None:
    asked = [*probe(workspace), f"mode={mode}", "optimizer.lr=1e-9"]
    plain = go(workspace, write_extra(workspace / "a", "label", LABELS), *asked)
    sure = go(workspace, write_extra(workspace / "b", HARD, SURE), *asked)
    unsure = go(workspace, write_extra(workspace / "c", HARD, UNSURE), *asked)
    one, same, other = (Predictions.load(run.folder / "oof.npz").probs for run in (plain, sure, unsure))
    assert np.abs(one - same).max() < 1e-3
    assert np.abs(one - other).max() > 1e-3


def test_copies_and_class_weights_go_with_soft_rows(workspace: Path, shapes: Path) -> None:
    extra = write_extra(workspace / "more", f"{HARD},weight", [f"{row},2" for row in UNSURE])
    for balance in ("copies", "weights", "sampler"):
        found = go(
            workspace,
            extra,
            f"balance.name={balance}",
            "regularize.mixup=0.4",
            *(["balance.per_class=12"] if balance == "copies" else []),
        )
        assert np.isfinite(Predictions.load(found.folder / "oof.npz").probs).all()


def test_a_mistake_in_the_table_is_a_line_and_no_run_begins(workspace: Path, shapes: Path) -> None:
    extra = write_extra(workspace / "more", HARD, [*SURE[:-1], "0.9,0.9,0"])
    told = run_comp(workspace, "run", "shapes", "--folds", "2", "--extra", extra)
    assert told.code == 2
    assert "they sum to 1.8" in told.err
    assert "Traceback" not in told.err
    assert not list((workspace / "runs").glob("*"))


@pytest.mark.parametrize("copied", ["exact", "encoded"])
def test_extra_rows_that_show_a_test_image_are_left_out_and_counted(
    workspace: Path, shapes: Path, copied: str
) -> None:
    import cv2

    extra = write_extra(workspace / "more", "label,weight", [f"{label},1.5" for label in LABELS])
    for n in range(9):  # large enough for the search to see that two are one image
        file = workspace / "more" / "images" / f"{n}.png"
        cv2.imwrite(str(file), draw(LABELS[n], 700 + n, 160))
    for n in (0, 4):
        image = draw("square", 900 + n, 160)
        cv2.imwrite(str(shapes / "test" / f"t{n}.png"), image)
        if copied == "encoded":
            image = cv2.imdecode(
                cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], cv2.IMREAD_COLOR
            )
        cv2.imwrite(str(workspace / "more" / "images" / f"{n}.png"), image)
    checked = run_comp(workspace, "check", "shapes", "--folds", "2", "--extra", extra, "--json")
    assert checked.json["stats"]["extra"] == 7
    assert any(
        "2 of 9 extra rows show a test image and are left out" in note
        for note in checked.json["stats"]["notes"]
    )
    assert "train-test-duplicate" not in {f["check"] for f in checked.json["findings"]}
    found = go(workspace, extra)
    manifest = Manifest.read_csv(found.folder / "manifest.csv")
    assert len(manifest.extra) == 7
    tests = set(manifest.test["content"])
    for k in range(2):
        fitted = set((found.folder / f"fold-{k}" / "fitted.txt").read_text().split())
        assert not fitted & tests
        assert set(manifest.extra["content"]) <= fitted
    half = go(workspace, extra, only=[1])
    rest = comp.run("shapes", workspace=workspace, resume=half.run, report=False)
    assert rest.submission.read_bytes() == found.submission.read_bytes()
    folds = found.folder / "folds.csv"
    again = comp.run("shapes", folds, workspace=workspace, extra=extra, report=False)
    assert again.submission.read_bytes() == found.submission.read_bytes()


def test_quick_runs_keep_a_few_extra_rows(workspace: Path, shapes: Path) -> None:
    extra = write_extra(workspace / "more", HARD, UNSURE)
    told = run_comp(
        workspace,
        "run",
        "shapes",
        "--folds",
        "2",
        "--extra",
        extra,
        "--quick",
        "--set",
        'stages=[{rows="extra"}]',
        "--json",
    )
    assert told.code == 0, told.err


KILLED = """
from comp.cli.main import main
import sys
main(sys.argv[1:])
"""


def started(workspace: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-c",
        KILLED,
        "run",
        "shapes",
        "--workspace",
        str(workspace),
        "--no-report",
        *more,
    ]
    return subprocess.Popen(
        command, env=clean_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.mark.slow
def test_killed_and_resumed_it_gives_the_same_bytes(workspace: Path, shapes: Path) -> None:
    """Soft rows, weights, stages and a teacher, killed after some saves: state and answers are there to go on from."""
    teacher = go(workspace, None, "epochs=2")
    extra = write_extra(
        workspace / "more",
        f"{HARD},weight,group",
        [f"{row},{1 + n},{'g' if n < 2 else ''}" for n, row in enumerate(UNSURE)],
    )
    stages = 'stages=[{epochs=4, rows="extra"}, {epochs=4, rows="train"}, {epochs=4}]'
    asked = [stages, f"distill.run={teacher.run}", "regularize.mixup=0.3", "save_minutes=0.0"]
    whole = go(workspace, extra, *asked)
    before = {path.name for path in (workspace / "runs").iterdir()}
    options = [text for one in asked for text in ("--set", one)]
    killed = 0
    process = started(workspace, "--folds", "2", "--extra", str(extra), *options)
    for wanted in (1, 5, 9):
        run, saves, last = None, 0, None
        while process.poll() is None and saves < wanted:
            run = run or next((p for p in (workspace / "runs").iterdir() if p.name not in before), None)
            states = list(run.glob("fold-*/state.pt")) if run else []
            stamp = [path.stat().st_mtime_ns for path in states if path.exists()] or None
            saves += stamp is not None and stamp != last
            last = stamp or last
            time.sleep(0.005)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        assert run is not None
        if (run / "record.json").exists():
            break
        process = started(workspace, "--resume", run.name)
    process.wait()
    assert killed
    assert run is not None
    assert json.loads((run / "record.json").read_text())["run"] == run.name
    assert (run / "submission.csv").read_bytes() == (whole.folder / "submission.csv").read_bytes()
    for k in range(2):
        ours, theirs = (folder / f"fold-{k}" / "model.safetensors" for folder in (run, whole.folder))
        assert ours.read_bytes() == theirs.read_bytes()
        assert not (run / f"fold-{k}" / "teacher.npz").exists()


def test_other_extra_rows_do_not_go_on(workspace: Path, shapes: Path) -> None:
    extra = write_extra(workspace / "more", HARD, UNSURE)
    half = go(workspace, extra, only=[0])
    save_image(workspace / "more" / "images" / "0.png", draw("circle", 4711))
    shutil.rmtree(workspace / ".comp", ignore_errors=True)
    told = run_comp(workspace, "run", "shapes", "--resume", half.run)
    assert told.code in (1, 2), told.err
    assert "extra rows" in told.err


def test_parts_with_other_extra_rows_are_not_merged(workspace: Path, shapes: Path) -> None:
    extra = write_extra(workspace / "more", HARD, UNSURE)
    parts = [go(workspace, extra, only=[0])]
    parts.append(go(workspace, write_extra(workspace / "more", HARD, SURE), only=[1]))
    with pytest.raises(InputError, match="differ in the extra rows"):
        comp.merge(parts[0].run, parts[1].run, workspace=workspace)
