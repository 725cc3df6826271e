"""The folder of ``comp kernel``: metadata as the client wants them, what goes along, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import nbformat
import pytest
import timm
from safetensors.torch import save_file

import comp
from comp.data.competitions.competition import find_competition
from comp.errors import InputError, UnknownName
from comp.files import read_json
from comp.kaggle.kernel.build import KernelFolder, kernel
from comp.kaggle.kernel.metadata import names_for
from comp.kaggle.kernel.notebook import MODULES
from comp.workspace import Workspace
from made import REPOSITORY, SHAPES, clean_environment, proven_again, rewritten, run_comp, write_shapes
from made_kernel import laid_out

MINE = {"kaggle": "shapes-behind-a-curtain", "user": "ann"}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run of the competition ``shapes``; not to be written to."""
    root = tmp_path_factory.mktemp("kept")
    write_shapes(root)
    done = run_comp(root, "run", "shapes", "--folds", "2", "--json")
    assert done.code == 0, done.err
    return root


@pytest.fixture
def trained(kept: Path, tmp_path: Path) -> Path:
    """A copy of that workspace."""
    shutil.copytree(kept, tmp_path / "workspace")
    return tmp_path / "workspace"


def settings(found: KernelFolder) -> dict[str, Any]:
    """The names that the notebook's first code cell gives values to."""
    book = nbformat.read(next(found.folder.glob("*.ipynb")), as_version=4)
    names: dict[str, Any] = {}
    exec(next(cell.source for cell in book.cells if cell.cell_type == "code"), names)
    return {key: value for key, value in names.items() if key.isupper()}


def test_metadata_keep_the_rules_of_the_client(trained: Path) -> None:
    found = kernel("shapes", workspace=trained, **MINE)
    pushed = read_json(found.folder / "kernel-metadata.json")
    assert pushed["id"] == found.id == f"ann/comp-shapes-{found.run}"
    assert pushed["title"].lower().replace(" ", "-") == pushed["id"].split("/")[1]
    assert (found.folder / pushed["code_file"]).is_file()
    assert (pushed["language"], pushed["kernel_type"]) == ("python", "notebook")
    flags = ("is_private", "enable_gpu", "enable_tpu", "enable_internet")
    assert [pushed[key] for key in flags] == [True, False, False, False]
    assert pushed["competition_sources"] == ["shapes-behind-a-curtain"]
    uploaded = read_json(found.dataset / "dataset-metadata.json")
    assert pushed["dataset_sources"] == [uploaded["id"]]
    for text in (uploaded["title"], uploaded["id"].split("/")[1]):
        assert 6 <= len(text) <= 50
    assert len(uploaded["licenses"]) == 1
    assert not [path for path in found.dataset.iterdir() if path.is_dir()], "the client skips folders"


def test_the_notebook_is_valid_and_knows_its_run(trained: Path) -> None:
    found = kernel("shapes", workspace=trained, **MINE)
    (book,) = found.folder.glob("*.ipynb")
    nbformat.validate(json.loads(book.read_text()))
    known = settings(found)
    assert (known["RUN"], known["SLUG"], known["COMPETITION"]) == (found.run, "shapes", MINE["kaggle"])
    assert known["WHEELS"] == found.wheels
    assert set(known["WHEELS"]) == {"imgcomp", "timm"}
    assert {path.name.split("-")[0] for path in found.dataset.glob("*.whl")} == set(known["WHEELS"])
    cells = nbformat.read(book, as_version=4).cells
    assert not [cell for cell in cells if "<<" in cell.source], "every word was filled in"
    for cell in cells:
        if cell.cell_type == "code":
            compile(cell.source, cell.id, "exec")
    assert "Three shapes" in cells[0].source
    assert "OOF accuracy" in cells[0].source


def test_what_it_imports_is_what_the_notebook_looks_for(trained: Path) -> None:
    """A process that predicts imports no third-party library that the notebook would not miss."""
    program = "import sys, comp; comp.predict('latest', workspace='.', out='o.csv'); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=trained,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert requirements() & loaded <= {*MODULES, "simplejpeg"}, (
        "without that one a check says what is not seen"
    )
    assert set(MODULES) - loaded <= {"rich"}, "nothing is looked for that is not needed; findings need rich"
    assert not {"albumentations", "tomli_w", "typer"} & loaded, (
        "Kaggle's image may lack these, or have another one"
    )


def requirements() -> set[str]:
    """The modules of the distributions that comp asks for."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    modules = {
        "opencv-python-headless": "cv2",
        "pillow": "PIL",
        "scikit-learn": "sklearn",
        "tomli-w": "tomli_w",
    }
    names = [line.split(">")[0].split("=")[0].split("<")[0] for line in project["dependencies"]]
    return {modules.get(name, name) for name in names}


OWN_MODELS = """\
from torch import nn


class Dots(nn.Sequential):
    num_features = 48


def dots():
    return Dots(nn.AdaptiveAvgPool2d(4), nn.Flatten())


MODELS = {"dots": dots}
"""
HALF = "[0.5,0.5,0.5]"
PROBE = ["mode=probe", "model.weights=w.safetensors", f"model.mean={HALF}", f"model.std={HALF}"]
RECIPES = {
    "one model": [],
    "several models": [
        'model=[{name="test_resnet",size=32,fit="squash"},{name="resnet9",size=24,fit="squash"}]'
    ],
    "hidden head and views": ["model.head.hidden=8", 'tta="d4"'],
    "probe": PROBE,
    "a model of one's own": ["model.name=dots"],
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_dataset_alone_predicts_what_the_workspace_does(
    recipe: str, workspace: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    raw = write_shapes(workspace)
    (workspace / "competitions" / "shapes" / "models.py").write_text(OWN_MODELS)
    save_file(timm.create_model("test_resnet").state_dict(), workspace / "w.safetensors")
    overrides = [one.replace("w.saf", f"{workspace}/w.saf") for one in RECIPES[recipe]]
    done = comp.run("shapes", 2, workspace=workspace, overrides=overrides)
    expected = done.submission.read_bytes()
    found = kernel("shapes", workspace=workspace, **MINE)
    for path in [*found.folder.glob("*.*"), *found.dataset.iterdir()]:
        assert str(workspace).encode() not in path.read_bytes(), f"{path.name} tells where it was made"
    elsewhere = laid_out(found.dataset, tmp_path_factory.mktemp("elsewhere"))
    moved = tmp_path_factory.mktemp("moved") / "raw"
    shutil.move(raw, moved)
    for name in ("runs", "competitions", "features"):
        shutil.rmtree(workspace / name, ignore_errors=True)
    path, _ = comp.predict(found.run, workspace=elsewhere, data=moved, out=elsewhere / "s.csv")
    assert path.read_bytes() == expected
    assert found.checkpoints == (4 if recipe == "several models" else 2)
    assert comp.validate("shapes", path, workspace=elsewhere, data=moved, run=found.run) == ([], 12)


def test_what_was_chosen_after_training_goes_along(trained: Path, tmp_path: Path) -> None:
    (folder,) = (trained / "runs").iterdir()
    (folder / "views.json").write_text('{"views": ["identity"]}')
    record = read_json(folder / "record.json")
    rewritten(folder / "record.json", files={**record["files"], "views.json": ""})
    proven_again(folder)
    elsewhere = laid_out(kernel("shapes", workspace=trained, **MINE).dataset, tmp_path / "elsewhere") / "runs"
    names = {path.name for path in (elsewhere / folder.name).iterdir()}
    assert names == {"views.json", "recipe.toml", "started.json", "oof.npz", "fold-0", "fold-1"}


def test_an_overlay_brings_what_it_lies_over(trained: Path, tmp_path: Path) -> None:
    over = trained / "competitions" / "over"
    over.mkdir()
    (over / "competition.toml").write_text('extends = "shapes"\ntitle = "Mine"\n')
    found = kernel("shapes", workspace=trained, **MINE)
    elsewhere = laid_out(found.dataset, tmp_path / "elsewhere")
    assert {path.name for path in (elsewhere / "competitions").iterdir()} == {"over", "shapes"}
    assert find_competition("shapes", Workspace(elsewhere)).facts.title == "Mine"


def test_a_built_in_competition_comes_with_the_wheel(tmp_path: Path) -> None:
    comp.run("digits", 2, workspace=tmp_path, quick=True, overrides=["epochs=1", "batch=128"])
    found = kernel("digits", workspace=tmp_path, **MINE)
    assert not found.own_competition
    assert {file["path"].split("/")[0] for file in read_json(found.dataset / "files.json")} == {"runs"}


def test_validation_by_a_run_needs_no_train_part(trained: Path) -> None:
    raw = trained / "data" / "shapes"
    (submission,) = (trained / "submissions" / "shapes").glob("*.csv")
    adapter = trained / "competitions" / "shapes" / "adapter.py"
    text = adapter.read_text().replace(
        "def sample(",
        "def read_test(raw):\n    return Manifest.from_samples(\n        [Sample(PurePosixPath(p).stem, p, 'test') for p in RawTree(raw).glob('test/*')]\n    )\n\n\ndef sample(",
    )
    adapter.write_text(text)
    shutil.rmtree(raw / "train")
    (raw / "train.csv").unlink()
    assert comp.validate("shapes", submission, workspace=trained, run="latest") == ([], 12)
    submission.write_text(submission.read_text().replace(f",{SHAPES[0]}", ",blob"))
    problems, _ = comp.validate("shapes", submission, workspace=trained, run="latest")
    assert problems


def test_the_recipe_takes_what_the_machine_has(trained: Path) -> None:
    found = kernel("shapes", workspace=trained, **MINE)
    recipe = (found.dataset / f"runs__{found.run}__recipe.toml").read_text()
    assert 'device = "auto"' in recipe
    assert "threads" not in recipe


def test_a_second_time_replaces_the_first_and_nothing_else(trained: Path) -> None:
    first = kernel("shapes", workspace=trained, out=trained / "k", **MINE)
    (first.folder / "stray.txt").write_text("")
    again = kernel("shapes", workspace=trained, out=trained / "k", gpu=True, **MINE)
    assert read_json(again.folder / "kernel-metadata.json")["enable_gpu"] is True
    assert not (again.folder / "stray.txt").exists()
    mine = trained / "mine"
    mine.mkdir()
    assert kernel("shapes", workspace=trained, out=mine, **MINE).folder == mine
    with pytest.raises(InputError, match="new, or an earlier one"):
        kernel("shapes", workspace=trained, out=trained / "data", **MINE)
    assert (trained / "data" / "shapes" / "train.csv").exists()
    (trained / "file").write_text("")
    with pytest.raises(InputError, match="new, or an earlier one"):
        kernel("shapes", workspace=trained, out=trained / "file", **MINE)
    with pytest.raises(InputError, match="must be writable"):
        kernel("shapes", workspace=trained, out=trained / "file" / "k", **MINE)
    with pytest.raises(InputError, match="must be one"):
        kernel("shapes", workspace=trained, out=trained / "torn", wheels=["none.whl"], **MINE)
    assert not (trained / "torn").exists()
    assert not list(trained.glob(".*.part"))


def test_a_name_that_is_missing_is_asked_for(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAGGLE_USERNAME", raising=False)
    with pytest.raises(InputError, match="belongs to a user"):
        kernel("shapes", workspace=trained, kaggle="some")
    with pytest.raises(InputError, match="attaches a competition"):
        kernel("shapes", workspace=trained, user="ann")
    with pytest.raises(InputError, match="letters, digits"):
        kernel("shapes", workspace=trained, user="ann", kaggle="c/some")
    monkeypatch.setenv("KAGGLE_USERNAME", "bob")
    toml = trained / "competitions" / "shapes" / "competition.toml"
    toml.write_text(toml.read_text().replace("[layout]", 'kaggle = "the-shapes"\n[layout]', 1))
    found = kernel("shapes", workspace=trained)
    assert found.id.startswith("bob/")
    assert found.kaggle == "the-shapes"
    assert not (trained / "kernels" / "shapes" / ".part").exists()


def test_a_long_slug_is_cut(trained: Path) -> None:
    one = find_competition("shapes", Workspace(trained))
    one.facts = one.facts.model_copy(update={"slug": "a-very-long-name-of-a-competition-about-shapes"})
    names = names_for(one, "20260101-000000-abcd", "x", "ann")
    assert len(names.name) <= 50
    assert names.name.endswith("-20260101-000000-abcd")
    assert "--" not in names.name


def test_runs_that_cannot_predict_are_refused(trained: Path) -> None:
    (folder,) = (trained / "runs").iterdir()
    with pytest.raises(UnknownName, match="unknown run"):
        kernel("shapes", "19990101", workspace=trained, **MINE)
    with pytest.raises(InputError, match="must be of the competition"):
        kernel("digits", folder.name, workspace=trained, **MINE)
    with pytest.raises(InputError, match="predicts with a run") as none:
        kernel("digits", workspace=trained, **MINE)
    assert "comp run digits" in none.value.remedy
    (folder / "fold-1" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="asks every fold") as partial:
        kernel("shapes", workspace=trained, **MINE)
    assert "fold-1" in partial.value.value
    found = kernel("shapes", workspace=trained, partial=True, **MINE)
    assert settings(found)["PARTIAL"] is True
    assert found.checkpoints == 1
    rewritten(folder / "started.json", mode="import")
    proven_again(folder)
    with pytest.raises(InputError, match="needs checkpoints"):
        kernel("shapes", workspace=trained, **MINE)
    rewritten(folder / "started.json", mode="ensemble")
    proven_again(folder)
    (folder / "recipe.toml").unlink()
    with pytest.raises(InputError, match="checkpoints"):
        kernel("shapes", workspace=trained, **MINE)
    assert [path.name for path in (trained / "kernels" / "shapes").iterdir()] == [folder.name]


def test_fp16_asks_for_a_gpu(trained: Path) -> None:
    (folder,) = (trained / "runs").iterdir()
    sidecar = folder / "fold-0" / "model.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"precision": "fp16"}))
    proven_again(folder)
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        kernel("shapes", workspace=trained, **MINE)
    assert kernel("shapes", workspace=trained, gpu=True, **MINE).gpu


def test_the_command_tells_sizes_and_what_comes_next(trained: Path) -> None:
    told = run_comp(
        trained, "kernel", "shapes", "--kaggle", "some", "--user", "ann", "--allow", "blank-image=dark"
    )
    assert told.code == 0, told.err
    steps = [line.strip() for line in told.out.splitlines() if line.startswith("  kaggle ")]
    assert [step.split()[1:3] for step in steps] == [
        ["datasets", "create"],
        ["datasets", "status"],
        ["kernels", "push"],
        ["kernels", "status"],
        ["competitions", "submit"],
    ]
    assert "2 checkpoints" in told.out
    assert " MB" in told.out
    assert "not in it: torch" in told.out
    assert "the folder of shapes" in told.out
    document = run_comp(trained, "kernel", "shapes", "--kaggle", "some", "--user", "ann", "--json").json
    assert document["next"] == steps
    assert document["bytes"]["dataset"] > document["bytes"]["checkpoints"] > 0
    assert document["files"] == len(list(Path(document["dataset"]).iterdir()))
    refused = run_comp(trained, "kernel", "shapes")
    assert refused.code == 2
    assert "Traceback" not in refused.err
