"""comp run --preset: from candidates to a blend, on with any stop, and no better than chance where there is nothing to learn."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import comp
from comp.errors import InputError, Stopped, TrainingFailed
from comp.files import read_json
from comp.models.timm_alone import timm
from comp.pipelines.engine import session as sessions
from comp.pipelines.request import RunRequest
from comp.training.plan import TrainPlan
from made import clean_environment, draw, run_comp, save_image, write_shapes

SHORT = ("--set", "epochs=1", "--set", "threads=1", "--no-report")
BACKBONE = "test_resnet.r160_in1k"


def with_weights(workspace: Path) -> None:
    """A backbone at hand: random weights under timm's tag."""
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=10)
    (workspace / "weights").mkdir()
    save_file(dict(net.state_dict()), workspace / "weights" / f"{BACKBONE}.safetensors")


def decisions(workspace: Path) -> list[dict[str, object]]:
    (path,) = workspace.glob("presets/*/decisions.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_preset_probes_trains_and_blends(workspace: Path) -> None:
    write_shapes(workspace)
    with_weights(workspace)
    done = run_comp(
        workspace,
        "run",
        "shapes",
        "--preset",
        "best",
        "--backbones",
        BACKBONE,
        *SHORT,
        "--folds",
        2,
        "--json",
    )
    assert done.code == 0, done.err
    told = done.json["preset"]
    names = [one["name"] for one in told["candidates"]]
    assert names[0] == f"probe {BACKBONE} at 160"
    taken_probe = any(
        one["verdict"] == "taken" and one["name"].startswith("probe") for one in told["candidates"]
    )
    larger = f"probe {BACKBONE} at 192, whole images"
    assert larger in names or not taken_probe
    trained = [n for n, name in enumerate(names) if not name.startswith("probe")]
    assert larger not in names or names.index(larger) > max(trained), "what is trained gains more"
    assert any(name.startswith(f"finetune {BACKBONE}") for name in names)
    assert "baseline" in names
    runs = {one["run"]: one for one in told["candidates"] if one["run"]}
    assert set(done.json["ensemble"]["facts"]["taken"]) == {
        run for run, one in runs.items() if one["verdict"] == "taken"
    }
    assert {part["part"] for part in done.json["ensemble"]["parts"]} == set(runs)
    record = read_json(workspace / "runs" / done.json["run"] / "record.json")
    assert record["preset"]["id"] == told["id"]
    assert Path(done.json["submission"]).is_file()
    assert run_comp(workspace, "validate", "shapes", done.json["submission"]).code == 0
    again = run_comp(workspace, "predict", done.json["run"], "--out", workspace / "again.csv")
    assert again.code == 0, again.err
    assert (workspace / "again.csv").read_bytes() == Path(done.json["submission"]).read_bytes()
    late = run_comp(workspace, "run", "shapes", "--resume", told["id"])
    assert late.code == 2
    assert "is done" in late.err


def test_the_same_words_give_the_same_csv_and_what_was_stopped_goes_on(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shapes(workspace)
    given = {"folds": 2, "workspace": workspace, "overrides": ["epochs=1", "threads=1"], "report": False}
    whole = comp.run_preset("shapes", "fast", **given)  # type: ignore[arg-type]
    trained = sessions.train_and_predict
    calls = []

    def stops(*args: object, **more: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return trained(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(sessions, "train_and_predict", stops)
    early = comp.run_preset("shapes", "fast", **given)  # type: ignore[arg-type]
    assert early.preset["stopped"]  # type: ignore[attr-defined]
    assert [one["name"] for one in early.preset["candidates"]] == ["probe pixels at 16"]  # type: ignore[attr-defined]
    assert early.submission.is_file(), "the best so far"
    monkeypatch.undo()
    late = run_comp(workspace, "run", "shapes", "--resume", "latest", "--no-report", "--json")
    assert late.code == 0, late.err
    assert Path(late.json["submission"]).read_bytes() == whole.submission.read_bytes()
    assert late.json["oof"]["score"] == whole.score


def test_stopped_before_anything_is_finished_it_says_how_to_go_on(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shapes(workspace)

    def stops(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sessions, "train_and_predict", stops)
    with pytest.raises(Stopped) as stopped:
        comp.run_preset("shapes", "fast", 2, workspace=workspace)
    assert stopped.value.run.startswith("preset-")


def test_a_candidate_that_fails_costs_itself_alone(workspace: Path) -> None:
    write_shapes(workspace)
    with_weights(workspace)
    path = workspace / "weights" / f"{BACKBONE}.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    done = run_comp(
        workspace,
        "run",
        "shapes",
        "--preset",
        "fast",
        "--backbones",
        BACKBONE,
        *SHORT,
        "--folds",
        2,
        "--json",
    )
    assert done.code == 0, done.err
    first, second = done.json["preset"]["candidates"]
    assert first["run"] is None
    assert "state dict" in first["verdict"] or "tensors" in first["verdict"]
    assert second["verdict"] == "taken"
    assert first["again"]
    (workspace / "weights" / f"{BACKBONE}.safetensors").unlink()
    shutil.rmtree(workspace / "weights")
    with_weights(workspace)
    mended = run_comp(workspace, "run", "shapes", "--resume", "latest", "--no-report", "--json")
    assert mended.code == 0, mended.err
    assert mended.json["preset"]["candidates"][0]["score"] is not None


def test_nothing_begins_that_would_break_the_limit_but_a_classifier_of_pixels(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shapes(workspace)
    with_weights(workspace)
    told = {"pixels": 1e6}
    monkeypatch.setattr(
        "comp.pipelines.engine.state.seconds_of",
        lambda plan, kept, at_once: told.get(plan.recipe.model.name, 1e4),
    )
    words = (
        "--preset",
        "best",
        "--backbones",
        BACKBONE,
        *SHORT,
        "--folds",
        2,
        "--time-limit",
        "20m",
        "--json",
    )
    done = run_comp(workspace, "run", "shapes", *words)
    assert done.code == 0, done.err
    assert [one["name"] for one in done.json["preset"]["candidates"] if one["run"]] == ["probe pixels at 16"]


def test_a_backbone_takes_as_many_epochs_as_fit_and_goes_on_with_those(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten epochs of 20 s each do not fit into the share of three minutes; with more time the shorter course is gone on with."""
    write_shapes(workspace)
    with_weights(workspace)

    def seconds(plan: TrainPlan, kept: int = 0, at_once: int = 1) -> float:
        return (
            1.0
            if plan.recipe.mode == "probe"
            else 1e6
            if plan.recipe.epochs == 1
            else 20.0 * plan.recipe.epochs
        )

    monkeypatch.setattr("comp.pipelines.engine.state.seconds_of", seconds)
    (workspace / "competitions" / "shapes" / "baseline.toml").write_text(
        'mode = "finetune"\nthreads = 1\ntta = ["identity"]\n'
    )
    given = {"backbones": [BACKBONE], "workspace": workspace, "report": False}
    trained = sessions.train_and_predict

    def stops(request: RunRequest, *more: object) -> object:
        if request.recipe.mode == "finetune":
            raise KeyboardInterrupt
        return trained(request, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(sessions, "train_and_predict", stops)
    comp.run_preset("shapes", "best", 2, time_limit="3m", **given)  # type: ignore[arg-type]
    begun = [one for one in decisions(workspace) if one["what"] == "begun" and one["epochs"]]
    assert 4 <= int(begun[0]["epochs"]) < 10  # type: ignore[call-overload]
    monkeypatch.setattr(sessions, "train_and_predict", trained)
    late = comp.run_preset("shapes", resume="latest", workspace=workspace, report=False, time_limit="1h")
    names = [one["name"] for one in late.preset["candidates"] if one["run"]]  # type: ignore[attr-defined]
    assert next(name for name in names if name.startswith("finetune")) == begun[0]["candidate"]


def test_where_nothing_can_be_trained_the_error_is_the_commands(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shapes(workspace)

    def fails(*_: object) -> None:
        raise TrainingFailed("the classifier must have a solution", "its numbers overflow", "other weights")

    monkeypatch.setattr(sessions, "train_and_predict", fails)
    alone = run_comp(workspace, "run", "shapes", "--preset", "fast", "--folds", 2)
    assert alone.code in (1, 2)
    assert "its numbers overflow" in alone.err


def test_a_dry_run_trains_nothing_and_writes_nothing(workspace: Path) -> None:
    write_shapes(workspace)
    done = run_comp(
        workspace, "run", "shapes", "--preset", "fast", "--dry-run", "--folds", 2, "--json", *SHORT
    )
    assert done.code == 0, done.err
    assert [row["name"] for row in done.json["rows"]] == ["probe pixels at 16", "baseline"]
    assert all(row["seconds"] > 0 for row in done.json["rows"])
    assert done.json["seconds"] > sum(row["seconds"] for row in done.json["rows"])
    assert not (workspace / "runs").exists()
    assert not (workspace / "presets").exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--preset", "fats"), "unknown preset"),
        (("--preset", "fast", "--quick"), "decides what is trained"),
        (("--preset", "fast", "--set", "model.name=resnet18"), "chooses backbones"),
        (("--preset", "fast", "--time-limit", "soon"), "duration"),
        (("--preset", "fast", "--licence", "beer"), "unknown licence"),
        (("--preset", "fast", "--backbones", "resnet_18"), "unknown model"),
        (("--preset", "fast", "--set", "epochs=few"), "epochs"),
        (("--backbones", "resnet18"), "only a preset"),
        (("--dry-run",), "only a preset"),
        (("--resume", "preset-2"), "unknown preset run"),
    ],
)
def test_mistakes_are_told_and_leave_nothing(workspace: Path, more: tuple[str, ...], says: str) -> None:
    write_shapes(workspace)
    done = run_comp(workspace, "run", "shapes", "--folds", 2, *more)
    assert done.code == 2, done.err
    assert says in done.err
    assert not list(workspace.glob("presets/*/*"))
    assert not (workspace / "runs").exists()


def test_a_preset_that_goes_on_takes_nothing_new_but_time(workspace: Path) -> None:
    write_shapes(workspace)
    comp.run_preset("shapes", "fast", 2, workspace=workspace, overrides=["epochs=1"], report=False)
    with pytest.raises(InputError, match="keeps what it began with"):
        comp.run_preset("shapes", resume="latest", workspace=workspace, seed=3)
    with pytest.raises(InputError, match="is done"):
        comp.run_preset("shapes", resume="latest", workspace=workspace, time_limit="1h")


def test_without_time_for_all_the_rest_is_left_for_more_time(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit is left out and said; with new time it is tried."""
    write_shapes(workspace)
    told = {"pixels": 1.0, "test_resnet": 1e6}
    monkeypatch.setattr(
        "comp.pipelines.engine.state.seconds_of", lambda plan, kept, at_once: told[plan.recipe.model.name]
    )
    first = run_comp(
        workspace, "run", "shapes", "--preset", "fast", *SHORT, "--folds", 2, "--time-limit", "5m", "--json"
    )
    assert first.code == 0, first.err
    assert "does not fit" in first.json["preset"]["candidates"][1]["verdict"]
    told["test_resnet"] = 1.0
    late = run_comp(
        workspace, "run", "shapes", "--resume", "latest", "--time-limit", "5m", "--json", "--no-report"
    )
    assert late.code == 0, late.err
    assert [one["run"] is not None for one in late.json["preset"]["candidates"]] == [True, True]
    assert [one["what"] for one in decisions(workspace)].count("penalty") == 1, (
        "what is known is not worked out again"
    )


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_csv(workspace: Path) -> None:
    draw = random.Random(20)
    words = ["--preset", "fast", "--set", "epochs=2", "--set", "threads=1", "--no-report", "--json"]

    def command(place: Path, *more: str) -> list[str]:
        return [sys.executable, "-m", "comp.cli.main", "run", "digits", "--workspace", str(place), *more]

    def finished(place: Path, *more: str) -> bytes:
        done = subprocess.run(
            command(place, *more), capture_output=True, env=clean_environment(), check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return Path(json.loads(done.stdout)["submission"]).read_bytes()

    (workspace / "whole").mkdir()
    started = time.monotonic()
    whole = finished(workspace / "whole", *words)
    took = time.monotonic() - started
    killed = 0
    for n in range(5):
        place = workspace / f"killed-{n}"
        place.mkdir()
        process = subprocess.Popen(
            command(place, *words),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=clean_environment(),
        )
        time.sleep(draw.uniform(0.1, 0.95) * took)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if any('"ended"' in path.read_text() for path in place.glob("presets/*/decisions.jsonl")):
            continue  # it was quicker than the first one, and done
        killed += 1
        begun = list(place.glob("presets/*/order.json"))
        again = ["--resume", "latest", "--no-report", "--json"] if begun else words
        assert finished(place, *again) == whole
    assert killed >= 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_shuffled_labels_score_as_chance(workspace: Path, seed: int) -> None:
    raw = write_shapes(workspace, per_class=60)
    table = (raw / "train.csv").read_text().splitlines()
    rows = [line.split(",") for line in table[1:]]
    labels = [row[1] for row in rows]
    random.Random(seed).shuffle(labels)
    for row, label in zip(rows, labels, strict=True):
        row[1] = label
    (raw / "train.csv").write_text("\n".join([table[0], *(",".join(row) for row in rows)]) + "\n")
    with_weights(workspace)
    done = run_comp(workspace, "run", "shapes", "--preset", "best", "--backbones", BACKBONE, *SHORT, "--json")
    assert done.code == 0, done.err
    chance = 1 / 3
    assert done.json["oof"]["score"] <= chance + 3 * np.sqrt(chance * (1 - chance) / len(rows))
    assert len([one for one in done.json["preset"]["candidates"] if one["run"]]) >= 4


def test_people_see_what_was_tried_and_how_to_go_on(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shapes(workspace)
    monkeypatch.setattr(
        "comp.pipelines.engine.state.seconds_of",
        lambda plan, kept, at_once: 1.0 if plan.recipe.mode == "probe" else 1e6,
    )
    plan = run_comp(
        workspace, "run", "shapes", "--preset", "good", "--dry-run", "--time-limit", "1h", "--folds", 2
    )
    assert "probe pixels at 16" in plan.out
    assert "does not fit the time" in plan.out or "about" in plan.out
    done = run_comp(
        workspace, "run", "shapes", "--preset", "good", "--time-limit", "1h", *SHORT, "--folds", 2
    )
    assert done.code == 0, done.err
    assert "baseline" in done.out
    assert "does not fit" in done.out
    assert "nested OOF accuracy" in done.out
    assert "--resume preset-" in done.err
    assert "best so far: 1 run" in done.err


def test_what_the_best_run_is_sure_of_is_trained_on_by_the_fold_that_was_sure(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last trained candidate learns from test rows too, each fold from those of its own model; an unsure run has none."""
    write_shapes(workspace)
    real = sessions.best_blend_of
    monkeypatch.setattr(sessions, "best_blend_of", lambda ws, names: real(ws, names[1:2] or names))
    monkeypatch.setattr(sessions, "why_dropped", lambda *_: None)
    monkeypatch.setattr("comp.pipelines.engine.rungs.SEEDS", 0)
    last = {}
    for sure in (0.34, 1.0):
        monkeypatch.setattr("comp.pipelines.engine.rungs.SURE", sure)
        given = {"workspace": workspace, "overrides": ["epochs=2", "threads=1"], "report": False}
        found = comp.run_preset("shapes", "best", 2, **given)  # type: ignore[arg-type]
        last[sure] = found.preset["candidates"][-1]  # type: ignore[attr-defined]
    assert last[1.0]["name"] == "baseline"
    assert last[0.34]["name"] == "baseline, pseudo-labels"
    run = workspace / "runs" / last[0.34]["run"]
    labels = pd.read_csv(run / "pseudo.csv")
    assert set(labels["fold"]) == {0, 1}
    of = next(one["run"] for one in found.preset["candidates"] if one["name"] == "baseline")  # type: ignore[attr-defined]
    assert read_json(run / "pseudo.json")["run"] != of, "of the first preset's run, not of another one"
    assert (labels["prob"] >= 0.34).all()


@pytest.mark.parametrize("taken", [True, False])
def test_further_seeds_are_tried_of_a_run_that_the_blend_has(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    """A trained run that no blend takes is not tried with another seed; of one that is taken two in vain are the end."""
    write_shapes(workspace)
    real = sessions.best_blend_of

    def standing(ws: object, names: list[str]) -> object:
        return real(ws, names[:1] if not taken else names[1:2] or names)  # type: ignore[arg-type]

    monkeypatch.setattr(sessions, "best_blend_of", standing)
    monkeypatch.setattr(sessions, "why_dropped", lambda *_: None)
    found = comp.run_preset(
        "shapes", "best", 2, workspace=workspace, overrides=["epochs=1", "threads=1"], report=False
    )
    names = [one["name"] for one in found.preset["candidates"]]  # type: ignore[attr-defined]
    assert names == ["probe pixels at 16", "baseline"] + (
        ["baseline, seed 1", "baseline, seed 2"] if taken else []
    )


@pytest.mark.parametrize("changed", ["test rows", "baseline.toml"])
def test_it_does_not_go_on_with_other_rows_or_another_recipe(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    """The runs so far are of what was there: nothing else is blended with them."""
    raw = write_shapes(workspace)
    monkeypatch.setattr(
        "comp.pipelines.engine.state.seconds_of",
        lambda plan, kept, at_once: 1.0 if plan.recipe.mode == "probe" else 1e6,
    )
    first = run_comp(
        workspace, "run", "shapes", "--preset", "fast", *SHORT, "--folds", 2, "--time-limit", "5m"
    )
    assert first.code == 0, first.err
    before = set(workspace.glob("runs/*"))
    if changed == "test rows":
        save_image(next(raw.glob("test/*")), draw("circle", seed=977))
    else:
        path = workspace / "competitions" / "shapes" / "baseline.toml"
        path.write_text(path.read_text() + "[probe]\nl2 = 0.2\n")
    late = run_comp(workspace, "run", "shapes", "--resume", "latest", "--time-limit", "5m")
    assert late.code != 0
    assert f"{changed} are no longer those" in late.err
    assert set(workspace.glob("runs/*")) == before
    assert len(list(workspace.glob("presets/*/decisions.jsonl"))) == 1, "and nothing is lost"


def test_what_a_part_chose_by_its_held_out_rows_is_said_of_the_blend(workspace: Path) -> None:
    """Nesting the choice of parts does not undo that epochs were chosen by the rows that are scored."""
    write_shapes(workspace)
    words = ("--preset", "fast", "--set", "checkpoint=best", *SHORT, "--folds", 2, "--json")
    done = run_comp(workspace, "run", "shapes", *words)
    assert done.code == 0, done.err
    assert done.json["oof"]["selected_on_oof"] is True
    assert "optimistic" in done.err
    (run,) = (one["run"] for one in done.json["preset"]["candidates"] if one["name"] == "baseline")
    alone = run_comp(workspace, "ensemble", run, "--no-report", "--json")
    assert alone.json["oof"]["selected_on_oof"] is True, "of any blend"


def test_many_backbones_are_compared_on_samples_first(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of five the cheapest is probed at once; of the other four half is left out by a sample of the rows, and stays out when it goes on."""
    write_shapes(workspace)
    (workspace / "weights").mkdir()
    names = [
        f"test_{one}.r160_in1k"
        for one in ("resnet", "efficientnet", "convnext", "byobnet", "efficientnet_evos")
    ]
    for name in names:
        torch.manual_seed(0)
        net = timm.create_model(name.partition(".")[0], num_classes=10)
        save_file(dict(net.state_dict()), workspace / "weights" / f"{name}.safetensors")
    monkeypatch.setattr("comp.pipelines.engine.halving.FIRST_ROWS", 6)
    monkeypatch.setattr("comp.pipelines.engine.halving.A_CLASS", 2)
    monkeypatch.setattr("comp.pipelines.engine.rungs.LARGER", 0)
    trained = sessions.train_and_predict

    def stops(request: RunRequest, *more: object) -> object:
        if request.recipe.model.name != names[0].partition(".")[0] and request.recipe.model.name != names[0]:
            raise KeyboardInterrupt
        return trained(request, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(sessions, "train_and_predict", stops)
    comp.run_preset("shapes", "fast", 2, backbones=names, workspace=workspace, report=False)
    monkeypatch.setattr(sessions, "train_and_predict", trained)
    late = comp.run_preset("shapes", resume="latest", workspace=workspace, report=False)
    sampled = [one for one in decisions(workspace) if one["what"] == "sampled"]
    assert sorted(str(one["candidate"]) for one in sampled) == sorted(
        f"probe {name} at 160" for name in names[1:]
    )
    told = {one["name"]: one for one in late.preset["candidates"]}  # type: ignore[attr-defined]
    behind = {name for name, one in told.items() if "log loss" in one["verdict"]}
    assert len(behind) == 2
    losses = {str(one["candidate"]): float(one["loss"]) for one in sampled}  # type: ignore[arg-type]
    assert min(losses[name] for name in behind) >= max(losses[name] for name in losses if name not in behind)
    assert all(told[name]["run"] is None for name in behind)
    assert told[f"probe {names[0]} at 160"]["run"], "the first is there whatever it is worth"
    assert sum(one["run"] is not None for one in told.values() if str(one["name"]).startswith("probe")) == 3


def test_a_further_seed_takes_as_many_epochs_as_fit(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shapes(workspace)
    with_weights(workspace)

    def seconds(plan: TrainPlan, kept: int = 0, at_once: int = 1) -> float:
        if plan.recipe.mode == "probe":
            return 1.0
        slow = 15.0 if plan.recipe.seed else 5.0 if plan.recipe.model.name == BACKBONE else 1e6
        return plan.recipe.epochs * slow

    real = sessions.best_blend_of
    monkeypatch.setattr("comp.pipelines.engine.state.seconds_of", seconds)
    monkeypatch.setattr(sessions, "best_blend_of", lambda ws, names: real(ws, names[1:2] or names))
    monkeypatch.setattr(sessions, "why_dropped", lambda *_: None)
    monkeypatch.setattr("comp.pipelines.engine.rungs.SEEDS", 1)
    given = {"backbones": [BACKBONE], "workspace": workspace, "report": False, "overrides": ["threads=1"]}
    found = comp.run_preset("shapes", "best", 2, time_limit="150s", **given)  # type: ignore[arg-type]
    begun = [one for one in decisions(workspace) if one["what"] == "begun" and one["epochs"]]
    assert [(one["seed"], one["epochs"] == 10) for one in begun] == [(0, True), (1, False)]
    assert int(begun[1]["epochs"]) >= 4  # type: ignore[call-overload]
    assert any(
        str(one["name"]).endswith("epochs, seed 1") and one["run"] for one in found.preset["candidates"]
    )  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpus-per-fold", "2"], "what trains a fold together is said by its recipe"),
        (["--engine", "ray", "--address", "127.0.0.1:1"], "needs a cluster that answers"),
        (["--engine", "ray", "--address", "127.0.0.1:1", "--dry-run"], "needs a cluster that answers"),
    ],
)
def test_an_engine_that_cannot_be_is_refused_before_any_image(
    tmp_path: Path, words: list[str], said: str
) -> None:
    refused = run_comp(tmp_path, "run", "digits", "--preset", "fast", *words)
    assert refused.code == 2
    assert said in refused.err
    assert "checks:" not in refused.err
    assert not (tmp_path / "presets").exists()
