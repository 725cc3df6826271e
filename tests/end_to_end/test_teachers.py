"""Teachers and weighed rows beyond a single label and one network: other tasks, several models, folds side by side."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import comp
from comp.data.predictions import Predictions
from comp.models.weights import read_weights
from comp.pipelines.run_result import RunResult
from made import draw, probe, run_comp, save_image
from made_tasks import write_task


def same(one: RunResult, other: RunResult, k: int = 0, model: str = ".") -> bool:
    a, b = (read_weights(r.folder / model / f"fold-{k}" / "model.safetensors") for r in (one, other))
    return all(a[name].equal(b[name]) for name in a)


def extra(workspace: Path, columns: str, rows: list[str]) -> Path:
    lines = [f"path,{columns}"]
    for n, row in enumerate(rows):
        save_image(workspace / "more" / f"{n}.png", draw("circle", 500 + n))
        lines.append(f"{n}.png,{row}")
    (workspace / "more" / "extra.csv").write_text("\n".join(lines) + "\n")
    return workspace / "more" / "extra.csv"


def test_several_labels_have_probabilities_weights_and_a_teacher(tmp_path: Path) -> None:
    write_task(tmp_path, "sets")
    rows = ["0.9,0.5,1", "0,0.1,2", "0.3,1,1", "1,1,0.5"]
    table = extra(tmp_path, "prob:box,prob:disc,weight", rows)
    asked = {"workspace": tmp_path, "report": False}
    plain = comp.run("sets", 2, **asked)
    soft = comp.run("sets", 2, extra=table, **asked)
    taught = comp.run("sets", 2, overrides=[f"distill.run={plain.run}", "distill.temperature=2"], **asked)
    assert not same(plain, soft)
    assert not same(plain, taught)
    for run in (soft, taught):
        assert np.isfinite(Predictions.load(run.folder / "oof.npz").probs).all()


@pytest.mark.parametrize("slug", ["number", "grade"])
def test_numbers_have_weights_and_no_teacher(tmp_path: Path, slug: str) -> None:
    write_task(tmp_path, slug)
    label = "1" if slug == "grade" else "57.5"
    asked = {"workspace": tmp_path, "report": False}
    one, heavy = (
        comp.run(slug, 2, extra=extra(tmp_path / w, "label,weight", [f"{label},{w}"] * 4), **asked)
        for w in ("1", "9")
    )
    assert not same(one, heavy)
    told = run_comp(tmp_path, "run", slug, "--folds", "2", "--set", f"distill.run={one.run}")
    assert told.code == 2
    assert "distill is for classes" in told.err
    refused = run_comp(
        tmp_path, "run", slug, "--folds", "2", "--extra", extra(tmp_path, "label,prob:1", [f"{label},1"])
    )
    assert refused.code == 2
    assert "probabilities are of classes" in refused.err


def test_a_fine_tuned_network_learns_from_a_probe_and_folds_side_by_side_learn_the_same(
    workspace: Path, shapes: Path
) -> None:
    asked = {"workspace": workspace, "report": False}
    teacher = comp.run("shapes", 2, overrides=probe(workspace), **asked)
    student = [*probe(workspace), "mode=finetune", f"distill.run={teacher.run}", "epochs=2"]
    one = comp.run("shapes", 2, overrides=student, **asked)
    both = comp.run("shapes", 2, overrides=[*student, "jobs=2"], **asked)
    assert all(same(one, both, k) for k in range(2))
    plain = comp.run("shapes", 2, overrides=[*probe(workspace), "mode=finetune", "epochs=2"], **asked)
    assert not same(one, plain)


def test_each_of_several_models_has_its_own_teacher_or_none(workspace: Path, shapes: Path) -> None:
    asked = {"workspace": workspace, "report": False}
    teacher = comp.run("shapes", 2, **asked)
    recipe = workspace / "two.toml"
    one = '[[model]]\nname = "test_resnet"\nsize = 32\n'
    head = 'mode = "scratch"\nepochs = 1\nbatch = 8\nprecision = "fp32"\nchannels_last = true\nthreads = 1\n'
    recipe.write_text(f'{head}{one}{one}distill = {{run = "{teacher.run}"}}\n')
    plain = workspace / "plain.toml"
    plain.write_text(f"{head}{one}{one}")
    found, before = (comp.run("shapes", 2, recipe=path, **asked) for path in (recipe, plain))
    assert same(found, before, model="model-0")
    assert not same(found, before, model="model-1")
    both = comp.run("shapes", 2, overrides=[f"distill.run={found.run}"], **asked)
    one_of = comp.run("shapes", 2, overrides=[f"distill.run={found.run}/model-1"], **asked)
    assert not same(both, one_of)


def test_a_child_run_keeps_the_teacher(workspace: Path, shapes: Path) -> None:
    asked = {"workspace": workspace, "report": False}
    teacher = comp.run("shapes", 2, **asked)
    parent = comp.run("shapes", 2, overrides=["distill.run=latest"], **asked)
    child = comp.run("shapes", resume=parent.run, overrides=["epochs=2"], **asked)
    assert f'run = "{teacher.run}"' in (child.folder / "recipe.toml").read_text()
    shutil.rmtree(teacher.folder)
    told = run_comp(workspace, "run", "shapes", "--resume", parent.run, "--set", "epochs=2")
    assert told.code == 2
    assert teacher.run in told.err
