"""Torch's threads while there is little to do: one, and afterwards as many as before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from comp.models.runtime import LITTLE, on_threads, one_thread


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    with on_threads(3):
        yield


@pytest.mark.parametrize(
    ("numbers", "device", "inside"), [(LITTLE, "cpu", 1), (LITTLE + 1, "cpu", 3), (10, "cuda", 3)]
)
def test_little_work_is_done_alone_on_a_cpu(numbers: int, device: str, inside: int) -> None:
    with one_thread(numbers, torch.device(device)):
        assert torch.get_num_threads() == inside
    assert torch.get_num_threads() == 3


def test_an_error_leaves_the_threads_as_they_were() -> None:
    with pytest.raises(ZeroDivisionError), one_thread(1, torch.device("cpu")):
        _ = 1 / 0
    assert torch.get_num_threads() == 3
