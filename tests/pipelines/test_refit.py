"""``--refit``: the models of a finished run on every labelled row, without a score of their own."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import comp
from comp import events
from comp.data.folds import Folds
from comp.data.manifest import Manifest, Sample
from comp.data.predictions import Predictions
from comp.errors import CheckFailed, CompError, InputError, Stopped
from comp.files import read_json, sha256_of, write_json
from comp.pipelines.refit import RefitResult
from comp.runs import run as runs
from comp.runs.contents import fold_checkpoints, refit_facts
from comp.training import loop
from comp.training.plan import rows_of_fold
from comp.training.time_limit import Deadline, OutOfTime
from comp.training.train_fold import read_fold
from comp.workspace import Workspace
from made import (
    draw,
    planned,
    probe,
    proven_again,
    rewritten,
    run_comp,
    save_image,
    train_table,
    write_shapes,
    write_train_table,
)

FIXED = ["epochs=2", "precision=fp32", "channels_last=true", "threads=1", "save_minutes=0.0"]
TWO = """
mode = "scratch"
epochs = 1
batch = 8
precision = "fp32"
channels_last = true
threads = 1
tta = ["auto"]

[[model]]
name = "test_resnet"
size = 32

[[model]]
name = "resnet9"
kwargs = { width = 4 }
size = 16
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the competition ``shapes``, a run of it and its refit; not to be written to."""
    place = tmp_path_factory.mktemp("refit")
    write_shapes(place)
    done = comp.run("shapes", 2, workspace=place, overrides=FIXED)
    comp.run("shapes", refit=done.run, workspace=place)
    return place


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    return tmp_path


def two_runs(workspace: Path) -> tuple[runs.Run, runs.Run]:
    """The run and its refit."""
    refit, run = runs.all_runs(Workspace(workspace))
    return run, refit


def test_a_refit_says_what_it_is_and_has_no_score(place: Path) -> None:
    run, refit = two_runs(place)
    record = refit.record
    assert refit.refit == run.id
    assert refit.marks == ["refit"]
    assert refit.gaps == []
    assert record["oof"] == {"score": None, "per_fold": [], "selected_on_oof": False}
    assert record["refit"] == {
        "run": run.id,
        "rows": 18,
        "control_rows": 16,
        "control_rows_are": "training rows",
        "expected_from": {
            "run": run.id,
            "metric": "accuracy",
            "score": run.record["oof"]["score"],
            "selected_on_oof": False,
        },
    }
    assert not (refit.folder / "oof.npz").exists()
    assert not list(refit.folder.rglob("oof*"))
    assert record["report"] is None
    table = Manifest.read_csv(refit.folder / "manifest.csv").train
    fitted = (refit.folder / "fold-2" / "fitted.txt").read_text().split()
    assert set(fitted) == set(table["content"])
    history = (refit.folder / "fold-2" / "history.csv").read_text().splitlines()
    assert len(history) == 3
    assert all(line.split(",")[2:4] == ["nan", "nan"] for line in history[1:])
    assert (refit.folder / "folds.csv").read_bytes() == (run.folder / "folds.csv").read_bytes()
    assert f"--refit {run.id}" in (refit.folder / "recipe.toml").read_text()


def test_the_command_says_what_control_rows_prove(copy: Path) -> None:
    run, _ = two_runs(copy)
    done = run_comp(copy, "run", "shapes", "--refit", run.id, "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["oof"]["score"] is None
    assert document["refit"]["expected_from"]["run"] == run.id
    assert "prove order, preprocessing and label map, and nothing about generalisation" in done.err
    assert "no score (refit): 18 labelled rows trained" in done.err
    assert f"run {run.id}: OOF accuracy {run.record['oof']['score']:.4f}" in done.err
    assert "held-out" not in done.err
    assert "valid " not in done.err
    same = copy / "submissions" / "shapes"
    _, earlier, last = sorted(same.glob("*.csv"))
    assert earlier.read_bytes() == last.read_bytes()


def test_other_rows_than_those_of_a_fold_train_only_in_a_refit() -> None:
    samples = [Sample(f"r{n}", f"all#{n}", "train", "abc"[n % 3], group=f"g{n // 4}") for n in range(40)]
    samples += [Sample(f"x{n}", f"all#{n}", "extra", "a", group="g0") for n in range(3)]
    manifest = Manifest.from_samples(samples)
    fold = np.where(np.arange(40) < 4, -1, (np.arange(40) // 4) % 2)
    folds = Folds(tuple(f"r{n}" for n in range(40)), fold.astype(np.int64), 2, 0, "")
    plan = planned(manifest, folds)
    for k in range(2):
        part = rows_of_fold(plan, k)
        assert not set(part.fitted) & set(part.held_out)
    for k in (2, -1):
        with pytest.raises(ValueError, match="which this plan trains"):
            rows_of_fold(plan, k)
    refit = replace(plan, refit=True)
    part = rows_of_fold(refit, 2)
    assert part.fitted.tolist() == list(range(43))
    assert len(part.held_out) == 16
    assert part.held_out.max() < 40
    assert refit.key(2) != plan.key(2)
    for k in (0, 1):
        with pytest.raises(ValueError, match="which this plan trains"):
            rows_of_fold(refit, k)


@pytest.mark.parametrize("step", [1, 4])
def test_a_refit_that_was_stopped_goes_on_to_the_same_bytes(
    copy: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    run, refit = two_runs(copy)
    taken, own = [0], loop.train_step

    def stops(*args: object) -> None:
        own(*args)  # type: ignore[arg-type]
        taken[0] += 1
        if taken[0] == step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", stops)
        with pytest.raises(Stopped):
            comp.run("shapes", refit=run.id, workspace=copy)
    unfinished = runs.all_runs(Workspace(copy))[0]
    assert not unfinished.record
    assert unfinished.refit == run.id
    with pytest.raises(InputError, match="no folds"):
        comp.run("shapes", resume=unfinished.id, workspace=copy, only=[0])
    shutil.rmtree(run.folder)  # it has what it needs of it
    done = comp.run("shapes", resume=unfinished.id, workspace=copy)
    assert isinstance(done, RefitResult)
    assert math.isnan(done.score)
    assert done.refit["run"] == run.id
    for name in ("submission.csv", "test.npz", "fold-2/controls.npz", "fold-2/model.safetensors"):
        assert (done.folder / name).read_bytes() == (refit.folder / name).read_bytes(), name


def test_it_predicts_again_and_is_refused_where_its_control_rows_change(copy: Path) -> None:
    _, refit = two_runs(copy)
    csv = copy / "submissions" / "shapes" / f"{refit.id}.csv"
    before = csv.read_bytes()
    comp.predict(refit.id, workspace=copy)
    assert csv.read_bytes() == before
    (folder,) = fold_checkpoints(refit, False)
    sidecar = read_json(folder / "model.json")
    sidecar["preprocess"]["mean"] = [0.1, 0.2, 0.3]
    write_json(folder / "model.json", sidecar)
    proven_again(refit.folder)
    with pytest.raises(CheckFailed, match="control-rows"):
        comp.predict(refit.id, workspace=copy)


def test_submit_asks_for_its_one_network_and_its_control_rows(copy: Path) -> None:
    from comp.kaggle.prepare import choose, require_sound

    _, refit = two_runs(copy)
    manifest = Manifest.read_csv(refit.folder / "manifest.csv")
    require_sound(refit, manifest, {})
    assert choose(Workspace(copy), "shapes", None, None, True)[1].id == refit.id  # type: ignore[union-attr]
    shutil.rmtree(refit.folder / "fold-2")
    with pytest.raises(CheckFailed, match="lacks"):
        require_sound(refit, manifest, {})


def test_what_needs_held_out_rows_names_the_run_that_has_them(copy: Path) -> None:
    run, refit = two_runs(copy)
    attempts = [
        lambda: comp.ensemble(refit.id, workspace=copy),
        lambda: comp.ensemble(run.id, refit.id, workspace=copy),
        lambda: comp.merge(run.id, refit.id, workspace=copy),
        lambda: comp.pseudo(refit.id, 0.5, workspace=copy),
        lambda: comp.labels(refit.id, workspace=copy),
        lambda: comp.write_report(refit.id, workspace=copy),
        lambda: comp.run("shapes", resume=refit.id, overrides=["epochs=4"], workspace=copy),
        lambda: comp.run(
            "shapes", 2, overrides=["mode=finetune", f"model.weights=run:{refit.id}"], workspace=copy
        ),
    ]
    before = len(runs.all_runs(Workspace(copy)))
    for attempt in attempts:
        with pytest.raises(InputError, match="needs held-out rows") as raised:
            attempt()
        assert run.id in raised.value.remedy
    done = comp.run("shapes", refit=run.id, workspace=copy)
    for ask in (lambda: done.oof, lambda: done.confusion, lambda: done.worst()):
        with pytest.raises(InputError, match="needs held-out rows"):
            ask()
    assert run.id in repr(done)
    assert run.id in done._repr_html_()
    assert not len(done.curves().dropna())
    assert len(done.test) == 12
    assert len(runs.all_runs(Workspace(copy))) == before + 1


def test_its_weights_are_no_start_for_folds(copy: Path) -> None:
    _, refit = two_runs(copy)
    weights = refit.folder / "fold-2" / "model.safetensors"
    facts = [f"model.{key}=[0.5,0.5,0.5]" for key in ("mean", "std")]
    with pytest.raises(CheckFailed, match="weights-leak"):
        comp.run("shapes", 2, overrides=["mode=finetune", f"model.weights={weights}", *facts], workspace=copy)


def test_a_refit_is_never_taken_for_a_fold(copy: Path) -> None:
    """Not even where its folder is renamed, and all that says whose it is forged."""
    run, refit = two_runs(copy)
    shutil.rmtree(run.folder / "fold-0")
    (run.folder / "record.json").unlink()
    shutil.copytree(refit.folder / "fold-2", run.folder / "fold-0")
    rewritten(run.folder / "fold-0" / "result.json", fold=0)
    proven_again(run.folder)
    with pytest.raises(InputError, match="a fold's folder is its own"):
        read_fold(run.folder / "fold-0", 0)
    with pytest.raises(CompError, match="a fold's folder is its own"):
        comp.run("shapes", resume=run.id, workspace=copy)


def test_readers_of_runs_show_no_score(copy: Path) -> None:
    run, refit = two_runs(copy)
    row = comp.list_runs(workspace=copy)[0]
    assert (row.run, row.refit, row.oof, row.folds) == (refit.id, run.id, None, None)
    assert [one.run for one in comp.list_runs(workspace=copy, where=["oof>=0"])] == [run.id]
    for command in (
        ("runs",),
        ("runs", "shapes", "--final"),
        ("runs", "diff", run.id, refit.id),
        ("show", refit.id),
        ("list",),
        ("compare", run.id, refit.id),
        ("report", run.id),
        ("report", "--all"),
    ):
        done = run_comp(copy, *command)
        assert done.code == 0, (command, done.err)
        assert "nan" not in done.out.lower().split(), command
        assert "warning" not in done.err, (command, done.err)
    assert "refit of" in run_comp(copy, "runs").out


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (['checkpoint="best"'], 'checkpoint = "best"'),
        (["stop.patience=1"], "stop"),
        (["schedule=plateau"], 'schedule = "plateau"'),
    ],
)
def test_epochs_that_held_out_rows_chose_are_not_repeated(
    workspace: Path, overrides: list[str], says: str
) -> None:
    write_shapes(workspace)
    done = comp.run("shapes", 2, workspace=workspace, overrides=[*FIXED, *overrides], report=False)
    with pytest.raises(InputError, match="no row that could say when to stop") as raised:
        comp.run("shapes", refit=done.run, workspace=workspace)
    assert says in raised.value.value


def test_only_whole_runs_with_models_of_their_own(copy: Path) -> None:
    run, refit = two_runs(copy)
    with pytest.raises(InputError, match="of a run with folds") as raised:
        comp.run("shapes", refit=refit.id, workspace=copy)
    assert run.id in raised.value.remedy
    partial = comp.run("shapes", 2, workspace=copy, overrides=["seed=5"], only=[0], report=False)
    with pytest.raises(InputError, match="a finished run") as raised:
        comp.run("shapes", refit=partial.run, workspace=copy)
    assert "--resume" in raised.value.remedy
    blend = comp.ensemble(run.id, workspace=copy, method="mean", report=False)
    with pytest.raises(InputError, match="the models of one run") as raised:
        comp.run("shapes", refit=blend.run, workspace=copy)
    assert f"refit={run.id!r}" in raised.value.remedy
    child = comp.run("shapes", resume=run.id, overrides=["epochs=3"], workspace=copy, report=False)
    with pytest.raises(InputError, match="weights that all folds share"):
        comp.run("shapes", refit=child.run, workspace=copy)
    made = comp.pseudo(run.id, 0.01, workspace=copy)
    taught = comp.run("shapes", 2, pseudo=made.path, overrides=FIXED, workspace=copy, report=False)
    with pytest.raises(InputError, match="trains on labelled rows"):
        comp.run("shapes", refit=taught.run, workspace=copy)


def test_a_run_of_other_rows_is_not_refitted(copy: Path) -> None:
    run, _ = two_runs(copy)
    raw = copy / "data" / "shapes"
    rows = train_table(raw)
    write_train_table(raw, [[rows[0][0], rows[1][1], "", ""], *rows[1:]])
    with pytest.raises(CompError, match=r"stale-folds|the same rows"):
        comp.run("shapes", refit=run.id, workspace=copy, data=raw)
    assert len(runs.all_runs(Workspace(copy))) == 2


@pytest.mark.parametrize(
    "more",
    [
        ("--set", "epochs=3"),
        ("--seed", 1),
        ("--quick",),
        ("--folds", 3),
        ("--resume", "latest"),
        ("--only", 0),
        ("--ensemble", "mean"),
        ("--recipe", "r.toml"),
    ],
)
def test_a_refit_stands_alone(place: Path, more: tuple[object, ...]) -> None:
    run, _ = two_runs(place)
    done = run_comp(place, "run", "shapes", "--refit", run.id, *more)
    assert done.code == 2
    assert f"--refit came with {more[0]}" in done.err
    assert len(runs.all_runs(Workspace(place))) == 2


def test_several_models_the_views_and_the_decision_of_their_run(workspace: Path) -> None:
    write_shapes(workspace)
    (workspace / "two.toml").write_text(TWO)
    done = comp.run("shapes", 2, recipe=workspace / "two.toml", workspace=workspace, report=False)
    decision = {"rule": "multipliers", "values": [1e9, 1.0, 1.0], "temperature": None}
    views = {**read_json(done.folder / "views.json"), "chosen": "mirror", "views": ["identity", "hflip"]}
    for name, table in (("decision.json", decision), ("views.json", views)):
        write_json(done.folder / name, table)
    files = read_json(done.folder / "record.json")["files"]
    added = {name: sha256_of(done.folder / name) for name in ("decision.json", "views.json")}
    rewritten(done.folder / "record.json", files={**files, **added})
    made = comp.run("shapes", refit=done.run, workspace=workspace)
    assert set(made.test["answer"]) == {"circle"}
    each = [made.folder / f"model-{n}" / "fold-2" for n in range(2)]
    assert all((folder / "model.safetensors").is_file() for folder in each)
    assert not list(made.folder.glob("model-*/oof.npz"))
    both = [Predictions.load(folder / "test.npz").probs for folder in each]
    assert np.allclose(Predictions.load(made.folder / "test.npz").probs, np.mean(both, axis=0))
    before = made.submission.read_bytes()
    comp.predict(made.run, workspace=workspace)
    assert made.submission.read_bytes() == before


@pytest.mark.parametrize("mode", ["probe", "finetune"])
def test_other_modes(workspace: Path, mode: str) -> None:
    write_shapes(workspace)
    start = [*probe(workspace), "tta=auto", f"mode={mode}", "threads=1", "precision=fp32"]
    done = comp.run("shapes", 3, workspace=workspace, overrides=start, report=False)
    made = comp.run("shapes", refit=done.run, workspace=workspace)
    assert isinstance(made, RefitResult)
    assert made.refit["rows"] == 18
    again = comp.run("shapes", refit=done.run, workspace=workspace)
    assert again.submission.read_bytes() == made.submission.read_bytes()


def test_a_quick_run_gives_a_quick_refit(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shapes(workspace, per_class=12)
    done = comp.run("shapes", 2, workspace=workspace, quick=True, report=False)
    made = comp.run("shapes", refit=done.run, workspace=workspace)
    assert isinstance(made, RefitResult)
    assert made.marks == ["quick", "refit"]
    assert made.refit["rows"] == 3 * 2 * 4  # four of each class and fold
    assert "a quick run: its few rows alone are trained on" in capsys.readouterr().err


def test_rows_that_no_fold_held_out_train_too(workspace: Path) -> None:
    rows = train_table(write_shapes(workspace))
    rows = [row for row in rows if row[1] != "square" or row[0] == "a2"]
    write_train_table(workspace / "data" / "shapes", rows)
    save_image(workspace / "more.png", draw("circle", 777))
    (workspace / "extra.csv").write_text("path,label\nmore.png,circle\n")
    extra = workspace / "extra.csv"
    done = comp.run("shapes", 2, workspace=workspace, rare="pool", report=False, extra=extra)
    made = comp.run("shapes", refit=done.run, workspace=workspace)
    assert isinstance(made, RefitResult)
    assert len(Predictions.load(done.folder / "oof.npz")) == 12
    assert made.refit["rows"] == 12 + 1 + 1


def test_a_prior_for_images_that_cannot_be_read(copy: Path) -> None:
    run, refit = two_runs(copy)
    prior = np.array(list(refit_facts(refit)["prior"].values()))
    assert np.allclose(prior, Predictions.load(run.folder / "oof.npz").probs.mean(axis=0))
    raw = copy / "data" / "shapes"
    (raw / "test" / "t3.png").write_bytes(b"no image")
    allow = {"unreadable-image": "it came so"}
    predicted = comp.predict(refit.id, workspace=copy, data=raw, allow=allow)
    assert predicted.unread == ["t3"]


def test_a_time_limit_stops_it_and_resume_goes_on(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, refit = two_runs(copy)
    with monkeypatch.context() as patch:
        patch.setattr(Deadline, "passed", lambda self: True)
        with pytest.raises(OutOfTime, match="all rows, epoch 1, batch 1"):
            comp.run("shapes", refit=run.id, workspace=copy, time_limit="1h")
    left = runs.all_runs(Workspace(copy))[0]
    done = comp.run("shapes", resume=left.id, workspace=copy)
    assert done.submission.read_bytes() == (refit.folder / "submission.csv").read_bytes()


def test_a_refit_is_no_sweep(place: Path) -> None:
    run, _ = two_runs(place)
    done = run_comp(place, "run", "shapes", "--refit", run.id, "--set", "optimizer.lr=1e-3,3e-3")
    assert done.code == 2
    assert "a refit keeps the recipe of its run" in done.err
    assert not (place / "sweeps").exists()


def test_a_notebook_and_listeners_are_told_of_all_rows(copy: Path) -> None:
    from comp.report.notebook import NotebookListener

    run, _ = two_runs(copy)
    shown: list[str] = []
    heard: list[events.Event] = []

    class Hears(events.RunListener):
        def handle(self, event: events.Event) -> None:
            heard.append(event)

    block = NotebookListener(lambda content, again: shown.append(content["text/html"]))
    made = comp.run("shapes", refit=run.id, workspace=copy, listeners=[block, Hears()])
    (began,) = (one for one in heard if isinstance(one, events.RunStarted))
    assert (began.folds, began.only) == (2, (2,))
    (part,) = (one for one in heard if isinstance(one, events.FoldEnded))
    assert (part.name, part.score, part.rows) == ("all rows", None, 18)
    epochs = [one for one in heard if isinstance(one, events.EpochEnded)]
    assert len(epochs) == 2
    assert all(math.isnan(one.score) and math.isnan(one.valid_loss) for one in epochs)
    (over,) = (one for one in heard if isinstance(one, events.RunEnded))
    assert (over.score, over.failure, over.marks) == (None, "", ("refit",))
    assert "<td>all rows</td>" in shown[-1]
    assert "nan" not in shown[-1]
    assert made.run in shown[-1]


def test_a_manifest_of_its_own_is_given_again(copy: Path) -> None:
    run, _ = two_runs(copy)
    rows = (run.folder / "manifest.csv").read_text().splitlines()
    file = copy / "fewer.csv"
    file.write_text("\n".join(row for row in rows if not row.startswith("a17,")) + "\n")
    given = {"manifest": file, "allow": {"unlisted-file": "left out"}}
    done = comp.run("shapes", 3, workspace=copy, overrides=FIXED, report=False, **given)  # type: ignore[arg-type]
    with pytest.raises(CompError):
        comp.run("shapes", refit=done.run, workspace=copy)
    made = comp.run("shapes", refit=done.run, workspace=copy, **given)  # type: ignore[arg-type]
    assert isinstance(made, RefitResult)
    assert made.refit["rows"] == 17
