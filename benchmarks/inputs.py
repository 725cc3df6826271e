"""Input pipelines against each other: files or decoded images to augmented batches, images a second.

    python benchmarks/inputs.py --data FOLDER [--size 224] [--seconds 6] [--rounds 3] [--out FILE.json]
    python benchmarks/inputs.py --cifar FOLDER [--colours] [--rounds 3]

FOLDER holds images at any depth: every side crops a random window of half to all of the image, resizes it to S x S
and mirrors half of them. --cifar takes CIFAR-100's layout: padded, cropped and mirrored, with --colours turned,
recoloured and cut out as well. Batches of 64 are delivered as uint8 and as normalised float32. comp's side is what a
run does: FittedPixels, Variants and Feed; on its first pass it decodes, later it reads the store that the check left.
The peers decode each time, as they do. Sides take turns, medians of rounds are told.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; torch reads it once
import torch

from comp.data.augment.policies import TrainTransform, check_transform
from comp.data.device_memory import keep_memory
from comp.data.images.pixel_cache import ImageDataset, cached_source
from comp.data.images.preprocess import Preprocess
from comp.data.images.raw_tree import RawTree, is_image_name
from comp.data.images.source import ArraySource
from comp.data.loading.prefetch import batches, loader_pool
from comp.data.loading.train_loader import Augmenter, TrainLoader
from comp.models.net import normalise

BATCH, WORKERS = 64, 2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WINDOWS = [
    {"name": "RandomResizedCrop", "scale": [0.5, 1.0]},
    {"name": "HorizontalFlip"},
]  # as the peers' below
MOVES = [
    {"name": "Pad", "padding": 4, "border_mode": 4},
    {"name": "RandomCrop", "height": 32, "width": 32},
    {"name": "HorizontalFlip", "p": 0.5},
]
COLOURS = [
    *MOVES,
    {"name": "Affine", "rotate": [-15, 15], "border_mode": 4, "p": 0.5},
    {"name": "ColorJitter", "hue": 0.05, "p": 0.8},
    {"name": "CoarseDropout", "num_holes_range": [1, 1], "p": 0.5},
]
Work = Callable[[], Iterator[int]]


class Files(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Images by path through a function that loads and transforms one."""

    def __init__(self, items: list[Any], load: Callable[[Any], Any]) -> None:
        self.items, self.load = items, load

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, n: int) -> Any:
        return self.load(self.items[n])


def endless(dataset: Files, workers: int = WORKERS) -> Iterator[int]:
    loader = torch.utils.data.DataLoader(
        dataset, BATCH, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=workers > 0
    )
    while True:
        yield from (len(batch) for batch in loader)


def albumentations_side(paths: list[str], size: int, floats: bool) -> Iterator[int]:
    import albumentations as A

    steps: list[Any] = [A.RandomResizedCrop((size, size), scale=(0.5, 1.0)), A.HorizontalFlip(p=0.5)]
    compose = A.Compose([*steps, *([A.Normalize(MEAN, STD)] if floats else []), A.ToTensorV2()])

    def load(path: str) -> torch.Tensor:
        cv2.setNumThreads(0)
        image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
        made: torch.Tensor = compose(image=image)["image"]
        return made

    return endless(Files(paths, load))


def torchvision_side(paths: list[str], size: int, floats: bool) -> Iterator[int]:
    from PIL import Image
    from torchvision import transforms as T

    steps: list[Any] = [T.RandomResizedCrop(size, scale=(0.5, 1.0)), T.RandomHorizontalFlip()]
    steps += [T.ToTensor(), T.Normalize(MEAN, STD)] if floats else [T.PILToTensor()]
    compose = T.Compose(steps)

    def load(path: str) -> torch.Tensor:
        with Image.open(path) as image:
            made: torch.Tensor = compose(image.convert("RGB"))
        return made

    return endless(Files(paths, load))


def comp_side(
    pixels: ImageDataset, variants: Augmenter, order: np.ndarray, floats: bool, feed: bool
) -> Iterator[int]:
    """With ``feed`` as a run's epochs, else as if nothing were known of any image before it is decoded."""

    def fill(rows: np.ndarray, out: np.ndarray) -> None:
        variants.fill(pixels, rows, 0, out)

    with loader_pool(WORKERS) as pool:
        fed = TrainLoader(pixels, len(pixels), variants, pool, "cpu") if feed else None
        while True:
            made = (
                fed.epoch(order, BATCH, 0)
                if fed
                else batches(pool, order, BATCH, (variants.size, variants.size, 3), fill, drop_last=True)
            )
            for rows, images in made:
                if floats:
                    normalise(images, pixels.preprocess)
                yield len(rows)


def rate(work: Iterator[int], seconds: float) -> float:
    for _ in range(8):  # until workers run and queues are full
        next(work)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        done += next(work)
    found = done / (time.perf_counter() - started)
    del work
    return found


def race(sides: dict[str, Work], seconds: float, rounds: int) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in sides}
    for n in range(rounds):
        for name, work in sides.items():
            found[name].append(rate(work(), seconds))
            print(json.dumps({"round": n + 1, "side": name, "images/s": round(found[name][-1])}), flush=True)
    return {name: round(statistics.median(rates)) for name, rates in found.items()}


def photos(folder: Path, size: int, seconds: float, rounds: int) -> dict[str, Any]:
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if is_image_name(p.name))
    if len(names) < BATCH:
        raise SystemExit(f"{folder} has {len(names)} images; a batch has {BATCH}")
    paths = [str(folder / name) for name in names]
    preprocess = Preprocess(size, MEAN, STD, crop_pct=0.875)
    variants = Augmenter(TrainTransform(WINDOWS, preprocess), 0, 0)
    order = np.random.default_rng(0).permutation(len(names))
    source = RawTree(folder)
    import hashlib

    contents = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    fresh = ImageDataset(source, names, preprocess, "whole", budget=0)
    stored = ImageDataset(cached_source(source, contents), names, preprocess, "whole", budget=0)
    found: dict[str, Any] = {"images": len(names), "size": size}
    for kind, floats in (("uint8", False), ("normalised", True)):
        sides: dict[str, Work] = {
            "albumentations": lambda floats=floats: albumentations_side(paths, size, floats),
            "torchvision": lambda floats=floats: torchvision_side(paths, size, floats),
            "comp, first pass": lambda floats=floats: comp_side(fresh, variants, order, floats, False),
            "comp, from the store": lambda floats=floats: comp_side(stored, variants, order, floats, True),
        }
        rates = race(sides, seconds, rounds)
        ratios = {
            f"{name} / {peer}": round(rates[name] / rates[peer], 2)
            for name in rates
            if name.startswith("comp")
            for peer in ("albumentations", "torchvision")
        }
        found[kind] = {"images/s": rates, "ratios": ratios}
    return found


def cifar(folder: Path, listed: list[dict[str, Any]], seconds: float, rounds: int) -> dict[str, Any]:
    import albumentations as A

    from comp.data.safe_pickle import load as unpickle

    with (folder / "cifar-100-python" / "train").open("rb") as packed:
        table = unpickle(packed, "train")
    flat = next(v for k, v in table.items() if k in ("data", b"data"))
    images = np.ascontiguousarray(np.asarray(flat).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    preprocess = Preprocess(32, MEAN, STD)
    variants = Augmenter(TrainTransform(listed, preprocess), 0, 0)
    order = np.random.default_rng(0).permutation(len(images))
    pixels = ImageDataset(ArraySource({"a": images}), [f"a#{n}" for n in range(len(images))], preprocess)
    found: dict[str, Any] = {"images": len(images), "size": 32}
    for kind, floats in (("uint8", False), ("normalised", True)):
        compose = A.Compose(
            [*check_transform(listed, 32), *([A.Normalize(MEAN, STD)] if floats else []), A.ToTensorV2()]
        )

        def load(image: np.ndarray, compose: Any = compose) -> torch.Tensor:
            made: torch.Tensor = compose(image=image)["image"]
            return made

        def by_hand(load: Any = load) -> Iterator[int]:
            while True:
                for start in range(0, len(images) - BATCH, BATCH):
                    yield len(torch.stack([load(p) for p in images[start : start + BATCH]]))

        items = list(images)
        sides: dict[str, Work] = {
            "albumentations, a loop": by_hand,
            "albumentations, DataLoader": lambda load=load, items=items: endless(Files(items, load)),
            "comp": lambda floats=floats: comp_side(pixels, variants, order, floats, True),
        }
        rates = race(sides, seconds, rounds)
        ratios = {f"comp / {p}": round(rates["comp"] / rates[p], 2) for p in rates if p != "comp"}
        found[kind] = {"images/s": rates, "ratios": ratios}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cifar", type=Path)
    parser.add_argument("--colours", action="store_true", help="turned, recoloured and cut out besides")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    keep_memory()
    torch.set_num_threads(WORKERS)
    found: dict[str, Any] = {"torch": torch.__version__, "cores": WORKERS}
    if args.data:
        found["photos"] = photos(args.data, args.size, args.seconds, args.rounds)
    if args.cifar:
        found["cifar"] = cifar(args.cifar, COLOURS if args.colours else MOVES, args.seconds, args.rounds)
    print(json.dumps(found, indent=1))
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
