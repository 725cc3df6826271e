"""How long a notebook takes: seconds an image, measured here, and by how much Kaggle's devices are faster.

A GPU's factor is what ResNet-50 takes here (fp32, 224 pixels, measured at the same moment) times what it is published to
do there, so that this machine's load and cores cancel out. Nothing of it was measured on Kaggle.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from comp.data.images.decode import decode
from comp.data.images.preprocess import Preprocess, fit, shrunk, side_for
from comp.errors import UnknownName
from comp.inference.forward import large_size, squares_of
from comp.inference.predict import ControlRowSource, read_controls
from comp.models.batchnorm_fusion import fuse_frozen_batchnorm
from comp.models.checkpoint import load_checkpoint, read_sidecar
from comp.models.runtime import usable_cores
from comp.runs.parts import Part
from comp.views import scale_of

START = 120.0  # seconds of a notebook before the first image: installing, importing, listing the files
BATCH, PASSES, DECODED = 8, 3, 16  # images of a pass, passes that are timed, control rows that are decoded
REFERENCE = "resnet50"


@dataclass(frozen=True)
class Device:
    """A machine of Kaggle's: its GPUs, its cores, images a second that ResNet-50 is published to do on one GPU (None for
    no GPU), where that is said, and what Kaggle's client calls it.
    """

    name: str
    title: str
    gpus: int
    cores: int
    images: float | None
    source: str
    shape: str = ""


DEVICES = {
    one.name: one
    for one in (
        Device(
            "t4",
            "two T4",
            2,
            4,
            1165.0,
            "ResNet-50 v1.5 on one T4 in mixed precision, 64 at once: NVIDIA DeepLearningExamples, PyTorch",
            "NvidiaTeslaT4",
        ),
        Device(
            "p100",
            "P100",
            1,
            4,
            490.0,
            "a T4's 428 a second in fp32 (same table), by the data sheets' 9.3 to 8.1 TFLOPS; it has no tensor cores",
            "NvidiaTeslaP100",
        ),
        Device("cpu", "CPU", 0, 4, None, "four cores like those here"),
    )
}


def device_named(name: str) -> Device:
    """The machine of that name; UnknownName for another."""
    if name not in DEVICES:
        raise UnknownName("device of Kaggle", name, DEVICES)
    return DEVICES[name]


def factor(device: Device) -> float:
    """What a network's seconds here are multiplied by for one GPU, or for all cores, of that machine."""
    if device.images is None:
        return usable_cores() / device.cores
    return 1.0 / (device.images * _reference())


@cache
def _reference() -> float:
    """Seconds an image of ResNet-50 here."""
    import timm

    return _forward(timm.create_model(REFERENCE, pretrained=False).eval(), 224)


@dataclass(frozen=True)
class Cost:
    """What a part costs here: seconds an image to decode it on one core, and of the network under its views and under the
    identity alone, over all checkpoints.
    """

    decode: float
    network: float
    identity: float


def cost_of(part: Part, views: Sequence[str]) -> Cost:
    """What a part costs, measured here by a few images.

    Checkpoints with one backbone read each image once; those of one architecture are measured once.
    """
    backbones: dict[tuple[str, Preprocess], Path] = {}
    for folder in part.folders:
        sidecar = read_sidecar(folder)
        backbones.setdefault((sidecar.backbone_sha256, sidecar.preprocess), folder)
    seconds: dict[tuple[str, int], float] = {}
    network = identity = 0.0
    every = list(dict.fromkeys(["identity", *views]))
    for folder in backbones.values():
        net, sidecar = load_checkpoint(folder)
        size = sidecar.preprocess.size
        kind = (sidecar.model.name, size)
        if kind not in seconds:
            channels = sidecar.preprocess.channels
            fuse_frozen_batchnorm(net.backbone, size, channels)
            seconds[kind] = _forward(net, size, channels)
        identity += seconds[kind]
        network += seconds[kind] * sum((large_size(size, scale_of(view)) / size) ** 2 for view in every)
    return Cost(_decode(part, every), network, identity)


def _forward(net: nn.Module, size: int, channels: int = 3) -> float:
    """Seconds an image of a forward pass here, of a few the fastest."""
    x = torch.rand(BATCH, channels, size, size)
    times = []
    torch.set_num_threads(usable_cores())
    with torch.inference_mode():
        net(x)
        for _ in range(PASSES):
            started = time.perf_counter()
            net(x)
            times.append(time.perf_counter() - started)
    return min(times) / BATCH


class _Nothing:
    """A source of no images beside the control rows."""

    def load(self, path: str) -> bytes:
        raise FileNotFoundError(path)


def _decode(part: Part, views: Sequence[str]) -> float:
    """Seconds on one core to decode an image of the part's control rows and fit it to its squares."""
    folder = part.folders[0]
    sidecar = read_sidecar(folder)
    source = ControlRowSource(_Nothing())
    rows = read_controls(folder, sidecar.labels)[:DECODED]
    squares: list[Preprocess] = list(squares_of(views, sidecar.preprocess).values())
    started = time.perf_counter()
    for row in rows:
        content = source.load(row.path)
        pixels = decode(content, row.path) if isinstance(content, bytes) else np.asarray(content)
        small = shrunk(pixels, side_for(sidecar.preprocess))
        for one in squares:
            fit(small, one)
    return (time.perf_counter() - started) / max(1, len(rows))
