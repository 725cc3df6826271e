"""Checkpoints: tensors in files, and a JSON sidecar with everything that prediction needs and accepts."""

from __future__ import annotations

import hashlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from math import isfinite
from pathlib import Path
from typing import IO, Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from comp._version import __version__
from comp.data.images.preprocess import Preprocess
from comp.data.labels import LabelMap
from comp.data.side_features import SideEncoder
from comp.data.task import SINGLE_LABEL, Task
from comp.errors import WeightsError
from comp.files import atomic, read_json, sha256_of, write_bytes, write_json
from comp.models.net import Net, build
from comp.models.weights import require_usable
from comp.recipe import ModelConfig
from comp.runs.contents import require_of_fold


def save_tensors(path: Path, table: dict[str, Any], announce: Callable[[str], None] | None = None) -> str:
    """Writes what ``torch.load(path, weights_only=True)`` reads back, all or nothing; returns the file's SHA-256.

    ``announce`` is given the SHA-256 before the file replaces an older one.

    Raises
    ------
    InputError
        If the disk does not take all of it, with the disk's own reason.
    """
    with atomic(path) as part:
        with FileIO(part, "wb") as file:
            out = _Listening(file)
            try:
                with _uninterrupted():
                    torch.save(table, cast("IO[bytes]", out))
            except RuntimeError:
                if out.failure is not None:
                    raise out.failure from None
                raise
        sha256 = sha256_of(part)
        if announce is not None:
            announce(sha256)
    return sha256


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for the block's end: within its calls torch makes a RuntimeError of them."""
    if threading.current_thread() is not threading.main_thread():  # the main thread alone is interrupted
        yield
        return
    heard: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = [
        number for number, handler in before.items() if callable(handler)
    ]  # a default one ends the process itself
    for number in ours:
        signal.signal(number, lambda number, _: heard.append(number))
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
        if heard:
            signal.raise_signal(heard[0])


class _Listening:
    """A file that remembers why it could not be written: torch says "unexpected pos" whatever it was."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self.failure: OSError | None = None

    def write(self, content: Any) -> int:
        left = memoryview(content).cast("B")
        size = len(left)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self.failure = error
            raise
        return size

    def flush(self) -> None:
        self._file.flush()


@dataclass(frozen=True)
class Sidecar:
    """What a checkpoint knows about itself.

    ``weights_sha256`` ties it to its tensors; ``backbone_sha256`` is equal for checkpoints that share a frozen
    backbone; ``train_sha256`` is the fingerprint of the rows it was fitted among. ``device`` is the kind of device it was
    judged on, ``noise`` what its control rows showed there; both are empty in older ones. ``unseen`` are the classes that it was
    never shown, where there is one for what is unknown.
    """

    slug: str
    fold: int
    model: ModelConfig
    labels: LabelMap
    preprocess: Preprocess
    precision: str
    weights_sha256: str
    backbone_sha256: str
    train_sha256: str
    versions: dict[str, str]
    device: str = ""
    noise: Noise = field(default_factory=dict)
    side: SideEncoder | None = None
    unseen: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        task = self.labels.task
        return {
            "slug": self.slug,
            "fold": self.fold,
            **({} if task == SINGLE_LABEL else {"task": task.as_json()}),
            "model": self.model.model_dump(mode="json", exclude_none=True),
            "classes": list(self.labels.names),
            "preprocess": self.preprocess.as_json(),
            "precision": self.precision,
            "weights_sha256": self.weights_sha256,
            "backbone_sha256": self.backbone_sha256,
            "train_sha256": self.train_sha256,
            "versions": self.versions,
            "device": self.device,
            "noise": self.noise,
            **({} if self.side is None else {"side": self.side.as_json()}),
            **({"unseen": list(self.unseen)} if self.unseen else {}),
        }

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> Sidecar:
        return cls(
            table["slug"],
            int(table["fold"]),
            ModelConfig.model_validate(table["model"]),
            LabelMap(table["classes"], Task.of_json(table.get("task"))),
            Preprocess.from_json(table["preprocess"]),
            table["precision"],
            table["weights_sha256"],
            table["backbone_sha256"],
            table["train_sha256"],
            table["versions"],
            str(table.get("device", "")),
            _noise(table.get("noise", {})),
            SideEncoder.from_json(table["side"]) if table.get("side") else None,
            tuple(map(str, table.get("unseen", ()))),
        )


def _noise(table: Any) -> Noise:
    found = {
        str(precision): {str(what): float(size) for what, size in sizes.items()}
        for precision, sizes in table.items()
    }
    if not all(isfinite(size) and size >= 0 for sizes in found.values() for size in sizes.values()):
        raise ValueError(f"noise is 0 or more, got {table}")
    return found


def save_checkpoint(
    folder: Path,
    net: Net,
    *,
    slug: str,
    fold: int,
    model: ModelConfig,
    labels: LabelMap,
    preprocess: Preprocess,
    precision: str,
    train_sha256: str,
    device: str = "",
    noise: Noise | None = None,
    unseen: tuple[str, ...] = (),
) -> Sidecar:
    """Writes ``model.safetensors`` and then ``model.json`` into ``folder``; the sidecar last, as the sign that both are whole."""
    tensors = _apart(net.state_dict())
    content = save(tensors)
    from comp.models.timm_alone import timm

    sidecar = Sidecar(
        slug,
        fold,
        model,
        labels,
        preprocess,
        precision,
        hashlib.sha256(content).hexdigest(),
        hash_tensors({k: v for k, v in tensors.items() if k.startswith("backbone.")}),
        train_sha256,
        {"comp": __version__, "torch": str(torch.__version__), "timm": timm.__version__},
        device,
        noise or {},
        net.side,
        unseen,
    )
    write_bytes(folder / "model.safetensors", content)
    write_json(folder / "model.json", sidecar.as_json())
    return sidecar


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors on the CPU, each in memory of its own: a layer that a network uses under two names is saved under both."""
    apart: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        place = plain.untyped_storage().data_ptr()
        apart[name] = plain.clone() if place in seen else plain
        seen.add(place)
    return apart


def read_sidecar(folder: Path) -> Sidecar:
    """The sidecar of a checkpoint; InputError if it is not whole, or not what the checkpoint's fold wrote."""
    require_of_fold(folder, ["model.json"])
    try:
        found = Sidecar.from_json(read_json(folder / "model.json"))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise WeightsError(
            "a checkpoint needs its sidecar", f"{folder / 'model.json'}: {error!r}", "train this fold again"
        ) from error
    if folder.name.startswith("fold-") and folder.name != f"fold-{found.fold}":
        value = f"{folder / 'model.json'} is of fold {found.fold}"
        raise WeightsError("a checkpoint is its fold's own", value, "put back the right one")
    return found


def load_checkpoint(folder: Path) -> tuple[Net, Sidecar]:
    """The network of a checkpoint, in eval mode on the CPU, and its sidecar; raises as ``read_tensors`` does."""
    tensors, sidecar = read_tensors(folder)
    net = build(sidecar.model, sidecar.labels.width, sidecar.side)
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"a checkpoint must fit {sidecar.model.name}", f"{folder}: {reason}", "train this fold again"
        ) from error
    return net.eval(), sidecar


def read_tensors(folder: Path) -> tuple[dict[str, Tensor], Sidecar]:
    """The tensors of a checkpoint, on the CPU, and its sidecar.

    Raises
    ------
    WeightsError
        If the tensors are not those that the sidecar was written for, or no sound ones (see ``require_usable``).
    """
    sidecar = read_sidecar(folder)
    path = folder / "model.safetensors"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            "a checkpoint needs its tensors", f"{path}: {error.strerror}", "train this fold again"
        ) from error
    if hashlib.sha256(content).hexdigest() != sidecar.weights_sha256:
        value = f"{path} is not the file that model.json was written for"
        raise WeightsError(
            "a checkpoint and its sidecar belong together",
            value,
            "put back the right pair, or train this fold again",
        )
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise WeightsError(
            "a checkpoint needs its tensors", f"{path}: {error}", "train this fold again"
        ) from error
    require_usable(tensors, str(path))
    return tensors, sidecar


def hash_tensors(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, kinds and bytes of tensors, in name order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


# by precision the largest |Δp| of control rows that were judged again, by what was different then
Noise = dict[str, dict[str, float]]
