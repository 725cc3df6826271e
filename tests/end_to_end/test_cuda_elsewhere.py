"""What a run on a GPU left goes on where there is none, and what is different is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from comp.errors import InputError
from comp.models import runtime
from comp.models.runtime import computes, on_this_machine, resolve_device
from comp.recipe import ModelConfig, Recipe, as_one, load
from comp.runs import run as runs
from made import Outcome, proven_again, rewritten, run_comp, write_shapes

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
NO_GPU = "no cuda here: goes on with cpu"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("trained")
    write_shapes(place, per_class=8)
    for seed in (0, 1):
        done = run_comp(place, "run", "shapes", "--folds", 2, "--seed", seed, "--set", "epochs=2")
        assert done.code == 0, done.err
    return place


def trained_on(one: Path, **facts: object) -> None:
    """Makes a run folder one of another machine: its recipe, and what was written down when it began."""
    path = one / "recipe.toml"
    recipe = load(path).model_copy(update=facts)
    path.write_text(recipe.to_toml())
    started = json.loads((one / "started.json").read_text())
    started |= {
        "recipe_sha256": runs.recipe_sha256(recipe),
        "machine": "Linux x86_64, Tesla T4",
        "versions": {**started["versions"], "torch": "2.7.0"},
    }
    rewritten(one / "started.json", **started)
    proven_again(one)


@pytest.fixture
def of_a_gpu(finished: Path, workspace: Path) -> Path:
    """A workspace with two runs that were trained on CUDA with more threads than there are here."""
    shutil.copytree(finished, workspace, dirs_exist_ok=True)
    for one in (workspace / "runs").iterdir():
        trained_on(one, device="cuda", threads=64)
    return workspace


def latest(workspace: Path) -> Path:
    return max((workspace / "runs").iterdir())


def test_predict_goes_on_with_what_is_there(of_a_gpu: Path, finished: Path) -> None:
    done = run_comp(of_a_gpu, "predict", "latest", "--out", of_a_gpu / "out.csv")
    assert done.code == 0, done.err
    assert done.err.count(NO_GPU) == 1
    own = next(iter((finished / "submissions" / "shapes").glob(f"{latest(of_a_gpu).name}.csv")))
    assert (of_a_gpu / "out.csv").read_bytes() == own.read_bytes()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_resume_goes_on_with_what_is_there_and_says_what_differs(of_a_gpu: Path, precision: str) -> None:
    one = latest(of_a_gpu)
    trained_on(one, device="cuda", threads=64, precision=precision)
    (one / "record.json").unlink()
    shutil.rmtree(one / "fold-1")
    before = (one / "recipe.toml").read_bytes()
    done = run_comp(of_a_gpu, "run", "shapes", "--resume", one.name)
    assert done.code == 0, done.err
    assert done.err.count(NO_GPU) == 1
    assert ("cpu does not compute in fp16 here: fp32 instead" in done.err) == (precision == "fp16")
    assert f"torch 2.7.0, now {torch.__version__}" in done.err
    assert "Linux x86_64, Tesla T4, now " in done.err
    assert (one / "recipe.toml").read_bytes() == before, "a fact of the run stays one"
    assert (one / "record.json").is_file()
    assert json.loads((one / "fold-1" / "model.json").read_text())["precision"] == "fp32"


def test_a_resume_that_memory_halves_can_be_resumed_again(
    of_a_gpu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe keeps the parts of a batch, but not the device of the machine that went on."""
    one = latest(of_a_gpu)
    (one / "record.json").unlink()
    shutil.rmtree(one / "fold-1")
    plain = torch.nn.Conv2d._conv_forward

    def conv(self: torch.nn.Conv2d, x: torch.Tensor, *rest: object) -> torch.Tensor:
        if torch.is_grad_enabled() and len(x) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return plain(self, x, *rest)

    monkeypatch.setattr(torch.nn.Conv2d, "_conv_forward", conv)
    assert run_comp(of_a_gpu, "run", "shapes", "--resume", one.name).code == 0
    recipe = load(one / "recipe.toml")
    assert (recipe.device, recipe.accumulate) == ("cuda", 2)
    (one / "record.json").unlink()
    done = run_comp(of_a_gpu, "run", "shapes", "--resume", one.name)
    assert done.code == 0, done.err


def test_a_child_run_goes_on_with_what_is_there_unless_a_device_is_asked_for(of_a_gpu: Path) -> None:
    child = ["run", "shapes", "--resume", latest(of_a_gpu).name, "--set", "epochs=3"]
    done = run_comp(of_a_gpu, *child)
    assert done.code == 0, done.err
    assert NO_GPU in done.err
    asked = run_comp(of_a_gpu, *child, "--set", "device=cuda")
    assert asked.code == 2
    assert "no cuda here; there is cpu" in asked.err


COMMANDS: dict[str, Callable[[Path], list[object]]] = {
    "pseudo": lambda place: ["pseudo", "latest", "--threshold", 0.01],
    "ensemble": lambda place: ["ensemble", *sorted(one.name for one in (place / "runs").iterdir())],
    "merge": lambda place: ["merge", *sorted(one.name for one in (place / "runs").iterdir())],
    "runs": lambda place: ["runs", "shapes"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_other_commands_need_no_gpu(name: str, of_a_gpu: Path) -> None:
    if name == "merge":  # of one recipe, a fold each
        first, second = sorted((of_a_gpu / "runs").iterdir())
        for one, k in ((first, 1), (second, 0)):
            trained_on(one, device="cuda", threads=64, seed=0)
            shutil.rmtree(one / f"fold-{k}")
            proven_again(one)
    done: Outcome = run_comp(of_a_gpu, *COMMANDS[name](of_a_gpu))
    assert done.code == 0, done.err
    assert (NO_GPU in done.err) == (name == "merge"), "said where something is computed"


# --- the rules ------------------------------------------------------------------------------------------------------


def here(monkeypatch: pytest.MonkeyPatch, *names: str, bf16: bool = False, cpu_bf16: bool = False) -> None:
    """A machine with these devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in names)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in names)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)
    monkeypatch.setattr(runtime, "_cpu_has_bf16", lambda: cpu_bf16)


@pytest.mark.parametrize(
    ("names", "began", "expected"),
    [
        ([], ("cuda", "fp32"), ("cpu", "fp32")),
        ([], ("cuda", "bf16"), ("cpu", "fp32")),
        (["cpu bf16"], ("cuda", "bf16"), ("cpu", "bf16")),
        (["cpu bf16"], ("cuda", "fp16"), ("cpu", "fp32")),
        ([], ("cpu", "bf16"), ("cpu", "bf16")),  # emulated, as where it began
        (["mps"], ("cuda", "bf16"), ("mps", "fp32")),
        (["cuda"], ("cuda", "bf16"), ("cuda", "fp32")),  # an A100's run on a T4
        (["cuda"], ("cuda", "fp16"), ("cuda", "fp16")),
        (["cuda", "bf16"], ("cuda", "bf16"), ("cuda", "bf16")),
        (["cuda"], ("cpu", "fp32"), ("cpu", "fp32")),
        (["cuda"], ("mps", "fp32"), ("cuda", "fp32")),
        ([], ("auto", "auto"), ("auto", "auto")),
    ],
)
def test_what_is_not_here_is_replaced_and_nothing_else(
    names: list[str],
    began: tuple[str, str],
    expected: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here(monkeypatch, *names, bf16="bf16" in names, cpu_bf16="cpu bf16" in names)
    as_it_began = {"device": began[0], "precision": began[1], "compile": False, "fold_norms": True}
    recipe = Recipe(threads=3).model_copy(update=as_it_began)
    found = on_this_machine(recipe)
    assert (found.device, found.precision) == expected
    assert found.threads == (None if expected[0] != began[0] else 3)
    told = capsys.readouterr().err
    assert (f"no {began[0]} here: goes on with {expected[0]}" in told) == (expected[0] != began[0])
    assert ("fp32 instead" in told) == (expected[1] != began[1])
    if expected == began:
        assert found == recipe
        assert told == ""


def test_models_of_one_recipe_are_spoken_of_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here(monkeypatch)
    members = [Recipe(model=ModelConfig(name=name), device="cuda", precision="fp16") for name in ("a", "b")]
    found = on_this_machine(as_one(members))
    assert [(one.model.name, one.device, one.precision) for one in found.each] == [
        ("a", "cpu", "fp32"),
        ("b", "cpu", "fp32"),
    ]
    told = capsys.readouterr().err
    assert told.count("no cuda here") == told.count("fp32 instead") == 1


def test_an_order_for_a_device_that_is_not_there_is_still_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch)
    with pytest.raises(InputError, match="no cuda here"):
        resolve_device(Recipe(device="cuda"))
    assert [computes("fp32", name) for name in ("cpu", "cuda", "mps")] == [True] * 3
