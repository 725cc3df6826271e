"""A blend's kernel carries what its parts learned, and answers other rows byte for byte as the workspace does."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import comp
from comp.ensembling.methods import METHODS
from comp.errors import InputError
from comp.files import read_json
from comp.kaggle.kernel import contents
from comp.kaggle.kernel.budget import SPARE, START
from comp.kaggle.kernel.build import kernel
from comp.kaggle.kernel.speed import Cost
from comp.runs.parts import Part
from comp.runs.run import find_run
from comp.workspace import Workspace
from made import SHAPES, draw, save_image, write_shapes
from made_kernel import KAGGLE, SLUG, laid_out, train, write_digits, write_many

MINE = {"kaggle": "shapes-behind-a-curtain", "user": "ann"}
MODELS = 'model=[{name="test_resnet",size=32,fit="squash"},{name="resnet9",size=24,fit="squash"}]'
RECIPES: tuple[list[str], ...] = ([], ["seed=1", 'tta="d4"', "model.size=24"], [MODELS])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run, one with more views, and one of two models, that answer with probabilities; not to be written
    to.
    """
    root = tmp_path_factory.mktemp("kept")
    raw = write_shapes(root)
    toml = root / "competitions" / "shapes" / "competition.toml"
    target = f'target = {list(SHAPES)}\nkind = "probs"'.replace("'", '"')
    toml.write_text(re.sub(r'target = "label"\n(kind = "label"\n)?', f"{target}\n", toml.read_text()))
    write_rows(raw, 12)
    for changed in RECIPES:
        comp.run("shapes", 2, workspace=root, overrides=changed)
    return root


def write_rows(raw: Path, count: int) -> None:
    """A test part of so many drawn images, and a template that asks for them from the last on."""
    shutil.rmtree(raw / "test", ignore_errors=True)
    for n in range(count):
        save_image(raw / "test" / f"t{n}.png", draw(SHAPES[n % len(SHAPES)], 20_000 + n))
    lines = [",".join(["id", *SHAPES]), *(f"t{n},0,0,1" for n in reversed(range(count)))]
    (raw / "sample_submission.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def trained(kept: Path, tmp_path: Path) -> Path:
    """A copy of that workspace."""
    shutil.copytree(kept, tmp_path / "workspace")
    return tmp_path / "workspace"


def ids(workspace: Path) -> list[str]:
    return sorted(path.name for path in (workspace / "runs").iterdir())


def answers_alike(workspace: Path, run: str, tmp_path: Path, rows: int) -> None:
    """The run's kernel gives the bytes that ``comp predict`` gives, without the workspace's runs."""
    hidden = tmp_path / "hidden"
    shutil.copytree(workspace / "data" / "shapes", hidden)
    write_rows(hidden, rows)
    expected, _ = comp.predict(run, workspace=workspace, data=hidden, out=tmp_path / "expected.csv")
    found = kernel("shapes", run, workspace=workspace, **MINE)
    elsewhere = laid_out(found.dataset, tmp_path / "elsewhere")
    shutil.rmtree(workspace / "runs")
    path, count = comp.predict(found.run, workspace=elsewhere, data=hidden, out=tmp_path / "found.csv")
    assert count == rows
    assert path.read_bytes() == expected.read_bytes()
    assert len(set(path.read_text().split())) == rows + 1


@pytest.mark.parametrize("method", METHODS)
def test_a_blend_of_three_by_every_method(method: str, trained: Path, tmp_path: Path) -> None:
    done = comp.ensemble(*ids(trained), method=method, calibrate="on", decide="on", workspace=trained)
    answers_alike(trained, done.run, tmp_path, 300)


@pytest.mark.slow
def test_ten_thousand_hidden_rows_of_digits(tmp_path: Path) -> None:
    raw = write_digits(tmp_path)
    for changed in ([], ["seed=1", "model.size=24"], ["seed=2", 'tta=["identity","hflip"]']):
        train(tmp_path, "epochs=6", *changed)
    done = comp.ensemble(*ids(tmp_path), method="weighted", workspace=tmp_path)
    write_many(tmp_path / "hidden", 10_000)
    made = {"workspace": tmp_path, "data": tmp_path / "hidden"}
    expected, rows = comp.predict(done.run, out=tmp_path / "expected.csv", **made)
    found = kernel(SLUG, done.run, workspace=tmp_path, kaggle=KAGGLE, user="ann")
    elsewhere = laid_out(found.dataset, tmp_path / "elsewhere")
    path, _ = comp.predict(found.run, out=tmp_path / "found.csv", **made | {"workspace": elsewhere})
    assert rows == 10_000
    assert path.read_bytes() == expected.read_bytes()
    assert len({line.split(",")[1] for line in path.read_text().splitlines()[1:]}) > 5
    assert raw.is_dir()


def test_models_of_a_run_are_parts(trained: Path, tmp_path: Path) -> None:
    done = comp.ensemble(ids(trained)[2], workspace=trained)
    found = kernel("shapes", done.run, workspace=trained, **MINE)
    assert found.parts == [f"{ids(trained)[2]}/model-{n}" for n in (0, 1)]
    assert found.checkpoints == 4
    one = comp.ensemble(f"{ids(trained)[2]}/model-1", ids(trained)[0], workspace=trained)
    made = kernel("shapes", one.run, workspace=trained, **MINE)
    carried = {file["path"].split("/", 2)[2] for file in read_json(made.dataset / "files.json")}
    assert "model-1/fold-0/model.safetensors" in carried
    assert "model-0/fold-0/model.safetensors" not in carried
    answers_alike(trained, one.run, tmp_path, 60)


def test_a_blend_of_a_blend(trained: Path, tmp_path: Path) -> None:
    first, second, third = ids(trained)
    inner = comp.ensemble(first, second, workspace=trained)
    outer = comp.ensemble(inner.run, third, workspace=trained)
    answers_alike(trained, outer.run, tmp_path, 60)


def test_a_blend_carries_no_training_rows(trained: Path) -> None:
    done = comp.ensemble(*ids(trained)[:2], workspace=trained)
    found = kernel("shapes", done.run, workspace=trained, **MINE)
    names = {file["path"].rpartition("/")[2] for file in read_json(found.dataset / "files.json")}
    assert "learned.npz" in names
    assert not {"manifest.csv", "folds.csv", "test.npz"} & names


def test_a_part_without_checkpoints_is_named(trained: Path) -> None:
    first, second, _ = ids(trained)
    done = comp.ensemble(first, second, workspace=trained)
    shutil.rmtree(find_run(Workspace(trained), second).folder / "fold-1")
    with pytest.raises(InputError, match="asks every fold") as lacks:
        kernel("shapes", done.run, workspace=trained, **MINE)
    assert f"{second} lacks" in lacks.value.value


def hide(workspace: Path, rows: int) -> None:
    """Says that so many rows are hidden."""
    toml = workspace / "competitions" / "shapes" / "competition.toml"
    toml.write_text(toml.read_text() + f"\n[kaggle]\nhidden_test = true\nhidden_rows = {rows}\n")


@pytest.fixture
def clocked(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose parts take a stated time: a second a checkpoint and view, of a thousand hidden rows on the CPU."""

    def costs(part: Part, views: list[str]) -> Cost:
        one = len(part.folders) / 1000
        return Cost(0.0, one * len({"identity", *views}), one)

    monkeypatch.setattr(contents, "cost_of", costs)
    monkeypatch.setattr(contents, "factor", lambda device: 1.0)
    hide(trained, 1000)
    return trained


def within(seconds: float) -> str:
    return f"{int((START + seconds) * SPARE + 1)}s"


def test_a_budget_that_forces_a_part_out_says_which_and_why(clocked: Path, tmp_path: Path) -> None:
    first, second, third = ids(clocked)
    done = comp.ensemble(first, second, third, method="geometric", workspace=clocked)
    whole = kernel("shapes", done.run, workspace=clocked, **MINE)
    assert whole.budget is not None
    assert whole.budget.is_whole
    assert {one.name: one.seconds for one in whole.budget.members} == {first: 4.0, second: 16.0, third: 8.0}
    hidden = tmp_path / "hidden"
    shutil.copytree(clocked / "data" / "shapes", hidden)
    write_rows(hidden, 40)
    found = kernel("shapes", done.run, workspace=clocked, budget=within(4), out=tmp_path / "cut", **MINE)
    assert found.budget is not None
    dropped = found.budget.dropped
    assert [one.what for one in dropped] == ["views", "views", "views", "part"]
    assert dropped[-1].part in (first, second, third)
    assert dropped[-1].part not in found.budget.choice
    assert dropped[-1].saved > 0
    assert found.budget.seconds * SPARE <= found.budget.limit
    assert len(found.budget.as_json()["dropped"]) == 4
    about = read_json(found.folder / "kernel.json")
    assert about["asks"] != done.run
    elsewhere = laid_out(found.dataset, tmp_path / "elsewhere")
    path, rows = comp.predict(about["asks"], workspace=elsewhere, data=hidden, out=tmp_path / "o.csv")
    assert rows == 40
    table = np.loadtxt(path, delimiter=",", skiprows=1, usecols=(1, 2, 3))
    assert np.allclose(table.sum(axis=1), 1, atol=1e-6)
    with pytest.raises(InputError, match="must end in time"):
        kernel("shapes", done.run, workspace=clocked, budget="1s", out=tmp_path / "none", **MINE)
    assert not (tmp_path / "none").exists()


def test_a_single_run_loses_its_views_and_nothing_else(clocked: Path, tmp_path: Path) -> None:
    second = ids(clocked)[1]
    found = kernel("shapes", second, workspace=clocked, budget=within(3), **MINE)
    assert found.budget is not None
    assert [(one.part, one.what) for one in found.budget.dropped] == [(second, "views")]
    asks = read_json(found.folder / "kernel.json")["asks"]
    elsewhere = laid_out(found.dataset, tmp_path / "elsewhere")
    started = read_json(elsewhere / "runs" / second / "started.json")
    assert started["views"] == {"": ["identity"]}
    raw = clocked / "data" / "shapes"
    path, _ = comp.predict(asks, workspace=elsewhere, data=raw, out=tmp_path / "one.csv")
    before, _ = comp.predict(second, workspace=clocked, data=raw, out=tmp_path / "all.csv")
    assert path.read_bytes() != before.read_bytes()


def test_models_of_a_run_are_dropped_one_by_one(clocked: Path, tmp_path: Path) -> None:
    third = ids(clocked)[2]
    found = kernel("shapes", third, workspace=clocked, budget=within(2), **MINE)
    assert found.budget is not None
    assert [one.what for one in found.budget.dropped] == ["views", "views", "part"]
    (left,) = found.budget.choice
    assert left.startswith(f"{third}/model-")
    assert found.parts == [left]
    asks = read_json(found.folder / "kernel.json")["asks"]
    elsewhere = laid_out(found.dataset, tmp_path / "elsewhere")
    raw = clocked / "data" / "shapes"
    _, rows = comp.predict(asks, workspace=elsewhere, data=raw, out=tmp_path / "one.csv")
    assert rows == 12


def test_a_budget_needs_to_know_how_many_rows(trained: Path) -> None:
    with pytest.raises(InputError, match="so many rows") as unknown:
        kernel("shapes", ids(trained)[0], workspace=trained, budget="2h", **MINE)
    assert "hidden_rows" in unknown.value.remedy
    with pytest.raises(InputError, match="one machine"):
        kernel("shapes", ids(trained)[0], workspace=trained, device="t4", gpu=False, **MINE)


def test_seconds_are_measured_and_hidden_images_may_be_broken(trained: Path) -> None:
    hide(trained, 15_000)
    found = kernel("shapes", ids(trained)[0], workspace=trained, device="p100", **MINE)
    assert found.budget is not None
    assert found.budget.limit == 9 * 3600
    assert found.budget.members[0].seconds > 0
    assert 0 < found.budget.factor < 1
    book = next(found.folder.glob("*.ipynb")).read_text()
    assert "unreadable-image" in book
    assert "missing-file" in book
    metadata = read_json(found.folder / "kernel-metadata.json")
    assert (metadata["machine_shape"], metadata["enable_gpu"]) == ("NvidiaTeslaP100", True)
