"""What may be tried: a recipe for every family of the ladder, and overrides that narrow all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from comp.data.competitions.competition import find_competition
from comp.errors import InputError, UnknownName
from comp.models.ladder import ladder
from comp.models.timm_alone import timm
from comp.pipelines.engine import candidates as made
from comp.pipelines.engine.candidates import Source, candidate_backbones
from comp.training.optim import layer_groups, stages_of
from comp.workspace import Workspace

ONE_OF_EACH = list({one.family: one for one in ladder()}.values())


def source(workspace: Path, slug: str = "art-classification", *overrides: str) -> Source:
    return Source.of(find_competition(slug, Workspace(workspace)), overrides, None)


@pytest.mark.parametrize("one", ONE_OF_EACH, ids=lambda one: one.family)
def test_every_family_has_recipes(workspace: Path, one: made.Backbone) -> None:  # type: ignore[name-defined]
    ws = Workspace(workspace)
    own = source(workspace)
    probe = made.probe(own, one, ws)
    assert (probe.recipe.mode, probe.recipe.model.name, probe.recipe.model.size) == (
        "probe",
        one.name,
        one.size,
    )
    larger = made.probe(own, one, ws, 1.286)
    assert larger.recipe.model.crop_pct == 1.0
    assert (larger.recipe.model.size or 0) > one.size
    seen = made.probe(own, one, ws, 1.286, with_tta=True)
    assert (probe.recipe.tta, larger.recipe.tta, seen.recipe.tta) == (
        ["identity"],
        ["identity"],
        ["identity", "hflip"],
    )
    assert len({probe.name, larger.name, seen.name}) == 3
    tuned = made.finetune(own, one, ws)
    assert tuned.recipe.mode == "finetune"
    assert tuned.recipe.transform == own.table["transform"], (
        "what may be changed in an image is the competition's to say"
    )
    assert tuned.recipe.tta == ["identity", "hflip"]
    assert tuned.recipe.optimizer.lr <= 1.5e-4
    assert str(tuned.recipe.epochs) in tuned.name
    shorter = made.finetune(own, one, ws, 5)
    assert shorter.recipe.epochs == 5
    assert sum(stage.epochs for stage in stages_of(shorter.recipe)) == 5


def test_convolutions_train_small_first_and_are_judged_at_a_larger_size(workspace: Path) -> None:
    lite = next(one for one in ladder() if one.name == "tf_efficientnet_lite0.in1k")
    recipe = made.finetune(source(workspace), lite, Workspace(workspace)).recipe
    assert recipe.model.size == 256
    assert [(stage.epochs, stage.size) for stage in stages_of(recipe)] == [(8, 192), (2, None)]
    last = stages_of(recipe)[-1]
    assert (last.lr or 0) < recipe.optimizer.lr


@pytest.mark.parametrize("one", ONE_OF_EACH, ids=lambda one: one.family)
def test_a_cpu_trains_the_last_half_of_a_backbone(workspace: Path, one: made.Backbone) -> None:  # type: ignore[name-defined]
    ws = Workspace(workspace)
    on_cpu = stages_of(made.finetune(source(workspace), one, ws).recipe)
    blocks = {stage.train for stage in on_cpu}
    model = timm.create_model(one.name, num_classes=0) if one.params < 10 else None
    if model is not None:
        assert blocks == {round(0.5 * len(layer_groups(model)))}
    if one.family == "metaformer":
        assert blocks == {"all"}, "it does not know the order of its layers"
    else:
        assert all(isinstance(train, int) and train > 0 for train in blocks)
    on_gpu = made.finetune(replace(source(workspace), device="cuda"), one, ws).recipe
    assert {stage.train for stage in stages_of(on_gpu)} == {"all"}


def test_overrides_lie_over_every_recipe_and_do_not_choose_backbones(workspace: Path) -> None:
    own = source(workspace, "art-classification", "tta=identity", "optimizer.weight_decay=0.5")
    lite = ladder()[0]
    for candidate in (made.probe(own, lite, Workspace(workspace)), made.own(own)):
        assert candidate.recipe.tta == ["identity"]
        assert candidate.recipe.optimizer.weight_decay == 0.5
    with pytest.raises(InputError, match="chooses backbones"):
        source(workspace, "art-classification", "model.name=resnet18")
    short = made.finetune(
        source(workspace, "art-classification", "epochs=4"), lite, Workspace(workspace)
    ).recipe
    assert short.epochs == 4
    seeded = made.reseeded(made.own(own), 7)
    assert seeded.recipe.seed == 7
    assert seeded.name.endswith("seed 7")


def test_backbones_are_those_at_hand_or_those_that_were_named(workspace: Path) -> None:
    ws = Workspace(workspace)
    assert candidate_backbones(ws, (), None, "cpu") == []
    folder = workspace / "weights"
    folder.mkdir()
    (folder / "resnet18.a1_in1k.safetensors").write_bytes(b"")
    (folder / "convnextv2_base.fcmae_ft_in22k_in1k.safetensors").write_bytes(b"")
    assert [one.name for one in candidate_backbones(ws, (), None, "big-gpu")] == ["resnet18.a1_in1k"]
    assert len(candidate_backbones(ws, (), "any", "big-gpu")) == 2, (
        "its licence forbids a winner to publish it"
    )
    named = candidate_backbones(ws, ["test_resnet.r160_in1k", "resnet18.a1_in1k"], None, "cpu")
    assert [(one.name, one.family) for one in named] == [
        ("test_resnet.r160_in1k", "unlisted"),
        ("resnet18.a1_in1k", "resnet"),
    ]
    with pytest.raises(UnknownName, match="resnet18"):
        candidate_backbones(ws, ["resnet_18"], None, "cpu")


def test_a_file_without_a_tag_counts_where_it_says_how_its_images_were_normalised(workspace: Path) -> None:
    ws = Workspace(workspace)
    folder = workspace / "weights"
    folder.mkdir()
    net = timm.create_model("test_resnet", num_classes=0)
    save_file(
        {name: torch.as_tensor(value) for name, value in net.state_dict().items()},
        folder / "test_resnet.safetensors",
    )
    assert candidate_backbones(ws, (), None, "cpu") == []
    (folder / "test_resnet.json").write_text('{"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}')
    (one,) = candidate_backbones(ws, (), None, "cpu")
    assert made.probe(source(workspace), one, ws).recipe.model.weights == str(
        folder / "test_resnet.safetensors"
    )
