"""What tells photographs of classes that training never had from those that it had: a softmax, arcface, or nearest neighbours.

    python benchmarks/open_set.py --data FOLDER --work NEW_FOLDER [--size 96] [--epochs 4] [--folds 2]

``FOLDER`` is a raw folder of caltech-256. Its 20 classes with fewest files (of equal ones the first by number) are taken out
whole: all their images are among the test images, and the right answer to them is "new". Of the other classes a quarter of the
files, by SHA-256 of the name, are test images too. A competition is made of that, with ``unknown = "new"``,
``unknown_classes = 20`` and ``metric = "map@5"``, and ``comp run`` is asked with several recipes on the same folds. Nothing
of the 20 classes is seen before the answers are graded: the threshold is learned from other 20 classes, each held out whole by
one fold.

Prints a Markdown table. "AUROC" is how well a number tells known test images from new ones: the best probability of a known
class, the best cosine with a class's centre (mean over folds), or the cosine with the nearest fitted image of the features of
a fold's network (mean over folds). Weights come from COMP_WEIGHTS.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

TAKEN_OUT = HELD_OUT = 20
SIDE = 160  # pixels of the shorter side that images are kept at
FACTS = f"""slug = "open"
title = "Caltech with {TAKEN_OUT} classes that training does not have"
metric = "map@5"
unknown = "new"
unknown_classes = {HELD_OUT}

[data]
table = "train.csv"
images = "train/{{id}}"
test_images = "test/{{id}}"
id = "file"
label = "label"

[template]
file = "sample_submission.csv"
id = "file"
target = "label"
kind = "topk"
"""
RECIPE = """mode = "finetune"
epochs = {epochs}
tta = "identity"

[model]
name = "tf_efficientnet_lite0"
size = {size}
"""
RECIPES = {
    'softmax of frozen features (`mode = "probe"`)': ["mode=probe"],
    "softmax, fine-tuned": [],
    "softmax, fine-tuned, no head start": ["head_start=false"],
    "arcface": ["loss=arcface"],
    "arcface, embedding of 256, GeM": ["loss=arcface", "model.head.hidden=256", "model.pool=gem"],
}
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """A run's grades on the test images: MAP@5 and accuracy with the threshold and without, accuracy on known and on new images
    with it, the AUROC of each number that could tell them apart, and MAP@5 of its neighbours, and of a blend with them.
    """

    map5: float
    plain_map5: float
    right: float
    plain_right: float
    known: float
    new: float
    auroc: dict[str, float]
    nearest: float
    blended: float
    seconds: float


def write_rows(path: Path, rows: list[tuple[str, str]]) -> None:
    """Writes a CSV of files and labels."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("file", "label"), *rows])


def read_rows(path: Path) -> dict[str, str]:
    """The labels by file of a CSV."""
    with path.open(newline="", encoding="utf-8") as file:
        return dict(list(csv.reader(file))[1:])


def prepare(data: Path, work: Path, size: int, epochs: int) -> dict[str, str]:
    """Makes the workspace; returns the right answers by file."""
    raw, facts = work / "data" / "open", work / "competitions" / "open"
    for folder in (raw / "train", raw / "test", facts):
        folder.mkdir(parents=True)
    top = data / "256_ObjectCategories"
    folders = [folder for folder in sorted(top.iterdir()) if folder.is_dir() and folder.name[:3] != "257"]
    files = {folder.name: sorted(folder.glob("*.jpg")) for folder in folders}
    taken = set(sorted(files, key=lambda name: (len(files[name]), name))[:TAKEN_OUT])
    train, test = [], []
    for name, own in files.items():
        for path in own:
            digest = hashlib.sha256(path.name.encode()).digest()
            is_test = name in taken or digest[0] % 4 == 0
            file = f"{digest.hex()[:12]}.jpg"
            pixels = cv2.imread(str(path))
            scale = SIDE / min(pixels.shape[:2])
            pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(raw / ("test" if is_test else "train") / file), pixels)
            (test if is_test else train).append((file, "new" if name in taken else name[4:]))
    write_rows(raw / "train.csv", train)
    write_rows(raw / "sample_submission.csv", [(file, "new") for file, _ in test])
    (facts / "competition.toml").write_text(FACTS)
    (facts / "baseline.toml").write_text(RECIPE.format(size=size, epochs=epochs))
    return dict(test)


def comp(work: Path, *arguments: str) -> tuple[str, dict[str, list[str]]]:
    """Asks ``comp`` for a run: its id, and its answers by file."""
    command = [sys.executable, "-m", "comp.cli.main", *arguments, "--no-report", "--json"]
    done = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout)
    rows = read_rows(work / told["submission"])
    return told["run"], {file: cell.split(" ") for file, cell in rows.items()}


def average_precision(answers: dict[str, list[str]], truth: dict[str, str]) -> float:
    """MAP@5: the mean of 1 / place of the right answer, 0 where it is not among the five."""
    places = [
        answers[file].index(right) + 1 if right in answers[file] else 0 for file, right in truth.items()
    ]
    return float(np.mean([1 / place if place else 0.0 for place in places]))


def similarities(folder: Path, raw: Path, files: list[str]) -> dict[str, Numbers]:
    """By name the cosines (N,) of test images with what is nearest to them, the mean over the folds of a run."""
    from comp.inference.backbone import apply_classifier, backbone_outputs

    from comp.data.images.raw_tree import RawTree
    from comp.models.checkpoint import load_checkpoint
    from comp.models.metric_layers import CosineHead
    from comp.recipe import load

    recipe, fold_of = load(folder / "recipe.toml"), read_rows(folder / "folds.csv")
    found: dict[str, list[Numbers]] = {}
    for k in sorted(set(fold_of.values()) - {"-1"}):
        net, sidecar = load_checkpoint(folder / f"fold-{k}")
        fitted = [f"train/{file}" for file, fold in fold_of.items() if fold != k]
        paths = [*fitted, *(f"test/{file}" for file in files)]
        seen = backbone_outputs(net, sidecar, RawTree(raw), paths, ["identity"], recipe, lambda n: None)[
            "identity"
        ]
        head = list(net.head) if not hasattr(net.head, "weight") else [net.head]
        if isinstance(head[-1], CosineHead):
            logits = apply_classifier(net.head, seen[len(fitted) :])
            found.setdefault("centre", []).append(logits.max(axis=1) / head[-1].scale)
            if len(head) > 1:
                seen = apply_classifier(head[0], seen)
        unit = seen / np.linalg.norm(seen, axis=1, keepdims=True)
        nearest = (unit[len(fitted) :] @ unit[: len(fitted)].T).max(axis=1)
        found.setdefault("neighbour", []).append(nearest)
    return {name: np.mean(each, axis=0) for name, each in found.items()}


def measure(work: Path, truth: dict[str, str], folds: int, overrides: list[str]) -> Measured:
    """Runs a recipe, and grades its answers."""
    from comp.data.predictions import Predictions
    from comp.ensembling.open_set import best_known, with_unknown_at

    started = time.perf_counter()
    sets = [part for value in overrides for part in ("--set", value)]
    made, answers = comp(work, "run", "open", "--folds", str(folds), *sets)
    seconds, folder = time.perf_counter() - started, work / "runs" / made
    beside, nearest = comp(work, "neighbours", made)
    _, blend = comp(work, "ensemble", made, beside)
    files, new = list(truth), np.array([right == "new" for right in truth.values()])
    predicted = Predictions.load(folder / "test.npz").select(files)
    never = with_unknown_at(predicted.probs, 0.0, predicted.labels)
    names = np.array(predicted.labels.names)
    order = np.argsort(-never, axis=1, kind="stable")[:, :5]
    plain = {file: names[row].tolist() for file, row in zip(files, order, strict=True)}
    numbers = {"probability": best_known(predicted.probs, predicted.labels)}
    numbers |= similarities(folder, work / "data" / "open", files)
    right = np.array([answers[file][0] == wanted for file, wanted in truth.items()])
    return Measured(
        average_precision(answers, truth),
        average_precision(plain, truth),
        float(right.mean()),
        float(np.mean([plain[file][0] == wanted for file, wanted in truth.items()])),
        float(right[~new].mean()),
        float(right[new].mean()),
        {name: float(roc_auc_score(~new, value)) for name, value in numbers.items()},
        average_precision(nearest, truth),
        average_precision(blend, truth),
        seconds,
    )


def main() -> None:
    """Runs all recipes and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--folds", type=int, default=2)
    asked = parser.parse_args()
    truth = prepare(asked.data, asked.work, asked.size, asked.epochs)
    new = sum(right == "new" for right in truth.values())
    print(f"{len(truth) - new} known and {new} new test images\n")
    heads = ["recipe", "MAP@5 without / with threshold", "accuracy without / with", "of known", "of new"]
    heads += ["AUROC by probability", "by centre", "by neighbour", "MAP@5 of neighbours / blended", "s"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    for name, overrides in RECIPES.items():
        one = measure(asked.work, truth, asked.folds, overrides)
        told = [
            f"{one.auroc[key]:.3f}" if key in one.auroc else ""
            for key in ("probability", "centre", "neighbour")
        ]
        cells = [name, f"{one.plain_map5:.3f} / {one.map5:.3f}", f"{one.plain_right:.3f} / {one.right:.3f}"]
        cells += [
            f"{one.known:.3f}",
            f"{one.new:.3f}",
            *told,
            f"{one.nearest:.3f} / {one.blended:.3f}",
            f"{one.seconds:.0f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
