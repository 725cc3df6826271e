"""Views for test-time augmentation, computed on the device from one decoded batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

VIEW_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "hflip": lambda x: x.flip(-1),
}


def view(name: str, images: Tensor) -> Tensor:
    """One view of a batch: (B, 3, H, W) to (B, 3, H, W)."""
    return VIEW_FUNCTIONS[name](images)
