"""Mirrored and turned copies that make classes alike are found before a network trains on them."""

from __future__ import annotations

from dataclasses import replace

import albumentations as A
import numpy as np
import pytest

from comp.data.augment.policies import POLICIES, Symmetry, check_transform, symmetries
from comp.data.folds import Folds
from comp.data.manifest import Manifest, Sample
from comp.training.plan import TrainPlan
from comp.training.transform_trial import Cost, cost_of, mirrored_costs
from made import planned

TURNS = ("turn90", "turn180", "turn270")
HFLIP = Symmetry("HorizontalFlip", ("hflip",))


@pytest.mark.parametrize(
    ("transform", "views"),
    [
        (A.HorizontalFlip(p=0.5), [("hflip",)]),
        (A.VerticalFlip(p=0.5), [("turn180-hflip",)]),
        (A.Transpose(p=1), [("turn90-hflip",)]),
        (A.RandomRotate90(p=0.5), [TURNS]),
        (A.Rotate((-44, 44)), []),
        (A.Rotate((-90, 90)), [("turn90", "turn270")]),
        (A.SafeRotate((-180, 180)), [TURNS]),
        (A.Affine(rotate=(-12, 12), p=1), []),
        (A.Affine(rotate=(0, 60), p=1), [("turn90", "turn270")]),
        (A.HorizontalFlip(p=0.05), []),
        (A.Sequential([A.HorizontalFlip(p=0.5)], p=0.1), []),
        (A.OneOf([A.HorizontalFlip(p=0.1), A.NoOp(p=0.1)], p=1), [("hflip",)]),
        (A.OneOf([A.HorizontalFlip(p=0.1), A.NoOp(p=0.9)], p=0.5), []),
        (A.SomeOf([A.HorizontalFlip(p=1), A.NoOp()], n=1), [("hflip",)]),
        (A.ColorJitter(p=1), []),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_transform_mirrors_or_turns(transform: object, views: list[tuple[str, ...]]) -> None:
    assert [one.views for one in symmetries([transform])] == views


def test_what_named_policies_mirror_or_turn() -> None:
    names = {name: [one.name for one in symmetries(policy(224))] for name, policy in POLICIES.items()}
    flips = {name: ["HorizontalFlip"] for name in ("light", "standard", "crops", "heavy", "trivial")}
    turns = ["HorizontalFlip", "VerticalFlip", "RandomRotate90"]
    assert names == {"none": [], **flips, "no-colour": turns}


def test_the_cost_of_copies_in_numbers() -> None:
    """Of 100 rows of two classes all are right without copies; with them 40 are taken for the other class."""
    targets = np.repeat([0, 1], 50)
    mirrored = targets.copy()
    mirrored[30:70] = 1 - mirrored[30:70]
    cost = cost_of(HFLIP, targets, targets, mirrored)
    assert (cost.rows, cost.without, cost.with_copies, cost.lost) == (100, 1.0, 0.6, 40)
    assert cost.error == pytest.approx(np.sqrt(0.4 * 0.6 / 100))
    assert (cost.pair, cost.pair_lost, cost.pair_changed, cost.pair_rows) == ((0, 1), 40, 40, 100)
    assert cost.is_harmful
    assert cost.is_pair


@pytest.mark.parametrize(("lost", "harmful"), [(8, False), (16, False), (17, True)])
def test_two_twins_among_many_classes(lost: int, harmful: bool) -> None:
    """Of 400 rows of 20 classes, half right at all; two classes of 20 rows each lose some rows to each other."""
    targets = np.arange(400) % 20
    plain = np.where(np.arange(400) // 20 % 2 == 0, targets, (targets + 7) % 20)
    plain[targets < 2] = targets[targets < 2]
    mirrored = plain.copy()
    twins = np.flatnonzero(targets < 2)[:lost]
    mirrored[twins] = 1 - targets[twins]
    cost = cost_of(HFLIP, targets, plain, mirrored)
    assert cost.pair == (0, 1)
    assert cost.is_pair is harmful


def test_what_copies_lose_here_and_gain_there_is_no_harm() -> None:
    targets = np.arange(200) % 2
    plain, mirrored = targets.copy(), targets.copy()
    plain[:40], mirrored[40:85] = 1 - targets[:40], 1 - targets[40:85]
    cost = cost_of(HFLIP, targets, plain, mirrored)
    assert cost.with_copies < cost.without
    assert not cost.is_harmful


def dots(axis: int, rows: int = 120, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Noise with a dot in the first half of an axis (class a) or in the second (class b); uint8 (rows, 32, 32, 3)."""
    rng = np.random.default_rng(seed)
    images = rng.normal(120, 20, (rows, 32, 32, 3)).clip(0, 255)
    for n in range(rows):
        place = [int(v) for v in rng.integers(2, 26, 2)]
        place[axis] = int(rng.integers(2, 10)) + (15 if n % 2 else 0)
        images[n, place[0] : place[0] + 5, place[1] : place[1] + 5] = rng.integers(0, 256, 3)
    return images.astype(np.uint8), ["ab"[n % 2] for n in range(rows)]


def costs_of(plan: TrainPlan) -> list[Cost]:
    return mirrored_costs(plan, symmetries(check_transform(plan.recipe.transform, plan.preprocess.size)))


def plan_of(
    images: np.ndarray, labels: list[str], transform: object, names: list[str] | None = None
) -> TrainPlan:
    ids = names or [f"r{n}" for n in range(len(labels))]
    samples = [
        Sample(i, f"all#{n}", "train", label) for n, (i, label) in enumerate(zip(ids, labels, strict=True))
    ]
    manifest = Manifest.from_samples(samples)
    contents = [f"{int(images[n].astype(np.int64).sum()):09d}-{n}" for n in range(len(labels))]
    manifest = replace(manifest, table=manifest.table.assign(content=contents))
    folds = Folds(tuple(ids), np.arange(len(ids)) // 2 % 3, 3, 0, manifest.fingerprint("train"))
    plan = planned(manifest, folds, images)
    return replace(plan, recipe=plan.recipe.model_copy(update={"transform": transform}), decoded=plan.source)


def test_classes_that_are_mirror_images() -> None:
    costs = {one.symmetry.name: one for one in costs_of(plan_of(*dots(axis=1), "no-colour"))}
    assert costs["HorizontalFlip"].is_harmful
    assert costs["HorizontalFlip"].without > 0.8
    assert costs["HorizontalFlip"].with_copies < 0.65
    assert costs["RandomRotate90"].is_harmful, "a half turn is a mirror image too, of these"
    assert not costs["VerticalFlip"].is_harmful


def test_classes_that_are_upside_down_images() -> None:
    costs = {one.symmetry.name: one for one in costs_of(plan_of(*dots(axis=0), "no-colour"))}
    assert costs["VerticalFlip"].is_harmful
    assert not costs["HorizontalFlip"].is_harmful


def test_classes_of_a_colour_may_be_mirrored_and_turned() -> None:
    images, labels = dots(axis=1)
    images[1::2, :, :, 0] //= 2
    assert not any(one.is_harmful for one in costs_of(plan_of(images, labels, "no-colour")))


def test_names_and_the_order_of_rows_do_not_matter() -> None:
    images, labels = dots(axis=1, rows=60)
    plain = plan_of(images, labels, "light")
    turned = replace(
        plain, manifest=replace(plain.manifest, table=plain.manifest.table[::-1].reset_index(drop=True))
    )
    named = plan_of(images, labels, "light", [f"{n * 7919 % 61:02d}" for n in range(60)])
    (first,), (second,), (third,) = (costs_of(one) for one in (plain, turned, named))
    assert first == second == third


def test_nothing_is_mirrored_or_there_are_hardly_any_rows() -> None:
    assert costs_of(plan_of(*dots(axis=1), "none")) == []
    assert costs_of(plan_of(*dots(axis=1, rows=20), "light")) == []
