"""What balancing brings on apple-varieties, and what copies made before the split would have made one believe.

    python benchmarks/imbalance.py --data FOLDER --work FOLDER [--set model.weights=FILE --set …] [--folds 4] [--epochs 4]

Runs ``comp run apple-varieties`` for each of none, weights, sampler and copies, on the same folds (near duplicates
share one), with one recipe and from the same network: ``head_start`` is off, since "weights" would change it too.
"before the split" fills the small classes as "copies" does, with the same changes, but writes the copies into
train/ under names that tell nothing and then draws plain stratified folds of all rows. comp refuses that; the
errors are told, and lowered by --allow to see what one would have believed. Two things differ from "copies" there:
parents and their copies are torn apart, and so are near duplicates among the images themselves.

Only the first --tests images are predicted: scores are out of fold. Prints a Markdown table. ``all rows`` is what
the run itself says; the other scores are of the real images alone, so that every line is of the same rows.
Lines differ in steps, as copies lengthen an epoch: see the rows a fold trains on in an epoch.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import cv2
import numpy as np

BALANCES = ("none", "weights", "sampler", "copies")
EARLY = "copies made before the split"
LEAKS = ("copy-across-folds", "group-across-folds")
LETTERS = list("abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789")
RECIPE = """
mode = "finetune"
head_start = false
epochs = {epochs}
batch = 16
transform = "light"
precision = "fp32"
channels_last = true
tta = ["identity", "hflip"]
model = {{ name = "mobilenetv2_100", size = {size} }}
optimizer = {{ name = "adamw", lr = 3e-4, head_lr = 3e-3 }}
"""

Row = tuple[str, str]


@dataclass(frozen=True)
class Scores:
    """A run's scores: of all its OOF rows, and of the real images pooled, by fold, and of the rarest class (F1)."""

    all_rows: float
    pooled: float
    per_fold: list[float]
    rarest: float
    fitted: float
    seconds: float


def comp(*arguments: object) -> tuple[int, dict[str, Any]]:
    """A comp command with --json: its exit code and document."""
    command = [sys.executable, "-m", "comp.cli.main", *map(str, arguments), "--json"]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return ran.returncode, json.loads(ran.stdout)


def table_of(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *rows = list(csv.reader(file))
    return header, rows


def write_table(path: Path, header: list[str], rows: list[Any]) -> None:
    """Writes a CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def image(folder: Path, name: str) -> Path:
    """The file of an id, which may lack its extension."""
    (path,) = [p for p in folder.iterdir() if name in (p.name, p.stem)]
    return path


def shortened(data: Path, folder: Path, tests: int) -> list[Row]:
    """A raw folder with all train images and the first few test ones; returns id and label of the train rows."""
    header, rows = table_of(data / "train.csv")
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True)
    write_table(folder / "train.csv", header, rows)
    for name, _ in rows:
        path = image(data / "train", name)
        shutil.copyfile(path, folder / "train" / path.name)
    asked_header, asked = table_of(data / "test.csv")
    write_table(folder / "test.csv", asked_header, asked[:tests])
    stems = {Path(row[0]).stem for row in asked[:tests]}
    for name, *_ in asked[:tests]:
        path = image(data / "test", name)
        shutil.copyfile(path, folder / "test" / path.name)
    header, rows_of_template = table_of(data / "sample_submission.csv")
    kept = [row for row in rows_of_template if Path(row[0]).stem in stems]
    write_table(folder / "sample_submission.csv", header, kept)
    return [(name, label) for name, label in rows]


def with_early_copies(raw: Path, folder: Path, rows: list[Row], folds: int, size: int) -> Path:
    """A raw folder whose small classes are filled with copies before any split; returns plain folds of all its rows.

    The changes are those of balance "copies"; names are as those of the images, so that they tell nothing.
    """
    from sklearn.model_selection import StratifiedKFold

    from comp.data.augment.policies import TrainTransform
    from comp.data.images.preprocess import Preprocess

    change = TrainTransform("no-colour", Preprocess(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    shutil.copytree(raw, folder)
    rng = np.random.default_rng(0)
    count = {label: sum(label == other for _, other in rows) for _, label in rows}
    made: list[Row] = []
    for label, own in sorted(count.items()):
        names = [name for name, other in rows if other == label]
        order = rng.permutation(names).tolist()
        for n in range(max(count.values()) - own):
            path = image(raw / "train", order[n % own])
            new = "".join(rng.choice(LETTERS, 10)) + path.suffix
            pixels = change.changed(cv2.imread(str(path)), int(rng.integers(2**31)))
            cv2.imwrite(str(folder / "train" / new), pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])
            made.append((new, label))
    every = [*rows, *made]
    header, _ = table_of(raw / "train.csv")
    write_table(folder / "train.csv", header, every)
    names, labels = zip(*every, strict=True)
    fold = np.empty(len(every), int)
    for k, (_, held) in enumerate(StratifiedKFold(folds, shuffle=True, random_state=0).split(names, labels)):
        fold[held] = k
    plain = folder.parent / "plain-folds.csv"
    write_table(plain, ["id", "fold"], list(zip(names, fold.tolist(), strict=True)))
    return plain


def judge(work: Path, found: dict[str, Any], rows: list[Row], seconds: float) -> Scores:
    """The scores of a run, of the real images among its OOF rows."""
    from comp.data.predictions import Predictions
    from comp.metrics import metric_by_name

    macro_f1, label_of = metric_by_name("macro_f1"), dict(rows)
    folder = work / "runs" / found["run"]
    targets, probs, per_fold, fitted = [], [], [], []
    for path in sorted(folder.glob("fold-*/oof.npz")):
        oof = Predictions.load(path)
        ids = [i for i in oof.ids if i in label_of]
        encoded = np.array([oof.labels.names.index(label_of[i]) for i in ids], dtype=np.int64)
        targets.append(encoded)
        probs.append(oof.select(ids).probs)
        per_fold.append(macro_f1(encoded, probs[-1]))
        copies = path.parent / "copies.csv"
        made = len(table_of(copies)[1]) if copies.is_file() else 0
        _, dealt = table_of(folder / "folds.csv")
        fitted.append(sum(int(fold) != int(path.parent.name[5:]) for _, fold in dealt) + made)
    y, p = np.concatenate(targets), np.concatenate(probs)
    if len(y) != len(rows):
        raise SystemExit(f"{found['run']}: {len(y)} real images out of fold, {len(rows)} wanted")
    rarest, guess = int(np.bincount(y).argmin()), p.argmax(1)
    hit = int(((guess == rarest) & (y == rarest)).sum())
    f1 = 2 * hit / int((guess == rarest).sum() + (y == rarest).sum())
    return Scores(float(found["oof"]["score"]), macro_f1(y, p), per_fold, f1, mean(fitted), seconds)


def refusal(shared: list[object]) -> str:
    """What comp says of copies made before the split, by check; it must stop at nothing else."""
    code, found = comp("check", *shared)
    errors = {f["check"]: f["count"] for f in found["findings"] if f["severity"] == "error"}
    if code != 1 or not errors or not set(errors) <= set(LEAKS):
        raise SystemExit(f"comp check ended with {code} and the errors {errors}, not with those of {LEAKS}")
    return ", ".join(f"{check} ({count})" for check, count in errors.items())


def trained(name: str, work: Path, rows: list[Row], *arguments: object) -> None:
    """Runs and prints a line of the table."""
    started = time.perf_counter()
    code, found = comp("run", *arguments)
    if code != 0:
        raise SystemExit(f"{name}: exit code {code}: {found}")
    one = judge(work, found, rows, time.perf_counter() - started)
    spread = f"{mean(one.per_fold):.4f} ± {stdev(one.per_fold):.4f}"
    print(
        f"| {name} | {one.fitted:.0f} | {one.pooled:.4f} | {spread} | {one.rarest:.4f} | {one.all_rows:.4f} | {one.seconds:.0f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="a new folder: a workspace of its own")
    parser.add_argument("--set", action="append", default=[], help="of the recipe, repeatable")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--size", type=int, default=144)
    parser.add_argument("--tests", type=int, default=8)
    args = parser.parse_args()
    args.work.mkdir(parents=True)
    rows = shortened(args.data, args.work / "raw", args.tests)
    recipe = args.work / "recipe.toml"
    recipe.write_text(RECIPE.format(epochs=args.epochs, size=args.size))
    place = ["apple-varieties", "--workspace", args.work]
    asked = ["--recipe", recipe, *(word for one in args.set for word in ("--set", one))]
    print("| balance | rows an epoch | macro F1, OOF | folds: mean ± sd | F1 of the rarest | all rows | s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for balance in BALANCES:
        honest = ["--data", args.work / "raw", "--folds", args.folds, "--set", f"balance={balance}"]
        trained(balance, args.work, rows, *place, *asked, *honest)
    early = args.work / "early"
    plain = with_early_copies(args.work / "raw", early, rows, args.folds, args.size)
    given = [*place, "--data", early, "--folds", plain]
    refused = refusal(given)
    allowed = [f"--allow={check}=to see what one would have believed" for check in LEAKS]
    trained(EARLY, args.work, rows, *given, *asked, *allowed)
    print(f"\ncomp refuses the last one: {refused}.")


if __name__ == "__main__":
    main()
