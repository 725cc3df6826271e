"""Small tensors on their way to the device: labels, indices, parameters of transforms."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def upload(values: Tensor, device: Any) -> Tensor:
    """A tensor of the machine's memory on ``device``. A GPU copies it while the program goes on: a copy from memory that is
    not pinned would wait until all that was asked of the GPU before is done. One that lies there already stays as it is.
    """
    if torch.device(device).type != "cuda" or values.device.type == "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
