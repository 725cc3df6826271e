"""What a GPU does to a fold's training, on a CPU with doubles of torch: memory that ends, fp16, several devices."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import comp
from comp.data.augment.batch_ops import erased_at_once, erased_one_by_one, mix
from comp.data.augment.geometry import GeometricOps
from comp.data.augment.policies import A, TrainTransform
from comp.data.loading.prefetch import loader_pool
from comp.data.loading.resident import Resident
from comp.data.loading.train_loader import Augmenter, TrainLoader
from comp.data.manifest import Manifest, Sample
from comp.data.predictions import Predictions
from comp.errors import TrainingFailed
from comp.models import autotune
from comp.models.checkpoint import save_tensors
from comp.models.net import build, normalise
from comp.models.runtime import wait_for
from comp.recipe import OptimizerConfig, Recipe, RegularizeConfig, load
from comp.training import gradients, loop
from comp.training.ema import WeightEma
from comp.training.loop import MOST_SKIPPED, train_step
from comp.training.losses import loss_of
from comp.training.plan import TrainPlan
from comp.training.state import (
    FILE,
    NEVER,
    SIDECAR,
    TrainState,
    _on_cpu,
    _random_state,
    _set_random_state,
    load_optimizer,
)
from gpu_doubles import OUT_OF_MEMORY, Alive, Copies, every_convolution, fake_gpu, moved
from made import TINY_RECIPE, planned

ONE_STEP = 1e-2  # a learning rate with which a step changes every weight


def plan_of(count: int = 8, **recipe: Any) -> TrainPlan:
    """A plan of made images with a tiny network."""
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    samples = [Sample(f"a{n}", f"all#{n}", "train", "abc"[n % 3]) for n in range(count)]
    made = planned(Manifest.from_samples(samples), images=images)
    text = load(None, ["model=test_resnet", "model.size=32", "mode=scratch", "device=cpu", "threads=1"])
    wanted = text.model_copy(update={"precision": "fp32", "channels_last": True, "batch": 8, **recipe})
    from dataclasses import replace

    return replace(made, recipe=wanted)


def begun(plan: TrainPlan, scaler: Any = None) -> TrainState:
    """The state before the first step of a fold of the plan."""
    torch.manual_seed(0)
    state = TrainState.begin(build(plan.recipe.model, 3), plan.recipe, steps=4)
    state.accelerator.scaler = scaler
    state.net.train()
    return state


def one_step(state: TrainState, plan: TrainPlan, rows: int = 8) -> None:
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (rows, 32, 32, 3), np.uint8))
    train_step(state, plan, 0, images, torch.arange(rows) % 3, None)


def digits(tmp_path: Path, *overrides: str, folds: int = 2, name: str = "r") -> comp.RunResult:
    recipe = tmp_path / f"{name}.toml"
    recipe.write_text(TINY_RECIPE)
    return comp.run("digits", folds, workspace=tmp_path, recipe=recipe, quick=True, overrides=overrides)


# --- the end of memory ----------------------------------------------------------------------------------------------


class EndsInBackward(torch.autograd.Function):
    """Passes what it reads, and does not fit into memory on the way back."""

    fails = 0

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        if EndsInBackward.fails > 0:
            EndsInBackward.fails -= 1
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return slope


def test_nothing_of_an_attempt_that_failed_in_backward_is_alive_in_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_of()
    state, saved, left = begun(plan), Alive(), list[int]()
    first = next(module for module in state.net.modules() if isinstance(module, nn.Conv2d))
    plain = nn.Conv2d._conv_forward

    def conv(self: Any, x: Tensor, *rest: Any) -> Tensor:
        if self is first:
            left.append(len(saved))
        made = plain(self, x, *rest)
        saved.note(made)
        return made

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", conv)
    # where backward begins: nothing that was saved is gone yet, and torch's queue of a CPU keeps no other branch
    state.net.register_forward_hook(lambda module, inputs, made: EndsInBackward.apply(made))
    EndsInBackward.fails = 1
    one_step(state, plan)
    assert left == [0, 0]
    assert state.accumulate == 1, "what was freed sufficed"


def test_images_leave_the_gpu_before_a_batch_is_cut_into_parts(capsys: pytest.CaptureFixture[str]) -> None:
    """In parts BatchNorm would see other batches; images lie there for speed alone."""
    plan = plan_of()
    state, there = begun(plan), Resident(torch.zeros((9, 32, 32, 3), dtype=torch.uint8), np.arange(9))
    state.net.register_forward_hook(lambda module, inputs, made: EndsInBackward.apply(made))
    EndsInBackward.fails = 1
    one_step(state, plan)
    assert there.pixels is None
    assert state.accumulate == 1
    assert "9 images leave the GPU" in capsys.readouterr().err


def test_a_backward_that_never_fits_is_done_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Large(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.rows = len(x)
            return x.view_as(x)

        @staticmethod
        def backward(ctx: Any, slope: Tensor) -> Tensor:
            if ctx.rows > 4:
                raise torch.OutOfMemoryError(OUT_OF_MEMORY)
            return slope

    plan = plan_of()
    state = begun(plan)
    monkeypatch.setattr(state.net.backbone, "conv1", nn.Sequential(state.net.backbone.conv1))
    state.net.backbone.conv1.register_forward_hook(lambda module, inputs, made: Large.apply(made))
    one_step(state, plan)
    assert state.accumulate == 2
    assert capsys.readouterr().err.count("out of memory") == 1


def steps_of_adamw(monkeypatch: pytest.MonkeyPatch, before: Callable[[Any, int], None]) -> None:
    """Calls ``before`` with the optimizer and the number of its step, from 1."""
    plain, count = torch.optim.AdamW.step, dict[int, int]()

    def stepped(self: Any, closure: Any = None) -> Any:
        count[id(self)] = count.get(id(self), 0) + 1
        before(self, count[id(self)])
        return plain(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", stepped)


def half_changed(optimizer: Any) -> None:
    """What a step leaves that ends in its middle."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    with torch.no_grad():
        for p in parameters[: len(parameters) // 2]:
            p.add_(1.0)
    raise torch.OutOfMemoryError(OUT_OF_MEMORY)


def test_half_a_step_of_the_optimizer_is_neither_repeated_nor_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = digits(tmp_path, "save_minutes=0.0", folds=2)
    with monkeypatch.context() as patched:
        steps_of_adamw(patched, lambda optimizer, n: half_changed(optimizer) if n == 3 else None)
        with pytest.raises(TrainingFailed, match="a step must fit into memory") as failed:
            digits(tmp_path, "save_minutes=0.0", name="other")
    assert "`resume`" in failed.value.remedy
    run = max(path for path in (tmp_path / "runs").iterdir())
    table = torch.load(run / "fold-0" / FILE, weights_only=True)
    assert (table["epoch"], table["batch"]) == (0, 2), "the state before the step that failed"
    again = comp.run("digits", workspace=tmp_path, resume=run.name)
    a, b = (Predictions.load(one.folder / "oof.npz").probs for one in (whole, again))
    assert np.array_equal(a, b), "what it went on from was whole"


@contextmanager
def no_room_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing can lie on a GPU, and memory is pinned for it only in name."""
    empty = torch.empty

    def pinned(*arguments: Any, pin_memory: bool = False, device: Any = None, **named: Any) -> Tensor:
        if device is not None and torch.device(device).type == "cuda":
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return empty(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "empty", pinned)
        yield


class Images:
    """Made images by row."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __getitem__(self, row: int) -> np.ndarray:
        return np.asarray(self.pixels[row])

    def shapes(self, rows: np.ndarray) -> None:
        return None


@pytest.mark.parametrize("policy", ["none", "light"])
def test_images_that_do_not_fit_on_the_gpu_stay_outside(
    policy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), np.uint8)
    variants = Augmenter(TrainTransform(policy, planned().preprocess), 0, 0)
    order = np.random.default_rng(1).permutation(24)
    with loader_pool(2) as pool:
        plain = TrainLoader(Images(images), 24, variants, pool, "cpu")
        expected = [batch.numpy().copy() for _, batch in plain.epoch(order, 8, 0)]
        with no_room_on_the_gpu(monkeypatch):
            feed = TrainLoader(Images(images), 24, variants, pool, "cuda", room=1 << 30)
            found = [batch.numpy().copy() for _, batch in feed.epoch(order, 8, 0)]
    assert "24 images stay outside the GPU" in capsys.readouterr().err
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))


def test_a_batch_that_cannot_be_uploaded_fails_its_fold_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(*arguments: Any) -> Tensor:
        raise torch.OutOfMemoryError(OUT_OF_MEMORY)

    monkeypatch.setattr(loop, "normalise", ends)
    with pytest.raises(TrainingFailed, match="a batch must fit into memory") as failed:
        digits(tmp_path)
    assert "test_resnet at 32 pixels, batches of 8" in failed.value.value
    assert "smaller batch" in failed.value.remedy


def test_rows_that_do_not_fit_are_judged_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from comp.data.images.pixel_cache import ImageDataset
    from comp.inference.forward import outputs

    plan = plan_of(20)
    net = build(plan.recipe.model, 3).eval()
    pixels = ImageDataset(plan.source, [f"all#{n}" for n in range(20)], plan.preprocess, budget=0)

    def seen() -> dict[str, np.ndarray]:
        with loader_pool(1) as pool:
            return outputs(net, pool, pixels, np.arange(20), ["identity", "hflip"], plan.recipe, "cpu")

    def ends(x: Tensor) -> None:
        if len(x) > 6:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)

    whole = seen()
    every_convolution(monkeypatch, ends)
    parts = seen()
    assert all(np.allclose(whole[name], parts[name], atol=1e-5) for name in whole)

    def always(x: Tensor) -> None:
        raise torch.OutOfMemoryError(OUT_OF_MEMORY)

    every_convolution(monkeypatch, always)
    with pytest.raises(TrainingFailed, match="a row must fit into memory"):
        seen()


# --- one fold after another -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_a_fold_is_alive_in_the_next(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parameters and the optimizer's numbers: a fold that fails must not keep them in its error either."""
    alive, seen = Alive(), list[int]()
    made = torch.optim.AdamW.__init__

    def begin(self: Any, groups: Any, *arguments: Any, **named: Any) -> None:
        if named.get("lr", 0) == 3e-3:
            seen.append(len(alive))
        made(self, groups, *arguments, **named)

    def note(optimizer: Any, n: int) -> None:
        for p in [p for group in optimizer.param_groups for p in group["params"]]:
            alive.note(p)
            for value in optimizer.state[p].values():
                alive.note(value)
        if fails and n == 3 and len(seen) == 2:
            half_changed(optimizer)

    steps_of_adamw(monkeypatch, note)
    monkeypatch.setattr(torch.optim.AdamW, "__init__", begin)
    if fails:
        with pytest.raises(TrainingFailed):
            digits(tmp_path, folds=3)
    else:
        digits(tmp_path, folds=3)
    assert len(seen) >= 4, "one of the plan and one of each fold"
    assert set(seen) == {0}


def test_a_false_end_of_memory_halves_no_batch_now_or_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, as where an earlier fold or another program held what was missing."""
    calls = {"left": 1}

    def once(x: Tensor) -> None:
        if x.requires_grad is False and torch.is_grad_enabled() and len(x) == 8 and calls["left"]:
            calls["left"] = 0
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)

    every_convolution(monkeypatch, once)
    found = digits(tmp_path)
    assert calls["left"] == 0
    assert "out of memory" not in capsys.readouterr().err
    assert load(found.folder / "recipe.toml").accumulate == 1
    for k in range(2):
        assert json.loads((found.folder / f"fold-{k}" / "result.json").read_text())["accumulate"] == 1


# --- fp16 -----------------------------------------------------------------------------------------------------------


def norms(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The norms of the gradients as they are clipped from now on."""
    found, clip = list[float](), nn.utils.clip_grad_norm_

    def clipped(*arguments: Any, **named: Any) -> Tensor:
        norm = clip(*arguments, **named)
        found.append(float(norm))
        return norm

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", clipped)
    return found


CLIPPED = {"optimizer": OptimizerConfig(name="adamw", lr=1e-6, clip=0.1)}


def test_gradients_are_unscaled_once_also_after_a_stage_and_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, found = plan_of(**CLIPPED), norms(monkeypatch)
    one_step(begun(plan), plan)
    expected = found.pop()
    state = begun(plan, torch.amp.GradScaler("cpu"))
    one_step(state, plan)
    state.enter_stage()
    one_step(state, plan)
    folder = tmp_path / "fold-0"
    folder.mkdir()
    state.save(folder)
    again = begun(plan, torch.amp.GradScaler("cpu"))
    assert again.restore(folder)
    one_step(again, plan)
    assert found == pytest.approx([expected] * 3, rel=0.05)


def test_a_state_keeps_the_scaler(tmp_path: Path) -> None:
    plan = plan_of(**CLIPPED)
    state = begun(plan, torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=100))
    for _ in range(3):
        one_step(state, plan)
    folder = tmp_path / "fold-0"
    folder.mkdir()
    state.save(folder)
    again = begun(plan, torch.amp.GradScaler("cpu"))
    assert again.restore(folder)
    assert again.scaler.state_dict() == state.scaler.state_dict()
    assert again.scaler.get_scale() == 64.0
    assert again.scaler.state_dict()["_growth_tracker"] == 3


def test_a_step_that_a_scaler_leaves_out_changes_nothing_and_is_no_divergence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = gradients.loss_of
    monkeypatch.setattr(
        gradients, "loss_of", lambda *given: plain(*given) * 1e4
    )  # finite, but not times 2**127
    plan = plan_of(regularize=RegularizeConfig(ema=0.9), **CLIPPED)
    state = begun(plan, torch.amp.GradScaler("cpu", init_scale=2.0**127, backoff_factor=2.0**-100))
    before = {name: tensor.clone() for name, tensor in state.net.named_parameters()}
    lr = state.lr
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_step(state, plan)
        assert state.skipped == 1
        assert int(state.first_bad) == NEVER
        assert all(torch.equal(tensor, before[name]) for name, tensor in state.net.named_parameters())
        assert state.lr == lr
        assert state.average is not None
        assert state.average.steps == 0
        one_step(state, plan)
    assert (state.skipped, state.batch, state.seen) == (0, 2, 16)
    assert int(state.first_bad) == NEVER
    assert bool(torch.isfinite(state.loss_sum))
    assert state.average.steps == 1


def test_a_loss_beyond_fp16_is_passed_over_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(**CLIPPED)
    state = begun(plan, torch.amp.GradScaler("cpu"))
    plain = gradients.loss_of
    monkeypatch.setattr(gradients, "loss_of", lambda *given: plain(*given) * float("inf"))
    for _ in range(MOST_SKIPPED):
        one_step(state, plan)
    assert int(state.first_bad) == NEVER
    assert bool(torch.isfinite(state.loss_sum))
    one_step(state, plan)
    assert int(state.first_bad) == MOST_SKIPPED
    looks = loop._Looks(plan, 0, SimpleNamespace(), np.zeros(0), Path())  # type: ignore[arg-type]
    monkeypatch.setattr(loop._Looks, "_failed", lambda self, state, batch, fault: TrainingFailed(fault))
    with pytest.raises(TrainingFailed, match="25 steps in a row do not fit into fp16"):
        looks.at_losses(state)


# --- what is not a number never lands in a state -----------------------------------------------------------------------


class Gpu(str):
    """The CPU under another name, so that losses are looked at as seldom as on a GPU."""

    type = "gpu"


def poisoned(optimizer: Any) -> None:
    with torch.no_grad():
        optimizer.param_groups[0]["params"][0].fill_(float("nan"))


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_weights_that_are_no_numbers_are_never_saved(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved by time after each step; the fourth begins with weights that are none, on a GPU long before a look."""
    if device == "gpu":
        monkeypatch.setattr(TrainState, "device", property(lambda self: Gpu("cpu")))

    def ruin(optimizer: Any, n: int) -> None:
        if n == 3:
            optimizer.register_step_post_hook(lambda one, *rest: poisoned(one))

    steps_of_adamw(monkeypatch, ruin)
    with pytest.raises(TrainingFailed, match="after batch 3 its weights are not numbers"):
        digits(tmp_path, "save_minutes=0.0")
    (run,) = (tmp_path / "runs").iterdir()
    for fold in ("fold-0", "fold-1"):
        table = torch.load(run / fold / FILE, weights_only=True)
        assert table["batch"] == 2
        assert all(torch.isfinite(t).all() for t in table["net"].values())
        facts = json.loads((run / fold / "diverged.json").read_text())
        assert facts["batch"] == 3
        assert len(facts["ids"]) == 8


def test_a_loss_that_is_no_number_is_seen_before_a_state_is_saved_by_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainState, "device", property(lambda self: Gpu("cpu")))
    plain, calls = gradients.loss_of, {"n": 0}

    def third(*given: Any) -> Tensor:
        calls["n"] += 1
        return plain(*given) * (float("nan") if calls["n"] == 3 else 1.0)

    monkeypatch.setattr(gradients, "loss_of", third)
    with pytest.raises(TrainingFailed, match="batch 3: the loss is not a number"):
        digits(tmp_path, "save_minutes=0.0")
    (run,) = (tmp_path / "runs").iterdir()
    assert torch.load(run / "fold-0" / FILE, weights_only=True)["batch"] == 2


# --- several devices ------------------------------------------------------------------------------------------------


class Generators:
    """The generators of some GPUs, as ``torch.cuda`` shows them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self.states = [torch.full((4,), n, dtype=torch.uint8) for n in range(count)]
        self.seeds: list[int] = []
        for name in ("get_rng_state", "set_rng_state", "get_rng_state_all", "set_rng_state_all"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "manual_seed", self.seeds.append)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    def get_rng_state(self, device: Any = "cuda") -> Tensor:
        return self.states[torch.device(device).index or 0].clone()

    def set_rng_state(self, state: Tensor, device: Any = "cuda") -> None:
        self.states[torch.device(device).index or 0] = state.clone()

    def get_rng_state_all(self) -> list[Tensor]:
        return [state.clone() for state in self.states]

    def set_rng_state_all(self, states: list[Tensor]) -> None:
        for n, state in enumerate(states):
            self.states[n] = state  # IndexError where there were more


def test_the_random_state_of_the_used_device_alone_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run on two GPUs goes on where there is one, and on a CPU."""
    Generators(monkeypatch, 2)
    known = _random_state(torch.device("cuda", 0))
    assert known is not None
    one = Generators(monkeypatch, 1)
    one.states[0] = torch.full((4,), 9, dtype=torch.uint8)
    _set_random_state(torch.device("cuda", 0), known[1])
    assert one.states[0].tolist() == [0, 0, 0, 0]
    assert _random_state(torch.device("cpu")) is None
    _set_random_state(torch.device("cpu"), known[1])


def test_a_state_of_a_gpu_goes_on_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of()
    state = begun(plan)
    one_step(state, plan)
    folder = tmp_path / "fold-0"
    folder.mkdir()
    state.save(folder)
    table = torch.load(folder / FILE, weights_only=True)
    of_a_gpu = {**table, "device_rng": ("cuda", torch.zeros(16, dtype=torch.uint8))}
    (folder / SIDECAR).write_text(json.dumps({"sha256": [save_tensors(folder / FILE, of_a_gpu)]}))
    again = begun(plan)
    assert again.restore(folder)
    assert again.batch == 1
    assert all(torch.equal(a, b) for a, b in zip(state.net.parameters(), again.net.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "on_cpu"), [("AdamW", ["step"]), ("NAdam", ["mu_product", "step"]), ("SGD", [])]
)
def test_an_optimizers_counts_stay_in_the_machines_memory_after_a_resume(
    name: str, on_cpu: list[str]
) -> None:
    """On a GPU each of them would make every step wait twice; ``meta`` stands for it here."""
    kind = getattr(torch.optim, name)
    own = nn.Parameter(torch.ones(4, 4))
    began = kind([own], lr=0.1, **({"momentum": 0.9} if name == "SGD" else {}))
    own.grad = torch.ones_like(own)
    began.step()
    there = nn.Parameter(torch.empty(4, 4, device="meta"))
    again = kind([there], lr=0.1, **({"momentum": 0.9} if name == "SGD" else {}))
    load_optimizer(again, began.state_dict(), on_cpu)
    found = {key: value.device.type for key, value in again.state[there].items() if value is not None}
    assert sorted(key for key, device in found.items() if device == "cpu") == on_cpu
    assert all(device == "meta" for key, device in found.items() if key not in on_cpu)
    assert _on_cpu(again) == on_cpu, "and is known of the next state too"
    assert _on_cpu(began) == [], "on a CPU everything is there anyway"


# --- nothing waits --------------------------------------------------------------------------------------------------

# what FakeTensorMode can follow: grid_sample and nonzero it cannot
LEFT = [
    {"name": "CoarseDropout", "p": 1.0},
    {"name": "ToGray", "p": 0.5},
    {"name": "HorizontalFlip", "p": 0.5},
]


def test_a_forward_pass_mixes_no_devices_and_waits_for_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(regularize=RegularizeConfig(mixup=1.0, cutmix=1.0, erasing=0.9))
    net = build(plan.recipe.model, 3)
    from comp.models.batchnorm_fusion import fuse_frozen_batchnorm

    net.eval()
    assert fuse_frozen_batchnorm(net, 32) > 3
    rows = np.arange(8)
    variants = Augmenter(TrainTransform(LEFT, plan.preprocess), 0, 0)
    windows = GeometricOps([A.Pad(3), A.RandomCrop(32, 32)], 32, room=False).windows(
        7, rows, np.full((8, 2), 32)
    )
    assert variants.after is not None
    with fake_gpu(monkeypatch) as device:
        there = Resident(torch.empty((40, 32, 32, 3), dtype=torch.uint8, device=device), np.arange(40))
        average = WeightEma(moved(net, device), 0.9)
        with Copies() as copies:
            made = there.taken(there.places(rows, windows))
            made = variants.after.batch(made, variants.after.drawn(1, rows))
            x = normalise(made, plan.preprocess)
            y = loop.upload(torch.arange(8) % 3, device)
            assert loop.upload(y, device) is y, "labels that lie there are not copied again"
            for seed in range(6):
                x, mixed = mix(x, y, 3, plan.recipe.regularize, np.random.default_rng(seed))
            logits = net(x)
            loss = loss_of(logits, mixed, plan.recipe, torch.ones(3, device=device))
            average.update()
        assert logits.device == loss.device == device
        with pytest.raises(RuntimeError, match="device"):  # so that the above proves something
            net(torch.zeros(8, 3, 32, 32)) + x
    assert copies.free.count("cpu to cuda") >= 8
    # the line of numbers that pixels are multiplied by is made once for a device
    assert len(copies.waiting) <= 2, copies.waiting


def test_rectangles_are_erased_alike_one_by_one_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(64, 3, 24, 20).to(memory_format=layout)
        edges = []
        for n in np.flatnonzero(rng.random(64) < 0.6).tolist():
            top, left = int(rng.integers(0, 20)), int(rng.integers(0, 16))
            edges.append((n, top, left, top + int(rng.integers(1, 5)), left + int(rng.integers(1, 5))))
        one, other = erased_one_by_one(x.clone(), edges), erased_at_once(x.clone(), edges)
        assert torch.equal(one, other)
        assert one.stride() == other.stride()
    counts = []
    for rows in (4, 256):
        with fake_gpu(monkeypatch) as device, Copies() as copies:
            x = torch.empty(rows, 3, 32, 32, device=device)
            part = RegularizeConfig(erasing=1.0)
            mix(x, torch.zeros(rows, dtype=torch.int64, device=device), 3, part, np.random.default_rng(0))
        counts.append(copies.operations)
    assert counts[0] == counts[1] < 40, "as many operations for few rows as for many"


def test_outputs_of_all_views_come_back_in_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    from comp.inference.forward import _Copied, rows_at_once

    waited = []
    event = SimpleNamespace(record=lambda stream: None, synchronize=lambda: waited.append(1))
    monkeypatch.setattr(torch.cuda, "Event", lambda: event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    with fake_gpu(monkeypatch) as device, Copies() as copies:
        copied = _Copied.of({name: torch.empty(8, 5, device=device) for name in ("a", "b", "c")})
        assert (copies.free, copies.waiting, waited) == (["cuda to cpu"], [], [])
        assert {name: tuple(t.shape) for name, t in copied.ready().items()} == dict.fromkeys("abc", (8, 5))
        assert waited == [1]
    values = {"a": torch.ones(2, 3), "b": torch.zeros(2, 3)}
    assert _Copied.of(values).ready().keys() == values.keys()
    assert rows_at_once("cpu", 224**2) == 64, "the numbers of a CPU stay what they were"
    assert rows_at_once("cuda", 224**2) == 256
    assert 64 <= rows_at_once("cuda", 512**2) < 256, "not all of the memory for images on their way"


def test_steps_are_timed_as_they_will_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """cudnn.benchmark and the precision of products decide how long a step takes."""
    seen = []

    def timed(*arguments: Any) -> float:
        seen.append((torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()))
        return 1.0

    zeros = torch.zeros
    monkeypatch.setattr(autotune, "_one_step", timed)
    monkeypatch.setattr(autotune, "_copy", lambda net, *rest: net)
    monkeypatch.setattr(torch, "zeros", lambda *size, device=None, **named: zeros(*size, **named))
    before = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    recipe = load(None, ["device=cuda", "model=test_resnet", "model.size=32", "mode=scratch", "batch=4"])
    try:
        for deterministic in (False, True):
            one = recipe.model_copy(update={"deterministic": deterministic, "threads": 1})
            autotune.step_seconds(build(recipe.model, 3), one, ("fp32", True), 1)
    finally:
        autotune.set_flags(Recipe(device="cpu"))
    assert set(seen[:2]) == {(True, "high")}
    assert set(seen[2:]) == {(False, "highest")}
    assert (torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()) == before


def test_a_gpu_of_either_kind_is_waited_for_before_time_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: waited.append("cuda"))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    for kind in ("cpu", "cuda", "mps"):
        wait_for(torch.device(kind))
    assert waited == ["cuda", "mps"]
