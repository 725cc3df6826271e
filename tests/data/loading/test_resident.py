"""Images that lie on a device: the same pixels as by threads, indices beyond 2**31, room, and how they give way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from comp.data import device_memory as memory
from comp.data.augment.batch_ops import BatchOps
from comp.data.augment.geometry import GeometricOps, apply_grid
from comp.data.augment.policies import A, TrainTransform
from comp.data.images.pixel_cache import ImageDataset
from comp.data.images.preprocess import Preprocess
from comp.data.images.source import ArraySource
from comp.data.labels import LabelMap
from comp.data.loading import resident
from comp.data.loading.prefetch import loader_pool
from comp.data.loading.resident import ELSEWHERE, Resident, room_of, room_on, squares, watched
from comp.data.loading.train_loader import SMALL, Augmenter, TrainLoader
from comp.data.manifest import Manifest, Sample
from comp.inference.forward import probabilities
from comp.models.net import build
from comp.recipe import BalanceConfig, Recipe, load
from comp.training import loop
from comp.training.losses import TrainPixels, epoch_order, with_copies
from comp.training.plan import FoldRows, TrainPlan
from comp.training.time_limit import Deadline
from gpu_doubles import OUT_OF_MEMORY, Alive, fake_gpu
from made import planned

SIDE = 12
IMAGES = np.random.default_rng(0).integers(0, 256, (300, SIDE, SIDE, 3), np.uint8)
POLICIES = {
    "as they are": [],
    "moved": [A.HorizontalFlip(p=0.5), A.RandomRotate90(p=0.7)],
    "with black borders": [A.Pad(3), A.RandomCrop(SIDE, SIDE), A.RandomRotate90(p=0.5)],
}
LARGE = SMALL + 16
MOVES = [{"name": "HorizontalFlip"}, {"name": "RandomRotate90"}]
BLACK = [{"name": "Pad", "padding": 6}, {"name": "RandomCrop", "height": LARGE, "width": LARGE}]
COLOURS = [
    *MOVES,
    {"name": "Affine", "rotate": [-30, 30]},
    {"name": "ColorJitter"},
    {"name": "CoarseDropout"},
]
CROPS = [{"name": "RandomResizedCrop"}, {"name": "HorizontalFlip"}, {"name": "ColorJitter"}]


def resident_of(images: np.ndarray, rows: np.ndarray | None = None, room: int = ELSEWHERE) -> Resident | None:
    with loader_pool(2) as pool:
        wanted = np.arange(len(images)) if rows is None else rows
        return Resident.of(images.__getitem__, wanted, images.shape[1], pool, "cpu", room)


@pytest.mark.parametrize("at_once", [resident._GATHERED, 3 * SIDE**2])
@pytest.mark.parametrize("policy", POLICIES)
def test_images_on_a_device_give_what_windows_show(
    policy: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "_GATHERED", at_once)
    monkeypatch.setattr(resident, "CHUNK", 7 * 3 * SIDE**2)
    there_are = np.arange(20, 300, 2)
    rows = np.random.default_rng(1).permutation(there_are)[:50]
    windows = GeometricOps(POLICIES[policy], SIDE, room=False).windows(7, rows, np.full((50, 2), SIDE))
    there = resident_of(IMAGES, there_are)
    assert there is not None
    assert there.nbytes == 3 * len(there_are) * SIDE**2, "three bytes a pixel"
    places = there.places(rows, windows)
    assert (places.down is not None) == (policy == "with black borders")
    expected = np.stack([apply_grid(IMAGES[row], windows, n) for n, row in enumerate(rows)])
    assert (there.taken(places).numpy() == expected).all()
    assert (there.taken(places[10:13]).numpy() == expected[10:13]).all()
    assert (there.whole(rows).numpy() == IMAGES[rows]).all()


def test_indices_go_beyond_two_to_the_31(tmp_path: Path) -> None:
    """50,000 images of 256 pixels, in a file that is nearly all holes."""
    side, rows = 256, np.array([3, 32_768, 32_769, 49_999])
    file = np.memmap(tmp_path / "images", np.uint8, "w+", shape=(50_000, side, side, 3))
    images = np.random.default_rng(0).integers(0, 256, (4, side, side, 3), np.uint8)
    file[rows] = images
    there = Resident(torch.from_numpy(file), np.arange(50_000))
    windows = GeometricOps([A.HorizontalFlip(p=1)], side, room=False).windows(0, rows, np.full((4, 2), side))
    places = there.places(rows, windows)
    assert places.lines.dtype == places.columns.dtype == torch.int64
    assert int(places.lines.max()) > 2**31
    assert (there.taken(places).numpy() == images[:, :, ::-1]).all()
    assert (there.whole(rows).numpy() == images).all()


def test_a_gather_mixes_no_devices_and_is_in_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(8)
    windows = GeometricOps(POLICIES["with black borders"], SIDE, room=False).windows(
        7, rows, np.full((8, 2), SIDE)
    )
    with fake_gpu(monkeypatch) as device:
        there = Resident(
            torch.empty((50_000, 256, 256, 3), dtype=torch.uint8, device=device), np.arange(50_000)
        )
        there.side = SIDE
        places = there.places(rows, windows)
        assert places.lines.dtype == torch.int64
        made = there.taken(places)
        assert made.device == places.lines.device == device
        assert made.shape == (8, SIDE, SIDE, 3)
        assert there.whole(rows).device == device


# --- the room -------------------------------------------------------------------------------------------------------

GB = 1 << 30
THREE = LabelMap(("a", "b", "c"))


def test_images_leave_training_what_it_needs() -> None:
    assert room_of(16 * GB, 0, 0) == 8 * GB, "half of what is free"
    assert room_of(16 * GB, GB, 11 * GB) == 3 * GB, (
        "not what measured steps took, nor gradients and optimizer"
    )
    assert room_of(16 * GB, GB, GB) == 8 * GB
    assert room_of(4 * GB, 2 * GB, 2 * GB) == 0, "never below nothing"
    assert room_on("cpu") == ELSEWHERE


def test_room_is_asked_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {"memory_allocated": 1, "memory_reserved": 3, "max_memory_allocated": 5}
    for name, n in numbers.items():
        monkeypatch.setattr(torch.cuda, name, lambda device=None, n=n: n * GB)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (10 * GB, 16 * GB))
    monkeypatch.setattr(resident, "_most", 0)
    # what torch has reserved and does not use is free as well
    assert room_on("cuda") == room_of(12 * GB, GB, 5 * GB) == 5 * GB
    monkeypatch.setattr(resident, "_most", 4 * GB)
    assert room_on("cuda") == 6 * GB, "an earlier fold's images are no need of its steps"


def test_images_that_lie_on_a_device_together_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "_most", 0)
    monkeypatch.setattr(resident, "_alive", type(resident._alive)())
    first, second = resident_of(IMAGES[:100]), resident_of(IMAGES[:200])
    assert first is not None
    assert second is not None
    assert resident._most == first.nbytes + second.nbytes == 300 * 3 * SIDE**2
    del first
    assert resident_of(IMAGES[:50]) is not None
    assert resident._most == 300 * 3 * SIDE**2


def test_images_beyond_the_room_are_not_loaded() -> None:
    need = 3 * len(IMAGES) * SIDE**2
    assert resident_of(IMAGES, room=need) is not None
    assert resident_of(IMAGES, room=need - 1) is None
    assert resident_of(IMAGES, rows=np.empty(0, np.int64)) is None
    preprocess = Preprocess(SIDE, (0.5,) * 3, (0.5,) * 3)
    pixels = ImageDataset(ArraySource({"a": IMAGES}), ["a#0"], preprocess)
    with loader_pool(1) as pool:
        assert watched(pixels, np.array([0]), pool, "cpu", ELSEWHERE) is None, "a CPU has them in its memory"


def test_a_copy_that_ends_in_the_middle_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copied, alive = list[int](), Alive()
    plain = Tensor.copy_

    def ends(self: Tensor, other: Tensor, **named: Any) -> Tensor:
        copied.append(len(other))
        alive.note(self)
        if len(copied) == 3:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return plain(self, other, **named)

    monkeypatch.setattr(resident, "CHUNK", 32 * 3 * SIDE**2)
    monkeypatch.setattr(Tensor, "copy_", ends)
    assert resident_of(IMAGES) is None
    assert copied == [32, 32, 32]
    assert len(alive) == 0
    assert "300 images stay outside the GPU" in capsys.readouterr().err


def test_an_upload_holds_few_images_in_the_machines_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, pinned = list[int](), torch.empty

    def noted(*shape: Any, **named: Any) -> Tensor:
        made = pinned(*shape, **named)
        if "pin_memory" in named:
            taken.append(made.nbytes)
        return made

    monkeypatch.setattr(torch, "empty", noted)
    monkeypatch.setattr(resident, "CHUNK", 16 * 3 * SIDE**2)
    assert resident_of(IMAGES) is not None
    assert len(taken) == -(-300 // 16)
    assert max(taken) == 16 * 3 * SIDE**2


# --- a feed that lies on a device -----------------------------------------------------------------------------------


class Images:
    """Made images by row, of one side."""

    def __init__(self, pixels: np.ndarray, known: bool = True) -> None:
        self.pixels, self.known = pixels, known

    def __getitem__(self, row: int) -> np.ndarray:
        return np.asarray(self.pixels[row])

    def shapes(self, rows: np.ndarray) -> np.ndarray | None:
        return np.full((len(rows), 2), self.pixels.shape[1]) if self.known else None


def images_for(variants: Augmenter, count: int = 21) -> np.ndarray:
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
    side = variants.side
    large = torch.from_numpy(coarse).permute(0, 3, 1, 2).float()
    made = torch.nn.functional.interpolate(large, (side, side), mode="bilinear")
    return np.ascontiguousarray(made.permute(0, 2, 3, 1).to(torch.uint8).numpy())


def variants_of(transform: Any, device: str, size: int = LARGE) -> Augmenter:
    return Augmenter(
        TrainTransform(transform, Preprocess(size, (0.5,) * 3, (0.5,) * 3, crop_pct=0.8)), 3, 1, device
    )


def batches_of(feed: TrainLoader, epoch: int = 2) -> Iterator[tuple[np.ndarray, Tensor]]:
    return feed.epoch(np.random.default_rng(0).permutation(np.arange(1, 21)), 8, epoch)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("transform", ["none", "light", MOVES, BLACK])
def test_moves_above_64_pixels_are_the_same_to_the_bit(transform: Any, known: bool) -> None:
    variants = variants_of(transform, "cuda")
    images = Images(images_for(variants), known)
    rows = np.arange(1, 21)
    with loader_pool(2) as pool:
        by_threads = TrainLoader(images, 21, variants_of(transform, "cpu"), pool, "cpu")
        there = TrainLoader(images, 21, variants, pool, "cpu", rows, on_gpu=True)
        assert there.nbytes == 20 * 3 * variants.side**2
        pairs = list(zip(batches_of(by_threads), batches_of(there), strict=True))
    assert [len(one) for (one, _), _ in pairs] == [8, 8, 4]
    for (one, moved), (other, gathered) in pairs:
        assert (one == other).all()
        assert torch.equal(moved, gathered)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("transform", ["standard", COLOURS, CROPS])
def test_colours_above_64_pixels_do_not_depend_on_the_room(transform: Any, known: bool) -> None:
    """And are, but for a level here and there, what a CPU makes of the same draws."""
    variants = variants_of(transform, "cuda")
    assert variants.after is not None
    assert variants_of(transform, "cpu").after is None
    images = Images(images_for(variants), known)
    with loader_pool(2) as pool:
        there = TrainLoader(images, 21, variants, pool, "cpu", on_gpu=True)
        assert (there.nbytes > 0) == (transform is not CROPS)
        outside = TrainLoader(images, 21, variants, pool, "cpu", room=0, on_gpu=True)
        assert outside.nbytes == 0
        pairs = list(zip(batches_of(there), batches_of(outside), strict=True))
    for (rows, one), (same, other) in pairs:
        assert (rows == same).all()
        assert torch.equal(one, other)
        for row, image in zip(rows.tolist(), one, strict=True):
            by_opencv = variants.one(images[row], row, 2).astype(int)
            assert np.abs(by_opencv - image.numpy()).mean() < 0.5


@pytest.mark.parametrize("kind", ["cpu", "cuda", "mps"])
@pytest.mark.parametrize("size", [SMALL, SMALL + 1])
@pytest.mark.parametrize("last", ["HorizontalFlip", "GaussianBlur"])
def test_policy_size_and_kind_of_device_say_who_does_it(size: int, last: str, kind: str) -> None:
    variants = variants_of([{"name": "ColorJitter"}, {"name": last}], kind, size)
    batched = (size <= SMALL or kind == "cuda") and last == "HorizontalFlip"
    assert (variants.after is not None) == variants.in_batches == batched


def test_images_that_give_way_within_an_epoch_change_no_pixel(capsys: pytest.CaptureFixture[str]) -> None:
    variants = variants_of("standard", "cuda")
    images = Images(images_for(variants))
    order = np.random.default_rng(0).permutation(17)  # the last row of an epoch is left out
    with loader_pool(2) as pool:
        expected = list(TrainLoader(images, 21, variants, pool, "cpu", on_gpu=True).epoch(order, 8, 0))
        feed, found = TrainLoader(images, 21, variants, pool, "cpu", on_gpu=True), []
        for rows, all_seen in feed.epoch(order, 8, 0):
            found.append((rows, all_seen))
            memory.make_room()
        assert feed.nbytes == 0
        again = list(feed.epoch(order, 8, 0))
    assert "21 images leave the GPU" in capsys.readouterr().err
    for made in (found, again):
        assert len(made) == len(expected) == 2
        for (rows, one), (same, other) in zip(made, expected, strict=True):
            assert (rows == same).all()
            assert torch.equal(one, other)


def test_a_gather_and_colours_that_do_not_fit_are_done_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    variants = variants_of("standard", "cuda")
    images = Images(images_for(variants))
    plain_take, plain_batch = Resident.taken, BatchOps.batch
    failed = list[str]()

    def take(self: Resident, at: Any) -> Tensor:
        if not failed:
            failed.append("gather")
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return plain_take(self, at)

    def batch(self: BatchOps, all_seen: Tensor, parameters: Any) -> Tensor:
        if len(all_seen) > 2:
            failed.append("colours")
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return plain_batch(self, all_seen, parameters)

    with loader_pool(2) as pool:
        expected = list(batches_of(TrainLoader(images, 21, variants, pool, "cpu", on_gpu=True)))
        feed = TrainLoader(images, 21, variants, pool, "cpu", on_gpu=True)
        with monkeypatch.context() as patched:
            patched.setattr(Resident, "taken", take)
            patched.setattr(BatchOps, "batch", batch)
            found = list(batches_of(feed))
    assert {"gather", "colours"} == set(failed)
    assert feed.nbytes == 0
    for (rows, one), (same, other) in zip(found, expected, strict=True):
        assert (rows == same).all()
        assert torch.equal(one, other)


# --- held-out rows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaves", [False, True])
def test_held_out_rows_on_a_device_are_judged_the_same(leaves: bool) -> None:
    images = np.random.default_rng(2).integers(0, 256, (90, 40, 48, 3), np.uint8)
    preprocess = Preprocess(32, (0.5,) * 3, (0.5,) * 3, crop_pct=0.9)
    pixels = ImageDataset(ArraySource({"a": images}), [f"a#{n}" for n in range(90)], preprocess)
    rows, recipe = np.random.default_rng(3).permutation(90)[:80], Recipe(precision="fp32")
    torch.manual_seed(0)
    net = build(recipe.model.model_copy(update={"name": "test_resnet"}), 3).eval()
    with loader_pool(2) as pool:
        there = squares(pixels, rows, pool, "cpu", ELSEWHERE)
        assert there is not None
        assert there.nbytes == 80 * 32 * 32 * 3
        assert there.seconds > 0
        expected = probabilities(net, pool, pixels, rows, ["identity"], recipe, "cpu", labels=THREE)[
            "identity"
        ]

        def leave(done: int) -> None:
            if leaves:
                there.release()

        found = probabilities(
            net, pool, pixels, rows, ["identity"], recipe, "cpu", leave, labels=THREE, there=there
        )["identity"]
    assert np.array_equal(expected, found)


def test_a_time_limit_counts_the_loading_that_predictions_will_need() -> None:
    images = np.random.default_rng(2).integers(0, 256, (12, 32, 32, 3), np.uint8)
    plan = replace(planned(images=images), deadline=Deadline(3600, 1000, 1), recipe=Recipe(precision="fp32"))
    pixels = ImageDataset(plan.images, [f"all#{n}" for n in range(12)], plan.preprocess)
    part = FoldRows(plan.manifest.train, np.arange(12) % 3, np.empty(0, np.int64), np.arange(12))
    net = build(plan.recipe.model.model_copy(update={"name": "test_resnet"}), 3)
    with loader_pool(1) as pool:
        there = squares(pixels, part.held_out, pool, "cpu", ELSEWHERE)
        assert there is not None
        there.seconds = 1200.0
        loop._evaluate(plan, net, pool, pixels, part, "cpu", there)
    assert plan.deadline is not None
    seconds_per_image = plan.deadline._told[1]
    assert seconds_per_image > 100


# --- a fold ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("balance", ["none", "sampler", "copies"])
def test_a_fold_ends_with_the_same_bits_wherever_its_images_lie(
    balance: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 30
    images = np.random.default_rng(0).integers(0, 256, (count, 80, 90, 3), np.uint8)
    samples = [Sample(f"i{n}", f"all#{n}", "train", "aab"[n % 3]) for n in range(count)]
    made = planned(Manifest.from_samples(samples), images=images)
    part = FoldRows(made.manifest.train, np.arange(count) % 3 // 2, np.arange(20), np.arange(20, count))
    recipe = load(
        None, ["model=test_resnet", "mode=scratch", "device=cpu", "threads=1", "epochs=2", "batch=6"]
    )
    changes = {
        "precision": "fp32",
        "channels_last": True,
        "transform": "light",
        "balance": BalanceConfig(name=balance),
    }
    plan = replace(made, recipe=recipe.model_copy(update=changes), labels=LabelMap(["a", "b"]))
    plan = replace(plan, preprocess=replace(plan.preprocess, size=LARGE, crop_pct=0.9))
    part = with_copies(plan, 0, part)

    def lying(plan: TrainPlan, k: int, part: FoldRows, pool: Any, device: Any) -> Any:
        _, pixels, there = by_threads(plan, k, part, pool, device)
        assert there is None
        transform = TrainTransform(plan.recipe.transform, plan.preprocess)
        source, variants = (
            TrainPixels(plan, part, transform.extent),
            Augmenter(transform, plan.recipe.seed, k),
        )
        feed = TrainLoader(source, len(part.table), variants, pool, device, part.fitted, on_gpu=True)
        assert feed.nbytes == len(part.fitted) * 3 * variants.side**2
        return feed, pixels, squares(pixels, part.held_out, pool, device, ELSEWHERE)

    plain, given = loop.train_step, list[tuple[int, int, Tensor]]()

    def noted(state: Any, plan: TrainPlan, k: int, images: Tensor, targets: Tensor, *more: Any) -> None:
        given.append((state.epoch, state.batch, targets.clone()))
        plain(state, plan, k, images, targets, *more)

    monkeypatch.setattr(loop, "train_step", noted)
    by_threads, ends = loop._images, []
    for name, images_of in (("threads", by_threads), ("device", lying)):
        monkeypatch.setattr(loop, "_images", images_of)
        torch.manual_seed(0)
        (tmp_path / name).mkdir()
        ends.append(
            loop.train(plan, 0, part, build(plan.recipe.model, 2), tmp_path / name, lambda epoch: None)
        )
    for epoch, batch, targets in given:
        rows = epoch_order(part, plan.recipe, 0, epoch)[batch * 6 :][: len(targets)]
        assert (targets.numpy() == part.targets[rows]).all()
    one, other = ends
    assert all(torch.equal(a, b) for a, b in zip(one.net.parameters(), other.net.parameters(), strict=True))
    facts = [[(e.loss, e.valid_loss, e.valid_metric) for e in state.history] for state in ends]
    assert facts[0] == facts[1]
    assert len(facts[0]) == 2
