"""comp neighbours: a run answered by the nearest images of each class, to be blended with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import comp
from comp.data.predictions import Predictions
from comp.errors import InputError
from comp.pipelines.run_result import RunResult
from made import run_comp, write_shapes

RECIPE = [
    "mode=scratch",
    "model.name=test_resnet",
    "model.size=32",
    "epochs=2",
    "threads=1",
    "precision=fp32",
    "device=cpu",
    "tta=identity",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    place = tmp_path_factory.mktemp("shapes")
    write_shapes(place)
    return place, comp.run("shapes", 2, workspace=place, overrides=RECIPE, report=False)


def test_a_run_of_neighbours_is_scored_and_blended(trained: tuple[Path, RunResult]) -> None:
    place, run = trained
    done = run_comp(place, "neighbours", run.run, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    folder = place / "runs" / told["run"]
    oof, before = Predictions.load(folder / "oof.npz"), Predictions.load(run.folder / "oof.npz")
    assert sorted(oof.ids) == sorted(before.ids)
    assert np.allclose(oof.probs.sum(axis=1), 1)
    assert len(Predictions.load(folder / "test.npz")) == 12
    assert 0 <= told["oof"]["score"] <= 1
    blended = run_comp(place, "ensemble", run.run, told["run"], "--json")
    assert blended.code == 0, blended.err
    again = run_comp(place, "neighbours", told["run"])
    assert again.code == 2
    assert "was imported" in again.err


def test_what_has_no_neighbours_is_refused(trained: tuple[Path, RunResult]) -> None:
    place, run = trained
    part = comp.run("shapes", 2, workspace=place, overrides=RECIPE, only=[0], report=False)
    with pytest.raises(InputError, match="all folds"):
        comp.neighbours(part.run, workspace=place)
    refit = comp.run("shapes", workspace=place, refit=run.run)
    with pytest.raises(InputError, match="held-out rows"):
        comp.neighbours(refit.run, workspace=place)
    assert not [path for path in (place / "runs").iterdir() if not (path / "manifest.csv").is_file()]
