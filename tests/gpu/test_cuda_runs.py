"""Whole runs on a GPU, and between a GPU and a CPU; the same bodies run on a CPU, but for what only a GPU does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from comp.data.augment.geometry import GeometricOps
from comp.data.augment.policies import A, TrainTransform
from comp.data.device_memory import make_room
from comp.data.images.preprocess import Preprocess
from comp.data.loading.prefetch import loader_pool
from comp.data.loading.resident import Resident, room_on
from comp.data.loading.train_loader import Augmenter, TrainLoader
from comp.data.predictions import Predictions
from comp.inference.predict import read_controls
from comp.models.batchnorm_fusion import fuse_frozen_batchnorm
from comp.models.checkpoint import load_checkpoint, read_sidecar
from comp.recipe import load
from made import Outcome, clean_environment, probe, proven_again, run_comp, write_shapes

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])
DEVICES = [pytest.param("cpu", marks=pytest.mark.slow), CUDA]
FOLDS = ("fold-0", "fold-1")


def finetune(place: Path, device: str, precision: str, *more: str) -> list[str]:
    """The words of a command that fine-tunes a tiny network."""
    laid = [*probe(place), "mode=finetune", f"device={device}", f"precision={precision}", "epochs=2", *more]
    return [word for override in laid if override != "mode=probe" for word in ("--set", override)]


def trained(place: Path, device: str, precision: str, *more: str) -> Outcome:
    if not (place / "competitions").exists():
        write_shapes(place, per_class=8)
    return run_comp(
        place, "run", "shapes", "--folds", 2, *finetune(place, device, precision, *more), "--json"
    )


def folder(place: Path, outcome: Outcome) -> Path:
    assert outcome.code == 0, outcome.err
    return place / "runs" / str(outcome.json["run"])


def judged_on(run: Path, device: str) -> None:
    """Makes a run's recipe one of another device, as if it had been copied to another machine."""
    path = run / "recipe.toml"
    path.write_text(load(path).model_copy(update={"device": device}).to_toml())
    proven_again(run)


@pytest.fixture(autouse=True)
def memory_is_free() -> Iterator[None]:
    yield
    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


@pytest.mark.parametrize("device", DEVICES)
def test_a_fine_tune_in_fp32_ends_in_a_submission(device: str, workspace: Path) -> None:
    run = folder(workspace, trained(workspace, device, "fp32"))
    assert read_sidecar(run / "fold-0").device == device


@pytest.mark.parametrize("device", DEVICES)
def test_a_fine_tune_in_bf16_ends_in_a_submission(device: str, workspace: Path) -> None:
    """It was refused after training: prediction saw other pairs of convolution and norm than training had."""
    run = folder(workspace, trained(workspace, device, "bf16", "optimizer.clip=1.0"))
    assert "in_fp32" in read_sidecar(run / "fold-0").noise["bf16"]


@pytest.mark.parametrize("device", [CUDA])
def test_a_fine_tune_in_fp16_ends_in_a_submission(device: str, workspace: Path) -> None:
    stages = "stages=[{train='head'},{train='all'}]"
    run = folder(workspace, trained(workspace, device, "fp16", "optimizer.clip=1.0", stages))
    assert read_sidecar(run / "fold-0").precision == "fp16"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_killed_run_goes_on(precision: str, device: str, workspace: Path) -> None:
    write_shapes(workspace, per_class=8)
    words = finetune(workspace, device, precision, "save_minutes=0.0", "epochs=6")
    command = [sys.executable, "-m", "comp.cli.main", "run", "shapes", "--folds", "2", *words]
    process = subprocess.Popen(command, cwd=workspace, env=clean_environment())
    while process.poll() is None and not list(workspace.glob("runs/*/fold-*/state.pt")):
        time.sleep(0.01)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = run_comp(workspace, "run", "shapes", "--resume", "latest")
    assert done.code == 0, done.err


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("device", [CUDA])
def test_a_cpu_predicts_what_a_gpu_judged(device: str, precision: str, workspace: Path) -> None:
    run = folder(workspace, trained(workspace, device, precision))
    judged_on(run, "cpu")
    done = run_comp(workspace, "predict", run.name, "--out", workspace / "out.csv")
    assert done.code == 0, done.err


@pytest.mark.parametrize("device", DEVICES)
def test_a_gpu_predicts_what_a_cpu_judged(device: str, workspace: Path) -> None:
    run = folder(workspace, trained(workspace, "cpu", "fp32"))
    judged_on(run, device)
    done = run_comp(workspace, "predict", run.name, "--out", workspace / "out.csv")
    assert done.code == 0, done.err


@pytest.mark.parametrize("device", DEVICES)
def test_control_rows_are_judged_without_tf32(device: str, workspace: Path) -> None:
    """What the checkpoint gives on a CPU in fp32 is what its control rows say, to a ten-thousandth."""
    run = folder(workspace, trained(workspace, device, "fp32"))
    net, sidecar = load_checkpoint(run / "fold-0")
    rows = read_controls(run / "fold-0", sidecar.labels)
    assert rows
    assert max(sidecar.noise["fp32"].values()) < 1e-4
    assert fuse_frozen_batchnorm(net, sidecar.preprocess.size) > 3


@pytest.mark.parametrize("device", [CUDA])
def test_a_cap_on_memory_ends_in_parts_or_in_words(device: str, workspace: Path) -> None:
    free, total = torch.cuda.mem_get_info()
    assert free > 0
    torch.cuda.set_per_process_memory_fraction(min(1.0, 1.5e9 / total))
    done = trained(workspace, device, "fp32", "batch=512", "model.size=256", "accumulate=1")
    assert done.code in (0, 1), done.err
    assert done.code == 0 or "must fit into memory" in done.err


@pytest.mark.parametrize("device", [CUDA])
def test_the_memory_of_a_fold_is_free_before_the_next(device: str, workspace: Path) -> None:
    folder(workspace, trained(workspace, device, "fp32"))
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() < 16 << 20


@pytest.mark.parametrize("device", [CUDA])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_steps_come_to_what_plain_ones_do(device: str, precision: str, workspace: Path) -> None:
    found = []
    for compiled in ("false", "true"):
        done = trained(workspace, device, precision, f"compile={compiled}", "batch=8")
        run = folder(workspace, done)
        assert load(run / "recipe.toml").compile is (compiled == "true")
        assert "not compiled" not in done.err, done.err
        assert "no longer compiled" not in done.err, done.err
        found.append(Predictions.load(run / "oof.npz").probs)
    assert np.abs(found[0] - found[1]).max() < (0.02 if precision == "fp32" else 0.1)


@pytest.mark.parametrize("device", [CUDA])
def test_a_state_of_a_fused_optimizer_goes_on_on_a_cpu_and_back(device: str, tmp_path: Path) -> None:
    from comp.recipe import OptimizerConfig
    from comp.training.optim import fused_form
    from comp.training.state import load_optimizer

    first = torch.nn.Parameter(torch.ones(8, device=device))
    assert fused_form(OptimizerConfig(), [first]) == {"fused": True}
    saved = None
    for place in (device, "cpu", device):
        parameter = torch.nn.Parameter(first.detach().to(place))
        form = fused_form(OptimizerConfig(), [parameter])
        optimizer = torch.optim.AdamW([parameter], lr=0.1, **form)
        if saved is not None:
            load_optimizer(optimizer, torch.load(saved, map_location="cpu", weights_only=True), [])
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        assert optimizer.state[parameter]["step"].device.type == place
        saved, first = tmp_path / "state.pt", parameter
        torch.save(optimizer.state_dict(), saved)
    assert float(optimizer.state[parameter]["step"]) == 3
    assert torch.allclose(first.detach().cpu(), torch.full((8,), 0.7 * 0.999**3), atol=5e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_a_deterministic_run_gives_the_same_bits_twice(device: str, workspace: Path) -> None:
    found = []
    for _ in range(2):
        run = folder(workspace, trained(workspace, device, "fp32", "deterministic=true"))
        csv = json.loads((run / "record.json").read_text())["submission"]
        found.append((Predictions.load(run / "oof.npz").probs, (workspace / csv).read_bytes()))
    assert np.array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


# --- images that lie on the device ----------------------------------------------------------------------------------

SIZE = 96
JITTERED = [{"name": "HorizontalFlip"}, {"name": "Affine", "rotate": [-20, 20]}, {"name": "ColorJitter"}]


class Squares:
    """Made images of one side, by row."""

    def __init__(self, count: int) -> None:
        coarse = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)
        self.pixels = coarse.repeat(SIZE // 8, 1).repeat(SIZE // 8, 2)

    def __getitem__(self, row: int) -> np.ndarray:
        return np.asarray(self.pixels[row])

    def shapes(self, rows: np.ndarray) -> np.ndarray:
        return np.full((len(rows), 2), SIZE)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("transform", [[{"name": "HorizontalFlip"}, {"name": "RandomRotate90"}], JITTERED])
def test_where_images_lie_changes_no_pixel(transform: list[dict[str, object]], device: str) -> None:
    listed = TrainTransform(transform, Preprocess(SIZE, (0.5,) * 3, (0.5,) * 3))
    variants, images = Augmenter(listed, 0, 0, "cuda"), Squares(70)
    order = np.random.default_rng(1).permutation(70)
    with loader_pool(2) as pool:
        there = TrainLoader(images, 70, variants, pool, device, room=1 << 30, on_gpu=True)
        assert there.nbytes == 70 * SIZE * SIZE * 3
        outside = TrainLoader(images, 70, variants, pool, device, room=0, on_gpu=True)
        pairs = list(zip(there.epoch(order, 16, 0), outside.epoch(order, 16, 0), strict=True))
    for (rows, one), (same, other) in pairs:
        assert (rows == same).all()
        assert one.device.type == device
        assert torch.equal(one, other.to(one.device))
        by_opencv = np.stack([variants.one(images[row], row, 0) for row in rows.tolist()]).astype(int)
        assert np.abs(by_opencv - one.cpu().numpy()).mean() < 1


@pytest.mark.parametrize("device", [CUDA])
def test_indices_go_beyond_two_to_the_31_on_a_gpu(device: str) -> None:
    side, count = 256, 11_000  # 2.2e9 bytes
    if room_on(device) < 3 * count * side**2:
        pytest.skip("the device has no room for 2.2 GB of images")
    pixels = torch.zeros((count, side, side, 3), dtype=torch.uint8, device=device)
    rows = np.array([0, 10_922, 10_923, count - 1])
    pixels[torch.from_numpy(rows)] = torch.arange(1, 5, dtype=torch.uint8, device=device).view(4, 1, 1, 1)
    there = Resident(pixels, np.arange(count))
    windows = GeometricOps([A.HorizontalFlip(p=1)], side, room=False).windows(0, rows, np.full((4, 2), side))
    for made in (there.taken(there.places(rows, windows)), there.whole(rows)):
        found = made.float().mean((1, 2, 3)).cpu().numpy()
        assert (found == np.arange(1, 5)).all()


@pytest.mark.parametrize("device", [CUDA])
def test_images_give_way_to_a_step_that_does_not_fit(device: str) -> None:
    images, variants = (
        Squares(64),
        Augmenter(TrainTransform("light", Preprocess(SIZE, (0.5,) * 3, (0.5,) * 3)), 0, 0, device),
    )
    with loader_pool(2) as pool:
        feed = TrainLoader(images, 64, variants, pool, device)
        assert feed.nbytes > 0
        before = torch.cuda.memory_allocated()
        make_room()
        assert feed.nbytes == 0
        assert torch.cuda.memory_allocated() <= before - 64 * SIZE * SIZE * 3
        assert sum(len(rows) for rows, _ in feed.epoch(np.arange(64), 16, 0)) == 64
