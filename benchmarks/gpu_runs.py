"""Whole trainings for gpu.py: real CIFAR-10, a hundred classes beside a timm-style ResNet-18, paintings, folds at once.

Each part goes through `comp.run` with a recipe of this file, so that times are those of a user's run; "train, s" is its
training step alone (decoding, checks and the submission are beside it, in "all, s"). The data are the user's: an npz
with train_jpeg, train_offsets, train_labels and the same of test (CIFAR-10; 40,000 rows of 100 classes), and the raw
folder of art-classification. Without them, in `--tiny`, made-up images stand in, to see that the parts run.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import comp

SLUG = "bench"
GOAL = 0.94  # of CIFAR-10's held-out rows, as airbench94 (Jordan 2024) has it of its test part
ALLOWED = {
    "train-test-duplicate": "the benchmark judges held-out rows alone",
    "conflicting-labels": "the labels are as published",
}
SMALL = """\
mode = "scratch"
epochs = {epochs}
batch = {batch}
tta = ["identity", "hflip"]
threads = 4
transform = [
  {{ name = "Pad", padding = 4, border_mode = 4 }},
  {{ name = "RandomCrop", height = 32, width = 32 }},
  {{ name = "HorizontalFlip", p = 0.5 }},
]
[model]
name = "resnet9"
kwargs = {{ width = {width} }}
size = 32
mean = [0.49, 0.48, 0.45]
std = [0.25, 0.24, 0.26]
fit = "squash"
[optimizer]
name = "adamw"
lr = {lr}
weight_decay = 0.05
[schedule]
name = "onecycle"
warmup = 0.2
[regularize]
label_smoothing = {smoothing}
ema = 0.99
"""


@dataclass(frozen=True)
class Scale:
    """How much is trained: epochs, rows and batches of each part."""

    rows: int | None
    epochs10: int
    epochs100: int
    reference_epochs: int
    batch: int
    width: int


FULL = Scale(None, 14, 18, 30, 512, 64)
TINY = Scale(240, 1, 1, 1, 32, 8)


def made_up(path: Path, classes: int, rows: int = 400) -> Path:
    """Images of a colour a class in the layout of the real ones."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (classes, 1, 1, 3))
    table: dict[str, Any] = {"classes": np.array([f"c{n}" for n in range(classes)])}
    for split, count in (("train", rows), ("test", 20)):
        labels = np.arange(count) % classes
        noise = rng.integers(-30, 31, (count, 32, 32, 3))
        pixels = (colours[labels] + noise).clip(0, 255).astype(np.uint8)
        packed = [cv2.imencode(".jpg", one)[1].ravel() for one in pixels]
        table[f"{split}_jpeg"] = np.concatenate(packed)
        table[f"{split}_offsets"] = np.cumsum([0, *map(len, packed)])
        table[f"{split}_labels"] = labels.astype(np.uint8)
    np.savez(path, **table)
    return path


def unpack(npz: Path, place: Path, rows: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The competition `bench` in a workspace, of the first rows; its train pixels (N, 32, 32, 3) and labels (N,)."""
    subprocess.run(
        [sys.executable, "-m", "comp.cli.main", "new", SLUG, "--layout", "csv", "--workspace", str(place)],
        check=True,
        capture_output=True,
    )
    raw = place / "data" / SLUG
    source = np.load(npz)
    names = source["classes" if "classes" in source else "class_names"].tolist()
    labels = source["train_labels"][:rows]
    for split, count in (("train", len(labels)), ("test", 20)):
        (raw / split).mkdir(parents=True, exist_ok=True)
        for old in (raw / split).iterdir():
            old.unlink()
        blob, offsets = source[f"{split}_jpeg"], source[f"{split}_offsets"]
        for n in range(count):
            (raw / split / f"{split[:2]}{n:05}.jpg").write_bytes(blob[offsets[n] : offsets[n + 1]].tobytes())
    lines = ["id,label", *(f"tr{n:05}.jpg,{names[label]}" for n, label in enumerate(labels))]
    (raw / "train.csv").write_text("\n".join(lines) + "\n")
    template = ["id,label", *(f"te{n:05}.jpg,{names[0]}" for n in range(20))]
    (raw / "sample_submission.csv").write_text("\n".join(template) + "\n")
    pixels = np.stack(
        [cv2.imread(str(raw / "train" / f"tr{n:05}.jpg"))[:, :, ::-1] for n in range(len(labels))]
    )
    return pixels, labels.astype(np.int64)


def trained(
    place: Path, folds: int, recipe: str, only: list[int] | None = None
) -> tuple[Any, list[dict[str, float]]]:
    """A run of `bench`, and the history of its first fold: accuracy, and seconds since training began."""
    path = place / "recipe.toml"
    path.write_text(recipe)
    run = comp.run(SLUG, folds, workspace=place, recipe=path, only=only, allow=ALLOWED)
    first = (only or [0])[0]
    with (run.folder / f"fold-{first}" / "history.csv").open(newline="") as file:
        epochs = list(csv.DictReader(file))
    seconds = json.loads((run.folder / f"fold-{first}" / "result.json").read_text())["seconds"]
    each = seconds / len(epochs)
    history = [
        {"seconds": each * (n + 1), "accuracy": float(row["valid_metric"])} for n, row in enumerate(epochs)
    ]
    return run, history


def reached(history: list[dict[str, float]], goal: float) -> float | None:
    """Seconds of training until an epoch has the accuracy; None where none has."""
    return next((round(row["seconds"], 2) for row in history if row["accuracy"] >= goal), None)


def cifar10(npz: Path, work: Path, scale: Scale) -> dict[str, Any]:
    """CIFAR-10 from scratch, a tenth of its training images held out."""
    unpack(npz, work, scale.rows)
    recipe = SMALL.format(epochs=scale.epochs10, batch=scale.batch, width=scale.width, lr=8e-3, smoothing=0.1)
    run, history = trained(work, 10, recipe, [0])
    return {
        "what": f"resnet9 of width {scale.width}, {scale.epochs10} epochs, one fold of ten held out",
        "accuracy": round(run.score, 4),
        f"to {GOAL}, s": reached(history, GOAL) or "not reached",
        "train, s": round(history[-1]["seconds"], 2),
        "all, s": round(sum(run.seconds.values()), 1),
    }


def hundred(npz: Path, work: Path, scale: Scale, workers: int) -> dict[str, Any]:
    """A hundred classes from scratch, beside a timm-style ResNet-18 on the same rows in the same process."""
    pixels, labels = unpack(npz, work, scale.rows)
    recipe = SMALL.format(
        epochs=scale.epochs100, batch=scale.batch, width=scale.width, lr=6e-3, smoothing=0.1
    )
    run, history = trained(work, 5, recipe, [0])
    with (run.folder / "folds.csv").open(newline="") as file:
        fold = {row["id"]: int(row["fold"]) for row in csv.DictReader(file)}
    held_out = np.array([fold[f"tr{n:05}.jpg"] == 0 for n in range(len(labels))])
    accuracy, seconds = reference(pixels, labels, held_out, scale, workers)
    ours = reached(history, accuracy)
    return {
        "what": f"resnet9 of width {scale.width} beside timm-style ResNet-18, one fold of five held out",
        "accuracy": {"comp": round(run.score, 4), "timm-style": round(accuracy, 4)},
        "train, s": {"comp": round(history[-1]["seconds"], 1), "timm-style": round(seconds, 1)},
        "to the timm-style accuracy, s": ours or "not reached",
        "timm-style / comp": round(seconds / ours, 1) if ours else "not reached",
        "timm-style / comp, all epochs": round(seconds / history[-1]["seconds"], 1),
    }


def reference(
    pixels: np.ndarray, labels: np.ndarray, held_out: np.ndarray, scale: Scale, workers: int
) -> tuple[float, float]:
    """ResNet-18 with a 3x3 stem as timm's train.py trains: DataLoader, PIL, torchvision, SGD, cosine, AMP."""
    import timm
    from PIL import Image
    from torchvision import transforms as T

    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    net = timm.create_model("resnet18", num_classes=int(labels.max()) + 1)
    net.conv1, net.maxpool = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False), torch.nn.Identity()
    net = net.to(device)
    change = T.Compose([
        T.RandomCrop(32, 4), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26)),
    ])  # fmt: skip
    plain = T.Compose(change.transforms[2:])
    rows = np.flatnonzero(~held_out)

    class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, n: int) -> tuple[torch.Tensor, int]:
            return change(Image.fromarray(pixels[rows[n]])), int(labels[rows[n]])

    batch = min(128, scale.batch)
    loader = torch.utils.data.DataLoader(
        Rows(),
        batch,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        pin_memory=cuda,
        persistent_workers=True,
    )
    solver = torch.optim.SGD(net.parameters(), 0.1, 0.9, weight_decay=5e-4, nesterov=True)
    steps = scale.reference_epochs * len(loader)
    plan = torch.optim.lr_scheduler.OneCycleLR(
        solver, 0.1, steps, pct_start=1 / max(2, scale.reference_epochs)
    )
    started = time.perf_counter()
    for _ in range(scale.reference_epochs):
        net.train()
        for x, y in loader:
            with torch.autocast(device.type, torch.bfloat16, enabled=cuda):
                logits = net(x.to(device, non_blocking=True))
                loss = torch.nn.functional.cross_entropy(
                    logits, y.to(device, non_blocking=True), label_smoothing=0.1
                )
            loss.backward()
            solver.step()
            solver.zero_grad(set_to_none=True)
            plan.step()
    if cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    return accuracy_of(net, plain, pixels[held_out], labels[held_out], device), seconds


def accuracy_of(
    net: torch.nn.Module, change: Any, pixels: np.ndarray, labels: np.ndarray, device: torch.device
) -> float:
    """The share of rows (N, 32, 32, 3) that a network answers rightly."""
    from PIL import Image

    net.eval()
    right = 0
    with torch.inference_mode():
        for n in range(0, len(labels), 500):
            x = torch.stack([change(Image.fromarray(one)) for one in pixels[n : n + 500]]).to(device)
            right += int((net(x).argmax(1).cpu().numpy() == labels[n : n + 500]).sum())
    return right / len(labels)


def paintings(
    raw: Path, work: Path, tiny: bool, weights: Path | None, cap: float | None = None
) -> dict[str, Any]:
    """Folds of the paintings fine-tuned by the baseline recipe; with ``cap`` in fp16 and so many GB of memory.

    ``weights`` name the file of a MobileNetV2 trained with mean and std 0.5 and "same" padding; without it the recipe's are
    used, or in a smoke run none.
    """
    cuda = torch.cuda.is_available()
    overrides = ["epochs=1", "model.size=32", "threads=1", "channels_last=true"] if tiny else []
    folds = 2 if tiny else 5
    if weights is not None:
        overrides += ["model.mean=[0.5,0.5,0.5]", "model.std=[0.5,0.5,0.5]", f"model.weights={weights}"]
        overrides += ["model.kwargs.pad_type=same", "model.kwargs.bn_eps=1e-3"]
    elif tiny:
        overrides.append("mode=scratch")
    if cap is not None or tiny:
        overrides.append(f"precision={'fp16' if cap is not None and cuda else 'fp32'}")  # no fp16 on a CPU
    if cap is not None and cuda:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, cap * 2**30 / total))
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    try:
        run = comp.run("art-classification", folds, workspace=work, data=raw, overrides=overrides, quick=tiny)
    finally:
        if cap is not None and cuda:
            torch.cuda.set_per_process_memory_fraction(1.0)
    found = {
        "what": f"art-classification, {folds} folds, baseline recipe{f', fp16 in {cap} GB' if cap else ''}",
        "accuracy": round(run.score, 4),
        "train, s": round(run.seconds["train"], 1),
        "all, s": round(time.perf_counter() - started, 1),
    }
    if cap is not None:
        found["peak, GB"] = round(torch.cuda.max_memory_reserved() / 2**30, 2) if cuda else "no GPU"
    return found


def folds_at_once(npz: Path, work: Path, scale: Scale) -> dict[str, Any]:
    """Five folds of a small network one after the other in a process, and at once in five."""
    unpack(npz, work, scale.rows)
    recipe = SMALL.format(
        epochs=max(1, scale.epochs100 // 6), batch=scale.batch, width=scale.width, lr=6e-3, smoothing=0.1
    )
    run, _ = trained(work, 5, recipe)
    command = [sys.executable, "-m", "comp.cli.main", "run", SLUG, "--folds", "5", "--workspace", str(work)]
    command += ["--recipe", str(work / "recipe.toml"), "--json"]
    command += [part for name, reason in ALLOWED.items() for part in ("--allow", f"{name}={reason}")]
    began = time.perf_counter()
    (alone,) = documents([[*command, "--only", "0"]], work)
    one = time.perf_counter() - began
    began = time.perf_counter()
    each = documents([[*command, "--only", str(k)] for k in range(5)], work)
    at_once = time.perf_counter() - began
    start_up = one - alone["seconds"]["train"]
    return {
        "what": f"five folds of resnet9 of width {scale.width}",
        "train, s": {
            "one after the other": round(run.seconds["train"], 1),
            "at once, slowest": round(max(document["seconds"]["train"] for document in each), 1),
        },
        "at once, all, s": round(at_once, 1),
        "of it start, checks, submission, s": round(start_up, 1),
    }


def documents(commands: list[list[str]], work: Path) -> list[dict[str, Any]]:
    """What commands that run at once print as JSON.

    Raises
    ------
    RuntimeError
        Where one of them fails, with the end of what it said.
    """
    said = [work / f"said-{k}.txt" for k in range(len(commands))]
    started = []
    for command, path in zip(commands, said, strict=True):
        with path.open("wb") as file:
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file))
    printed = [process.communicate()[0] for process in started]
    for process, path in zip(started, said, strict=True):
        if process.returncode:
            raise RuntimeError(f"exit code {process.returncode}: {path.read_text()[-2000:]}")
    return [json.loads(text) for text in printed]
