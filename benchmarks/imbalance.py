"""What balancing brings on apple-varieties, and what copies made before the split would have made one believe.

    python benchmarks/imbalance.py --data FOLDER --work FOLDER [--set model.weights=FILE --set …] [--epochs 6] [--size 160]

Runs ``comp run apple-varieties`` once for each of none, weights, sampler and copies, on the same folds (near
duplicates share one) and with one recipe. "before the split" writes three changed copies of every train picture
into a raw folder of its own, under names that tell nothing, and trains on plain stratified folds of all of them.
comp refuses that (the errors are shown), so the checks are lowered by --allow. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

import cv2
import numpy as np

COPIES = 3
RECIPE = """
mode = "finetune"
epochs = {epochs}
batch = 16
transform = "light"
precision = "fp32"
channels_last = true
tta = ["identity", "hflip"]
model = {{ name = "mobilenetv2_100", size = {size} }}
optimizer = {{ name = "adamw", lr = 3e-4, head_lr = 1e-3 }}
"""


def comp(*arguments: object) -> tuple[int, dict[str, object]]:
    """A comp command with --json: its exit code and document."""
    command = [sys.executable, "-m", "comp.cli.main", *map(str, arguments), "--json"]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    return ran.returncode, json.loads(ran.stdout)


def augmented(raw: Path, folder: Path) -> Path:
    """A raw folder whose train part has changed copies of every picture, made before any split; and plain folds of it."""
    from sklearn.model_selection import StratifiedKFold

    shutil.copytree(raw, folder, symlinks=False)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    with (folder / "train.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    rng = np.random.default_rng(0)
    made = []
    for name, label in rows:
        (path,) = [p for p in (folder / "train").iterdir() if name in (p.name, p.stem)]
        image = cv2.imread(str(path))
        for _ in range(COPIES):
            turned = np.rot90(image, rng.integers(4))
            turned = turned[:, ::-1] if rng.random() < 0.5 else turned
            edge = (0.08 * rng.random(4) * image.shape[0]).astype(int)
            cut = turned[edge[0] : turned.shape[0] - edge[1], edge[2] : turned.shape[1] - edge[3]]
            new = f"{rng.integers(10**9):09}"
            cv2.imwrite(str(folder / "train" / f"{new}{path.suffix}"), np.ascontiguousarray(cut))
            made.append([new + (path.suffix if name == path.name else ""), label])
    rows += made
    with (folder / "train.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    names, labels = zip(*rows, strict=True)
    folds = np.empty(len(rows), int)
    for k, (_, held) in enumerate(StratifiedKFold(5, shuffle=True, random_state=0).split(names, labels)):
        folds[held] = k
    plain = folder.parent / "plain-folds.csv"
    with plain.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "fold"], *zip(names, folds, strict=True)])
    return plain


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--size", type=int, default=160)
    args = parser.parse_args()
    args.work.mkdir(parents=True)
    recipe = args.work / "recipe.toml"
    recipe.write_text(RECIPE.format(epochs=args.epochs, size=args.size))
    sets = [word for one in args.set for word in ("--set", one)]
    shared = ["apple-varieties", "--workspace", args.work, "--recipe", recipe, *sets]
    print("| balance | macro F1, OOF | folds: mean ± sd | identity view |\n|---|---|---|---|", flush=True)
    for balance in ("none", "weights", "sampler", "copies"):
        _, found = comp("run", *shared, "--data", args.data, "--set", f"balance={balance}")
        show(balance, found)
    plain = augmented(args.data, args.work / "augmented")
    shared += ["--data", args.work / "augmented", "--folds", plain]
    code, refused = comp("run", *shared)
    assert code == 1, "comp must refuse copies that were made before the split"
    print(f"<!-- refused: {refused['error']} -->")  # type: ignore[index]
    allowed = [
        f"--allow={check}=to see what one would have believed"
        for check in ("copy-across-folds", "group-across-folds", "exact-duplicate", "stratification")
    ]
    code, found = comp("run", *shared, *allowed)
    show("none, copies made before the split", found)


def show(name: str, found: dict[str, object]) -> None:
    if "oof" not in found:
        print(f"| {name} | {found} | | |", flush=True)
        return
    oof = found["oof"]
    assert isinstance(oof, dict)
    folds = oof["per_fold"]
    print(
        f"| {name} | {oof['score']:.4f} | {mean(folds):.4f} ± {stdev(folds):.4f} | {oof['identity_view']:.4f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
