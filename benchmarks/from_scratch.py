"""comp from scratch at 32x32 against a training script in weiaicunzai's style, in equal wall time on one machine.

    python benchmarks/from_scratch.py --data FOLDER --work FOLDER [--minutes 4] [--rounds 1]

FOLDER holds images in CIFAR-100's layout. Both sides train on the same rows and are judged on the same held-out
fold, by the identity view. The peer is what pytorch-cifar100 does: ResNet-18 with a 3x3 stem, SGD with Nesterov
momentum 0.9, rate 0.1, weight decay 5e-4, batch 128, one epoch of linear warm-up, a fifth of the rate at 30, 60
and 80 % of the epochs (60, 120 and 160 of 200), random crop with padding 4, mirror, rotation 15 degrees, in fp32
through a DataLoader with two workers. Epochs are chosen so that training fills the time, from a measured one; the
measuring is not counted. comp's time is that of its training step, with the check and the CSV left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

RECIPE = Path(__file__).parent.parent / "competitions" / "cifar_100" / "small.toml"


def rows_of(data: Path, run: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3), fine labels (N,) and fold (N,) of the train rows, as comp's run had them."""
    import csv

    from comp.data.safe_pickle import load

    with (data / "cifar-100-python" / "train").open("rb") as packed:
        table = load(packed, "train")
    key = {k.decode() if isinstance(k, bytes) else k: v for k, v in table.items()}
    pixels = np.asarray(key["data"]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    with (run / "folds.csv").open(newline="") as file:
        fold = {row["id"]: int(row["fold"]) for row in csv.DictReader(file)}
    with (run / "manifest.csv").open(newline="") as file:
        ids = [row["id"] for row in csv.DictReader(file) if row["split"] == "train"]
    return pixels, np.asarray(key["fine_labels"]), np.array([fold[i] for i in ids])


def comp_run(data: Path, work: Path, epochs: int) -> dict[str, object]:
    command = [
        sys.executable,
        "-m",
        "comp.cli.main",
        "run",
        "cifar-100",
        "--data",
        str(data),
        "--workspace",
        str(work),
    ]
    command += ["--folds", "5", "--only", "0", "--recipe", str(RECIPE), "--set", f"epochs={epochs}", "--json"]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, object] = json.loads(ran.stdout)
    history = (work / "runs" / str(found["run"]) / "fold-0" / "result.json").read_text()
    return {**found, "fold": json.loads(history)}


class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Images and labels with torchvision transforms, as CIFAR-100 scripts have them."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, transform: object) -> None:
        self.pixels, self.labels, self.transform = pixels, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, n: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[n])), int(self.labels[n])  # type: ignore[operator]


def peer(
    pixels: np.ndarray, labels: np.ndarray, fold: np.ndarray, epochs: int, classes: int
) -> dict[str, float]:
    from torchvision import transforms as T

    from comp.models.small_nets import cifar_resnet18

    torch.manual_seed(0)
    torch.set_num_threads(2)
    mean, std = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)
    train = T.Compose(
        [
            T.RandomCrop(32, padding=4),
            T.RandomHorizontalFlip(),
            T.RandomRotation(15),
            T.ToTensor(),
            T.Normalize(mean, std),
        ]
    )
    valid = T.Compose([T.ToTensor(), T.Normalize(mean, std)])
    held = fold == 0
    loader = torch.utils.data.DataLoader(
        Rows(pixels[~held], labels[~held], train), 128, shuffle=True, num_workers=2
    )
    judge = torch.utils.data.DataLoader(Rows(pixels[held], labels[held], valid), 128, num_workers=2)
    net = torch.nn.Sequential(cifar_resnet18(), torch.nn.Linear(512, classes))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    milestones = [round(epochs * share) for share in (0.3, 0.6, 0.8)]
    started = time.perf_counter()
    for epoch in range(epochs):
        net.train()
        rate = 0.1 * 0.2 ** sum(epoch >= m for m in milestones)
        for step, (x, y) in enumerate(loader):
            warm = (step + 1) / len(loader) if epoch == 0 else 1.0
            for group in optimizer.param_groups:
                group["lr"] = rate * warm
            loss = torch.nn.functional.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    seconds = time.perf_counter() - started
    net.eval()
    with torch.inference_mode():
        right = sum(float((net(x).argmax(1) == y).sum()) for x, y in judge)
    return {"accuracy": right / int(held.sum()), "epochs": epochs, "seconds": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    seconds = args.minutes * 60
    first = comp_run(args.data, args.work, 1)
    pixels, labels, fold = rows_of(args.data, args.work / "runs" / str(first["run"]))
    classes = int(labels.max()) + 1
    ours = float(first["fold"]["seconds"])  # type: ignore[index]
    theirs = peer(pixels, labels, fold, 1, classes)["seconds"]
    print(json.dumps({"seconds of an epoch": {"comp": round(ours, 1), "peer": theirs}}), flush=True)
    for n in range(args.rounds):
        found = comp_run(args.data, args.work, max(2, int(seconds / ours)))
        told = {
            "accuracy": found["oof"]["identity_view"],
            "epochs": max(2, int(seconds / ours)),
            "seconds": round(found["fold"]["seconds"], 1),
        }  # type: ignore[index]
        print(json.dumps({"round": n + 1, "comp": told, "with views": found["oof"]["score"]}), flush=True)  # type: ignore[index]
        told = peer(pixels, labels, fold, max(2, round(seconds / theirs)), classes)
        print(json.dumps({"round": n + 1, "peer": told}), flush=True)


if __name__ == "__main__":
    main()
