"""Every mistake that a user can make ends with the right code and a line each of rule, value and remedy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

from made import TINY_RECIPE, draw, run_comp, save_image

Arrange = Callable[[Path], list[object]]


@dataclass(frozen=True)
class Mistake:
    """What is done wrong in a workspace with the competition ``shapes``, the exit code, and what must be told."""

    name: str
    arrange: Arrange
    code: int
    told: tuple[str, ...]


RUN: list[object] = ["run", "shapes", "--folds", 2]


def run_with(*more: object) -> Arrange:
    return lambda workspace: [*RUN, *more]


def data_missing(workspace: Path) -> list[object]:
    shutil.rmtree(workspace / "data" / "shapes")
    return RUN


def data_empty(workspace: Path) -> list[object]:
    shutil.rmtree(workspace / "data" / "shapes")
    (workspace / "data" / "shapes").mkdir()
    return RUN


def data_of_another(workspace: Path) -> list[object]:
    return ["run", "art-classification", "--folds", 2, "--data", workspace / "data" / "shapes"]


def data_is_a_file(workspace: Path) -> list[object]:
    return [*RUN, "--data", workspace / "data" / "shapes" / "train.csv"]


def no_train_images(workspace: Path) -> list[object]:
    (workspace / "data" / "shapes" / "train.csv").write_text("id,label,group,parent\n")
    return RUN


def recipe_with_three_mistakes(workspace: Path) -> list[object]:
    (workspace / "r.toml").write_text('epochs = "ten"\nbach = 32\n[optimizer]\nname = "adamm"\n')
    return [*RUN, "--recipe", workspace / "r.toml"]


def recipe_no_toml(workspace: Path) -> list[object]:
    (workspace / "r.toml").write_text("epochs: 10\n")
    return [*RUN, "--recipe", workspace / "r.toml"]


def weights(workspace: Path, model: str = "test_resnet") -> Path:
    path = workspace / "w.safetensors"
    save_file(timm.create_model(model).state_dict(), path)
    return path


def weights_without_mean(workspace: Path) -> list[object]:
    return [*RUN, "--set", "mode=probe", "--set", f"model.weights={weights(workspace)}"]


NORMAL = ["--set", "mode=probe", "--set", "model.mean=[0.5,0.5,0.5]", "--set", "model.std=[0.5,0.5,0.5]"]


def weights_of_another_model(workspace: Path) -> list[object]:
    return [*RUN, *NORMAL, "--set", f"model.weights={weights(workspace, 'test_vit')}"]


def weights_no_file(workspace: Path) -> list[object]:
    return [*RUN, *NORMAL, "--set", "model.weights=nowhere.safetensors"]


def weights_torn(workspace: Path) -> list[object]:
    path = weights(workspace)
    path.write_bytes(path.read_bytes()[:1000])
    return [*RUN, *NORMAL, "--set", f"model.weights={path}"]


def weights_with_nan(workspace: Path) -> list[object]:
    path = workspace / "w.safetensors"
    tensors = timm.create_model("test_resnet").state_dict()
    tensors["layer1.0.conv1.weight"].fill_(float("nan"))
    save_file(tensors, path)
    return [*RUN, *NORMAL, "--set", f"model.weights={path}"]


def weights_in_a_folder(workspace: Path) -> list[object]:
    weights(workspace)
    return [*RUN, *NORMAL, "--set", f"model.weights={workspace}"]


def weights_of_huge_numbers(workspace: Path) -> list[object]:
    path = workspace / "w.safetensors"
    tensors = timm.create_model("test_resnet").state_dict()
    for key in [key for key in tensors if key.endswith(("bn1.weight", "bn3.weight"))]:
        tensors[key].fill_(3e38)
    save_file(tensors, path)
    return [*RUN, *NORMAL, "--set", f"model.weights={path}"]


def image_cut_off(workspace: Path) -> list[object]:
    path = workspace / "data" / "shapes" / "train" / "a1.png"
    path.write_bytes(path.read_bytes()[:-50])
    return RUN


def image_of_zero_bytes(workspace: Path) -> list[object]:
    (workspace / "data" / "shapes" / "test" / "t1.png").write_bytes(b"")
    return RUN


def image_that_is_none(workspace: Path) -> list[object]:
    (workspace / "data" / "shapes" / "train" / "a1.png").write_text("<html>404</html>")
    return RUN


def missing_image_of_a_test_row(workspace: Path) -> list[object]:
    (workspace / "data" / "shapes" / "test" / "t1.png").unlink()
    return RUN


def file_in_the_way(name: str) -> Arrange:
    def arrange(workspace: Path) -> list[object]:
        (workspace / name).write_text("a file where a folder should be")
        return RUN

    return arrange


def template_gone(workspace: Path) -> list[object]:
    (workspace / "data" / "shapes" / "sample_submission.csv").unlink()
    return RUN


def template_of_other_columns(workspace: Path) -> list[object]:
    (workspace / "data" / "shapes" / "sample_submission.csv").write_text("image,answer\nt1,circle\n")
    return RUN


def manifest_of_other_columns(workspace: Path) -> list[object]:
    (workspace / "m.csv").write_text("a,b\n1,2\n")
    return [*RUN, "--manifest", workspace / "m.csv"]


def brought_folds_incomplete(workspace: Path) -> list[object]:
    (workspace / "f.csv").write_text("id,fold\na0,0\na1,1\n")
    return ["run", "shapes", "--folds", workspace / "f.csv"]


MISTAKES = [
    Mistake(
        "unknown competition",
        lambda w: ["run", "shape"],
        2,
        ("unknown competition", "did you mean shapes", "comp list"),
    ),
    Mistake("unknown competition to show", lambda w: ["show", "digit"], 2, ("did you mean digits",)),
    Mistake("unknown command", lambda w: ["runn"], 2, ("No such command",)),
    Mistake("unknown option", run_with("--fold", 3), 2, ("--folds",)),
    Mistake("option without value", lambda w: ["run", "shapes", "--seed", "x"], 2, ("--seed",)),
    Mistake("data missing", data_missing, 2, ("raw data of shapes", "is not a folder", "comp data shapes")),
    Mistake("data empty", data_empty, 2, ("laid out as shapes", "it holds nothing", "comp data shapes")),
    Mistake(
        "data of another", data_of_another, 2, ("laid out as art-classification", "test_answer_sample_.csv")
    ),
    Mistake("data is a file", data_is_a_file, 2, ("is not a folder",)),
    Mistake("no train rows", no_train_images, 2, ("no training images",)),
    Mistake(
        "three mistakes in a recipe",
        recipe_with_three_mistakes,
        2,
        ("3 mistake", "epochs: ", "bach: no such key", "optimizer.name: "),
    ),
    Mistake("recipe no TOML", recipe_no_toml, 2, ("readable TOML", "r.toml")),
    Mistake("recipe missing", run_with("--recipe", "nowhere.toml"), 2, ("nowhere.toml is not there",)),
    Mistake("set of nothing", run_with("--set", "epochs"), 2, ("--set takes key=value",)),
    Mistake(
        "weights without mean and std",
        weights_without_mean,
        2,
        ("needs model.mean and model.std", "--set model.mean="),
    ),
    Mistake(
        "weights of another model",
        weights_of_another_model,
        2,
        ("must fit test_resnet", "missing", "unknown"),
    ),
    Mistake("weights no file", weights_no_file, 2, ("nowhere.safetensors is not there",)),
    Mistake("weights torn", weights_torn, 2, ("must be a file of tensors", "w.safetensors")),
    Mistake(
        "weights with NaN",
        weights_with_nan,
        2,
        ("must be finite numbers", "w.safetensors: layer1.0.conv1.weight has", "NaN"),
    ),
    Mistake("weights in a folder", weights_in_a_folder, 2, ("is a folder", "w.safetensors")),
    Mistake(
        "weights of huge numbers",
        weights_of_huge_numbers,
        1,
        ("outputs must be finite numbers", "train/a0.png, view 'identity', in fp32"),
    ),
    Mistake(
        "images of one channel",
        run_with("--set", "model.kwargs.in_chans=1"),
        2,
        ("[images] states channels", "model.kwargs.in_chans = 1"),
    ),
    Mistake("unknown model", run_with("--set", "model=test_resnt"), 2, ("unknown model", "test_resnet")),
    Mistake("unknown model argument", run_with("--set", "model.kwargs.colour=red"), 2, ("model.kwargs",)),
    Mistake("unknown transform", run_with("--set", "transform=lite"), 2, ("did you mean light",)),
    Mistake("no such device", run_with("--set", "device=mps"), 2, ("no mps here",)),
    Mistake("one fold", lambda w: ["run", "shapes", "--folds", 1], 2, ("--folds takes 2 or more", "got 1")),
    Mistake(
        "negative folds", lambda w: ["run", "shapes", "--folds=-3"], 2, ("--folds takes 2 or more", "got -3")
    ),
    Mistake(
        "2000 folds",
        lambda w: ["run", "shapes", "--folds", 2000],
        2,
        ("more folds than samples", "2000 folds of 18 samples"),
    ),
    Mistake(
        "folds of a file that is not there", lambda w: ["run", "shapes", "--folds", "five"], 2, ("five",)
    ),
    Mistake(
        "brought folds incomplete",
        brought_folds_incomplete,
        1,
        ("fold-coverage", "16 train rows have no fold"),
    ),
    Mistake("image cut off", image_cut_off, 1, ("unreadable-image", "train/a1.png", "comp check shapes")),
    Mistake("image of zero bytes", image_of_zero_bytes, 1, ("unreadable-image", "test/t1.png: zero bytes")),
    Mistake("not an image", image_that_is_none, 1, ("unreadable-image", "train/a1.png", "not an image")),
    Mistake(
        "test image missing", missing_image_of_a_test_row, 1, ("template-mismatch", "have no test image")
    ),
    Mistake("runs not writable", file_in_the_way("runs"), 2, ("must be writable", "runs")),
    Mistake("folds not writable", file_in_the_way("folds"), 2, ("files must be usable", "folds")),
    Mistake(
        "submissions not writable", file_in_the_way("submissions"), 2, ("must be writable", "submissions")
    ),
    Mistake("template gone", template_gone, 2, ("sample_submission.csv",)),
    Mistake("template of other columns", template_of_other_columns, 2, ("has no 'id'", "'image', 'answer'")),
    Mistake("manifest of other columns", manifest_of_other_columns, 2, ("columns id, path, split, label",)),
    Mistake("resume of nothing", run_with("--resume", "20200101"), 2, ("unknown run",)),
    Mistake("predict of nothing", lambda w: ["predict", "latest"], 2, ("unknown run",)),
    Mistake("validate of nothing", lambda w: ["validate", "shapes", "no.csv"], 2, ("no.csv",)),
    Mistake("allow of nothing", run_with("--allow", "duplicat-id=fine"), 2, ("did you mean duplicate-id",)),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.name)
def test_a_mistake_is_told_in_a_few_lines(workspace: Path, shapes: Path, mistake: Mistake) -> None:
    outcome = run_comp(workspace, *mistake.arrange(workspace))
    assert outcome.code == mistake.code, outcome.err
    assert "Traceback" not in outcome.err
    missing = [text for text in mistake.told if text not in outcome.err]
    assert not missing, outcome.err
    assert not list(workspace.rglob("record.json")), "nothing was trained to its end"
    assert not list(workspace.rglob("*.part"))


@pytest.mark.parametrize("mistake", [m for m in MISTAKES if m.code], ids=lambda m: m.name)
def test_beside_json_it_is_one_document(workspace: Path, shapes: Path, mistake: Mistake) -> None:
    outcome = run_comp(workspace, *mistake.arrange(workspace), "--json")
    assert outcome.code == mistake.code
    error = outcome.json["error"]
    assert error["exit_code"] == mistake.code
    assert set(error) == {"kind", "rule", "value", "remedy", "exit_code"}
    assert "\n" not in error["rule"]


def test_a_workspace_that_is_not_there(tmp_path: Path) -> None:
    outcome = run_comp(tmp_path / "nowhere", "list")
    assert outcome.code == 2
    assert "the workspace must be a folder" in outcome.err


def test_a_loss_that_is_not_a_number_is_a_refusal_with_a_remedy(workspace: Path, shapes: Path) -> None:
    outcome = run_comp(
        workspace, *RUN, "--set", "optimizer=sgd", "--set", "optimizer.lr=1e30", "--set", "epochs=3"
    )
    assert outcome.code == 1, outcome.err
    assert "the loss must be a number" in outcome.err
    assert "optimizer.lr" in outcome.err
    assert not list(workspace.rglob("record.json"))


def test_new_test_rows_that_fail_the_gate_are_not_predicted(
    workspace: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert run_comp(workspace, *RUN).code == 0
    new = tmp_path_factory.mktemp("new") / "raw"
    shutil.copytree(shapes, new)
    (new / "test" / "t3.png").write_bytes(b"")
    outcome = run_comp(workspace, "predict", "latest", "--data", new, "--out", new / "out.csv")
    assert outcome.code == 1
    assert "unreadable-image" in outcome.err
    assert not (new / "out.csv").exists()


def test_a_resumed_run_keeps_its_rows_and_its_recipe(workspace: Path, shapes: Path) -> None:
    done = run_comp(workspace, *RUN, "--json").json
    (workspace / "runs" / done["run"] / "record.json").unlink()
    (workspace / "r.toml").write_text(TINY_RECIPE)
    for more in (["--seed", 3], ["--set", "epochs=2"], ["--quick"], ["--recipe", workspace / "r.toml"]):
        outcome = run_comp(workspace, "run", "shapes", "--resume", done["run"], *more)
        assert outcome.code == 2
        assert "keeps its own recipe" in outcome.err
    other = run_comp(workspace, "run", "digits", "--resume", done["run"])
    assert other.code == 2
    assert "belongs to one competition" in other.err
    save_image(shapes / "test" / "t99.png", draw("circle", 77))
    template = shapes / "sample_submission.csv"
    template.write_text(template.read_text() + "t99,circle\n")
    changed = run_comp(workspace, "run", "shapes", "--resume", done["run"])
    assert changed.code == 1
    assert "needs the same rows" in changed.err
