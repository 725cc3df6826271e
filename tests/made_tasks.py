"""Tiny competitions of each task on drawn images, for tests of whole runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from made import TINY_RECIPE, save_image

ADAPTER = """\
from comp.data import Manifest, RawTree, Sample, read_table


def read(raw):
    table = read_table(raw / "train.csv")
    rows = [
        Sample(i, f"train/{i}.png", "train", label)
        for i, label in zip(table.column("id"), table.column("label"), strict=True)
    ]
    asked = read_table(raw / "sample_submission.csv").column("id")
    return Manifest.from_samples([*rows, *(Sample(i, f"test/{i}.png", "test") for i in asked)])


def sample(raw, seed):
    raise NotImplementedError
"""
FACTS = {  # of each competition: task and metric, the template's columns and kind
    "sets": (("multi-label", "micro_f1"), ("labels",), 'kind = "labels"'),
    "columns": (("multi-label", "roc_auc"), ("box", "disc"), 'kind = "probs"'),
    "ranked": (("multi-label", "map@2"), ("labels",), 'kind = "topk"\nk = 2'),
    "number": (("regression", "rmse"), ("y",), 'kind = "number"'),
    "numbers": (("regression", "mcrmse"), ("x", "y"), 'kind = "number"'),
    "grade": (("ordinal", "qwk"), ("label",), 'kind = "index"'),
    "named": (("ordinal", "qwk"), ("label",), 'kind = "label"'),
    "chance": (("single-label", "roc_auc"), ("p",), 'kind = "prob"'),
    "certain": (("single-label", "log_loss"), ("c0", "c1"), 'kind = "probs"'),
    "class": (("single-label", "accuracy"), ("label",), 'kind = "index"'),
    "macro": (("single-label", "macro_f1"), ("label",), 'kind = "label"'),
}
PLACEHOLDER = {"label": "c0", "index": "0", "labels": "disc", "topk": "disc"}


def write_task(workspace: Path, slug: str, train: int = 40, tests: int = 8, order_seed: int = 0) -> Path:
    """A competition of ``FACTS`` with its raw folder, which it returns; ``order_seed`` says in which order the rows of
    train.csv and of the template stand, and changes nothing else.
    """
    (task, metric), columns, kind = FACTS[slug]
    folder = workspace / "competitions" / slug
    folder.mkdir(parents=True)
    target = f'"{columns[0]}"' if len(columns) == 1 else str(list(columns)).replace("'", '"')
    classes = 'classes = ["0", "1", "2"]\n' if slug == "grade" else ""
    classes = 'classes = ["c0", "c1", "c2"]\n' if slug == "named" else classes
    (folder / "competition.toml").write_text(
        f'slug = "{slug}"\ntitle = "{slug}"\ntask = "{task}"\nmetric = "{metric}"\n{classes}'
        f"{'range = [0, 200]' if slug == 'number' else ''}\n"
        '[layout]\ntrain = "train/*"\ntest = "test/*"\n'
        f'[template]\nfile = "sample_submission.csv"\nid = "id"\ntarget = {target}\n{kind}\n'
        f"{_positive(slug)}"
    )
    (folder / "adapter.py").write_text(ADAPTER)
    (folder / "baseline.toml").write_text(TINY_RECIPE)
    raw = workspace / "data" / slug
    rng = np.random.default_rng(7)
    rows = [(f"a{n}", _drawn(raw / "train" / f"a{n}.png", n, rng)) for n in range(train)]
    for n in range(tests):
        _drawn(raw / "test" / f"t{n}.png", n, rng)
    order = np.random.default_rng(order_seed)
    lines = [f"{i},{_label(slug, task, facts)}" for i, facts in rows]
    _write(raw / "train.csv", "id,label", [lines[n] for n in order.permutation(train)])
    cell = PLACEHOLDER.get(kind.split('"')[1], "0.5")
    empty = ",".join([cell] * len(columns))
    asked = [f"t{n},{empty}" for n in order.permutation(tests)]
    _write(raw / "sample_submission.csv", ",".join(["id", *columns]), asked)
    return raw


def _positive(slug: str) -> str:
    return 'positive = "c1"\n' if slug == "chance" else ""


def _write(path: Path, header: str, lines: Sequence[str]) -> None:
    path.write_text("\n".join([header, *lines]) + "\n")


def _drawn(path: Path, number: int, rng: np.random.Generator) -> tuple[bool, bool, int]:
    """Draws an image: whether it has a disc and a box, and how bright it is, -50 to 50."""
    disc, box, bright = number % 2 == 0, number % 3 == 0, int(rng.integers(-50, 51))
    pixels = rng.integers(60, 190, (32, 32, 3)).astype(np.uint8)
    if disc:
        x, y = (int(v) for v in rng.integers(8, 24, 2))
        cv2.circle(pixels, (x, y), 6, (250, 20, 20), -1)
    if box:
        x, y = (int(v) for v in rng.integers(2, 18, 2))
        cv2.rectangle(pixels, (x, y), (28, 28), (20, 250, 20), 2)
    save_image(path, np.clip(pixels.astype(int) + bright, 0, 255).astype(np.uint8))
    return disc, box, bright


def _label(slug: str, task: str, facts: tuple[bool, bool, int]) -> str:
    disc, box, bright = facts
    if task == "multi-label":
        return "|".join(name for name, there in (("disc", disc), ("box", box)) if there)
    if slug == "number":
        return str(100 + bright)
    if slug == "numbers":
        return f"{bright}|{int(disc) + 0.5 * bright}"
    step = min(2, (bright + 50) // 34)
    if slug == "grade":
        return str(step)
    if slug == "named":
        return f"c{step}"
    return f"c{int(disc)}"
