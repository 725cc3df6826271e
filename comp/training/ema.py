"""The moving average of a network's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightEma:
    """An exponential moving average of weights and BatchNorm statistics (Polyak & Juditsky 1992; as in timm's ModelEma).

    The decay begins low, (1 + steps) / (10 + steps), so that the first random weights are soon forgotten.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self._live = _floats(net)  # the tensors themselves, which steps change in place
        self.tensors = {name: tensor.clone() for name, tensor in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Takes the network's present weights into the average."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        live = [self._live[name] for name in self.tensors]
        torch._foreach_lerp_(list(self.tensors.values()), live, 1 - decay)

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor], steps: int) -> None:
        """Goes back to an average that was saved after so many steps, on whatever device."""
        self.steps = steps
        for name, tensor in tensors.items():
            self.tensors[name].copy_(tensor)

    @contextmanager
    def inside(self, net: nn.Module) -> Iterator[None]:
        """The network with the averaged weights; its own come back on the way out."""
        own = {name: tensor.clone() for name, tensor in _floats(net).items()}
        net.load_state_dict(self.tensors, strict=False)
        try:
            yield
        finally:
            net.load_state_dict(own, strict=False)


def _floats(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in net.state_dict().items() if tensor.is_floating_point()}
