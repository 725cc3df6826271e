"""Made-up competitions for tests: tiny images in a raw folder, and the competition folder that reads them."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from comp import console
from comp.cli.main import main
from comp.data.folds import Folds
from comp.data.images.preprocess import Preprocess
from comp.data.images.source import ArraySource
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest
from comp.files import read_json, sealed, sha256_of, write_json
from comp.metrics import metric_by_name
from comp.recipe import BalanceConfig, Recipe
from comp.runs.contents import rehome

if TYPE_CHECKING:
    from comp.training.plan import TrainPlan

REPOSITORY = Path(__file__).resolve().parent.parent
SHAPES = ("circle", "cross", "square")

SHAPES_TOML = """\
slug = "shapes"
title = "Three shapes, drawn for the tests"
metric = "accuracy"
classes = ["circle", "cross", "square"]
pairs = "filename"

[layout]
required = ["train/", "test/", "train.csv", "sample_submission.csv"]
train = "train/*"
test = "test/*"

[template]
file = "sample_submission.csv"
id = "id"
target = "label"
kind = "label"
"""

SHAPES_ADAPTER = '''\
"""Images named by id; train.csv has id, label, group, parent."""

from pathlib import PurePosixPath

from comp.data import Manifest, RawTree, Sample, read_table


def read(raw):
    rows = read_table(raw / "train.csv").rows
    samples = [Sample(i, f"train/{i}.png", "train", label, group, parent) for i, label, group, parent in rows]
    samples += [Sample(PurePosixPath(path).stem, path, "test") for path in RawTree(raw).glob("test/*")]
    return Manifest.from_samples(samples)


def sample(raw, seed):
    raise NotImplementedError
'''

TINY_RECIPE = """\
mode = "scratch"
precision = "fp32"
channels_last = true
epochs = 1
batch = 8
transform = "light"
tta = ["identity", "hflip"]
threads = 1

[model]
name = "test_resnet"
size = 32
fit = "squash"

[optimizer]
lr = 3e-3
"""


# in the environment of every test; nothing that comp says or writes may hold them, nor the key as HTTP sends it
KAGGLE_USER = "tester"
KAGGLE_KEY = "fake-key-0f1e2d3c4b5a69788796a5b4c3d2e1f0"
KAGGLE_TOKEN = "fake-token-KGAT_9a8b7c6d5e4f"
SIGNED = "fake-signed-7777"  # in the addresses that the loopback Kaggle gives out
SECRETS = (
    KAGGLE_KEY,
    KAGGLE_TOKEN,
    SIGNED,
    base64.b64encode(f"{KAGGLE_USER}:{KAGGLE_KEY}".encode()).decode(),
)


@dataclass(frozen=True)
class Outcome:
    """What a command ended with; none may say a secret."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        assert not any(secret in self.out + self.err for secret in SECRETS), "a credential was said"

    @property
    def json(self) -> Any:
        """The one JSON document that stdout holds; fails if there is anything beside it."""
        return json.loads(self.out)


def files_with_secrets(folder: Path) -> list[Path]:
    """The files under a folder that hold a credential; ``.kaggle`` folders and ``kaggle.json`` are where it is kept."""
    kept = {".kaggle", "kaggle.json"}
    files = (p for p in folder.rglob("*") if p.is_file() and not p.is_symlink() and not kept & {*p.parts})
    return [path for path in files if has_secret(path)]


def has_secret(path: Path, block: int = 1 << 24) -> bool:
    """Reads block by block: a test of very large arrays makes a file of 10 GB, nearly all of it a hole."""
    wanted = [secret.encode() for secret in SECRETS]
    before = b""
    with path.open("rb") as file:
        while some := file.read(block):
            if any(secret in before + some for secret in wanted):
                return True
            before = (before + some)[-max(map(len, wanted)) :]
    return False


def run_comp(workspace: Path, *arguments: object) -> Outcome:
    """A ``comp`` command in this process, in a workspace."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([*map(str, arguments), "--workspace", str(workspace)])
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            console.settings.json = False
    return Outcome(code, out.getvalue(), err.getvalue())


def subprocess_comp(workspace: Path, *arguments: object) -> Outcome:
    """A ``comp`` command in a process of its own, with ``workspace`` as its current folder."""
    command = [sys.executable, "-m", "comp.cli.main", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=workspace, capture_output=True, text=True, env=clean_environment(), check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def proven_again(folder: Path) -> None:
    """Makes a run's folder, renamed or changed as it may be, prove what lies in it now: nothing but the checks that look
    at the content itself can then tell.
    """
    for result in sorted(folder.rglob("result.json")):
        fold = result.parent
        files = {
            name: sha256_of(fold / name) for name in read_json(result)["files"] if (fold / name).exists()
        }
        rehome(fold, folder.name, fold.relative_to(folder).as_posix(), files)
    for path in (folder / name for name in ("started.json", "partial.json", "record.json")):
        if path.exists():
            table = read_json(path)
            files = {name: sha256_of(folder / name) for name in table["files"] if (folder / name).exists()}
            write_json(path, sealed({**table, "run": folder.name, "files": files}))


def rewritten(path: Path, **changes: object) -> None:
    """Changes values of a sealed document, as if its writer had written it so."""
    write_json(path, sealed({**read_json(path), **changes}))


def clean_environment() -> dict[str, str]:
    """This process's environment without what would change where ``comp`` looks."""
    return {k: v for k, v in os.environ.items() if not k.startswith("COMP_")} | {"HF_HUB_OFFLINE": "1"}


def draw(shape: str, seed: int, side: int = 40) -> np.ndarray:
    """An image uint8 (side, side, 3) of a shape on noise; no two seeds look alike."""
    rng = np.random.default_rng(seed)
    pixels = cv2.resize(
        rng.integers(0, 110, (8, 8, 3)).astype(np.uint8), (side, side), interpolation=cv2.INTER_CUBIC
    )
    x, y = (int(v) for v in rng.integers(side // 3, side - side // 3, 2))
    colour = tuple(int(v) for v in rng.integers(180, 255, 3))
    if shape == "circle":
        cv2.circle(pixels, (x, y), side // 4, colour, -1)
    elif shape == "square":
        cv2.rectangle(pixels, (x - side // 5, y - side // 5), (x + side // 5, y + side // 5), colour, -1)
    else:
        cv2.line(pixels, (x - side // 4, y), (x + side // 4, y), colour, 3)
        cv2.line(pixels, (x, y - side // 4), (x, y + side // 4), colour, 3)
    return pixels


def save_image(path: Path, pixels: np.ndarray) -> None:
    """Writes an image; ``path`` says the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def write_shapes(workspace: Path, per_class: int = 6, tests: int = 12) -> Path:
    """The competition ``shapes`` and its raw folder; the template asks in another order than the folder lists."""
    folder = workspace / "competitions" / "shapes"
    folder.mkdir(parents=True)
    (folder / "competition.toml").write_text(SHAPES_TOML)
    (folder / "adapter.py").write_text(SHAPES_ADAPTER)
    (folder / "baseline.toml").write_text(TINY_RECIPE)
    raw = workspace / "data" / "shapes"
    lines = ["id,label,group,parent"]
    for number in range(per_class * len(SHAPES)):
        shape = SHAPES[number % len(SHAPES)]
        save_image(raw / "train" / f"a{number}.png", draw(shape, number))
        lines.append(f"a{number},{shape},,")
    (raw / "train.csv").write_text("\n".join(lines) + "\n")
    for number in range(tests):
        save_image(raw / "test" / f"t{number}.png", draw(SHAPES[number % len(SHAPES)], 10_000 + number))
    order = np.random.default_rng(5).permutation(tests)
    (raw / "sample_submission.csv").write_text("id,label\n" + "".join(f"t{n},circle\n" for n in order))
    return raw


def train_table(raw: Path) -> list[list[str]]:
    """The rows of train.csv: id, label, group, parent."""
    return [line.split(",") for line in (raw / "train.csv").read_text().splitlines()[1:]]


def write_train_table(raw: Path, rows: list[list[str]]) -> None:
    """Puts other rows into train.csv."""
    (raw / "train.csv").write_text(
        "\n".join(["id,label,group,parent", *(",".join(row) for row in rows)]) + "\n"
    )


def planned(
    manifest: Manifest | None = None, folds: Folds | None = None, images: object = None, **balance: object
) -> TrainPlan:
    """A plan of the classes a, b, c; ``images`` uint8 (N, H, W, 3) are what the paths ``all#n`` name."""
    from comp.training.plan import TrainPlan

    array = np.zeros((1, 32, 32, 3), np.uint8) if images is None else np.asarray(images)
    return TrainPlan(
        slug="made",
        recipe=Recipe(balance=BalanceConfig(**balance)),
        preprocess=Preprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        weights=None,
        manifest=manifest or Manifest.from_samples([]),
        labels=LabelMap(["a", "b", "c"]),
        folds=folds or Folds((), np.array([], np.int64), 2, 0, ""),
        metric=metric_by_name("accuracy"),
        source=ArraySource({"all": array}),
        folder=Path(),
    )


def probe(place: Path, *further: str) -> list[str]:
    """What makes a run a probe on a tiny backbone whose weights lie in ``place``."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    weights = place / "w.safetensors"
    if not weights.exists():
        save_file(timm.create_model("test_resnet").state_dict(), weights)
    half = "[0.5,0.5,0.5]"
    return ["mode=probe", f"model.weights={weights}", f"model.mean={half}", f"model.std={half}", *further]
