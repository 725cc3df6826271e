"""What a CUDA GPU makes of comp: steps and input pipelines at 32 and 224 pixels, and whole trainings on real images.

    python benchmarks/gpu.py --parts steps --out steps.json                  one GPU, 16 cores, under nine minutes
    python benchmarks/gpu.py --parts cifar10 hundred folds --cifar10 images.npz --hundred images.npz --out small.json
    python benchmarks/gpu.py --parts art fp16 --art RAW --weights FILE --out art.json    FILE unless COMP_WEIGHTS has it
    python benchmarks/gpu.py --tiny                some minutes on a CPU, to see that it runs; its numbers mean nothing

Each part is shown and kept in --out when it ends; one that fails leaves the others their time, and the exit code is 1.
"steps" are made up: 50,000 images of 32 x 32 in an array, 2,000 JPEGs of 500 x 375; sides take turns, medians of rounds.
The other parts are in gpu_runs.py: CIFAR-10 to 94 % of held-out rows, a hundred classes to the accuracy of 30 epochs of a
timm-style ResNet-18, five folds one after the other and at once, the paintings fine-tuned, and in fp16 within 15 GB. "synthetic" is comp's own step on one batch that is on the device already: what feeding can reach at most.
TFLOP/s count 2 x 4.09e9 operations an image for ResNet-50 forward at 224 pixels, and three times that for a training step.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from gpu_runs import FULL as FULL_RUNS
from gpu_runs import TINY as TINY_RUNS
from gpu_runs import cifar10, folds_at_once, hundred, made_up, paintings
from inputs import COLOURS, MOVES

from comp.data.augment.policies import A, TrainTransform
from comp.data.device_memory import free_memory
from comp.data.images.pixel_cache import ImageDataset
from comp.data.images.preprocess import Preprocess
from comp.data.images.raw_tree import RawTree
from comp.data.images.source import ArraySource
from comp.data.loading.prefetch import batches, loader_pool
from comp.data.loading.train_loader import Augmenter, TrainLoader
from comp.models.autotune import autotune_precision
from comp.models.net import build, normalise
from comp.models.runtime import resolve_device
from comp.recipe import Recipe, from_table
from comp.training.compiled import RECORDED, forget_compiled, network_for
from comp.training.launches import fewer_launches
from comp.training.state import TrainState

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
RESNET50_FLOP = 2 * 4.09e9  # an image, forward at 224 pixels; a training step is three times as much
PARTS = ("steps", "cifar10", "hundred", "folds", "art", "fp16")


@dataclass(frozen=True)
class Size:
    """How much is done."""

    images: int
    photos: int
    seconds: float
    rounds: int
    batch32: int
    batch224: int
    small: str
    large: str
    side: int
    loaded: int = 64  # images in a batch of the pipelines alone
    threads: int | None = None  # of torch on a CPU; as many as there are cores where not given


FULL = Size(50_000, 2_000, 6.0, 3, 1024, 256, "cifar_resnet18", "resnet50", 224)
TINY = Size(600, 40, 1.0, 1, 32, 4, "resnet9", "test_resnet", 64, 8, 1)


class Items(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __init__(self, items: Any, load: Callable[[Any], torch.Tensor]) -> None:
        self.items, self.load = items, load

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, n: int) -> torch.Tensor:
        return self.load(self.items[n])


class Trainer:
    """A network with comp's choices of precision and layout, and its step."""

    def __init__(self, name: str, size: int, batch: int, cache: Path, threads: int | None) -> None:
        model = {"name": name, "size": size, "freeze_bn": False}
        table: dict[str, Any] = {"mode": "scratch", "batch": batch, "model": model}
        if threads is not None:
            table["threads"] = threads
        recipe: Recipe = resolve_device(from_table(table, "benchmark", lambda _: []))
        net = build(recipe.model, 100)
        self.recipe = fewer_launches(net, autotune_precision(net, recipe, cache), cache, 0, 1)
        self.state = TrainState.begin(net, self.recipe, 1000)
        self.state.net.train()
        self.preprocess = Preprocess(size, MEAN, STD)
        self.y = torch.arange(batch, device=self.state.device) % 100

    @property
    def device(self) -> torch.device:
        return torch.device(self.state.device)

    @property
    def choices(self) -> str:
        """What was measured and chosen for this network."""
        layout = "channels last" if self.recipe.channels_last else "contiguous"
        norms = "norms folded" if self.recipe.model.freeze_bn and self.recipe.fold_norms else "norms apart"
        steps = "compiled" if self.recipe.compile else "not compiled"
        return f"{self.recipe.precision}, {layout}, {norms}, {steps}"

    def compiled(self, images: torch.Tensor) -> Iterator[int]:
        """Steps on one batch (B, S, S, 3) as a run with ``compile`` takes them: compared with the plain network's first."""
        self.state.net.train()
        self.state.recipe = self.recipe.model_copy(update={"compile": True})
        self.state.to_compile = True

        def call(x: torch.Tensor) -> torch.Tensor:
            return network_for(self.state, x, self.loss)(x)

        while True:
            self.step(images.to(self.device), call)
            yield len(images)

    def loss(self, logits: torch.Tensor) -> torch.Tensor:
        """The mean loss of logits (B, C)."""
        return torch.nn.functional.cross_entropy(logits, self.y[: len(logits)])

    def step(self, pixels: torch.Tensor, call: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        """A step on uint8 (B, S, S, 3), through ``call`` instead of the network where it is given."""
        self.learn(normalise(pixels.to(self.device, non_blocking=True), self.preprocess), call)

    def learn(self, x: torch.Tensor, call: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        with self.state.accelerator.autocast():
            loss = self.loss((call or self.state.net)(x))
        self.state.accelerator.backward(loss)
        self.state.optimizer.step()
        self.state.optimizer.zero_grad(set_to_none=True)

    def answered(self, images: torch.Tensor) -> Iterator[int]:
        """Forward passes of one batch (B, S, S, 3) that is on the device already."""
        images = images.to(self.device)
        self.state.net.eval()
        with torch.inference_mode(), self.state.accelerator.autocast():
            while True:
                self.state.net(normalise(images, self.preprocess))
                yield len(images)

    def repeated(self, images: torch.Tensor) -> Iterator[int]:
        """Steps on one batch (B, S, S, 3) that is on the device already."""
        images = images.to(self.device)
        self.state.net.train()
        while True:
            self.step(images)
            yield len(images)


def rate(work: Iterator[int], seconds: float) -> float:
    for _ in range(3):
        next(work)
    _wait()
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        done += next(work)
    _wait()
    return done / (time.perf_counter() - started)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def race(sides: dict[str, Callable[[], Iterator[int]]], size: Size) -> dict[str, int]:
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(size.rounds):
        for name, work in sides.items():
            found[name].append(rate(work(), size.seconds))
    return {name: round(statistics.median(rates)) for name, rates in found.items()}


def from_loader(
    items: Any, load: Callable[[Any], torch.Tensor], batch: int, workers: int
) -> Iterator[torch.Tensor]:
    pinned = torch.cuda.is_available()
    loader = torch.utils.data.DataLoader(
        Items(items, load), batch, shuffle=True, num_workers=workers, drop_last=True, pin_memory=pinned,
        persistent_workers=True,
    )  # fmt: skip
    assert len(loader) > 0, "fewer images than a batch"
    while True:
        yield from loader


def small_images(policy: list[Any], size: Size, workers: int, cache: Path) -> dict[str, Any]:
    """32 pixels from scratch: fed by comp, by a DataLoader with albumentations, and by one batch again and again."""
    array = np.random.default_rng(0).integers(0, 256, (size.images, 32, 32, 3), np.uint8)
    trainer = Trainer(size.small, 32, size.batch32, cache, size.threads)
    pixels = ImageDataset(
        ArraySource({"a": array}), [f"a#{n}" for n in range(len(array))], trainer.preprocess
    )
    variants = Augmenter(TrainTransform(policy, trainer.preprocess), 0, 0, trainer.device)
    order = np.random.default_rng(1).permutation(len(array))
    compose = A.Compose([*variants.transform.listed, A.Normalize(MEAN, STD), A.ToTensorV2()])

    def ours() -> Iterator[int]:
        with loader_pool(workers) as pool:
            feed = TrainLoader(pixels, len(pixels), variants, pool, trainer.device)
            for epoch in range(10**6):
                for rows, images in feed.epoch(order, size.batch32, epoch):
                    trainer.step(images)
                    yield len(rows)

    def theirs() -> Iterator[int]:
        for x in from_loader(array, lambda p: compose(image=p)["image"], size.batch32, workers):
            trainer.learn(
                x.to(trainer.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
            )
            yield len(x)

    batch = torch.from_numpy(array[: size.batch32])
    rates = race({"comp": ours, "DataLoader": theirs, "synthetic": lambda: trainer.repeated(batch)}, size)
    return {
        "what": f"{size.small}, 32 px, batch {size.batch32}, {trainer.choices}",
        "images/s": rates,
        "comp / DataLoader": round(rates["comp"] / rates["DataLoader"], 2),
        "comp / synthetic": round(rates["comp"] / rates["synthetic"], 3),
    }


def compiled_beside_plain(trainer: Trainer, batch: torch.Tensor, size: Size) -> dict[str, Any]:
    """Steps on one batch as they are and through torch.compile, and whether the compiled ones gave the same numbers; the
    seconds of the first are those of compiling and comparing.
    """
    plain = rate(trainer.repeated(batch), size.seconds)
    work = trainer.compiled(batch)
    started = time.perf_counter()
    for _ in range(RECORDED):
        next(work)
    _wait()
    compiling = time.perf_counter() - started
    if trainer.state.compiled is None:  # comp has said why
        return {"plain, images/s": round(plain), "compiled": "refused, see above"}
    fast = rate(work, size.seconds)
    trainer.state.compiled = None
    forget_compiled()
    return {
        "plain, images/s": round(plain),
        "compiled, images/s": round(fast),
        "compiled / plain": round(fast / plain, 2),
        "loss, gradients, statistics": "the same, compared on three batches",
        "compiling and comparing, s": round(compiling, 1),
    }


def photographs(folder: Path, count: int) -> list[str]:
    rng = np.random.default_rng(0)
    for n in range(count):
        coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
        cv2.imwrite(
            str(folder / f"{n:05}.jpg"), cv2.resize(coarse, (500, 375), interpolation=cv2.INTER_CUBIC)
        )
    return [f"{n:05}.jpg" for n in range(count)]


def peer(folder: Path, side: int) -> Callable[[str], torch.Tensor]:
    """What OpenCV and albumentations make of a file."""
    crop = A.RandomResizedCrop((side, side), scale=(0.5, 1.0))
    compose = A.Compose([crop, A.HorizontalFlip(p=0.5), A.Normalize(MEAN, STD), A.ToTensorV2()])

    def decoded(name: str) -> torch.Tensor:
        cv2.setNumThreads(0)
        image = cv2.cvtColor(cv2.imread(str(folder / name)), cv2.COLOR_BGR2RGB)
        made: torch.Tensor = compose(image=image)["image"]
        return made

    return decoded


def large_images(size: Size, workers: int, cache: Path) -> dict[str, Any]:
    """ResNet-50 at 224 on one batch and fed by comp, and the pipelines alone."""
    trainer = Trainer(size.large, size.side, size.batch224, cache, size.threads)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        names = photographs(folder, size.photos)
        variants = Augmenter(TrainTransform("crops", trainer.preprocess), 0, 0, trainer.device)
        order = np.random.default_rng(1).permutation(len(names))
        fresh = ImageDataset(RawTree(folder), names, trainer.preprocess, "whole", budget=0)
        known = ImageDataset(RawTree(folder), names, trainer.preprocess, "whole")
        for row in range(len(names)):
            known[row]

        def first_pass() -> Iterator[int]:
            def fill(rows: Any, out: Any) -> None:
                variants.fill(fresh, rows, 0, out)

            with loader_pool(workers) as pool:
                while True:
                    for rows, _ in batches(pool, order, size.loaded, (size.side, size.side, 3), fill):
                        yield len(rows)

        def later(train: bool) -> Iterator[int]:
            with loader_pool(workers) as pool:
                feed = TrainLoader(known, len(names), variants, pool, trainer.device)
                for epoch in range(10**6):
                    for rows, images in feed.epoch(order, size.batch224 if train else size.loaded, epoch):
                        if train:
                            trainer.step(images)
                        yield len(rows)

        def theirs() -> Iterator[int]:
            yield from (len(x) for x in from_loader(names, peer(folder, size.side), size.loaded, workers))

        # no image of one colour: where numbers tie, a maximum's gradient goes wherever rounding says
        shape = (size.batch224, size.side, size.side, 3)
        batch = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        inputs = race(
            {"DataLoader": theirs, "comp, first pass": first_pass, "comp, later": lambda: later(False)}, size
        )
        steps = race({"comp": lambda: later(True), "synthetic": lambda: trainer.repeated(batch)}, size)
        forward = race({"synthetic": lambda: trainer.answered(batch)}, size)["synthetic"]
    return {
        "what": f"{size.large}, {size.side} px, batch {size.batch224}, {trainer.choices}",
        "compiled beside plain": compiled_beside_plain(trainer, batch, size),
        "inputs, images/s": inputs,
        "training, images/s": steps,
        "forward, images/s": forward,
        "training TFLOP/s": round(3 * steps["synthetic"] * RESNET50_FLOP / 1e12, 1) if size is FULL else None,
        "forward TFLOP/s": round(forward * RESNET50_FLOP / 1e12, 1) if size is FULL else None,
        "comp / synthetic": round(steps["comp"] / steps["synthetic"], 3),
    }


def steps(size: Size, workers: int, cache: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    """Steps and input pipelines on made-up images."""
    coloured = "32 pixels, turned, coloured, cut out"
    return {
        "224 pixels": lambda: large_images(size, workers, cache),
        "32 pixels": lambda: small_images(MOVES, size, workers, cache),
        coloured: lambda: small_images(COLOURS, size, workers, cache),
    }


def runs(args: argparse.Namespace, workers: int, work: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    """The parts that train on real images, each in a workspace of its own."""
    scale = TINY_RUNS if args.tiny else FULL_RUNS

    def place(name: str) -> Path:
        (work / name).mkdir()
        return work / name

    def npz(given: Path | None, name: str, classes: int) -> Path:
        return given or made_up(work / f"{name}.npz", classes)

    found: dict[str, Callable[[], dict[str, Any]]] = {}
    if args.cifar10 or args.tiny:
        found["cifar10"] = lambda: cifar10(npz(args.cifar10, "ten", 10), place("cifar10"), scale)
    if args.hundred or args.tiny:
        found["hundred"] = lambda: hundred(npz(args.hundred, "many", 20), place("hundred"), scale, workers)
        found["folds"] = lambda: folds_at_once(npz(args.hundred, "folds", 20), place("folds"), scale)
    if args.art:
        found["art"] = lambda: paintings(args.art, place("art"), args.tiny, args.weights)
        found["fp16"] = lambda: paintings(args.art, place("fp16"), args.tiny, args.weights, cap=15)
    return found


def written(value: Any) -> str:
    """A number, or words in place of one."""
    return f"{value:>12,}" if isinstance(value, int | float) else str(value)


def show(name: str, part: dict[str, Any]) -> None:
    """A part's numbers as lines."""
    print(f"\n{name}: {part['what']}")
    for key, value in part.items():
        if isinstance(value, dict):
            print("\n".join(f"  {key:<24} {side:<28} {written(one)}" for side, one in value.items()))
        elif key != "what":
            print(f"  {key:<45} {value}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="a smoke run that fits a CPU")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="all that have their data where not given")
    parser.add_argument("--cifar10", type=Path, help="npz of CIFAR-10's JPEGs")
    parser.add_argument("--hundred", type=Path, help="npz of 40,000 JPEGs of 100 classes")
    parser.add_argument("--art", type=Path, help="raw folder of art-classification")
    parser.add_argument(
        "--weights", type=Path, help="of mobilenetv2_100 for the paintings, where they are not found"
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    size = TINY if args.tiny else FULL
    workers = 2 if args.tiny else max(1, min(16, os.cpu_count() or 1))
    machine = {
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU",
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    found: dict[str, Any] = {"machine": machine}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        wanted = runs(args, workers, Path(folder))
        missing = [name for name in PARTS if name != "steps" and name not in wanted]
        if without := set(missing) & set(args.parts or ()):
            parser.error(f"no data given for: {', '.join(sorted(without))}")
        for part in args.parts or [name for name in PARTS if name not in missing]:
            todo = steps(size, workers, Path(folder)) if part == "steps" else {part: wanted.get(part)}
            for name, work in todo.items():
                if work is not None:
                    found[name] = ended(name, work)
                    found["seconds"] = round(time.perf_counter() - started)
                    keep(found, args.out)
    failed = [name for name, part in found.items() if isinstance(part, dict) and "failed" in part]
    if failed:
        sys.exit(f"without numbers: {', '.join(failed)}")


def ended(name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a part comes to, shown at once; an error ends this part alone, since device time is dear."""
    began = time.perf_counter()
    try:
        part = work()
    except Exception:
        part = {"what": "no numbers", "failed": traceback.format_exc()}
    show(name, part)
    print(f"  {time.perf_counter() - began:.0f} s", flush=True)
    free_memory()
    return part


def keep(found: dict[str, Any], out: Path | None) -> None:
    """Writes what there is so far: where time ends, the parts before keep their numbers."""
    if out is not None:
        out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
