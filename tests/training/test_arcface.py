"""ArcFace: margins as the papers have them, and runs that train by it, go on, and predict again."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import comp
from comp.data.labels import LabelMap
from comp.data.task import Task
from comp.errors import RecipeError
from comp.models.checkpoint import read_sidecar
from comp.recipe import Recipe, from_table
from comp.recipe_tables import LossConfig
from comp.training.arcface import margins, with_margins
from comp.training.losses import for_task, loss_of, loss_weights
from made import draw, run_comp, save_image, write_shapes

QUICK = [
    "loss=arcface",
    "mode=scratch",
    "model.name=test_resnet",
    "model.size=32",
    "epochs=2",
    "threads=1",
    "precision=fp32",
    "device=cpu",
    "tta=identity",
]


def recipe(**table: object) -> Recipe:
    return from_table({"loss": {"name": "arcface"}, **table}, "made", lambda table: [])


def test_one_margin_for_all_classes_or_by_their_rows() -> None:
    count = np.array([16, 1, 0, 256])
    assert margins(LossConfig(name="arcface", margin=0.4), count).tolist() == pytest.approx([0.4] * 4)
    loss = LossConfig(name="arcface", margin=0.5, margin_least=0.1, margin_power=0.25)
    # n ** -1/4 is 1/2, 1 and 1/4: a third of the way from 1/4 to 1 is a third of the way from 0.1 to 0.5
    assert margins(loss, count).tolist() == pytest.approx([0.1 + 0.4 / 3, 0.5, 0.5, 0.1])
    assert margins(loss, np.array([7, 7])).tolist() == pytest.approx([0.5, 0.5])


def test_an_own_class_is_judged_at_an_angle_wider_by_its_margin() -> None:
    angles = torch.tensor([[0.3, 1.0, 2.0], [1.2, 0.7, 3.0]], dtype=torch.float64)
    by_class = torch.tensor([0.5, 0.2, 0.4])
    own = torch.tensor([1, 2])
    found = with_margins(10 * angles.cos(), own, recipe(model={"head": {"scale": 10.0}}), by_class)
    wanted = 10 * angles.cos()
    wanted[0, 1] = 10 * math.cos(1.0 + 0.2)
    wanted[1, 2] = 10 * (math.cos(3.0) - 0.4 * math.sin(0.4))  # 3.4 is past pi: cos would rise again
    assert torch.allclose(found.double(), wanted, atol=1e-4)
    hot = torch.nn.functional.one_hot(own, 3).float()
    assert torch.equal(
        with_margins(10 * angles.cos(), hot, recipe(model={"head": {"scale": 10.0}}), by_class), found
    )


def test_the_loss_is_the_cross_entropy_of_logits_with_a_margin() -> None:
    torch.manual_seed(0)
    own = recipe(regularize={"label_smoothing": 0.0}, model={"head": {"scale": 8.0}}, balance="weights")
    logits = 8 * (torch.rand(4, 3) * 1.6 - 0.8)
    y = torch.tensor([0, 1, 1, 1])
    both = loss_weights(own, y.numpy(), LabelMap(["a", "b", "c"]), "cpu")
    assert both is not None
    assert both[0].tolist() == pytest.approx([2.0, 2 / 3, 0.0])
    assert both[1].tolist() == pytest.approx([0.3] * 3)
    terms = []
    for row, c in zip(logits.double(), y.tolist(), strict=True):
        row = row.clone()
        row[c] = 8 * math.cos(math.acos(float(row[c]) / 8) + 0.3)
        terms.append(-float(torch.log_softmax(row, 0)[c]) * (2.0 if c == 0 else 2 / 3))
    assert float(loss_of(logits, y, own, both)) == pytest.approx(np.mean(terms), rel=1e-5)


def test_a_row_at_its_centre_has_a_slope_that_a_step_can_follow() -> None:
    logits = torch.tensor([[30.0, -30.0]], requires_grad=True)
    both = torch.tensor([[1.0, 1.0], [0.3, 0.3]])
    loss_of(logits, torch.tensor([0]), recipe(), both).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_recipe_is_filled_in() -> None:
    found = recipe(model={"head": {"centres": 3}})
    assert (found.model.head.scale, found.model.head.centres, found.loss.margin) == (30.0, 3, 0.3)
    assert found.head_start is False
    assert Recipe() == Recipe.model_validate(Recipe().as_table())
    assert from_table(found.as_table(), "again", lambda table: []) == found


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"mode": "probe"}, 'choose mode = "finetune"'),
        ({"regularize": {"mixup": 0.2}}, "regularize.mixup = 0"),
        ({"regularize": {"cutmix": 0.2}}, "regularize.cutmix = 0"),
        ({"head_start": True}, "drop head_start"),
        ({"distill": {"run": "r"}}, "drop distill"),
        ({"loss": {"name": "arcface", "margin_power": 0.5}}, "set loss.margin_least"),
        ({"loss": {"name": "arcface", "margin_least": 0.5}}, "at most loss.margin, which is 0.3"),
        ({"loss": {"name": "focal", "margin": 0.5}}, 'loss.margin only with loss = "arcface"'),
        ({"loss": "focal", "model": {"head": {"centres": 2}}}, "model.head.centres only with"),
    ],
)
def test_what_arcface_cannot_give_is_refused(table: dict[str, object], told: str) -> None:
    with pytest.raises(RecipeError) as raised:
        recipe(**table)
    assert told in raised.value.value
    assert len(raised.value.value.splitlines()) == 1


@pytest.mark.parametrize("name", ["multi-label", "ordinal"])
def test_tasks_without_one_class_a_row_have_no_arcface(name: str) -> None:
    with pytest.raises(RecipeError, match="arcface"):
        for_task(recipe(), Task(name))


def test_rows_with_probabilities_are_refused(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    save_image(tmp_path / "more" / "0.png", draw("circle", 500))
    (tmp_path / "extra.csv").write_text("path,prob:circle,prob:cross,prob:square\nmore/0.png,0.5,0.3,0.2\n")
    with pytest.raises(RecipeError, match="arcface learns from one label a row"):
        comp.run(
            "shapes",
            2,
            workspace=tmp_path,
            overrides=QUICK,
            extra=tmp_path / "extra.csv",
            report=False,
        )


def test_a_run_by_angles_predicts_again_and_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    own = [*QUICK, "model.head.centres=2", "model.head.hidden=12", "loss.margin_least=0.1", "model.pool=gem"]
    whole = comp.run("shapes", 2, workspace=tmp_path, overrides=own, report=False)
    head = read_sidecar(whole.folder / "fold-0").model.head
    assert (head.scale, head.centres, head.hidden) == (30.0, 2, 12)
    again = run_comp(tmp_path, "predict", whole.run, "--json")
    assert again.code == 0, again.err
    csv = tmp_path / json.loads(again.out)["submission"]
    assert csv.read_bytes() == whole.submission.read_bytes()
    part = comp.run("shapes", 2, workspace=tmp_path, overrides=own, only=[1], report=False)
    late = comp.run("shapes", workspace=tmp_path, resume=part.run, report=False)
    assert late.submission.read_bytes() == whole.submission.read_bytes()
    both = comp.run("shapes", 2, workspace=tmp_path, overrides=[*own, "jobs=2"], report=False)
    assert both.submission.read_bytes() == whole.submission.read_bytes()
    refitted = comp.run("shapes", workspace=tmp_path, refit=whole.run, report=False)
    assert refitted.submission.is_file()
    child = run_comp(tmp_path, "run", "shapes", "--resume", whole.run, "--set", "epochs=3", "--no-report")
    assert child.code == 0, child.err
    other = run_comp(
        tmp_path,
        "run",
        "shapes",
        "--folds",
        "2",
        "--set",
        "mode=finetune",
        "--set",
        "model.name=test_resnet",
        "--set",
        f"model.weights=run:{whole.run}",
        "--no-report",
    )
    assert other.code == 2
    assert "model.head.scale = None and not 30.0" in other.err
