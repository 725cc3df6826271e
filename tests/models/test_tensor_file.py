"""Files of tensors: what is written comes back, and a disk that does not take it says why and leaves the older file."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from comp.errors import InputError
from comp.models.checkpoint import save_tensors

TABLE = {"weight": torch.arange(50_000, dtype=torch.float32), "epoch": 3}


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 10,000 bytes: writes end with EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_is_written_is_read_and_hashed(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    announced: list[tuple[str, bool]] = []
    sha256 = save_tensors(path, TABLE, lambda sha256: announced.append((sha256, path.exists())))
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert announced == [(sha256, False)]  # before the file is there
    back = torch.load(path, weights_only=True)
    assert torch.equal(back["weight"], TABLE["weight"])
    assert back["epoch"] == 3
    assert save_tensors(path, {"epoch": 4}) != sha256
    assert torch.load(path, weights_only=True) == {"epoch": 4}
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


def test_a_disk_that_takes_no_more_says_so_and_the_older_file_stays(
    tmp_path: Path, small_files: None
) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"an older one")
    announced: list[str] = []
    with pytest.raises(InputError) as refused:
        save_tensors(path, TABLE, announced.append)
    assert os.strerror(errno.EFBIG) in refused.value.value
    assert path.read_bytes() == b"an older one"
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]
    assert announced == []


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as refused:
        save_tensors(tmp_path / "file" / "a.pt", TABLE)
    assert os.strerror(errno.ENOTDIR) in refused.value.value


def test_what_torch_cannot_write_is_its_own_error_and_the_older_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"an older one")
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        save_tensors(path, {"f": lambda: None})
    assert path.read_bytes() == b"an older one"
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]
