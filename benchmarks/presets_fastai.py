"""fastai's usual recipe on the folds of `comp run --preset`, in about as many minutes.

    python benchmarks/presets_fastai.py SLUG --weights LITE0.safetensors --fastai PYTHON [--data DIR] [--epochs N] [--frozen N]

For each of five folds that comp made: `fine_tune` as fastai's book does it: epochs with a frozen body, then epochs of the whole network with half the
rate, by one cycle; its own augmentation (`aug_transforms`), label smoothing, BatchNorm kept as it is. The backbone is the
smallest one that the preset has, EfficientNet-Lite0 at 224 pixels. The images are written as files first, which is not
timed. Prints the score of all held-out rows pooled, by comp's own metric, and the seconds of clock and processor. --epochs has to be chosen
so that the minutes are those of the preset: fastai has no limit of time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from comp.data.competitions.competition import find_competition
from comp.data.dataset import read_dataset
from comp.data.folds import make_folds
from comp.metrics import metric_by_name
from comp.workspace import Workspace

FOLDS = 5
FASTAI = """
import sys, torch, timm
import numpy as np
import pandas as pd
from fastai.vision.all import *
from safetensors.torch import load_file
torch.set_num_threads(2)
set_seed(0)
table, weights, fold, frozen, epochs, out = sys.argv[1:]
rows = pd.read_csv(table, dtype={"label": str})
rows["is_valid"] = rows["fold"] == int(fold)
classes = sorted(rows["label"].unique())
block = DataBlock(blocks=(ImageBlock, CategoryBlock(vocab=classes)), get_x=ColReader("file"), get_y=ColReader("label"),
    splitter=ColSplitter("is_valid"), item_tfms=Resize(256), batch_tfms=[*aug_transforms(size=224), Normalize.from_stats([0.5] * 3, [0.5] * 3)])
loaders = block.dataloaders(rows, bs=32, num_workers=2, device=torch.device("cpu"))
net = timm.create_model("tf_efficientnet_lite0", num_classes=0, global_pool="")
net.load_state_dict({k: v.float() for k, v in load_file(weights).items() if not k.startswith("classifier")}, strict=False)
net = nn.Sequential(net, create_head(1280, len(classes)))
learner = Learner(loaders, net, loss_func=LabelSmoothingCrossEntropyFlat(), splitter=lambda m: [params(m[0]), params(m[1])], train_bn=False)
with learner.no_bar(), learner.no_logging():
    learner.fine_tune(int(epochs), freeze_epochs=int(frozen))
    np.save(out, learner.get_preds()[0].numpy())
"""


def files_of(slug: str, data: str | None, work: Path) -> tuple[pd.DataFrame, list[str]]:
    """The labelled rows with their files and folds, and the classes; images of arrays are written as PNG."""
    competition = find_competition(slug, Workspace(work))
    dataset = read_dataset(competition, Path(data) if data else work / "data" / slug)
    manifest = dataset.manifest
    table = manifest.train.reset_index(drop=True)
    folds = make_folds(manifest, FOLDS)
    table["fold"] = [folds.by_id[sample] for sample in table["id"]]
    files = []
    for n, path in enumerate(table["path"]):
        file = dataset.raw / path
        if not file.is_file():
            file = work / f"{n:06d}.png"
            pixels = dataset.source.load(path)
            cv2.imwrite(str(file), np.asarray(pixels)[..., ::-1])
        files.append(str(file))
    table["file"] = files
    return table, list(dataset.labels.names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("slug")
    parser.add_argument("--data")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--fastai", required=True, help="a Python that has fastai and timm")
    parser.add_argument("--frozen", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        table, classes = files_of(asked.slug, asked.data, work)
        table.to_csv(work / "rows.csv", index=False)
        names = sorted(table["label"].unique())
        probs = np.zeros((len(table), len(classes)))
        before, started = os.times(), time.monotonic()
        for k in range(FOLDS):
            out = work / f"{k}.npy"
            words = (work / "rows.csv", asked.weights, k, asked.frozen, asked.epochs, out)
            subprocess.run([asked.fastai, "-c", FASTAI, *map(str, words)], check=True)
            held = np.flatnonzero(table["fold"] == k)
            probs[np.ix_(held, [classes.index(name) for name in names])] = np.load(out)
        after = os.times()
        metric = metric_by_name(find_competition(asked.slug, Workspace(work)).facts.metric)
        truth = np.array([classes.index(label) for label in table["label"]])
        told = {
            "score": round(float(metric(truth, probs)), 4),
            "seconds": round(time.monotonic() - started, 1),
            "cpu": round(sum(after[2:4]) - sum(before[2:4]), 1),
            "rows": len(table),
            "frozen": asked.frozen,
            "epochs": asked.epochs,
        }
        print(json.dumps(told))


if __name__ == "__main__":
    main()
