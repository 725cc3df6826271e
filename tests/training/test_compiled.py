"""A compiled network takes steps only where it is the same function, and nothing of it ever ends a run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm.layers
import torch
from torch import Tensor, nn

import comp
from comp.data.predictions import Predictions
from comp.models.checkpoint import hash_tensors
from comp.models.net import build
from comp.recipe import RegularizeConfig, StageConfig, load
from comp.training import compiled
from comp.training.compiled import first_different, forget_compiled, layers_that_drop
from comp.training.loop import train_mode, train_step
from comp.training.plan import TrainPlan
from comp.training.state import FILE, TrainState
from gpu_doubles import OUT_OF_MEMORY
from made import TINY_RECIPE, planned

RECIPE = load(
    None,
    ["model=resnet9", "model.kwargs.width=4", "model.size=16", "mode=scratch", "device=cpu", "threads=1"],
).model_copy(update={"precision": "fp32", "channels_last": True, "batch": 8, "compile": True})


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    forget_compiled()


def plan_of(**recipe: Any) -> TrainPlan:
    made = planned()
    return TrainPlan(**{**vars(made), "recipe": RECIPE.model_copy(update=recipe)})


def through(backend: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Networks are compiled by this backend from now on; the list that comes back has the rows of each compiled call."""
    calls: list[int] = []
    plain = compiled.compiled_call
    monkeypatch.setattr(compiled, "HOW", {"backend": backend, "dynamic": False})

    def counted(net: nn.Module) -> Any:
        made = plain(net)

        def call(x: Tensor) -> Tensor:
            calls.append(len(x))
            return made(x)

        return call

    monkeypatch.setattr(compiled, "compiled_call", counted)
    return calls


def begun(plan: TrainPlan) -> TrainState:
    torch.manual_seed(0)
    state = TrainState.begin(build(plan.recipe.model, 3), plan.recipe, steps=4)
    train_mode(state)
    return state


def trained(plan: TrainPlan, rows: list[int], size: int = 16) -> TrainState:
    """The state after steps of so many rows each."""
    state = begun(plan)
    torch.manual_seed(5)
    for n, count in enumerate(rows):
        rng = np.random.default_rng(n)
        images = torch.from_numpy(rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8))
        train_step(state, plan, 0, images, torch.from_numpy(rng.integers(0, 3, count)), None)
    return state


def far(a: TrainState, b: TrainState) -> float:
    pairs = zip(a.net.state_dict().values(), b.net.state_dict().values(), strict=True)
    return max(float((x - y).abs().max()) for x, y in pairs)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_network_trains_to_the_same_weights(
    backend: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = trained(plan_of(compile=False), [8, 8, 5])
    calls = through(backend, monkeypatch)
    state = trained(plan_of(), [8, 8, 5])
    assert calls == [8] * 5, "three to compare, two steps; the smaller batch is not compiled"
    assert far(state, plain) < 1e-6
    assert state.net.state_dict().keys() == plain.net.state_dict().keys()
    assert float(state.loss_sum) == pytest.approx(float(plain.loss_sum), rel=1e-6)
    assert capsys.readouterr().err == ""


def test_looking_at_a_compiled_network_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = through("eager", monkeypatch)
    state, plan = begun(plan_of()), plan_of()
    before = hash_tensors(state.net.state_dict())
    torch.manual_seed(3)
    rng = torch.get_rng_state()
    x = torch.randn(8, 16, 16, 3).permute(0, 3, 1, 2)
    torch.set_rng_state(rng)
    loss = nn.CrossEntropyLoss()
    made = compiled.network_for(state, x, lambda logits: loss(logits, torch.arange(8) % 3))
    assert made is state.compiled.call
    assert len(calls) == 3
    assert hash_tensors(state.net.state_dict()) == before
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(p.grad is None for p in state.net.parameters())
    assert all(m.training for m in state.net.modules())
    assert plan.recipe.compile


def broken(wrong: str) -> Any:
    """A backend whose networks give the right outputs and wrong gradients, or wrong outputs."""

    class Bent(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * 1.1 if wrong == "loss" else x.view_as(x)

        @staticmethod
        def backward(ctx: Any, slope: Tensor) -> Tensor:
            return slope if wrong == "loss" else slope * 1.05

    def backend(graph: Any, inputs: Any) -> Any:
        return lambda *given: tuple(Bent.apply(one) for one in graph(*given))

    return backend


@pytest.mark.parametrize(("wrong", "told"), [("gradient", "the gradient of "), ("loss", "loss is another")])
def test_a_compiled_network_with_other_numbers_takes_no_step(
    wrong: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = trained(plan_of(compile=False), [8, 8])
    through(broken(wrong), monkeypatch)
    state = trained(plan_of(), [8, 8])
    assert state.compiled is None
    assert far(state, plain) == 0.0
    err = capsys.readouterr().err
    assert err.count("steps are not compiled") == 1
    assert told in err


def raises(graph: Any, inputs: Any) -> Any:
    raise ValueError("no compiler here\nand more")


def test_a_network_that_cannot_be_compiled_trains_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = trained(plan_of(compile=False), [8, 8])
    through(raises, monkeypatch)
    state = trained(plan_of(), [8, 8])
    assert far(state, plain) == 0.0
    err = capsys.readouterr().err
    assert err.count("steps are not compiled") == 1
    assert "no compiler here" in err


def ends_at(call: int, error: Exception) -> Any:
    """A backend whose networks raise at one call, of the third step's forward pass for example."""
    calls = {"n": 0}

    def backend(graph: Any, inputs: Any) -> Any:
        def run(*given: Any) -> Any:
            calls["n"] += 1
            if calls["n"] == call:
                raise error
            return graph(*given)

        return run

    return backend


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError(OUT_OF_MEMORY), "memory does not suffice"),
        (RuntimeError("a kernel failed"), "RuntimeError: a kernel failed"),
        (ValueError("strange"), "ValueError: strange"),
    ],
)
def test_a_step_that_fails_compiled_is_computed_again_as_it_is(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = trained(plan_of(compile=False), [8, 8, 8])
    calls = through(ends_at(5, error), monkeypatch)
    state = trained(plan_of(), [8, 8, 8])
    assert calls == [8] * 5, "three to compare, a step, and the one that fails"
    assert state.compiled is None
    assert state.accumulate == 1
    assert far(state, plain) < 1e-6
    assert f"steps are no longer compiled: {told}" in capsys.readouterr().err


def test_an_error_of_the_plain_network_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(compile=False)
    state = begun(plan)
    state.net.register_forward_hook(lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_step(state, plan, 0, torch.zeros(8, 16, 16, 3, dtype=torch.uint8), torch.arange(8) % 3, None)


def test_parts_of_a_batch_and_smaller_stages_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = through("eager", monkeypatch)
    trained(plan_of(accumulate=2), [8, 8])
    trained(plan_of(stages=[StageConfig(epochs=5, size=8)]), [8, 8])
    assert calls == []


def test_a_stage_that_opens_other_layers_is_compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = [StageConfig(epochs=1, train="head"), StageConfig(epochs=1, train="all")]
    states = []
    for on in (False, True):
        plan = plan_of(compile=on, stages=stages, epochs=2)
        calls = through("eager", monkeypatch) if on else []
        state = begun(plan)
        for epoch in range(2):
            train_mode(state)
            for n in range(2):
                images = torch.full((8, 16, 16, 3), 40 * n, dtype=torch.uint8)
                images[:, ::2] = 7 * epoch
                train_step(state, plan, 0, images, torch.arange(8) % 3, None)
            if not epoch:
                state.next_epoch()
        states.append(state)
    assert len(calls) == 10, "three to compare and two steps in each stage"
    assert far(*states) < 1e-6
    assert states[1].compiled is not None


def test_a_network_that_drops_is_compared_without_and_one_that_draws_is_not_compiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    head = RECIPE.model.head.model_copy(update={"dropout": 0.5})
    model = RECIPE.model.model_copy(update={"head": head})
    through("eager", monkeypatch)
    state = trained(plan_of(model=model), [8])
    assert state.compiled is not None
    assert state.net.dropout.training
    plan = plan_of()
    drawing = begun(plan)
    drawing.net.head = nn.Sequential(drawing.net.head, Noise())
    train_step(drawing, plan, 0, torch.zeros(8, 16, 16, 3, dtype=torch.uint8), torch.arange(8) % 3, None)
    assert drawing.compiled is None
    assert "draws random numbers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("dropout", "rolled", "graphs"),
    [(0.0, "as on a CPU", 1), (0.0, "as on a GPU", 1), (0.5, "as on a CPU", 2)],
)
def test_steps_are_taken_by_the_graph_that_was_compared(
    dropout: float, rolled: str, graphs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer of another mode, or images of another layout, would be compiled anew; dropout has to be."""
    if rolled == "as on a GPU":
        plain = Tensor.roll
        monkeypatch.setattr(Tensor, "roll", lambda x, *given, **named: plain(x, *given, **named).contiguous())
    strides: list[tuple[int, ...]] = []

    def backend(graph: Any, inputs: Any) -> Any:
        (images,) = [one for one in inputs if one.shape == (8, 3, 16, 16)]
        strides.append(images.stride())
        return graph

    through(backend, monkeypatch)
    head = RECIPE.model.head.model_copy(update={"dropout": dropout})
    state = trained(plan_of(model=RECIPE.model.model_copy(update={"head": head})), [8, 8, 8])
    assert state.compiled is not None
    assert strides == [(16 * 16 * 3, 1, 16 * 3, 3)] * graphs


@pytest.mark.parametrize(
    ("layer", "drops"),
    [
        (nn.Dropout(0.0), False),
        (nn.Dropout(0.1), True),
        (timm.layers.DropPath(0.0), False),
        (timm.layers.DropPath(0.2), True),
        (timm.layers.DropBlock2d(0.1), True),
        (timm.layers.PatchDropout(0.5), True),
        (nn.ReLU(), False),
    ],
)
def test_a_layer_drops_where_its_share_is_not_0(layer: nn.Module, drops: bool) -> None:
    assert bool(layers_that_drop(nn.Sequential(layer))) is drops


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


@pytest.mark.parametrize(
    ("off", "precision", "told"),
    [
        ({}, "fp32", ""),
        ({"loss": 1.001}, "fp32", ""),
        ({"loss": 1.01}, "fp32", "loss"),
        ({"loss": 1.01}, "bf16", ""),
        ({"loss": 1.1}, "bf16", "loss"),
        ({"gradient": 1.01}, "fp32", "the gradient of a"),
        ({"gradient": -1.0}, "bf16", "the gradient of a"),
        ({"statistic": 1.01}, "fp32", "the statistic of a"),
        ({"loss": float("nan")}, "fp32", "loss"),
    ],
)
def test_what_counts_as_another_number(off: dict[str, float], precision: str, told: str) -> None:
    def numbers(factors: dict[str, float]) -> Any:
        return {
            kind: {"a": torch.tensor([3.0, 4.0]) * factors.get(kind, 1.0)}
            for kind in ("loss", "gradient", "statistic")
        }

    assert first_different(numbers({}), numbers({}), numbers(off), precision) == told


def test_rounding_of_the_plain_network_is_allowed_four_times() -> None:
    def numbers(value: float) -> Any:
        return {"gradient": {"a": torch.tensor([value])}}

    exactly, plain = numbers(1.0), numbers(1.1)
    assert first_different(exactly, plain, numbers(1.39), "fp32") == ""
    assert first_different(exactly, plain, numbers(1.41), "fp32") == "the gradient of a"


def digits(tmp_path: Path, *overrides: str) -> comp.RunResult:
    recipe = tmp_path / "r.toml"
    recipe.write_text(TINY_RECIPE)
    return comp.run("digits", 2, workspace=tmp_path, recipe=recipe, quick=True, overrides=overrides)


@pytest.mark.slow
def test_a_whole_run_with_compiled_steps_comes_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [digits(tmp_path)]
    calls = through("eager", monkeypatch)
    runs.append(digits(tmp_path, "compile=true"))
    assert len(calls) > 6
    a, b = (Predictions.load(run.folder / "oof.npz").probs for run in runs)
    assert np.allclose(a, b, atol=1e-5)
    assert [load(run.folder / "recipe.toml").compile for run in runs] == [False, True]
    assert load(runs[0].folder / "recipe.toml").fold_norms is True


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_torchs_own_compiler_trains_to_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = trained(plan_of(compile=False), [8, 8, 5])
    state = trained(plan_of(regularize=RegularizeConfig()), [8, 8, 5])
    assert state.compiled is not None, capsys.readouterr().err
    assert far(state, plain) < 1e-4
    state.save(tmp_path)
    names = torch.load(tmp_path / FILE, weights_only=True)["net"]
    assert not [name for name in names if "_orig_mod" in name]
