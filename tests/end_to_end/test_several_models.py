"""Several models in one recipe: each with its own size, preprocessing and optimizer, one OOF each, one submission."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import comp
from comp.data.predictions import Predictions, average
from comp.errors import CompError, InputError, RecipeError
from comp.recipe import load
from comp.training.time_limit import OutOfTime

RECIPE = """
mode = "scratch"
epochs = 1
batch = 32
precision = "fp32"
channels_last = true
optimizer = "adamw"

[[model]]
name = "test_resnet"
size = 32
mean = [0.3, 0.3, 0.3]
std = [0.4, 0.4, 0.4]

[[model]]
name = "resnet9"
kwargs = { width = 4 }
size = 16
channels_last = false
optimizer = { lr = 0.01 }
regularize = { ema = 0.9 }

[[model]]
name = "test_efficientnet"
size = 24
fit = "squash"
optimizer = { name = "sgd", lr = 0.05 }
epochs = 2
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> comp.pipelines.run.RunResult:
    workspace = tmp_path_factory.mktemp("ws")
    (workspace / "three.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("comp.models.runtime.usable_cores", lambda: 2)
        patch.setattr("comp.models.autotune.step_seconds", lambda *given: 0.01 * given[-1])
        return comp.run("digits", 2, workspace=workspace, recipe=workspace / "three.toml", quick=True)


def test_one_oof_a_model_and_their_mean(ran: comp.pipelines.run.RunResult) -> None:
    assert [m["model"] for m in ran.models] == ["test_resnet", "resnet9", "test_efficientnet"]
    parts = [
        average([Predictions.load(ran.folder / f"model-{n}" / f"fold-{k}" / "oof.npz") for n in range(3)])
        for k in range(2)
    ]
    whole = Predictions.load(ran.folder / "oof.npz")
    for part in parts:
        assert np.allclose(whole.select(part.ids).probs, part.probs)
    assert [one.threads for one in load(ran.folder / "recipe.toml").each] == [2, 2, 2], (
        "one is faster, but not asked"
    )
    sizes = [load(ran.folder / "recipe.toml").each[n].model.size for n in range(3)]
    assert sizes == [32, 16, 24]
    assert [one.epochs for one in load(ran.folder / "recipe.toml").each] == [
        1,
        1,
        1,
    ]  # --quick is one for all


def test_predicting_again_gives_the_same_bytes(ran: comp.pipelines.run.RunResult) -> None:
    before = ran.submission.read_bytes()
    path, _ = comp.predict(ran.run, workspace=ran.folder.parent.parent)
    assert path.read_bytes() == before


def test_swapped_sidecars_are_refused(ran: comp.pipelines.run.RunResult, tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    shutil.copytree(ran.folder.parent.parent, workspace)
    one, other = (workspace / "runs" / ran.run / f"model-{n}" / "fold-0" / "model.json" for n in (0, 2))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    with pytest.raises(CompError, match="as it wrote them"):
        comp.predict(ran.run, workspace=workspace)


def test_a_missing_fold_of_one_model_is_named(ran: comp.pipelines.run.RunResult, tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    shutil.copytree(ran.folder.parent.parent, workspace)
    shutil.rmtree(workspace / "runs" / ran.run / "model-1" / "fold-1")
    with pytest.raises(InputError, match="asks every fold") as error:
        comp.predict(ran.run, workspace=workspace)
    assert "model-1/fold-1" in error.value.value


def test_mistakes_name_the_model(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    text = (
        RECIPE.replace("size = 16", "size = 4").replace('name = "sgd"', 'name = "sdg"')
        + "folds = 3\ntta = 3\n"
    )
    path.write_text(text)
    with pytest.raises(RecipeError) as error:
        comp.run("digits", 2, workspace=tmp_path, recipe=path)
    told = error.value.value
    assert "model.1.size:" in told
    assert "model.2.folds: no such key" in told
    assert "model.2.tta: is one for all models" in told
    assert "model.2.optimizer.name" in told


def test_one_value_of_one_model(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(RECIPE)
    changed = load(path, ["model.1.size=20", "batch=16", "model.2.optimizer.lr=0.5"])
    assert [one.model.size for one in changed.each] == [32, 20, 24]
    assert {one.batch for one in changed.each} == {16}
    assert [one.optimizer.lr for one in changed.each] == [3e-4, 0.01, 0.5]
    again = tmp_path / "again.toml"
    again.write_text(changed.to_toml())
    assert load(again) == changed
    with pytest.raises(InputError, match="by its number"):
        load(path, ["model.9.size=20"])


def test_past_the_time_limit_no_further_model_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "three.toml"
    path.write_text(RECIPE)
    with pytest.raises(OutOfTime):
        comp.run("digits", 2, workspace=tmp_path, recipe=path, quick=True, time_limit="1s")
    assert capsys.readouterr().err.count("time limit was reached") == 1
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "model-0" / "fold-0" / "state.pt").exists()
    assert not (run / "model-1").exists()
