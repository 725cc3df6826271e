"""Runs that begin where another ended: weights = "run:RUN", and child runs by --resume RUN --set."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import comp
from comp.data.predictions import Predictions
from comp.errors import CheckFailed, InputError, WeightsError
from comp.models.checkpoint import load_checkpoint, read_sidecar
from comp.models.weights import read_weights
from comp.pipelines.run_result import RunResult
from comp.recipe import load
from comp.runs import run as runs
from comp.workspace import Workspace
from made import run_comp, write_shapes

STILL = [
    "optimizer.lr=1e-12",
    "optimizer.weight_decay=0.0",
    "model.freeze_bn=true",
]  # training that changes nothing


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run of ``shapes`` in two folds, three epochs, with a mean of its own."""
    workspace = tmp_path_factory.mktemp("earlier") / "ws"
    write_shapes(workspace)
    own = ["epochs=3", "model.mean=[0.4,0.5,0.6]", "model.std=[0.2,0.3,0.4]"]
    return comp.run("shapes", 2, workspace=workspace, overrides=own)


@pytest.fixture
def workspace(earlier: RunResult, tmp_path: Path) -> Path:
    """A copy of its workspace."""
    shutil.copytree(earlier.folder.parent.parent, tmp_path / "ws")
    return tmp_path / "ws"


def warm(*more: str) -> list[str]:
    return ["mode=finetune", "model.weights=run:latest", *more]


def history(run: RunResult, k: int) -> list[dict[str, str]]:
    return list(csv.DictReader((run.folder / f"fold-{k}" / "history.csv").read_text().splitlines()))


# --- weights = "run:RUN" --------------------------------------------------------------------------------------------


def test_each_fold_starts_from_its_own_fold(workspace: Path, earlier: RunResult) -> None:
    run = comp.run("shapes", 2, workspace=workspace, overrides=warm("epochs=1", *STILL))
    for k in range(2):
        before = read_weights(earlier.folder / f"fold-{k}" / "model.safetensors")
        after = read_weights(run.folder / f"fold-{k}" / "model.safetensors")
        other = read_weights(earlier.folder / f"fold-{1 - k}" / "model.safetensors")
        assert all(torch.allclose(after[name].float(), before[name].float(), atol=1e-6) for name in before)
        assert not torch.allclose(after["head.weight"], other["head.weight"], atol=1e-3)
    assert np.allclose(
        Predictions.load(run.folder / "oof.npz").probs,
        Predictions.load(earlier.folder / "oof.npz").probs,
        atol=1e-5,
    )


def test_the_preprocessing_is_the_checkpoints_and_the_recipe_names_the_whole_id(
    workspace: Path, earlier: RunResult
) -> None:
    run = comp.run("shapes", 2, workspace=workspace, overrides=warm("epochs=1"))
    own, theirs = (read_sidecar(r.folder / "fold-1").preprocess for r in (run, earlier))
    assert own == theirs
    assert own.mean == (0.4, 0.5, 0.6)
    assert load(run.folder / "recipe.toml").model.weights == f"run:{earlier.run}"


def test_it_is_the_same_as_the_file_of_each_fold_loaded_by_hand(workspace: Path, earlier: RunResult) -> None:
    """Fold by fold, a run that starts from that fold's file gives the same bytes."""
    base = [
        "mode=finetune",
        "epochs=1",
        "head_start=false",
        "optimizer.head_lr=3e-3",
        "model.freeze_bn=false",
    ]
    ours = comp.run("shapes", 2, workspace=workspace, overrides=[*base, f"model.weights=run:{earlier.run}"])
    for k in range(2):
        file = workspace / "runs" / earlier.run / f"fold-{k}" / "model.safetensors"
        hand = comp.run(
            "shapes",
            2,
            workspace=workspace,
            overrides=[*base, f"model.weights={file}"],
            only=[k],
            allow={"weights-leak": "only the fold that it never saw is trained"},
        )
        one, other = (r.folder / f"fold-{k}" / "model.safetensors" for r in (ours, hand))
        assert one.read_bytes() == other.read_bytes()


def test_a_trained_classifier_is_not_solved_again_and_learns_at_the_backbones_rate(
    workspace: Path, earlier: RunResult
) -> None:
    start = ["mode=finetune", f"model.weights=run:{earlier.run}", "epochs=1"]
    both = [
        comp.run("shapes", 2, workspace=workspace, overrides=[*start, f"head_start={on}"], only=[0])
        for on in ("true", "false")
    ]
    first, second = (read_weights(r.folder / "fold-0" / "model.safetensors") for r in both)
    assert all(first[name].equal(second[name]) for name in first)


def test_another_size_than_the_checkpoint_was_trained_in(workspace: Path) -> None:
    run = comp.run("shapes", 2, workspace=workspace, overrides=warm("epochs=1", "model.size=48"))
    assert read_sidecar(run.folder / "fold-0").preprocess.size == 48
    assert read_sidecar(run.folder / "fold-0").preprocess.mean == (0.4, 0.5, 0.6)


def test_probe_on_the_backbone_of_each_fold(workspace: Path, earlier: RunResult) -> None:
    run = comp.run("shapes", 2, workspace=workspace, overrides=["mode=probe", "model.weights=run:latest"])
    for k in range(2):
        before = read_weights(earlier.folder / f"fold-{k}" / "model.safetensors")
        after = read_weights(run.folder / f"fold-{k}" / "model.safetensors")
        body = [name for name in before if name.startswith("backbone.")]
        assert all(after[name].equal(before[name]) for name in body)
        assert not after["head.weight"].equal(before["head.weight"])
        net, sidecar = load_checkpoint(
            run.folder / f"fold-{k}"
        )  # as prediction reads it: control rows agreed
        assert sidecar.fold == k
        assert net.head.weight.equal(after["head.weight"])


def test_other_folds_are_a_leak_and_are_counted_by_fold(workspace: Path, earlier: RunResult) -> None:
    refused = run_comp(workspace, "run", "shapes", "--folds", 2, *sets(warm("fold_seed=5")))
    assert refused.code == 1, refused.err
    old, new = (fold_of(workspace / "runs" / earlier.run / "folds.csv"), fold_of(made_folds(workspace, 5)))
    for k in range(2):
        moved = sum(new[i] == k != old[i] for i in new)
        assert moved > 0
        assert f"{moved} rows of fold {k}" in refused.err
    assert "weights-leak" in refused.err
    assert len(list((workspace / "runs").iterdir())) == 1, "no run folder was made"


def sets(overrides: list[str]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


def fold_of(path: Path) -> dict[str, int]:
    return {row["id"]: int(row["fold"]) for row in csv.DictReader(path.read_text().splitlines())}


def made_folds(workspace: Path, seed: int) -> Path:
    return workspace / "folds" / "shapes" / f"k2-seed{seed}.csv"


def test_another_number_of_folds_is_a_leak(workspace: Path) -> None:
    with pytest.raises(CheckFailed, match="no training past an error") as refused:
        comp.run("shapes", 3, workspace=workspace, overrides=warm())
    assert "weights-leak" in refused.value.value


def test_another_network_is_refused_with_both_names(workspace: Path) -> None:
    with pytest.raises(WeightsError, match="keeps the network") as refused:
        comp.run("shapes", 2, workspace=workspace, overrides=warm("model.name=test_efficientnet"))
    assert "test_efficientnet" in refused.value.value
    assert "test_resnet" in refused.value.value


def test_a_missing_checkpoint_is_named_where_its_fold_is_wanted(workspace: Path, earlier: RunResult) -> None:
    (workspace / "runs" / earlier.run / "fold-1" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="checkpoint of every fold") as refused:
        comp.run("shapes", 2, workspace=workspace, overrides=warm("epochs=1"))
    assert "fold-1" in refused.value.value
    assert len(runs.all_runs(Workspace(workspace))) == 1, "no run folder was made"
    assert comp.run("shapes", 2, workspace=workspace, overrides=warm("epochs=1"), only=[0]).per_fold


def test_a_changed_mean_is_warned_of(workspace: Path) -> None:
    run = comp.run("shapes", 2, workspace=workspace, overrides=warm("epochs=1", "model.mean=[0.5,0.5,0.5]"))
    found = json.loads((run.folder / "findings.json").read_text())
    assert [f["severity"] for f in found if f["check"] == "preprocessing-override"] == ["warning"]


def test_what_a_checkpoint_was_fitted_on_stays_known(workspace: Path, earlier: RunResult) -> None:
    """A leak that was allowed once is found again in the runs that start from that run."""
    file = workspace / "runs" / earlier.run / "fold-0" / "model.safetensors"
    allowed = comp.run(
        "shapes",
        2,
        workspace=workspace,
        overrides=["mode=finetune", "epochs=1", f"model.weights={file}"],
        allow={"weights-leak": "for the test"},
    )
    with pytest.raises(CheckFailed) as refused:
        comp.run("shapes", 2, workspace=workspace, overrides=warm())
    assert f"the checkpoints of {allowed.run} were fitted on rows" in refused.value.value
    assert "9 rows of fold 1" in refused.value.value
    assert "of fold 0" not in refused.value.value


# --- --resume RUN --set ---------------------------------------------------------------------------------------------


def test_a_child_trains_what_is_left_of_the_total(workspace: Path, earlier: RunResult) -> None:
    done = run_comp(workspace, "run", "shapes", "--resume", earlier.run, "--set", "epochs=5", "--json")
    assert done.code == 0, done.err
    assert "trains epochs 4 to 5" in done.err
    folder = workspace / "runs" / done.json["run"]
    for k in range(2):
        assert len((folder / f"fold-{k}" / "history.csv").read_text().splitlines()) == 1 + 2
    started = json.loads((folder / "started.json").read_text())
    assert started["parent"] == earlier.run
    same = (folder / "folds.csv", workspace / "runs" / earlier.run / "folds.csv")
    assert same[0].read_bytes() == same[1].read_bytes()
    table = run_comp(workspace, "runs", "--json").json
    assert [row["parent"] for row in table] == [earlier.run, None]
    assert "child of" in run_comp(workspace, "runs").out.replace("\n", " ")


def test_a_child_begins_where_its_parent_ended(workspace: Path, earlier: RunResult) -> None:
    child = comp.run("shapes", workspace=workspace, resume=earlier.run, overrides=["epochs=4", *STILL])
    ours, theirs = (Predictions.load(r.folder / "oof.npz") for r in (child, earlier))
    assert ours.ids == theirs.ids
    assert np.allclose(ours.probs, theirs.probs, atol=1e-5)
    moved = comp.run("shapes", workspace=workspace, resume=earlier.run, overrides=["epochs=4"])
    assert not np.allclose(Predictions.load(moved.folder / "oof.npz").probs, theirs.probs, atol=1e-4)


def test_a_child_trained_fold_by_fold_is_the_child_trained_at_once(
    workspace: Path, earlier: RunResult
) -> None:
    more = {"resume": earlier.run, "overrides": ["epochs=4"]}
    apart = [comp.run("shapes", workspace=workspace, only=[k], **more) for k in (0, 1)]
    whole = comp.run("shapes", workspace=workspace, **more)
    merged = comp.merge(*(run.run for run in apart), workspace=workspace)
    assert json.loads((merged.folder / "started.json").read_text())["parent"] == earlier.run
    resumed = comp.run("shapes", workspace=workspace, resume=apart[0].run)
    for run in (merged, resumed):
        assert run.marks == []
        assert run.submission.read_bytes() == whole.submission.read_bytes()
        assert run.beside == whole.beside


def test_a_grandchild_counts_all_epochs_before_it(workspace: Path, earlier: RunResult) -> None:
    child = comp.run("shapes", workspace=workspace, resume=earlier.run, overrides=["epochs=4"])
    with pytest.raises(InputError, match="epochs is the total") as refused:
        comp.run("shapes", workspace=workspace, resume=child.run, overrides=["epochs=4"])
    assert "trained 4" in refused.value.value
    grandchild = comp.run("shapes", workspace=workspace, resume=child.run, overrides=["epochs=6"])
    assert [row["epoch"] for row in history(grandchild, 0)] == ["1", "2"]
    assert load(grandchild.folder / "recipe.toml").model.weights == f"run:{child.run}"


def test_other_overrides_train_the_recipes_epochs_again_in_another_size(
    workspace: Path, earlier: RunResult
) -> None:
    child = comp.run("shapes", workspace=workspace, resume="latest", overrides=["model.size=48"])
    assert len(history(child, 1)) == 3
    assert read_sidecar(child.folder / "fold-0").preprocess.size == 48


def test_a_child_of_a_probe_has_all_epochs_before_it(workspace: Path) -> None:
    probe = comp.run("shapes", 2, workspace=workspace, overrides=["mode=probe", "model.weights=run:latest"])
    with pytest.raises(InputError, match="probe has no epochs"):
        comp.run("shapes", workspace=workspace, resume=probe.run, overrides=["epochs=2"])
    tuned = comp.run("shapes", workspace=workspace, resume=probe.run, overrides=["mode=finetune", "epochs=2"])
    assert len(history(tuned, 0)) == 2
    assert load(tuned.folder / "recipe.toml").model.freeze_bn is True


def test_a_child_of_stages_goes_on_in_the_last_one(workspace: Path) -> None:
    staged = 'stages=[{train="head",epochs=1},{train="all",epochs=1,lr=1e-3}]'
    parent = comp.run("shapes", 2, workspace=workspace, overrides=[staged, "epochs=2"], only=[0, 1])
    child = comp.run("shapes", workspace=workspace, resume=parent.run, overrides=["epochs=4"])
    (stage,) = load(child.folder / "recipe.toml").stages or []
    assert (stage.train, stage.epochs, stage.lr) == ("all", 2, 1e-3)
    again = comp.run(
        "shapes",
        workspace=workspace,
        resume=parent.run,
        overrides=['stages=[{train="head",epochs=3}]'],
        only=[0],
    )
    assert len(history(again, 0)) == 3


def test_a_child_of_several_models_starts_each_from_its_own(workspace: Path, tmp_path: Path) -> None:
    recipe = (workspace / "competitions" / "shapes" / "baseline.toml").read_text()
    recipe = recipe.replace("[model]", "[[model]]").replace('fit = "squash"', 'fit = "squash"\n')
    head, model, optimizer = recipe.partition("[[model]]")[0], "", "[optimizer]\nlr = 3e-3\n"
    for name, epochs in (("test_resnet", 1), ("test_efficientnet", 2)):
        model += f'[[model]]\nname = "{name}"\nsize = 32\nepochs = {epochs}\n\n'
    (tmp_path / "two.toml").write_text(head.replace("epochs = 1\n", "") + optimizer + model)
    parent = comp.run("shapes", 2, workspace=workspace, recipe=tmp_path / "two.toml")
    child = comp.run("shapes", workspace=workspace, resume=parent.run, overrides=["epochs=3"])
    members = load(child.folder / "recipe.toml").members
    assert [one.epochs for one in members] == [2, 1]
    assert [one.model.weights for one in members] == [f"run:{parent.run}/model-{n}" for n in range(2)]
    assert json.loads((child.folder / "started.json").read_text())["epochs_before"] == [1, 2]


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        (["epochs=3"], "epochs is the total"),
        (["epochs=many"], "epochs is a whole number"),
        (["model.weights=none", "epochs=4"], "keeps its parent's weights"),
        (["fold_seed=1"], "keeps its parent's folds"),
        (['stages=[{train="head",epochs=1}]', "epochs=4"], "stages say how many epochs"),
        (["model.name=test_efficientnet"], "keeps the network"),
        (["mode=scratch"], "mistake"),
    ],
)
def test_what_a_child_cannot_be(workspace: Path, earlier: RunResult, overrides: list[str], rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        comp.run("shapes", workspace=workspace, resume=earlier.run, overrides=overrides)
    assert len(runs.all_runs(Workspace(workspace))) == 1


def test_the_parent_must_be_finished_and_of_this_competition(workspace: Path, earlier: RunResult) -> None:
    with pytest.raises(InputError, match="belongs to one competition"):
        comp.run("digits", workspace=workspace, resume=earlier.run, overrides=["epochs=4"])
    for more in ({"seed": 1}, {"quick": True}, {"recipe": workspace / "r.toml"}):
        with pytest.raises(InputError, match="keeps its own recipe"):
            comp.run("shapes", workspace=workspace, resume=earlier.run, overrides=["epochs=4"], **more)
    (workspace / "runs" / earlier.run / "record.json").unlink()
    with pytest.raises(InputError, match="unfinished run keeps its own recipe"):
        comp.run("shapes", workspace=workspace, resume=earlier.run, overrides=["epochs=4"])
