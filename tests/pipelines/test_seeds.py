"""Several seeds or models and their blend in one command, on real scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from comp.data.folds import Folds
from comp.data.predictions import Predictions, average
from comp.errors import InputError
from comp.files import read_json
from comp.pipelines.seeds import seeds_of
from made import run_comp

QUICK = ("--folds", 2, "--quick", "--set", "threads=1")
TWO = """
mode = "scratch"
epochs = 1
batch = 32
precision = "fp32"
channels_last = true
threads = 1

[[model]]
name = "test_resnet"
size = 32
mean = [0.3, 0.3, 0.3]
std = [0.4, 0.4, 0.4]

[[model]]
name = "resnet9"
kwargs = { width = 4 }
size = 16
"""


def test_seeds_are_read_from_one_override() -> None:
    assert seeds_of(["epochs=2", "seed=0,1,2"]) == [0, 1, 2]
    assert seeds_of(["seed=[3, 4]"]) == [3, 4]
    assert seeds_of(["seed=3"]) == []
    assert seeds_of(["model.mean=[0.1,0.2,0.3]"]) == []
    for wrong in ("seed=0,0", "seed=0,one", "seed=0,-1"):
        with pytest.raises(InputError, match="whole numbers, each once"):
            seeds_of([wrong])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--set", "seed=0,1", "--only", "0"), "--only 0 leaves folds out"),
        (("--ensemble", "mean", "--only", "0"), "--only 0 leaves folds out"),
        (
            ("--set", "seed=0,1", "--time-limit", "1h"),
            "--time-limit 1h and 2 seeds",
        ),
    ],
)
def test_what_could_not_be_blended_is_not_trained(workspace: Path, more: tuple[str, ...], says: str) -> None:
    refused = run_comp(workspace, "run", "digits", *QUICK, *more)
    assert refused.code == 2
    assert says in refused.err
    assert not (workspace / "runs").exists()


def test_a_run_for_each_seed_and_their_mean(workspace: Path) -> None:
    done = run_comp(workspace, "run", "digits", *QUICK, "--set", "seed=0,1", "--json")
    assert done.code == 0, done.err
    parts = [workspace / "runs" / one["part"] for one in done.json["ensemble"]["parts"]]
    assert done.json["ensemble"]["method"] == "mean"
    assert len({Folds.load(part / "folds.csv").fold.tobytes() for part in parts}) == 1
    each = [Predictions.load(part / "test.npz") for part in parts]
    assert not np.allclose(each[0].probs, each[1].probs), "the seeds differ"
    blended = Predictions.load(workspace / "runs" / done.json["run"] / "test.npz")
    assert np.allclose(blended.probs, average(each).select(blended.ids).probs)
    assert run_comp(workspace, "validate", "digits", done.json["submission"]).code == 0
    assert len(run_comp(workspace, "runs", "--json").json) == 3


def test_single_models_and_their_blend_in_one_command(workspace: Path) -> None:
    (workspace / "two.toml").write_text(TWO)
    done = run_comp(
        workspace, "run", "digits", *QUICK, "--recipe", workspace / "two.toml", "--ensemble", "auto", "--json"
    )
    assert done.code == 0, done.err
    names = [one["part"] for one in done.json["ensemble"]["parts"]]
    run = names[0].split("/")[0]
    assert names == [f"{run}/model-0", f"{run}/model-1"]
    record = read_json(workspace / "runs" / run / "record.json")
    assert [one["score"] for one in done.json["ensemble"]["parts"]] == [
        pytest.approx(one["score"]) for one in record["models"]
    ]
    whole = Predictions.load(workspace / "runs" / run / "test.npz")
    each = [Predictions.load(workspace / "runs" / name / "test.npz") for name in names]
    assert np.allclose(average(each).select(whole.ids).probs, whole.probs)
    again = run_comp(workspace, "ensemble", *names, "--method", "geometric", "--json")
    assert again.code == 0, again.err


def test_mistakes_are_told_before_training(workspace: Path) -> None:
    refused = run_comp(workspace, "run", "digits", *QUICK, "--ensemble", "meen")
    assert refused.code == 2
    twice = run_comp(workspace, "run", "digits", *QUICK, "--seed", 3, "--set", "seed=0,1")
    assert twice.code == 2
    assert "seeds are named once" in twice.err
    assert not (workspace / "runs").exists()
