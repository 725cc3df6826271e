"""Arithmetic of all 32 bits, where a GPU would rather round to TF32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact(on: bool = True) -> Iterator[None]:
    """Convolutions and matrix products in fp32 inside keep all 24 bits of what they multiply; without ``on`` as they were.

    NVIDIA's GPUs from Ampere on round what a convolution multiplies to 11 bits (TF32) unless they are told not to: rows
    that are compared with those of another device would come back some thousandths away. On a CPU nothing changes.
    """
    if not on:
        yield
        return
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)
