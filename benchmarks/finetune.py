"""Fine-tuning a fold of art-classification: comp against fastai and a timm-style loop, in turn.

    python benchmarks/finetune.py --data ART --weights mobilenetv2.safetensors --work NEW_FOLDER --fastai PYTHON [--folds 0 1]

The same rows, backbone, weights, epochs, batch of 32 and views (identity only) on every side. comp runs
`--only FOLD` of a 5-fold run; fastai trains with frozen BatchNorm statistics, `fit_one_cycle`, mirror images and random
crops; the timm-style loop is what timm's train.py does on a CPU: DataLoader with two workers, PIL, torchvision's crop
and mirror, AdamW, one cycle, BatchNorm in eval mode. Wall time of training with its validation, without start-up.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from probe import comp_run, fastai


def timm_net(weights: Path, classes: int) -> tuple[Any, list[Any], list[Any]]:
    """MobileNetV2 with a new classifier, its other parameters, and the classifier's."""
    import timm
    from safetensors.torch import load_file

    net = timm.create_model("mobilenetv2_100", pad_type="same", bn_eps=1e-3, num_classes=classes)
    tensors = {k: v.float() for k, v in load_file(weights).items() if not k.startswith("classifier")}
    net.load_state_dict(tensors, strict=False)
    head = list(net.get_classifier().parameters())
    body = [p for name, p in net.named_parameters() if not name.startswith("classifier")]
    return net, body, head


def timm_loop(data: Path, weights: Path, work: Path, run: str, fold: int, epochs: int) -> dict[str, float]:
    """A plain loop: seconds and accuracy on the held-out rows."""
    import pandas as pd
    import torch
    from PIL import Image
    from torchvision import transforms as T

    torch.manual_seed(0)
    torch.set_num_threads(2)
    table = pd.read_csv(work / "runs" / run / "manifest.csv", dtype=str, keep_default_na=False)
    table = table[table["split"] == "train"].merge(
        pd.read_csv(work / "runs" / run / "folds.csv", dtype=str), on="id"
    )
    names = sorted(set(table["label"]))
    norm = [T.ToTensor(), T.Normalize([0.5] * 3, [0.5] * 3)]
    train = T.Compose([T.Resize(256), T.RandomCrop(224), T.RandomHorizontalFlip(), *norm])
    valid = T.Compose([T.Resize(256), T.CenterCrop(224), *norm])

    class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __init__(self, rows: Any, transform: Any) -> None:
            self.rows, self.transform = list(zip(rows["path"], rows["label"], strict=True)), transform

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, n: int) -> Any:
            path, label = self.rows[n]
            with Image.open(data / path) as image:
                return self.transform(image.convert("RGB")), names.index(label)

    held = table["fold"] == str(fold)
    loader = torch.utils.data.DataLoader(
        Rows(table[~held], train), 32, shuffle=True, num_workers=2, drop_last=True
    )
    judge = torch.utils.data.DataLoader(Rows(table[held], valid), 32, num_workers=2)
    net, body, head = timm_net(weights, len(names))
    optimizer = torch.optim.AdamW([{"params": body, "lr": 3e-4}, {"params": head, "lr": 3e-3}])
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, [3e-4, 3e-3], total_steps=epochs * len(loader))
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    started = time.perf_counter()
    right = 0.0
    for _ in range(epochs):
        net.train()
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        for x, y in loader:
            loss_of(net(x), y).backward()
            optimizer.step()
            cycle.step()
            optimizer.zero_grad()
        net.eval()
        with torch.inference_mode():
            right = sum(float((net(x).argmax(1) == y).sum()) for x, y in judge)
    return {"seconds": time.perf_counter() - started, "accuracy": right / int(held.sum())}


def ours(data: Path, weights: Path, work: Path, fold: int, epochs: int) -> dict[str, Any]:
    """comp's fold: head start, training and judging, as the run's folder tells it."""
    recipe = work / "recipe.toml"
    recipe.write_text(
        f'mode = "finetune"\nepochs = {epochs}\nbatch = 32\ntransform = "light"\ntta = ["identity"]\n'
        '[model]\nname = "mobilenetv2_100"\n[optimizer]\nname = "adamw"\nlr = 3e-4\nhead_lr = 1e-3\n'
        "[regularize]\nlabel_smoothing = 0.1\n"
    )
    import shutil

    shutil.rmtree(work / ".comp" / "features", ignore_errors=True)  # the head start is paid for each time
    found = comp_run(data, weights, work, [], ["--recipe", str(recipe), "--only", str(fold)])
    result = json.loads((work / "runs" / found["run"] / f"fold-{fold}" / "result.json").read_text())
    speed = round(result["images_per_second"], 1)
    told = {"run": found["run"], "seconds": found["seconds"]["train"], "images/s": speed}
    return {**told, "accuracy": result["identity_score"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--fastai", help="a Python that has fastai and timm")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--folds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    os.environ["COMP_CACHE"] = str(args.work / "cache")
    given = (args.data, args.weights, args.work)
    for fold in args.folds:
        found = ours(*given, fold, args.epochs)
        print(json.dumps({"fold": fold, "comp": found}), flush=True)
        loop = timm_loop(*given, found["run"], fold, args.epochs)
        print(
            json.dumps({"timm-style": loop, "ratio": round(loop["seconds"] / found["seconds"], 2)}),
            flush=True,
        )
        if args.fastai:
            theirs = fastai(args.fastai, *given, found["run"], fold, args.epochs, "whole")
            ratio = round(theirs["seconds"] / found["seconds"], 2)
            print(json.dumps({"fastai": theirs, "ratio": ratio}), flush=True)


if __name__ == "__main__":
    main()
