"""Convolutions that carry the BatchNorm behind them, while its statistics stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from comp.models.runtime import exact
from comp.models.timm_alone import timm

BatchNormAct2d, Conv2dSame, pad_same = (
    timm.layers.BatchNormAct2d,
    timm.layers.Conv2dSame,
    timm.layers.pad_same,
)

_CONVOLUTIONS = (nn.Conv2d, Conv2dSame)
_NORMS = (nn.BatchNorm2d, BatchNormAct2d)


def fuse_frozen_batchnorm(net: nn.Module, size: int, channels: int = 3) -> int:
    """Lets every convolution whose output only a BatchNorm reads apply that norm itself, and returns how many do.

    With statistics that stay, ``norm(conv(x, w))`` is ``conv(x, w * s) + b`` with ``s = gamma / sqrt(var + eps)`` and
    ``b = beta - mean * s``: the same function of the same parameters, with the same gradients, but without a pass
    over the images forward and two backward; on a CPU that is a fifth of a MobileNetV2 step (docs/benchmarks.md).
    While a norm is in train mode its pair works as it did. Parameters and the state dict stay as they are.

    Which belong together is seen by watching an image of (1, ``channels``, ``size``, ``size``) pass through in eval mode, not
    from names; nothing is changed where the outputs would then differ. Fold before the network goes to its device, so that
    training and prediction see the same pairs; on a GPU the outputs are compared without TF32, whose rounding is larger
    than what tells a wrong pair.

    Parameters
    ----------
    net : nn.Module
        Not to be copied afterwards (``copy.deepcopy`` would tie the copy to this one). A second time changes nothing.
    size : int
        Side of the images that it reads, pixels.
    channels : int
    """
    one = next(net.parameters(), None)
    if one is None:  # nothing is learned here, so no convolution either
        return 0
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        x = torch.linspace(-1.0, 1.0, channels * size * size, device=one.device)
        x = x.reshape(1, channels, size, size)
        with torch.no_grad(), exact():
            with _watched(net) as pairs:
                net(x)
            with _other_statistics([norm for _, norm in pairs]):
                before = net(x)
                if not bool(torch.isfinite(before).all()):  # nothing could be compared
                    return 0
                for conv, norm in pairs:
                    _tie(conv, norm)
                if torch.allclose(net(x), before, rtol=1e-3, atol=1e-3 * float(before.abs().max())):
                    return len(pairs)
        for conv, norm in pairs:
            del conv.__dict__["forward"], norm.__dict__["forward"]
        return 0
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def _watched(net: nn.Module) -> Iterator[list[tuple[nn.Conv2d, nn.BatchNorm2d]]]:
    """The pairs of convolution and norm in which the one's output is the other's input, each seen once."""
    made: dict[int, tuple[nn.Conv2d, Tensor, int]] = {}
    uses: dict[nn.Module, int] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def gave(module: Any, _: Any, output: Tensor) -> None:
        uses[module] = uses.get(module, 0) + 1
        made[id(output)] = (module, output, output._version)  # kept, so that its id stays its own

    def takes(module: Any, inputs: tuple[Tensor, ...]) -> None:
        uses[module] = uses.get(module, 0) + 1
        conv, output, version = made.get(id(inputs[0]), (None, inputs[0], -1))
        if conv is not None and output._version == version:  # nothing changed it in place
            pairs.append((conv, module))

    hooks = []
    for module in net.modules():
        if type(module) in _CONVOLUTIONS and module.padding_mode == "zeros":
            hooks.append(module.register_forward_hook(gave))
        elif type(module) in _NORMS and module.running_var is not None:
            hooks.append(module.register_forward_pre_hook(takes))
    try:
        yield pairs
    finally:
        for hook in hooks:
            hook.remove()
        pairs[:] = [pair for pair in pairs if uses[pair[0]] == uses[pair[1]] == 1]


@contextmanager
def _other_statistics(norms: list[nn.BatchNorm2d]) -> Iterator[None]:
    """Norms that change what they read, for the moment: fresh ones do not, and a wrong pair would not show."""
    kept = [{name: tensor.clone() for name, tensor in norm.state_dict().items()} for norm in norms]
    for norm in norms:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.add_(norm.running_var.sqrt(), alpha=0.1)
        norm.running_var.mul_(1.1)
    try:
        yield
    finally:
        for norm, tensors in zip(norms, kept, strict=True):
            norm.load_state_dict(tensors)


def _tie(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    plain_conv, plain_norm = conv.forward, norm.forward

    def convolve(x: Tensor) -> Tensor:
        if norm.training:
            return plain_conv(x)
        weight, bias = _carried(conv, norm)
        padding: Any = conv.padding
        if isinstance(conv, Conv2dSame):
            x, padding = pad_same(x, conv.kernel_size, conv.stride, conv.dilation), 0
        return F.conv2d(x, weight, bias, conv.stride, padding, conv.dilation, conv.groups)

    def rest(x: Tensor) -> Tensor:
        if norm.training:
            return plain_norm(x)
        return norm.act(norm.drop(x)) if isinstance(norm, BatchNormAct2d) else x

    conv.__dict__["forward"], norm.__dict__["forward"] = convolve, rest


def _carried(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The convolution's weight and bias with the norm in them."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)  # (C,)
    if norm.weight is not None:
        scale = scale * norm.weight
    mean = norm.running_mean if conv.bias is None else norm.running_mean - conv.bias
    bias = -mean * scale if norm.bias is None else norm.bias - mean * scale
    return conv.weight * scale.view(-1, 1, 1, 1), bias
