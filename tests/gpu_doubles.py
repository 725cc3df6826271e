"""What a GPU does and a CPU does not, as doubles of torch: TF32, the end of its memory, copies that wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

_ATEN = torch.ops.aten
FORWARD = (
    _ATEN.convolution.default,
    _ATEN.conv2d.default,
    _ATEN.conv2d.padding,
)  # the latter in inference mode
CONVOLUTIONS = (*FORWARD, _ATEN.convolution_backward.default)
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 14.74 GiB"


class Tf32(TorchDispatchMode):
    """Convolutions as on NVIDIA's GPUs from Ampere on: what they multiply is rounded to 11 bits, where torch allows it."""

    def __init__(self) -> None:
        super().__init__()
        self.rounded = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in CONVOLUTIONS and torch.backends.cudnn.allow_tf32:
            self.rounded += 1
            args = tuple(to_tf32(a) if isinstance(a, Tensor) and a.ndim == 4 else a for a in args)
        return func(*args, **(kwargs or {}))


def to_tf32(x: Tensor) -> Tensor:
    """A float32 tensor with 10 bits behind the leading one, rounded to the nearest; others as they are."""
    if x.dtype != torch.float32:
        return x
    bits = x.detach().view(torch.int32)
    return ((bits + (1 << 12)) & ~((1 << 13) - 1)).view(torch.float32)


class Noisy(TorchDispatchMode):
    """A device whose convolutions in ``kind`` round otherwise than this one's, by ``size`` of what they give; how depends on
    the number of images, as the choice of a kernel does.
    """

    def __init__(self, size: float, kind: torch.dtype = torch.float32, seed: int = 0) -> None:
        super().__init__()
        self.size, self.kind, self.seed = size, kind, seed

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in FORWARD and made.dtype == self.kind:
            generator = torch.Generator().manual_seed(self.seed + len(made))
            made = made * (1 + self.size * torch.randn(made.shape[1:], generator=generator)).to(made.dtype)
        return made


class Copies(TorchDispatchMode):
    """Counts operations, and the copies between machine and GPU by direction and whether they wait."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.waiting: list[str] = []
        self.free: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.operations += 1
        target = kwargs.get("device")
        if func is torch.ops.aten._to_copy.default and target is not None:
            source = args[0].device.type
            if source != torch.device(target).type:
                way = f"{source} to {torch.device(target).type}"
                (self.free if kwargs.get("non_blocking") else self.waiting).append(way)
        return func(*args, **kwargs)


@contextmanager
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Inside, tensors on ``cuda:0`` have shapes and a device but no numbers; what mixes devices fails as on a real one."""
    from comp.models.net import _line

    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    _line.cache_clear()  # it keeps tensors by device
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield torch.device("cuda:0")
    _line.cache_clear()


def moved(net: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """The network with its parameters and buffers on a fake GPU, which ``Module.to`` cannot do."""
    for module in net.modules():
        for name, p in list(module._parameters.items()):
            if p is not None:
                module._parameters[name] = torch.nn.Parameter(torch.empty_like(p, device=device))
        for name, b in list(module._buffers.items()):
            if b is not None:
                module._buffers[name] = torch.empty_like(b, device=device)
    return net


class Alive:
    """Which of some tensors still have their memory."""

    def __init__(self) -> None:
        self._seen: list[StorageWeakRef] = []

    def note(self, tensor: Tensor) -> None:
        self._seen.append(StorageWeakRef(tensor.untyped_storage()))

    def __len__(self) -> int:
        return sum(not one.expired() for one in self._seen)


def every_convolution(monkeypatch: pytest.MonkeyPatch, look: Callable[[Tensor], None]) -> None:
    """Calls ``look`` with what each convolution is about to read."""
    plain = torch.nn.Conv2d._conv_forward

    def conv(self: Any, x: Tensor, *rest: Any) -> Tensor:
        look(x)
        return plain(self, x, *rest)

    monkeypatch.setattr(torch.nn.Conv2d, "_conv_forward", conv)
