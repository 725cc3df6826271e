"""The frozen path: features once and heads solved, against loops that run the backbone every epoch.

    python benchmarks/probe.py --data ART --weights mobilenetv2.safetensors --work NEW_FOLDER [--fastai PYTHON]

comp's side is `comp run art-classification --folds 5 --set mode=probe`, first with empty caches, then again; its
training step's seconds are compared. The loop is a plain one over the same decoded images: backbone frozen and in
eval mode, head trained by AdamW; one epoch of each fold is timed and taken ten times. fastai's side
(`vision_learner` with a frozen body, `fit_one_cycle`) runs under the Python that --fastai names; one fold of two
epochs is timed after a first epoch, and taken for 5 folds of 10. The heads of comp are solved to their optimum,
which no number of epochs surpasses.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDS, EPOCHS = 5, 10

FASTAI = """
import json, sys, time, torch, timm
from pathlib import Path
import pandas as pd
from fastai.vision.all import *
from safetensors.torch import load_file
torch.set_num_threads(2)
data, weights, folds, fold, epochs, frozen = sys.argv[1:7]
table = pd.read_csv(folds); table["is_valid"] = table["fold"] == int(fold)
root = Path(data)
loaders = ImageDataLoaders.from_df(table, root, fn_col="path", label_col="label", valid_col="is_valid", bs=32, num_workers=2,
    item_tfms=Resize(256), batch_tfms=[RandomCrop(224), Flip(), Normalize.from_stats([0.5] * 3, [0.5] * 3)], device=torch.device("cpu"))
def body():
    net = timm.create_model("mobilenetv2_100", pad_type="same", bn_eps=1e-3, num_classes=0, global_pool="")
    tensors = {k: v.float() for k, v in load_file(weights).items() if not k.startswith("classifier")}
    net.load_state_dict(tensors, strict=False)
    return net
net = nn.Sequential(body(), create_head(1280, loaders.c, lin_ftrs=[], concat_pool=False))
learner = Learner(loaders, net, metrics=accuracy, loss_func=LabelSmoothingCrossEntropyFlat(), splitter=lambda m: [params(m[0]), params(m[1])], train_bn=False)
if frozen == "frozen":
    learner.freeze()
    learner.fit(1)
    started = time.perf_counter()
    learner.fit(int(epochs))
else:
    learner.unfreeze()
    started = time.perf_counter()
    learner.fit_one_cycle(int(epochs), slice(3e-4, 3e-3))
seconds = time.perf_counter() - started
probs, y = learner.get_preds()
print(json.dumps({"seconds": seconds, "accuracy": float((probs.argmax(1) == y).float().mean())}))
"""


def comp_run(
    data: Path, weights: Path, work: Path, overrides: list[str], options: Sequence[str] = ()
) -> dict[str, Any]:
    """One `comp run` with its wall time."""
    own = ["model.mean=[0.5,0.5,0.5]", "model.std=[0.5,0.5,0.5]", "model.kwargs.pad_type=same"]
    own += [f"model.weights={weights}", "model.kwargs.bn_eps=1e-3", "model.size=224", "model.crop_pct=0.875"]
    command = [sys.executable, "-m", "comp.cli.main", "run", "art-classification", "--folds", str(FOLDS)]
    command += ["--data", str(data), "--workspace", str(work), "--json", *options]
    for one in [*own, *overrides]:
        command += ["--set", one]
    started = time.perf_counter()
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {**json.loads(ran.stdout), "wall": round(time.perf_counter() - started, 1)}


def loop_epochs(data: Path, weights: Path, work: Path, run: str) -> float:
    """Seconds of one frozen epoch of every fold, over decoded images in memory."""
    import numpy as np
    import pandas as pd
    import timm
    import torch
    from safetensors.torch import load_file

    from comp.data.images.pixel_cache import ImageDataset
    from comp.data.images.preprocess import Preprocess
    from comp.data.images.raw_tree import RawTree
    from comp.models.net import normalise

    torch.set_num_threads(2)
    table = pd.read_csv(work / "runs" / run / "manifest.csv", dtype=str, keep_default_na=False)
    table = table[table["split"] == "train"].reset_index(drop=True)
    fold = pd.read_csv(work / "runs" / run / "folds.csv").set_index("id")["fold"].loc[table["id"]].to_numpy()
    targets = torch.from_numpy(table["label"].astype("category").cat.codes.to_numpy().astype(np.int64))
    preprocess = Preprocess(224, (0.5,) * 3, (0.5,) * 3, crop_pct=0.875)  # type: ignore[arg-type]
    pixels = ImageDataset(RawTree(data), list(table["path"]), preprocess)
    images = torch.from_numpy(np.stack([pixels[n] for n in range(len(table))]))
    net = timm.create_model("mobilenetv2_100", pad_type="same", bn_eps=1e-3, num_classes=0)
    tensors = {k: v.float() for k, v in load_file(weights).items() if not k.startswith("classifier")}
    net.load_state_dict(tensors, strict=False)
    net = net.eval().to(memory_format=torch.channels_last)
    started = time.perf_counter()
    for k in range(FOLDS):
        head = torch.nn.Linear(1280, 7)
        optimizer = torch.optim.AdamW(head.parameters(), 1e-3)
        for rows in np.array_split(np.random.default_rng(k).permutation(np.flatnonzero(fold != k)), 43):
            with torch.no_grad():
                features = net(normalise(images[rows], preprocess))
            torch.nn.functional.cross_entropy(head(features), targets[rows]).backward()
            optimizer.step()
            optimizer.zero_grad()
    return time.perf_counter() - started


def fastai(
    python: str, data: Path, weights: Path, work: Path, run: str, fold: int, epochs: int, kind: str
) -> Any:
    """fastai on one fold of a run of ours: seconds of ``epochs`` and accuracy on the held-out rows."""
    import pandas as pd

    table = pd.read_csv(work / "runs" / run / "manifest.csv", dtype=str, keep_default_na=False)
    folds = pd.read_csv(work / "runs" / run / "folds.csv", dtype=str)
    table = table[table["split"] == "train"].merge(folds, on="id")
    table.to_csv(work / "fastai.csv", index=False)
    command = [
        python,
        "-c",
        FASTAI,
        str(data),
        str(weights),
        str(work / "fastai.csv"),
        str(fold),
        str(epochs),
        kind,
    ]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--fastai", help="a Python that has fastai and timm")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    os.environ["COMP_CACHE"] = str(args.work / "cache")
    probe = ["mode=probe", 'tta=["identity","hflip"]']
    cold = comp_run(args.data, args.weights, args.work, probe)
    warm = comp_run(args.data, args.weights, args.work, probe)
    for name, one in (("cold", cold), ("cached", warm)):
        told = {"wall": one["wall"], "seconds": one["seconds"], "oof": one["oof"]["score"]}
        print(json.dumps({f"comp, {name}": told}), flush=True)
    ours = cold["seconds"]["train"]
    epoch = loop_epochs(args.data, args.weights, args.work, cold["run"])
    print(
        json.dumps(
            {"loop": {"one epoch of 5 folds": round(epoch, 1), "ratio": round(EPOCHS * epoch / ours, 1)}}
        )
    )
    if args.fastai:
        theirs = fastai(args.fastai, args.data, args.weights, args.work, cold["run"], 0, 2, "frozen")
        whole = theirs["seconds"] / 2 * EPOCHS * FOLDS
        print(
            json.dumps({"fastai": {**theirs, "5 folds of 10": round(whole), "ratio": round(whole / ours, 1)}})
        )


if __name__ == "__main__":
    main()
