"""Warm starts: which checkpoints, what they say of themselves, and what of them is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from comp.data.folds import Folds
from comp.data.images.preprocess import Preprocess
from comp.data.labels import LabelMap
from comp.errors import InputError, WeightsError
from comp.files import write_json
from comp.models.checkpoint import save_checkpoint
from comp.models.load_weights import load_into
from comp.models.net import build, init_head
from comp.recipe import HeadConfig, ModelConfig, Recipe
from comp.training.warm_start import WarmStart, warm_start
from comp.workspace import Workspace

LABELS = LabelMap(["circle", "cross", "square"])
PART = ModelConfig(name="test_resnet", kwargs={"drop_path_rate": 0.1})
OWN = Preprocess(32, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), "bicubic", "squash", 0.9)
OLD_RESULT = {"score": 0.5, "identity_score": 0.5, "rows": 3, "seconds": 1.0, "images_per_second": 9.0}
IDS = tuple(f"a{n}" for n in range(6))


def make_run(
    workspace: Path, name: str = "20260101-000000-aaaa", models: int = 1, part: ModelConfig = PART
) -> Path:
    """A run folder of two folds: random networks as checkpoints."""
    folder = workspace / "runs" / name
    write_json(folder / "started.json", {"slug": "shapes"})
    Folds(IDS, torch.tensor([0, 1] * 3).numpy(), 2, 0, "rows").save(folder / "folds.csv")
    for n in range(models):
        for k in range(2):
            net = build(part, len(LABELS))
            init_head(net, 10 * n + k)
            fold = (folder if models == 1 else folder / f"model-{n}") / f"fold-{k}"
            save_checkpoint(
                fold,
                net,
                slug="shapes",
                fold=k,
                model=part,
                labels=LABELS,
                preprocess=OWN,
                precision="fp32",
                train_sha256="rows",
            )
            write_json(fold / "result.json", OLD_RESULT)
    return folder


def start(
    workspace: Path, weights: str = "run:latest", n: int = 0, models: int = 1, mode: str = "finetune"
) -> WarmStart:
    recipe = Recipe.model_validate({"mode": mode, "model": {"weights": weights}})
    found = warm_start(recipe, n, models, Workspace(workspace), "shapes")
    assert found is not None
    return found


def test_no_other_weights_are_a_warm_start(workspace: Path) -> None:
    for weights in ("default", "none", "w.safetensors"):
        recipe = Recipe(model=ModelConfig(weights=weights))
        assert recipe.start_run is None


def test_what_the_recipe_leaves_open_is_the_checkpoints(workspace: Path) -> None:
    make_run(workspace)
    part = start(workspace).part(ModelConfig(name="test_resnet", kwargs={"drop_path_rate": 0.1}, size=64))
    assert (part.size, part.mean, part.std) == (64, [0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    assert (part.interpolation, part.fit, part.crop_pct, part.weights) == ("bicubic", "squash", 0.9, "none")
    own = PART.model_copy(
        update={"fit": "pad", "mean": [0.1] * 3, "interpolation": "nearest", "crop_pct": 1.0}
    )
    part = start(workspace).part(ModelConfig.model_validate(own.model_dump(exclude_none=True)))
    assert (part.fit, part.mean, part.std) == ("pad", [0.1] * 3, [0.2, 0.3, 0.4])
    assert (part.interpolation, part.crop_pct, part.size) == ("nearest", 1.0, 32)


@pytest.mark.parametrize(
    ("update", "told"),
    [
        ({"name": "test_vit"}, "model.name = 'test_vit' and not 'test_resnet'"),
        ({"kwargs": {}}, "model.kwargs = {} and not {'drop_path_rate': 0.1}"),
        ({"stem": "small"}, "model.stem = 'small' and not 'own'"),
        ({"head": HeadConfig(hidden=8)}, "model.head.hidden = 8 and not None"),
    ],
)
def test_another_network_is_refused_by_name(workspace: Path, update: dict[str, object], told: str) -> None:
    make_run(workspace)
    with pytest.raises(WeightsError, match="keeps the network of 20260101-000000-aaaa") as refused:
        start(workspace).part(PART.model_copy(update=update))
    assert told in refused.value.value


def test_the_classifier_comes_only_with_its_label_map(workspace: Path) -> None:
    make_run(workspace)
    warm = start(workspace)
    whole = warm.weights(1, LABELS)
    assert {"head.weight", "head.bias"} <= set(whole)
    swapped = warm.weights(1, LabelMap(["cross", "circle", "square"]))
    assert {name for name in whole if name not in swapped} == {"head.weight", "head.bias"}
    net = build(PART, 3)
    init_head(net, 99)
    head = net.head.weight.detach().clone()
    load_into(net, swapped, ModelConfig(name="test_resnet"))
    assert torch.equal(net.head.weight, head)
    load_into(net, whole, ModelConfig(name="test_resnet"))
    assert torch.equal(net.head.weight, whole["head.weight"])


def test_a_hidden_layer_is_loaded_too(workspace: Path) -> None:
    part = PART.model_copy(update={"head": HeadConfig(hidden=8)})
    make_run(workspace, part=part)
    weights = start(workspace).weights(0, LABELS)
    net = build(part, 3)
    init_head(net, 99)
    load_into(net, weights, ModelConfig(name="test_resnet"))
    assert all(torch.equal(tensor, weights[name]) for name, tensor in net.state_dict().items())


def test_tensors_that_were_changed_are_refused(workspace: Path) -> None:
    file = make_run(workspace) / "fold-1" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(WeightsError, match="belong together"):
        start(workspace).weights(1, LABELS)


def test_missing_checkpoints_are_named(workspace: Path) -> None:
    folder = make_run(workspace)
    (folder / "fold-0" / "result.json").unlink()
    warm = start(workspace)
    assert warm.whole == [1]
    warm.require([1])
    with pytest.raises(WeightsError, match="checkpoint of every fold") as refused:
        warm.require([0, 1])
    assert "fold-0" in refused.value.value
    assert "only=[1]" in refused.value.remedy
    (folder / "fold-1" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="checkpoint of every fold"):
        start(workspace)


def test_model_n_starts_from_model_n(workspace: Path) -> None:
    folder = make_run(workspace, models=2)
    assert [start(workspace, n=n, models=2).folder for n in range(2)] == [
        folder / "model-0",
        folder / "model-1",
    ]
    assert start(workspace, n=1, models=2).name == f"run:{folder.name}/model-1"
    named = start(workspace, f"run:{folder.name}/model-1")
    assert (named.folder, named.name) == (folder / "model-1", f"run:{folder.name}/model-1")
    with pytest.raises(InputError, match="names one of several models"):
        start(workspace)
    with pytest.raises(InputError, match="names one of several models"):
        start(workspace, "run:latest/model-2")


def test_one_model_serves_any(workspace: Path) -> None:
    folder = make_run(workspace)
    assert start(workspace, n=1, models=2).folder == start(workspace).folder == folder
    assert start(workspace).name == f"run:{folder.name}"
    with pytest.raises(InputError, match="names one of several models"):
        start(workspace, "run:latest/model-0")


def test_another_competition_and_a_run_without_folds_are_refused(workspace: Path) -> None:
    folder = make_run(workspace)
    recipe = Recipe(model=ModelConfig(weights="run:latest"))
    with pytest.raises(InputError, match="within a competition"):
        warm_start(recipe, 0, 1, Workspace(workspace), "digits")
    (folder / "folds.json").unlink()
    with pytest.raises(InputError, match="needs a run with folds"):
        start(workspace)


def test_contents_that_a_checkpoint_was_fitted_on(workspace: Path) -> None:
    folder = make_run(workspace)
    (folder / "fold-1" / "fitted.txt").write_text("aa\nbb\n")
    assert start(workspace).fitted(1) == {"aa", "bb"}
    assert start(workspace).fitted(0) == set()


def test_position_tables_are_resampled_to_another_size() -> None:
    part = ModelConfig(name="test_vit", size=64)
    small, large = build(part, 3), build(part.model_copy(update={"size": 96}), 3)
    weights = small.state_dict()
    load_into(large, weights, ModelConfig(name="test_vit"))
    own = large.backbone.state_dict()
    assert own["pos_embed"].shape != weights["backbone.pos_embed"].shape
    same = [k for k in own if k != "pos_embed"]
    assert all(torch.equal(own[k], weights[f"backbone.{k}"]) for k in same)
    again = build(part, 3)
    load_into(
        again, large.state_dict(), ModelConfig(name="test_vit")
    )  # back to the first size: nearly what it was
    assert (
        torch.nn.functional.cosine_similarity(
            again.backbone.state_dict()["pos_embed"].flatten(), weights["backbone.pos_embed"].flatten(), dim=0
        )
        > 0.8
    )
