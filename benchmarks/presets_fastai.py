"""fastai on the rows and folds of a run of ours, in the same minutes: what its first epochs come to.

    python benchmarks/presets_fastai.py RUN_FOLDER --data RAW --weights FILE --fastai PYTHON [--model tf_efficientnet_lite0] [--epochs 1] [--folds 0]

The backbone and its weights are the same; fastai trains its head on the frozen body (`fit_one_cycle`), as its `fine_tune` begins, with random crops and mirror images. PYTHON
is one that has fastai and timm. Seconds are those of the training with its validation, without imports.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

FASTAI = """
import json, sys, time, torch, timm
import pandas as pd
from pathlib import Path
from fastai.vision.all import *
from safetensors.torch import load_file
torch.set_num_threads(2)
model, weights, data, table, fold, epochs = sys.argv[1:7]
table = pd.read_csv(table); table["is_valid"] = table["fold"] == int(fold)
size = timm.models.get_pretrained_cfg(model).input_size[-1]
loaders = ImageDataLoaders.from_df(table, Path(data), fn_col="path", label_col="label", valid_col="is_valid", bs=32, num_workers=2,
    item_tfms=Resize(round(size / 0.875)), batch_tfms=[RandomCrop(size), Flip(), Normalize.from_stats([0.5] * 3, [0.5] * 3)], device=torch.device("cpu"))
body = timm.create_model(model, num_classes=0, global_pool="")
body.load_state_dict({k: v.float() for k, v in load_file(weights).items() if not k.startswith("classifier")}, strict=False)
net = nn.Sequential(body, create_head(body.num_features, loaders.c, lin_ftrs=[], concat_pool=False))
learner = Learner(loaders, net, loss_func=LabelSmoothingCrossEntropyFlat(), splitter=lambda m: [params(m[0]), params(m[1])], train_bn=False)
learner.freeze()
started = time.perf_counter()
with learner.no_bar(), learner.no_logging():
    learner.fit_one_cycle(int(epochs), 3e-3)
    seconds = time.perf_counter() - started
    probs, y = learner.get_preds()
print(json.dumps({"fold": int(fold), "epochs": int(epochs), "seconds": round(seconds, 1), "accuracy": round(float((probs.argmax(1) == y).float().mean()), 4)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--fastai", required=True)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--folds", type=int, nargs="*", default=[0])
    asked = parser.parse_args()
    import pandas as pd

    table = pd.read_csv(asked.run / "manifest.csv", dtype=str, keep_default_na=False)
    folds = pd.read_csv(asked.run / "folds.csv", dtype=str)
    table = table[table["split"] == "train"].merge(folds, on="id")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        table[["path", "label", "fold"]].to_csv(path, index=False)
        for fold in asked.folds:
            words = [asked.model, asked.weights, asked.data, path, fold, asked.epochs]
            command = [asked.fastai, "-c", FASTAI, *map(str, words)]
            ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            print(json.dumps({"fastai": json.loads(ran.stdout.splitlines()[-1])}), flush=True)


if __name__ == "__main__":
    main()
